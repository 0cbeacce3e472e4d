"""Aesthetics: how much people would like a picture, about 1 to 10, from its CLIP embedding, by LAION's predictors.

V1 (LAION-AI/aesthetic-predictor, ``sa_0_4_vit_l_14_linear``): one linear layer. V2 (improved-aesthetic-predictor,
``sac+logos+ava1-l14-linearMSE``): 768 -> 1024 -> 128 -> 64 -> 16 -> 1 with nothing but dropout in between, so that it
is one affine map as well. It is multiplied out once, in float64: 768 products a picture instead of 926,736.

LAION-Aesthetics are the pictures above 7, or 8; Stable Diffusion 2 was trained on 4.5 and more; OmniCorpus drops those
below 3.7.
"""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np

from curate import scores
from curate.filters._heads import DEMO, Linear, linears, rows_of, tensors, unit, weights_file

ENCODERS = {512: "OpenAI ViT-B/32 or B/16", 768: "OpenAI ViT-L/14"}


@scores("clip.embedding", score=float, batch=1024, version=1)
class Aesthetic:
    """``score``: null where the embedding has a NaN.

    Args:
        weights: a .safetensors file; a state dict as .pth, .pt or .bin; or ``demo``, a head for the demo's CLIP.
        sha256: of the file; required for a pickled state dict, which is converted to safetensors beside it, once.
    """

    def __init__(self, weights: str = "demo", sha256: str = "") -> None:
        self.file = located(weights, sha256)
        self.layers = linears(tensors(self.file), self.file)
        self.map = collapsed(self.layers, self.file)

    @staticmethod
    def weights(weights: str = "demo", sha256: str = "") -> list[Path]:
        """The file that the scores depend on."""
        return [located(weights, sha256)]

    def __call__(self, vectors: list[list[float]]) -> list[dict[str, float] | None]:
        """A row for each embedding."""
        return rows_of("score", self.map(unit(vectors, self.layers, self.file, ENCODERS))[:, 0])


def collapsed(layers: list[Linear], file: Path) -> Linear:
    """Linear layers one after the other as a single one."""
    weight, bias = layers[0].weight, layers[0].bias
    for before, layer in pairwise(layers):
        if layer.number > before.number + 2:  # Linear, Dropout, Linear; with a ReLU there would be three steps
            raise ValueError(f"{file}: more than dropout stands between layers {before.number} and {layer.number}")
        weight, bias = layer.weight @ weight, layer(bias[np.newaxis])[0]
    return Linear(0, weight, bias)


def located(weights: str, sha256: str) -> Path:
    """The file to load."""
    return weights_file(DEMO / "aesthetic_head" / "model.safetensors" if weights == "demo" else Path(weights), sha256)
