"""Components: distinct keys to groups. Pure functions over what is in memory; reads and writes no file."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from curate.group.hamming import hamming_pieces, plan_hamming
from curate.group.jaccard import jaccard_pieces, plan_jaccard
from curate.group.keys import HASH
from curate.group.union_find import components_in_pieces, spanning_forest
from curate.recipe.measures import Group

Links = tuple[npt.NDArray[Any], ...]
"""Pairs (i, j) of indices of distinct fingerprints, i < j, and how near they are: bits, or estimated Jaccard."""
Fingerprints = npt.NDArray[Any]
"""(n, words): uint64 of hashes, uint32 of MinHashes."""


def distinct_keys(keys: pl.DataFrame, owned: pl.DataFrame | None = None) -> pl.DataFrame:
    """Distinct keys in order, how many members have each, and whether it is owned: key, count, owned."""
    parts = [keys.select("key", count=pl.lit(1, pl.Int64), owned=pl.lit(value=False))]
    if owned is not None:
        parts.append(owned.select("key", count=pl.lit(0, pl.Int64), owned=pl.lit(value=True)))
    return pl.concat(parts).group_by("key").agg(pl.col("count").sum(), pl.col("owned").any()).sort("key")


def equal_groups(values: pl.DataFrame) -> pl.DataFrame:
    """Groups of equal keys (the keys are hashes already)."""
    found = values.filter((pl.col("count") > 1) | (pl.col("owned") & (pl.col("count") > 0)))
    return found.select("key", group=pl.col("key").bin.encode("hex"), size="count", owned="owned")


def near_groups(values: pl.DataFrame, entry: Group) -> pl.DataFrame:
    """Groups of near fingerprints, looked for in each scope by itself."""
    keys = values["key"].to_list()
    starts = [at for at, key in enumerate(keys) if not at or key[:HASH] != keys[at - 1][:HASH]]
    parts = [values.head(0).select("key", group=pl.lit(""), size="count", owned="owned")]
    if not keys:
        return parts[0]
    for start, end in zip(starts, [*starts[1:], len(keys)], strict=True):
        if end - start > 1 or values["count"][start] > 1:
            part = values.slice(start, end - start)
            matrix = fingerprint_matrix([key[HASH:] for key in keys[start:end]], entry)
            parts.append(linked_groups(part, all_links(matrix, entry)))
    return pl.concat(parts)


def fingerprint_matrix(fingerprints: Iterable[bytes], entry: Group) -> Fingerprints:
    """Fingerprints of one length as a matrix: (n, words) uint64 of hashes, (n, permutations) uint32 of MinHashes.

    Raises:
        ValueError: hashes of different lengths, or of no whole number of words.
    """
    several = list(fingerprints)
    lengths = {len(each) for each in several}
    if len(lengths) > 1:
        raise ValueError(f"hashes of different lengths: {sorted(lengths)} bytes")
    kind = np.dtype("<u4") if entry.method == "jaccard" else np.dtype(">u8")
    width = lengths.pop() if lengths else kind.itemsize
    if width % kind.itemsize:
        raise ValueError(f"a hash of {8 * width} bits; {entry.method} compares multiples of {8 * kind.itemsize}")
    native = np.frombuffer(b"".join(several), kind).astype(kind.newbyteorder("="))
    return native.reshape(len(several), width // kind.itemsize)


def bands(count: int, width: int, entry: Group) -> Sequence[Any]:
    """The independent jobs that together find the links among so many fingerprints of so many words."""
    return _planned(count, width, entry.within, entry.jaccard)


@lru_cache(4096)
def _planned(count: int, width: int, within: int | None, jaccard: float | None) -> Sequence[Any]:
    """The same, once for each size; a plan takes up to a second."""
    if within is not None:
        return plan_hamming(count, 64 * width, within)
    return plan_jaccard(width, jaccard or 1) if not count else _planned(0, width, within, jaccard)


def links(matrix: Fingerprints, entry: Group, job: int) -> Links:
    """Of the links that one job finds, as many as it takes to connect the same fingerprints."""
    count, width = matrix.shape
    band = bands(count, width, entry)[job]
    pieces: Iterator[Any]
    if entry.within is not None:
        pieces = hamming_pieces(matrix, entry.within, band)
    else:
        pieces = jaccard_pieces(matrix, entry.jaccard or 1, band)
    none = np.empty(0, np.int64)
    return spanning_forest(count, pieces) or (none, none, none)


def all_links(matrix: Fingerprints, entry: Group) -> Iterator[Links]:
    """The links of every job."""
    for job in range(len(bands(len(matrix), matrix.shape[1], entry))):
        yield links(matrix, entry, job)


def linked_groups(values: pl.DataFrame, found: Iterable[Links]) -> pl.DataFrame:
    """Groups that links connect: an id is a hash of the group's least key."""
    count = values.height
    labels = components_in_pieces(count, found)
    frame = values.with_columns(label=pl.Series(labels))
    frame = frame.with_columns(
        size=pl.col("count").sum().over("label"), owned=pl.col("owned").any().over("label"), mine=pl.col("count") > 0
    )
    frame = frame.filter(((pl.col("size") > 1) | pl.col("owned")) & pl.col("mine"))
    least = {label: name_of(values["key"][label]) for label in frame["label"].unique()}
    names = pl.Series("group", [least[label] for label in frame["label"]], pl.String)
    return frame.select("key", names, "size", "owned")


def name_of(key: bytes) -> str:
    """A group's id, from its least key: 32 hex digits."""
    return hashlib.blake2b(key, digest_size=HASH).hexdigest()
