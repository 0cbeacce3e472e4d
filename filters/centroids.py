"""Centroids: which of some cluster centres a picture's embedding is nearest to, and whether that one is on a list.

DataComp's image-based filter (Gadre et al. 2023): 100,000 centres of its pool's CLIP ViT-L/14 embeddings, listed where
some training picture of ImageNet is nearest to them. Clusters nothing itself: faiss's k-means makes centres.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from curate import scores

AT_ONCE = 8192
"""Centres in one product."""


@scores("clip.embedding", nearest=int, listed=bool, batch=1024, version=1)
class Centroids:
    """``nearest``: the row of the centre with the greatest inner product, the first of equal ones; null for a NaN.

    ``listed``: whether that row is on the list; null without a list.

    Args:
        centroids: a .npy of (k, d) numbers, centres of embeddings by the same model.
        listed: rows of that file, from 0: a .npy of whole numbers, or a .txt with one on each line.
    """

    def __init__(self, centroids: str, listed: str = "") -> None:
        self.file = centroids
        self.centres = np.load(centroids, allow_pickle=False).astype(np.float32)
        if self.centres.ndim != 2 or not self.centres.size:
            raise ValueError(f"{centroids} has the shape {self.centres.shape}; expected (k, d)")
        self.listed = rows_of(listed, len(self.centres)) if listed else None

    @staticmethod
    def weights(centroids: str, listed: str = "") -> list[Path]:
        """The files that the columns depend on."""
        files = [Path(file) for file in (centroids, listed) if file]
        if missing := [str(file) for file in files if not file.is_file()]:
            raise FileNotFoundError(f"centroids: there is no file {', '.join(missing)}")
        return files

    def __call__(self, vectors: list[Sequence[float]]) -> list[dict[str, int | bool | None] | None]:
        """A row for each embedding."""
        width = self.centres.shape[1]
        if wrong := {len(vector) for vector in vectors} - {width}:
            raise ValueError(f"{self.file} has {width}-d centres; the column that it reads has {wrong.pop()}")
        queries = np.array(vectors, np.float32)
        finite = np.isfinite(queries)
        nearest = self.search(np.where(finite, queries, 0))
        return [self.row(int(at)) if fine.all() else None for at, fine in zip(nearest, finite, strict=True)]

    def search(self, queries: npt.NDArray[np.float32]) -> npt.NDArray[np.int64]:
        """The nearest centre of each row."""
        best = np.full(len(queries), -np.inf, np.float32)
        nearest = np.zeros(len(queries), np.int64)
        for start in range(0, len(self.centres), AT_ONCE):
            products = queries @ self.centres[start : start + AT_ONCE].T
            most = products.max(axis=1)
            nearest = np.where(most > best, start + products.argmax(axis=1), nearest)
            best = np.maximum(most, best)
        return nearest

    def row(self, nearest: int) -> dict[str, int | bool | None]:
        """The columns of one picture."""
        return {"nearest": nearest, "listed": None if self.listed is None else nearest in self.listed}


def rows_of(file: str, count: int) -> frozenset[int]:
    """The listed rows; ValueError for what is no row of ``count``."""
    found = np.load(file, allow_pickle=False) if file.endswith(".npy") else np.loadtxt(file, dtype=np.int64, ndmin=1)
    if not np.issubdtype(found.dtype, np.integer):
        raise ValueError(f"{file} holds {found.dtype}, not whole numbers")
    listed = frozenset(found.ravel().tolist())
    if beyond := sorted(at for at in listed if not 0 <= at < count):
        raise ValueError(f"{file} lists {beyond[0]}; there are {count} centres, from 0")
    return listed
