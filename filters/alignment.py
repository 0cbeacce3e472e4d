"""Alignment: which share of a document's images go well with the text that each is assigned to. Assigns for no output.

MMC4's core set (Zhu et al. 2023, section 3) has the documents in which at least 75 % of the images are assigned with a
similarity above 0.25. The assignment is that of ``place``: the greatest total, images left over at their best text.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from curate import Encoded, scores
from curate.pack.place import assign


@scores("document", aligned=float, assigned=int, reads="clip.sims", batch=1024, version=1)
def alignment(documents: list[Encoded], above: float = 0.25, least: float = 0.15) -> list[Mapping[str, float | None]]:
    """``aligned``: the share, 0 to 1; equal to ``above`` does not count. ``assigned``: of how many images.

    Images whose best similarity is below ``least`` are left out first, as MMC4 drops them before it assigns; so are
    images without similarities, and images and texts that a gate holds back. Null where no image is left.
    """
    return [_row(each, np.float32(above), np.float32(least)) for each in documents]


def _row(document: Encoded, above: np.float32, least: np.float32) -> Mapping[str, float | None]:
    texts = [at for at, text in enumerate(document.document.texts.values()) if text.text.strip()]
    seen = document.document.images
    rows = [_of(sims, texts) for at, sims in sorted(document.images.items()) if not seen[at].error]
    usable = [row for row in rows if len(row) and np.isfinite(row).all() and row.max() >= least]
    if not usable:
        return {"aligned": None, "assigned": 0}
    sims = np.stack(usable)
    assigned = sims[np.arange(len(sims)), assign(sims)]
    return {"aligned": float((assigned > above).mean()), "assigned": len(sims)}


def _of(sims: npt.ArrayLike, texts: list[int]) -> Any:
    return np.asarray(sims, np.float32)[texts]
