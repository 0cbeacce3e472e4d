"""Jaccard: pairs of texts whose MinHash signatures agree in most positions, by bands of rows. Reads no files.

Locality-sensitive hashing (Leskovec, Rajaraman and Ullman, Mining of Massive Datasets, section 3.4): the first b * r
positions of a signature are b bands of r rows; two texts are compared if all rows of a band agree, which happens to a
pair of Jaccard similarity s with probability 1 - (1 - s^r)^b. So near pairs can be missed: this is no complete search.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from curate.group.union_find import Ints, candidates, in_larger_pieces

Signatures = npt.NDArray[np.uint32]
Links = tuple[Ints, Ints, npt.NDArray[np.float32]]

PIECE = 1 << 20  # signature positions compared at once
CROWD = 1024  # members from which on a bucket gives a forest instead of all its pairs
PATIENCE = 16384  # comparisons a member that a crowd may cost before it is cut


@dataclass(frozen=True)
class Band:
    """A job: the pairs that agree in the ``rows`` positions of band ``number``, and in no band before it."""

    number: int
    rows: int


def plan_jaccard(k: int, threshold: float) -> list[Band]:
    """The b bands of r rows, b * r <= k, with the least expected error, as datasketch plans them.

    The error is the area under the probability of being compared below the threshold (false positives) plus that
    under the probability of being missed above it (false negatives). Weights are 0.1 and 0.9, since what is compared
    is checked, and what is missed is lost (datasketch's default is one half each).
    """
    s = (np.arange(1000) + 0.5) / 1000
    best, least = (1, 1), np.inf
    for bands in range(1, k + 1):
        for rows in range(1, k // bands + 1):
            compared = 1 - (1 - s**rows) ** bands
            error = np.where(s < threshold, 0.1 * compared, 0.9 * (1 - compared)).sum()
            if error < least:
                best, least = (bands, rows), error
    return [Band(number, best[1]) for number in range(best[0])]


def jaccard_links(signatures: Signatures, threshold: float, band: Band) -> Links:
    """The pairs that a job finds: i < j and the share of positions in which they agree, ordered by i and j.

    Args:
        signatures: (n, k) MinHash values of distinct texts.
        threshold: the least share of equal positions.
        band: one of :func:`plan_jaccard`.

    What is promised, of a bucket (the texts that agree in the band's rows):
    - Up to 1,024 texts: all its pairs of the threshold, but for those that agree in an earlier band as well.
    - More: at most one link fewer than texts, which connect exactly what all its pairs would connect.
    - More than 32,768, of which so few are similar that this takes over 16,384 comparisons a text: what is left is cut
      into blocks of 16,384 by signature. Similar texts in two blocks may stay unconnected.

    Memory: besides ``signatures`` 60 bytes a text, 50 MB, and 60 bytes a link; for a bucket of more than 1,024 texts
    its signatures twice more. :func:`jaccard_pieces` gives the links in pieces.
    """
    none = np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0, np.float32)
    pieces = jaccard_pieces(signatures, threshold, band)
    i, j, estimate = (np.concatenate(column) for column in zip(none, *pieces, strict=True))
    order = np.argsort(i * len(signatures) + j)
    return i[order], j[order], estimate[order]


def jaccard_pieces(signatures: Signatures, threshold: float, band: Band) -> Iterator[Links]:
    """The links of a job in pieces of a million or so, in an order of their own that is always the same."""
    return in_larger_pieces(_linked(signatures, threshold, band)) if len(signatures) else iter(())


def _linked(signatures: Signatures, threshold: float, band: Band) -> Iterator[Links]:
    """Links bucket by bucket: all pairs of the small ones, forests of the crowds."""
    begin, end, k = band.number * band.rows, (band.number + 1) * band.rows, signatures.shape[1]
    key = _hash(signatures[:, begin:end])
    order = np.argsort(key, kind="stable")
    key = key[order]
    bounds = np.flatnonzero(np.concatenate([[True], key[1:] != key[:-1], [True]]))
    size = np.diff(bounds)
    rights = np.repeat(np.where(size > CROWD, 0, bounds[1:]), size) - np.arange(1, len(key) + 1)
    left = np.flatnonzero(rights > 0)
    for right, span, repeats in candidates(left + 1, rights[left], max(1, PIECE // k)):
        a, b = order[np.repeat(left[span], repeats)], order[right]
        same = signatures[a] == signatures[b]
        before = same[:, :begin].reshape(len(a), band.number, band.rows).all(2).any(1)
        share = _count(same) / k
        new = np.flatnonzero((share >= threshold) & same[:, begin:end].all(1) & ~before)
        yield a[new], b[new], share[new].astype(np.float32)  # a stable sort leaves a < b
    for bucket in np.flatnonzero(size > CROWD):
        members = order[bounds[bucket] : bounds[bucket + 1]]
        for a, b, share in crowd(signatures[members], threshold):
            i, j = members[a], members[b]
            yield np.minimum(i, j), np.maximum(i, j), share.astype(np.float32)


def crowd(rows: Signatures, threshold: float, patience: int = PATIENCE) -> Iterator[tuple[Ints, Ints, Any]]:
    """Links that connect what all pairs of these signatures would connect, in pieces.

    One that is reached is compared with all that are not reached yet, once: alike ones cost a comparison each, and
    only strangers cost all pairs. After ``patience`` comparisons for each of the rows, the rest is cut.
    """
    reached, left, rest = [0], np.arange(1, len(rows)), rows[1:]
    purse = patience * len(rows)
    while len(left) and purse >= len(left):
        at = reached.pop()
        purse -= len(left)
        share = _count(rest == rows[at]) / rows.shape[1]
        near = share >= threshold
        if near.any():
            yield np.full(near.sum(), at), left[near], share[near]
            reached += left[near].tolist()
            left, rest = left[~near], rest[~near]
        if not reached and len(left):
            reached, left, rest = [int(left[0])], left[1:], rest[1:]
    if len(left):
        left = np.concatenate([reached, left])
        left = left[np.lexsort(rows[left].T[::-1])]
        for begin in range(0, len(left), patience):
            block = left[begin : begin + patience]
            for a, b, share in crowd(rows[block], threshold, patience):
                yield block[a], block[b], share


def _count(same: npt.NDArray[np.bool_]) -> npt.NDArray[np.int64]:
    """How many of each row are true."""
    return np.asarray(np.bitwise_count(np.packbits(same, axis=1)).sum(axis=1, dtype=np.int64))


def _hash(rows: Signatures) -> npt.NDArray[np.uint64]:
    """64 bits of each row; other rows may have the same, which costs a comparison."""
    mixed = np.zeros(len(rows), np.uint64)
    for column in rows.T:
        mixed = (mixed ^ column) * np.uint64(0x9E3779B97F4A7C15)
        mixed ^= mixed >> np.uint64(32)
    return mixed
