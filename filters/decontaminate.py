"""Decontaminate: how close a picture's embedding comes to any picture of an evaluation set. Embeds and drops nothing.

DataComp dropped what had a cosine above 0.604169 by ISC's descriptors (mlfoundations/datacomp#70); FineVision, above
0.95 by SSCD's. Such a number holds for its own descriptor alone. The search is exhaustive: an approximate index could
miss the one copy that matters.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow.parquet as pq

from curate import scores
from curate.filters._heads import Array, normalised

ROWS, COLUMNS = 256, 8192
"""Embeddings and references in one product."""
SLACK = 1e-4
"""More than a product of directions in float32 is wrong by (2**-24 for each dimension), whatever BLAS and batch."""

Vectors = npt.NDArray[np.float32]


@scores("clip.embedding", nearest=float, which=str, batch=1024, version=1)
class Decontaminate:
    """``nearest``: the greatest cosine, -1 to 1. ``which``: the name of that reference; the first, of equal ones.

    Null where the embedding is no direction (a NaN, an infinity, or all 0).

    Args:
        reference: embeddings by the same model: a .npy of (n, d) numbers, a .parquet, or a folder of them, such as
            ``runs/evaluation/scores/clip-1a2b3c4d``; of that, the tables of vectors. What is null there is left out.
        column: the column of a parquet that holds them.
        names: the column of a parquet that names them, or a text file with a name on each line for a .npy. Without: the
            row's number from 0; in a folder of scores, ``document:position``.
    """

    def __init__(self, reference: str, column: str = "embedding", names: str = "") -> None:
        self.reference = reference
        vectors, given = read(reference, column, names)
        directions = normalised(np.asarray(vectors, np.float64))
        good = np.flatnonzero(np.isfinite(directions).all(axis=1))
        if not len(good):
            raise ValueError(f"{reference} holds no embedding")
        self.names = [given[at] for at in good]
        self.references: Vectors = directions[good].astype(np.float32)

    @staticmethod
    def weights(reference: str, column: str = "embedding", names: str = "") -> list[Path]:
        """The files that the scores depend on."""
        beside = [Path(names)] if names and reference.endswith(".npy") else []
        return [*files(reference, column), *beside]

    def __call__(self, vectors: list[Sequence[float]]) -> list[dict[str, Any] | None]:
        """A row for each embedding."""
        width = self.references.shape[1]
        if wrong := {len(vector) for vector in vectors} - {width}:
            raise ValueError(
                f"{self.reference} holds {width}-d embeddings; the column that it is compared with has {wrong.pop()}"
            )
        queries = normalised(np.array(vectors, np.float64))
        found = [pair for at in range(0, len(queries), ROWS) for pair in self.search(queries[at : at + ROWS])]
        return [{"nearest": cosine, "which": self.names[at]} if cosine > -np.inf else None for at, cosine in found]

    def search(self, queries: Array) -> list[tuple[int, float]]:
        """The nearest reference of each of at most ROWS directions, and its cosine; -inf where there is no direction.

        A product in float32 says which references may be the nearest, and float64 which of them is.
        """
        some = np.zeros((ROWS, queries.shape[1]), np.float32)
        some[: len(queries)] = np.nan_to_num(queries)
        best, cosines = np.zeros(len(queries), np.intp), np.full(len(queries), -np.inf)
        block = np.zeros((COLUMNS, queries.shape[1]), np.float32)
        for start in range(0, len(self.references), COLUMNS):
            count = len(part := self.references[start : start + COLUMNS])
            block[:count] = part
            products = (some @ block.T)[: len(queries), :count]
            top = products.max(axis=1)
            for row in np.flatnonzero(top > cosines - SLACK):
                at = np.flatnonzero(products[row] > top[row] - SLACK)
                exact = (part[at].astype(np.float64) * queries[row]).sum(axis=1)
                first = int(exact.argmax())
                if exact[first] > cosines[row]:
                    best[row], cosines[row] = start + at[first], exact[first]
        return list(zip(best.tolist(), cosines.tolist(), strict=True))


def files(reference: str, column: str) -> list[Path]:
    """The files of a reference that hold a column; FileNotFoundError where there is none."""
    path = Path(reference)
    found = sorted(path.glob("*.parquet")) if path.is_dir() else [path]
    vectors = [file for file in found if path.is_dir() and file.name.endswith(".vectors.parquet")]
    if vectors:  # a folder of scores: they lie beside the tables of all other columns
        found = vectors if column in pq.read_schema(vectors[0]).names else sorted({*found} - {*vectors})
    if not found or not all(file.is_file() for file in found):
        raise FileNotFoundError(f"decontaminate: there is no reference {reference}")
    if wrong := [file for file in found if file.suffix not in {".npy", ".parquet"}]:
        raise ValueError(f"decontaminate: {wrong[0]} is neither .npy nor .parquet")
    return found


def read(reference: str, column: str, names: str) -> tuple[Any, list[str]]:
    """The embeddings, (n, d), and their names."""
    first, *others = files(reference, column)
    if first.suffix == ".npy":
        vectors = np.load(first, allow_pickle=False)
        given = Path(names).read_text("utf-8").splitlines() if names else [str(at) for at in range(len(vectors))]
        if vectors.ndim != 2 or len(given) != len(vectors):
            raise ValueError(f"{reference} has the shape {vectors.shape} and {len(given)} names; it takes (n, d) and n")
        return vectors, given
    parts, named, rows = [], list[str](), 0
    for file in (first, *others):
        keys = [names] if names else [key for key in ("document", "position") if key in pq.read_schema(file).names]
        table = pq.read_table(file, columns=[column, *keys])
        several = table[column].combine_chunks().drop_null()
        widths = set(several.value_lengths().to_pylist()) if len(several) else set()
        parts.append((widths, several.flatten().to_numpy(zero_copy_only=False).astype(np.float32)))
        labels = (
            zip(*(table[key].to_pylist() for key in keys), strict=True)
            if keys
            else ((rows + at,) for at in range(len(table)))
        )
        named += [
            ":".join(map(str, label))
            for label, there in zip(labels, table[column].is_valid().to_pylist(), strict=True)
            if there
        ]
        rows += len(table)
    widths = set().union(*(widths for widths, _ in parts))
    if len(widths) > 1:
        raise ValueError(f"{reference}: the embeddings in {column} differ in length")
    return np.concatenate([values for _, values in parts]).reshape(len(named), -1 if named else 1), named
