"""Semantic: near-duplicates among embeddings, by clusters (SemDeDup) or by pairs. Reads no file and knows no verdict.

SemDeDup (Abbas et al. 2023, arXiv 2303.09540): spherical k-means; within a cluster, in an order of preference, an item
goes if one before it has a cosine above 1 - eps. It is not greedy: an item that goes still takes others with it.

A cosine here has the same bits whatever the block, the thread count or the neighbours. Matrix products in float32 only
say which pairs are worth a look, with a margin that no rounding can exceed. Those pairs are computed with unit vectors
rounded to multiples of 2^-26: products are multiples of 2^-52 and no partial sum reaches 2, so that a sum in float64 is
exact in any order. That moves a cosine by some 1e-8, less than a float32 shows.

A vector that is zero or not finite has a cosine of 0 with everything.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]
Indices = npt.NDArray[np.int64]
Vectors = npt.NDArray[np.float16] | npt.NDArray[np.float32]
Triples = tuple[Indices, Indices, Floats]

ROWS, COLUMNS = 256, 1024  # of a product: 1 MB; malloc gives larger ones back each time, and page faults cost more
TILE = 128  # columns at a time where sketches do not tell pairs apart
CHUNK = 256  # rows or pairs at a time in elementwise work, which then stays in the cache
DENSE = 256  # a block where the sketches leave more than one pair in so many is computed in full
CLOSED = np.float32(1 - 1e-5)  # with witnesses in full number that are as near as this, an item is done


@dataclass(frozen=True)
class Links:
    """For each item its witnesses, the nearest first: ``item[start[n] : start[n + 1]]`` (CSR), with cosines."""

    start: Indices
    item: Indices
    similarity: Floats


def order(
    similarity: Floats, ids: Sequence[Any] | npt.NDArray[Any], keep: Literal["hard", "easy", "random"], seed: int = 0
) -> Indices:
    """Who comes before whom: the farthest from the centroid first (hard), the nearest (easy), or by a hash of the id.

    Equals stand in the order of their ids, which are strings or integers, all different.
    """
    if keep == "random":
        hashes = [int.from_bytes(sha256(f"{seed}:{each}".encode()).digest()[:8], "big") for each in ids]
        return np.lexsort((np.asarray(ids), np.array(hashes, np.uint64)))
    return np.lexsort((np.asarray(ids), similarity if keep == "hard" else -similarity))


def duplicates(vectors: Vectors, order: Indices, eps: float, most: int = 16) -> tuple[Floats, Links]:
    """For each of (n, d) vectors the largest cosine with one before it in the order, and its witnesses.

    Witnesses are the up to ``most`` nearest of those before it with a cosine > 1 - eps in float32, of equals the first.
    The cosine is NaN where there is none: these are what SemDeDup keeps. Once ``most`` witnesses are found that are as
    near as ``CLOSED``, better ones may be missed, by at most 1e-5. Indices are those of ``vectors``.

    Memory: a copy of the vectors as float32, sketches of at most half of that, and blocks. Time is quadratic in n, but
    linear where all are as good as equal.
    """
    limit = np.float32(1 - eps)
    order = np.asarray(order, np.int64)
    rows = unit_vectors(vectors, order)
    sketch = _sketch(rows, limit)
    parts: list[Triples] = []
    for top in range(0, len(rows), ROWS):
        floor = np.full(min(ROWS, len(rows) - top), limit)
        found: list[Triples] = []
        for left in range(0, top + 1, COLUMNS):
            for part in _near(rows, sketch, top, left, floor):
                found.append(part)
                if sum(len(row) for row, _, _ in found) > 2 * most * len(floor):
                    found = [_nearest(found, most)]
                    _raise(floor, found[0], top, most)
        if found:
            parts.append(_nearest(found, most))
    return _linked(parts, order)


def near(vectors: Vectors, cosine: float) -> Iterator[Triples]:
    """All pairs i < j with at least this cosine in float32, and their cosines, in chunks of up to 32,768."""
    limit = np.nextafter(np.float32(cosine), np.float32(-2))
    rows = unit_vectors(vectors)
    sketch = _sketch(rows, limit)
    for top in range(0, len(rows), ROWS):
        floor = np.full(min(ROWS, len(rows) - top), limit)
        for left in range(0, top + 1, COLUMNS):
            for later, earlier, similarity in _near(rows, sketch, top, left, floor):
                yield earlier, later, similarity


def unit_vectors(vectors: npt.NDArray[Any], order: Indices | None = None) -> Floats:
    """The vectors, in this order, with length 1 as float32; those that are zero or not finite as zeros."""
    unit = np.empty((len(vectors) if order is None else len(order), vectors.shape[1]), np.float32)
    for at in range(0, len(unit), CHUNK):
        part = vectors[at : at + CHUNK] if order is None else vectors[order[at : at + CHUNK]]
        to = unit[at : at + CHUNK]
        squares = _widened(part, to)
        with np.errstate(divide="ignore", invalid="ignore"):
            scale = 1 / np.sqrt(squares)
            to *= scale[:, None]
        if not (usable := np.isfinite(scale) & (scale > 0)).all():
            to[~usable] = 0
    return unit


def _widened(vectors: npt.NDArray[Any], to: Floats) -> npt.NDArray[Any]:
    """Copies to float32, float16 at seven times numpy's speed: bits in place, exponent by a product; the squares."""
    if vectors.dtype != np.float16:
        to[:] = vectors
        with np.errstate(over="ignore", invalid="ignore"):
            return _squares(to)
    bits = to.view(np.int32)
    bits[:] = vectors.view(np.int16)
    np.left_shift(bits, 13, out=bits)
    np.bitwise_and(bits, np.int32(-0x70002000), out=bits)
    to *= np.float32(2.0**112)
    squares = _squares(to)
    if (large := squares >= 2.0**32).any():  # no infinity and no NaN comes out of the product
        squares[large & ~np.isfinite(vectors).all(axis=1)] = np.inf
    return squares


def _squares(rows: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Lengths squared; one row's do not depend on the others."""
    return np.asarray(np.einsum("nd,nd->n", rows, rows))


def margin(width: int) -> np.float32:
    """4 d u, more than what rounding does to unit vectors and to their float32 dot product, in any order."""
    return np.float32(width * 2.0**-22)


def _sketch(rows: Floats, limit: np.float32) -> Floats | None:
    """A few coordinates of each vector and the length of the rest: their products are upper bounds of cosines.

    By Cauchy and Schwarz, x.y <= Px.Py + |x - Px| |y - Py|. P keeps the coordinates that differ most between vectors,
    as many as put the usual pair under the limit, by four standard deviations of a sample of pairs; that decides on
    the speed, not on the result. None where half of the coordinates would not do.
    """
    count, width = rows.shape
    sample = rows[:: -(-count // 128) or 1]
    pairs = len(sample) // 2
    if pairs < 32:
        return None
    apart = (sample[:pairs] - sample[pairs : 2 * pairs]) ** 2
    spread = np.argsort(-apart[::2].mean(axis=0), kind="stable")  # by one half; the other is to be fair to them
    sizes = np.arange(16, width // 2 + 1, 16)
    roots = np.cbrt(apart[1::2, spread].cumsum(axis=1)[:, sizes - 2])  # nearly normal, as sums of squares are not
    enough = sizes[roots.mean(axis=0) - 4 * roots.std(axis=0) > np.cbrt(2 * (1 - limit))]
    if not len(enough):
        return None
    size = int(enough[0])
    kept = np.sort(spread[: size - 1])
    sketch = np.empty((count, size), np.float32)
    for at in range(0, count, CHUNK):
        inside = np.take(rows[at : at + CHUNK], kept, axis=1)
        sketch[at : at + CHUNK, :-1] = inside
        sketch[at : at + CHUNK, -1] = np.sqrt(np.maximum(1 - _squares(inside), 0) + margin(width))
    return sketch


def _near(rows: Floats, sketch: Floats | None, top: int, left: int, floor: Floats) -> Iterator[Triples]:
    """The pairs of a block, (later, earlier, cosine), with a cosine above the later one's floor.

    The caller may raise ``floor`` between two of them; infinite, it ends the comparison of a row.
    """
    if not np.isfinite(floor).any():
        return
    slack = margin(rows.shape[1])
    below = slice(top, top + len(floor))
    right = min(left + COLUMNS, below.stop)
    if sketch is not None:
        at, column = _above(sketch[below], sketch[left:right], floor - slack)
        pairs = _before(top + at, left + column)
        if len(pairs[0]) * DENSE <= ROWS * COLUMNS:
            yield from _checked(rows, *pairs, top, floor)
            return
    ours = rows[below]
    for tile in range(left, right, TILE):
        first = max(tile + 1 - top, 0)
        live = first + np.flatnonzero(np.isfinite(floor[first:]))
        if len(live):
            left_ = ours[first:] if len(live) == len(floor) - first else ours[live]
            at, column = _above(left_, rows[tile : min(tile + TILE, right)], floor[live] - slack)
            yield from _checked(rows, *_before(top + live[at], tile + column), top, floor)


def _above(left: Floats, right: Floats, floor: Floats) -> tuple[Indices, Indices]:
    """Where the products of two sets of vectors are above the left one's floor."""
    even = floor.min() == floor.max()  # then the comparison is three times as fast
    return np.divmod(np.flatnonzero(left @ right.T > (floor[0] if even else floor[:, None])), len(right))


def _before(later: Indices, earlier: Indices) -> tuple[Indices, Indices]:
    """Those of the pairs that are in order."""
    right = earlier < later
    return later[right], earlier[right]


def _checked(rows: Floats, later: Indices, earlier: Indices, top: int, floor: Floats) -> Iterator[Triples]:
    """Those of the pairs whose cosine is above the later one's floor."""
    if len(later):
        similarity = exact_cosines(rows, later, rows, earlier)
        above = similarity > floor[later - top]
        yield later[above], earlier[above], similarity[above]


def exact_cosines(left: Floats, i: Indices, right: Floats, j: Indices) -> Floats:
    """Cosines of left[i] with right[j], of unit vectors, as the head of this file defines them."""
    if len(i) > 8 * CHUNK:
        rows, columns = np.unique(i), np.unique(j)
        if len(rows) * len(columns) <= 32 * len(i):
            x, y = _fixed(left[rows]), _fixed(right[columns])
            row, column = np.searchsorted(rows, i), np.searchsorted(columns, j)
            squares = _squares(x)[row] * _squares(y)[column]
            return np.asarray((x @ y.T)[row, column] / np.sqrt(np.maximum(squares, 1)), np.float32)
    cosines = np.empty(len(i), np.float32)
    for at in range(0, len(i), CHUNK):
        x, y = _fixed(left[i[at : at + CHUNK]]), _fixed(right[j[at : at + CHUNK]])
        squares = _squares(x) * _squares(y)
        cosines[at : at + CHUNK] = np.einsum("nd,nd->n", x, y) / np.sqrt(np.maximum(squares, 1))
    return cosines


def _fixed(unit: Floats) -> npt.NDArray[np.float64]:
    """Unit vectors as integers of 26 bits."""
    scaled = unit * np.float32(2.0**26)
    np.rint(scaled, out=scaled)
    return scaled.astype(np.float64)


def _nearest(parts: Sequence[Triples], most: int) -> Triples:
    """Of each later item the ``most`` nearest, nearest first, of equals the earlier."""
    later, earlier, similarity = (np.concatenate(each) for each in zip(*parts, strict=True))
    by = np.lexsort((earlier, -similarity, later))
    later = later[by]
    first = np.arange(len(later)) - np.searchsorted(later, later) < most
    return later[first], earlier[by][first], similarity[by][first]


def _raise(floor: Floats, found: Triples, top: int, most: int) -> None:
    """Where an item has witnesses in full number, only nearer ones count; none, if they all are as good as equal."""
    later, _, similarity = found
    last = np.flatnonzero(np.arange(len(later)) - np.searchsorted(later, later) == most - 1)
    floor[later[last] - top] = np.where(similarity[last] >= CLOSED, np.inf, similarity[last])


def _linked(parts: Sequence[Triples], order: Indices) -> tuple[Floats, Links]:
    """The pairs as the largest cosine and the witnesses of each item, by the items' own indices."""
    nearest = np.full(len(order), np.nan, np.float32)
    none = (np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0, np.float32))
    later, earlier, similarity = (np.concatenate(each) for each in zip(none, *parts, strict=True))
    item = order[later]
    by = np.argsort(item, kind="stable")
    np.fmax.at(nearest, item, similarity)
    start = np.searchsorted(item[by], np.arange(len(order) + 1))
    return nearest, Links(start, order[earlier[by]], similarity[by])
