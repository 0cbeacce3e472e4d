"""Tags: which of some prompts a picture's CLIP embedding is closest to, and LAION's three-way tag from the best two.

Zero-shot classification as in Radford et al. 2021, with the text tower of the model that made the embeddings. LAION's
corpora were tagged like this (rvencu/crawlingathome-gpu-hcloud: ViT-B/32, the harmless prompts first).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from curate import Text, scores
from curate.filters._heads import Array, normalised
from curate.filters.clip import Clip


@scores("clip.embedding", tag=str, probability=float, nsfw=str, batch=1024, requires=("open_clip_torch",), version=1)
class Tags:
    """``tag`` is the best prompt, ``probability`` its share (softmax at the model's temperature); null for a NaN.

    ``nsfw``: UNLIKELY where both of the best two prompts stand before ``unsafe_from``, NSFW where neither does,
    else UNSURE; null without ``unsafe_from``.

    Args:
        categories: the prompts, or a text file with one on each line.
        unsafe_from: the index of the first unsafe prompt; LAION's is 19.
        model: as for ``clip``; it must be the model of the embeddings.
        weights: as for ``clip``.
    """

    def __init__(
        self, categories: Sequence[str] | str, unsafe_from: int | None = None, model: str = "demo", weights: str = ""
    ) -> None:
        self.prompts, self.unsafe_from = prompts(categories, unsafe_from), unsafe_from
        clip = Clip(model, weights, precision="fp32")
        self.texts = normalised(clip.encode_text([Text(prompt) for prompt in self.prompts]).astype(np.float64))
        self.temperature = float(clip.model.logit_scale.detach().exp())
        self.model = model

    @staticmethod
    def weights(
        categories: Sequence[str] | str,
        unsafe_from: int | None = None,
        model: str = "demo",
        weights: str = "",
    ) -> list[Path]:
        """The files that the tags depend on."""
        prompts(categories, unsafe_from)
        return [*Clip.weights(model, weights), *([Path(categories)] if isinstance(categories, str) else [])]

    def __call__(self, vectors: list[list[float]]) -> list[dict[str, str | float | None] | None]:
        """A row for each embedding."""
        width = self.texts.shape[1]
        if wrong := {len(vector) for vector in vectors} - {width}:
            raise ValueError(f"{self.model} has {width}-d embeddings; the column that it reads has {wrong.pop()}")
        with np.errstate(invalid="ignore"):
            logits = self.temperature * normalised(np.array(vectors, np.float64)) @ self.texts.T
        return [self.row(each) if np.isfinite(each).all() else None for each in logits]

    def row(self, logits: Array) -> dict[str, str | float | None]:
        """The columns of one picture; of equal prompts, the earlier is the better."""
        order = np.argsort(-logits, kind="stable")
        shares = np.exp(logits - logits.max())
        best = int(order[0])
        nsfw = None if self.unsafe_from is None else verdict(best, int(order[1]), self.unsafe_from)
        return {"tag": self.prompts[best], "probability": float(shares[best] / shares.sum()), "nsfw": nsfw}


def verdict(first: int, second: int, unsafe_from: int) -> str:
    """LAION's tag of the indexes of the best two prompts."""
    return ("UNLIKELY", "UNSURE", "NSFW")[(first >= unsafe_from) + (second >= unsafe_from)]


def prompts(categories: Sequence[str] | str, unsafe_from: int | None) -> list[str]:
    """The prompts, from the recipe or from a file's lines; ValueError where there is nothing to choose from."""
    lines = Path(categories).read_text("utf-8").splitlines() if isinstance(categories, str) else categories
    found = [line.strip() for line in lines if line.strip()]
    if len(found) < 2:
        raise ValueError(f"categories: {len(found)} prompts; it takes two to choose")
    if unsafe_from is not None and not 0 < unsafe_from < len(found):
        raise ValueError(f"unsafe_from: {unsafe_from} does not split {len(found)} prompts in two")
    return found
