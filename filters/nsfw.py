"""NSFW: the probability that a picture is unsafe, from its CLIP embedding, by one of LAION's heads.

https://github.com/LAION-AI/CLIP-based-NSFW-Detector. Each head reads the embeddings of one CLIP:

==============================  =========================================  =====================================
weights                         layers                                     names of the tensors
==============================  =========================================  =====================================
OpenAI ViT-L/14                 768 -> 64 -> 512 -> 256 -> 1               norm.mean, norm.variance, linear_1..4
OpenAI ViT-B/32                 512 -> 32 -> 32 -> 1                       norm.mean, norm.variance, linear_1..3
LAION ViT-H/14                  1024 -> 1024 -> 2048 -> 1024 -> 256        layers.0, 3, 6, 9, 12, 15, 16
                                -> 128 -> 16 -> 1
==============================  =========================================  =====================================

Names say what is computed. With ``norm``: normalisation, ReLU between layers, sigmoid. With numbered names only, as
``nn.Sequential`` gives them: ReLU between layers unless their numbers follow each other (no module stands between
15 and 16), and no sigmoid; that head was trained towards 0 and 1, so what goes beyond is cut off.

LAION calls a picture unsafe above 0.5; MMC4 drops it above 0.1, which is also what Stable Diffusion 2 was trained with.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from scipy.special import expit

from curate import scores
from curate.filters._heads import DEMO, linears, rows_of, tensors, unit, weights_file

ENCODERS = {512: "OpenAI ViT-B/32", 768: "OpenAI ViT-L/14", 1024: "LAION ViT-H/14"}
NORM = ("norm.mean", "norm.variance")
LEAST = 1e-7
"""Keras divides by at least this, should a component never have varied."""


@scores("clip.embedding", unsafe=float, batch=1024, version=1)
class Nsfw:
    """``unsafe``: 0 to 1; null where the embedding has a NaN.

    Args:
        weights: a .safetensors file; a state dict as .pth, .pt or .bin; or ``demo``, a head for the demo's CLIP.
        sha256: of the file; required for a pickled state dict, which is converted to safetensors beside it, once.
    """

    def __init__(self, weights: str = "demo", sha256: str = "") -> None:
        self.file = located(weights, sha256)
        found = tensors(self.file)
        self.layers = linears(found, self.file, NORM)
        self.norm = any(name in found for name in NORM)
        if self.norm:
            self.mean, variance = (np.asarray(found.get(name, ()), np.float64) for name in NORM)
            self.scale = np.maximum(np.sqrt(variance), LEAST)
            if self.mean.shape != (width := self.layers[0].weight.shape[1:]) or variance.shape != width:
                shapes = f"norm.mean {self.mean.shape} and norm.variance {variance.shape}"
                raise ValueError(f"{self.file} has {shapes}; expected {width}")

    @staticmethod
    def weights(weights: str = "demo", sha256: str = "") -> list[Path]:
        """The file that the scores depend on."""
        return [located(weights, sha256)]

    def __call__(self, vectors: list[list[float]]) -> list[dict[str, float] | None]:
        """A row for each embedding."""
        rows = unit(vectors, self.layers, self.file, ENCODERS)
        if self.norm:
            rows = (rows - self.mean) / self.scale
        for layer, following in zip(self.layers, [*self.layers[1:], None], strict=True):
            rows = layer(rows)
            if following and (self.norm or following.number > layer.number + 1):
                rows = np.maximum(rows, 0)
        return rows_of("unsafe", (expit(rows) if self.norm else np.clip(rows, 0, 1))[:, 0])


def located(weights: str, sha256: str) -> Path:
    """The file to load."""
    return weights_file(DEMO / "nsfw_head" / "model.safetensors" if weights == "demo" else Path(weights), sha256)
