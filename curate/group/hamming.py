"""Hamming: all pairs of fingerprints that differ in few bits, in jobs that know nothing of each other. Reads no files.

Multi-index hashing (Norouzi, Punjani and Fleet 2012) with the general pigeonhole (Qin et al. 2018): the bits are dealt
to m bands, band b may differ in f_b bits, and the sum of the f_b is ``within`` - m + 1. Two fingerprints that break the
limit of every band differ in at least sum(f_b + 1) = ``within`` + 1 bits; so near pairs keep it in one band at least. A
band sorts the fingerprints by its bits and joins bucket v with each bucket v ^ mask, mask of at most f_b bits.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations
from math import ceil, comb

import numpy as np
import numpy.typing as npt

from curate.group.union_find import Ints, candidates, in_larger_pieces, left_of

Words = npt.NDArray[np.uint64]
Links = tuple[Ints, Ints, npt.NDArray[np.int16]]

JOB = 30.0  # seconds that a job should take
PIECE = 1 << 16  # candidates at once: what stays in the cache
BLOCK = 1 << 16  # fingerprints at once
# What the plan reckons with, in nanoseconds on a core of an AMD EPYC server; for fingerprints of (one word, more).
SORT, BUCKET, LOOK, CALL = 100.0, 25.0, 25.0, 60_000.0  # a fingerprint; a bucket; a fingerprint's mask; a block's mask
CANDIDATE, PAIR = (8.0, 22.0), (2.4, 6.0)


@dataclass(frozen=True)
class Band:
    """A job: the pairs that differ in at most ``flips`` of ``bits`` and break the limit of each ``earlier`` band.

    It finds part ``part`` of ``parts`` of them. Without bits it compares everything with everything.
    """

    bits: tuple[int, ...] = ()
    flips: int = 0
    part: int = 0
    parts: int = 1
    earlier: tuple[tuple[tuple[int, ...], int], ...] = ()


def plan_hamming(n: int, bits: int, within: int) -> list[Band]:
    """The jobs that together find each pair of n fingerprints with at most ``within`` different bits exactly once.

    The number of bands, and the share of the bits for bands that may differ in one more, have the least cost if the
    bits were independent coins. Other data take longer, but lose nothing.
    """
    best, least = [(0, 0)], cost(n, bits, 0, 0)
    if n > 1000:
        for m in range(1, min(within + 1, bits) + 1):
            for extra in range(13):
                shape = split(bits, within, m, extra)
                if (total := sum(cost(n, bits, *each) for each in shape)) < least:
                    best, least = shape, total
    found = []
    for band, each in zip(deal(n, best), best, strict=True):
        parts = max(1, ceil(cost(n, bits, *each) / JOB))
        found += [Band(band.bits, band.flips, part, parts, band.earlier) for part in range(parts)]
    return found


def split(bits: int, within: int, m: int, extra: int = 0) -> list[tuple[int, int]]:
    """(width, flips) of each of m bands; those that may differ in a bit more are ``extra`` bits wider, if they can."""
    flips, more = divmod(within - m + 1, m)
    wide = min(bits // m + extra, (bits - m + more) // more) if more else 0
    rest, left = bits - wide * more, m - more
    return [(wide, flips + 1)] * more + [(rest // left + (band < rest % left), flips) for band in range(left)]


def deal(n: int, shape: list[tuple[int, int]]) -> list[Band]:
    """Bands whose bits lie far apart, since neighbours depend on each other.

    No band uses more than log2(n) + 1 of its bits, so that its table of buckets stays in proportion to n.
    """
    places = sorted(((at + 0.5) / width, band) for band, (width, _) in enumerate(shape) for at in range(width))
    most = max(16, n.bit_length())
    limits = []
    for band, (_, flips) in enumerate(shape):
        limits.append((tuple(bit for bit, (_, owner) in enumerate(places) if owner == band)[:most], flips))
    return [Band(*limit, earlier=tuple(limits[:band])) for band, limit in enumerate(limits)]


def cost(n: int, bits: int, width: int, flips: int) -> float:
    """Seconds for a band of this shape if the bits were independent coins; without a width, for all pairs."""
    more = bits > 64
    if not width:
        return n * n / 2 * PAIR[more] / 1e9
    width = min(width, max(16, n.bit_length()))
    masks = sum(comb(width, flip) for flip in range(flips + 1))
    look = n * SORT + 2.0**width * BUCKET + masks * (n / 2 * LOOK + ceil(n / BLOCK) * CALL)
    return (look + n * n / 2 * masks / 2.0**width * CANDIDATE[more]) / 1e9


def hamming_links(values: Words, within: int, band: Band) -> Links:
    """The pairs that a job finds: i < j and the number of bits in which they differ, ordered by i and j.

    Args:
        values: (n, words) distinct fingerprints of 64 bits a word; bit b is bit b % 64 of word b // 64. n < 2^32.
        within: the largest distance.
        band: one of :func:`plan_hamming`.

    Memory: besides ``values`` at most 48 bytes a fingerprint of 64 bits or 56 of 256, about 50 MB of candidates, and
    60 bytes a link. :func:`hamming_pieces` gives the links in pieces.
    """
    none = np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0, np.int16)
    i, j, distance = (
        np.concatenate(column) for column in zip(none, *hamming_pieces(values, within, band), strict=True)
    )
    order = np.argsort(i * len(values) + j)
    return i[order], j[order], distance[order]


def hamming_pieces(values: Words, within: int, band: Band) -> Iterator[Links]:
    """The links of a job in pieces of a million or so, in an order of their own that is always the same."""
    return in_larger_pieces(_joined(values, within, band) if band.bits else _compared(values, within, band))


def _compared(values: Words, within: int, band: Band) -> Iterator[Links]:
    """Everything with everything, in blocks of rows of which each part takes its turn."""
    columns = [np.ascontiguousarray(column) for column in values.T]
    rows = max(1, PIECE // max(len(values), 1))
    for begin in range(band.part * rows, len(values), band.parts * rows):
        distance = np.zeros((min(rows, len(values) - begin), len(values) - begin), np.int16)
        for column in columns:
            distance += np.bitwise_count(column[begin : begin + rows, None] ^ column[begin:])
        i, j = np.divmod(np.flatnonzero(distance <= within), distance.shape[1])
        upper = i < j
        i, j = i[upper], j[upper]
        yield i + begin, j + begin, distance[i, j]


def _joined(values: Words, within: int, band: Band) -> Iterator[Links]:
    """The band's part: buckets are joined for one block of fingerprints and one mask after the other."""
    key, order, starts = _buckets(values, band.bits)
    columns = [values[:, word][order] for word in range(values.shape[1])]
    earlier = [(_words(bits, len(columns)), flips) for bits, flips in band.earlier]
    begin, end = (len(values) * part // band.parts for part in (band.part, band.part + 1))
    for at in range(begin, end, BLOCK):
        block = np.arange(at, min(at + BLOCK, end))
        for left, first, counts in _joins(block, key[block].astype(np.int64), starts, len(band.bits), band.flips):
            for right, span, repeats in candidates(first, counts, PIECE):
                a, b, distance = _near(columns, left[span], repeats, right, within)
                if len(a):
                    new = _new([column[a] ^ column[b] for column in columns], earlier)
                    i, j = order[a[new]].astype(np.int64), order[b[new]].astype(np.int64)
                    yield np.minimum(i, j), np.maximum(i, j), distance[new]


def _buckets(values: Words, bits: tuple[int, ...]) -> tuple[npt.NDArray[np.uint32], npt.NDArray[np.uint32], Ints]:
    """Keys in order, whose fingerprints they are, and where each of the 2^bits buckets begins."""
    both = np.empty(len(values), np.uint64)  # the key above the index: sorting numbers is faster than argsort
    for begin in range(0, len(values), BLOCK):
        block = values[begin : begin + BLOCK]
        key = np.zeros(len(block), np.uint64)
        for at, bit in enumerate(bits):
            key |= (block[:, bit // 64] >> np.uint64(bit % 64) & np.uint64(1)) << np.uint64(at)
        both[begin : begin + BLOCK] = key << np.uint64(32) | np.arange(begin, begin + len(block), dtype=np.uint64)
    both.sort()
    order = both.astype(np.uint32)
    both >>= np.uint64(32)
    starts = np.zeros((1 << len(bits)) + 1, np.int64)
    np.cumsum(np.bincount(both.view(np.int64), minlength=len(starts) - 1), out=starts[1:])
    return both.astype(np.uint32), order, starts


def _joins(left: Ints, key: Ints, starts: Ints, width: int, flips: int) -> Iterator[tuple[Ints, Ints, Ints]]:
    """(left, first right, how many rights) for each mask; of two buckets the one with 0 at its lowest bit is left."""
    yield left, left + 1, starts[key + 1] - left - 1
    for low in range(width if flips else 0):
        mine = np.flatnonzero(key >> low & 1 == 0)
        zero, keys = left[mine], key[mine]
        for mask in _masks(low, width, flips):
            other = keys ^ mask
            first = starts.take(other, mode="clip")
            other += 1
            counts = starts.take(other, mode="clip")
            counts -= first
            some = np.flatnonzero(counts)
            yield zero[some], first[some], counts[some]


def _masks(low: int, width: int, flips: int) -> Iterator[int]:
    """Numbers of at most ``flips`` bits, the lowest of which is ``low``."""
    for more in range(flips):
        for bits in combinations(range(low + 1, width), more):
            yield sum(1 << bit for bit in (low, *bits))


def _near(
    columns: list[Words], left: Ints, repeats: Ints, right: Ints, within: int
) -> tuple[Ints, Ints, npt.NDArray[np.int16]]:
    """The candidates that are near enough, and their distances; a word at a time, while there are any."""
    x = np.repeat(columns[0].take(left, mode="clip"), repeats)
    x ^= columns[0].take(right, mode="clip")
    bits = np.bitwise_count(x)
    hits = np.flatnonzero(bits <= within)
    left, right, distance = left[left_of(hits, repeats)], right[hits], bits[hits].astype(np.int16)
    for column in columns[1:]:
        distance += np.bitwise_count(column.take(left, mode="clip") ^ column.take(right, mode="clip"))
        near = np.flatnonzero(distance <= within)
        left, right, distance = left[near], right[near], distance[near]
    return left, right, distance


def _new(x: list[Words], earlier: list[tuple[list[np.uint64], int]]) -> npt.NDArray[np.bool_]:
    """Which pairs, given their differing bits, no earlier band finds."""
    new = np.ones(len(x[0]), bool)
    for words, flips in earlier:
        inside = np.zeros(len(new), np.int16)
        for column, word in zip(x, words, strict=True):
            inside += np.bitwise_count(column & word)
        new &= inside > flips
    return new


def _words(bits: tuple[int, ...], words: int) -> list[np.uint64]:
    """A mask as words."""
    return [np.uint64(sum(1 << bit % 64 for bit in bits if bit // 64 == word)) for word in range(words)]
