"""Union-find: the components of links that come in bounded pieces, and candidates for links. Decides on no link.

Knows no fingerprint and no threshold: those are the business of ``hamming`` and ``jaccard``, which share this.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]


def candidates(first: npt.NDArray[Any], counts: npt.NDArray[Any], most: int) -> Iterator[tuple[Ints, slice, Ints]]:
    """The pairs (left, right) with first[left] <= right < first[left] + counts[left], at most ``most`` at once.

    A left with very many rights is cut as well, so memory does not depend on how the pairs are spread.

    Yields:
        (right, span, repeats): ``np.repeat(anything[span], repeats)`` stands beside ``right``.
    """
    ends = np.cumsum(counts, dtype=np.int64)
    total = int(ends[-1]) if len(ends) else 0
    shift = first - (ends - counts)
    for begin in range(0, total, most):
        end = min(begin + most, total)
        start, last = np.searchsorted(ends, [begin, end - 1], "right")
        span = slice(start, last + 1)
        upto = np.clip(ends[span], begin, end)
        repeats = upto - np.concatenate([[begin], upto[:-1]])
        right = np.repeat(shift[span], repeats)
        right += np.arange(begin, end)
        yield right, span, repeats


def left_of(hits: Ints, repeats: Ints) -> Ints:
    """Which of the span is the left of each candidate in ``hits``, which are places in ``right``."""
    if len(hits) * 16 > repeats.sum():
        return np.repeat(np.arange(len(repeats)), repeats)[hits]
    return np.searchsorted(np.cumsum(repeats), hits, "right")


def in_larger_pieces(pieces: Iterable[tuple[npt.NDArray[Any], ...]], least: int = 1 << 20) -> Iterator[Any]:
    """The same links in larger pieces: of ``least`` or more, but for the last."""
    held: list[tuple[npt.NDArray[Any], ...]] = []
    count = 0
    for piece in pieces:
        held.append(piece)
        count += len(piece[0])
        if count >= least:
            yield tuple(np.concatenate(columns) for columns in zip(*held, strict=True))
            held, count = [], 0
    if count:
        yield tuple(np.concatenate(columns) for columns in zip(*held, strict=True))


def components(n: int, i: npt.NDArray[Any], j: npt.NDArray[Any]) -> Ints:
    """For each of n items the least item that links (i[k], j[k]) connect it to; (n,) int64.

    The order of the links, their direction and repetitions change nothing.
    """
    from scipy.sparse import coo_array  # half a second, which no other command should wait for
    from scipy.sparse.csgraph import connected_components

    graph = coo_array((np.ones(len(i), bool), (i, j)), shape=(n, n))
    count, label = connected_components(graph, directed=False)
    least = np.empty(count, np.int64)
    least[label[::-1]] = np.arange(n)[::-1]  # of several assignments the last one stays: the least item
    return np.asarray(least[label], np.int64)


def components_in_pieces(n: int, links: Iterable[tuple[npt.NDArray[Any], ...]]) -> Ints:
    """:func:`components` of links that come in pieces (i, j, ...), with one piece in memory at a time.

    16 bytes an item besides the piece. A piece costs some 10 ns an item, so it should hold n / 100 links or more.
    """
    found = np.arange(n)
    for piece in links:
        found = _joined(found, found[piece[0]], found[piece[1]])
    return found


def spanning_forest(n: int, links: Iterable[tuple[npt.NDArray[Any], ...]]) -> tuple[npt.NDArray[Any], ...] | None:
    """Of links that come in pieces (i, j, ...), at most n - 1 that connect the same items; None without links.

    What a job should keep where only components are wanted: a cluster of 100,000 has five thousand million links.
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import minimum_spanning_tree

    found, kept = np.arange(n), []
    for piece in links:
        roots, place = np.unique(np.stack([found[piece[0]], found[piece[1]]]), return_inverse=True)
        low, high = np.sort(place.reshape(2, -1), axis=0)
        _, once = np.unique(low * len(roots) + high, return_index=True)  # a sparse matrix adds up what it has twice
        once = once[low[once] < high[once]]
        graph = coo_array((once + 1.0, (low[once], high[once])), shape=(len(roots), len(roots)))
        chosen = np.sort(minimum_spanning_tree(graph.tocsr()).data.astype(np.int64)) - 1
        kept.append(tuple(column[chosen] for column in piece))
        found = _joined(found, found[piece[0]], found[piece[1]])
    return tuple(np.concatenate(columns) for columns in zip(*kept, strict=True)) if kept else None


def _joined(found: Ints, i: Ints, j: Ints) -> Ints:
    """Components once roots i[k] and j[k] are connected, too."""
    roots, place = np.unique(np.stack([i, j]), return_inverse=True)
    parent = np.arange(len(found))
    parent[roots] = roots[components(len(roots), *place.reshape(2, -1))]
    return np.asarray(parent[found], np.int64)
