"""Coherence: whether the pictures of a document form a sequence, by CoMM's measure of their embeddings. Loads no model.

Chen et al. 2024, "CoMM": the mean similarity of neighbours less that of all other pairs. Times 100, CoMM reports 0.21
for MMC4, 1.00 for OBELICS and 4.27 for its own documents. The paper's normaliser, 2 / ((N - 1)(N - 2)), is one over the
number of pairs that are not neighbours, so these are what is summed.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from curate import Encoded, scores
from curate.filters._heads import normalised


@scores("document", coherence=float, reads="clip.embedding", version=1)
def coherence(documents: list[Encoded]) -> list[dict[str, float] | None]:
    """The measure of each document's pictures in order; null for fewer than three."""
    found = [sequence([vector for _, vector in sorted(each.images.items())]) for each in documents]
    return [None if value is None else {"coherence": value} for value in found]


def sequence(vectors: Sequence[Any]) -> float | None:
    """The measure, -2 to 2, of the embeddings of a document's pictures in order.

    None for fewer than three, or where one of them has a NaN.
    """
    if len(vectors) < 3:
        return None
    rows = normalised(np.array(vectors, np.float64))
    with np.errstate(invalid="ignore"):
        cosines = rows @ rows.T
    neighbours, others = np.diagonal(cosines, 1), cosines[np.triu_indices(len(rows), 2)]
    found = float(neighbours.mean() - others.mean())
    return found if np.isfinite(found) else None
