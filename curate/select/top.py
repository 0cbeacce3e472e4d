"""Top: the threshold that a fraction of all measured values of a run reaches. Exact, in constant memory."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import polars as pl

from curate.select.decide import Bound
from curate.store.store import Store


def top_threshold(store: Store, each: Bound, shards: Sequence[str]) -> float:
    """The value that the best fraction of all measured values of the run reaches.

    As in DataComp's baselines: with N values, the one at rank int(N * fraction) from the top (0-based), and every value
    of at least that stays. Two passes over one column, counting by the upper and then the lower half of the
    float32's bits: exact, in memory that does not grow with the corpus.
    """

    def ordered() -> Any:
        for shard in shards:
            bits = each.column.read(store, shard)["value"].drop_nulls().cast(pl.Float32).to_numpy().view(np.uint32)
            yield np.where(bits >> 31, ~bits, bits | np.uint32(1 << 31))

    upper = sum((np.bincount(bits >> 16, minlength=1 << 16) for bits in ordered()), np.zeros(1 << 16, np.int64))
    total = int(upper.sum())
    if total == 0:
        return float("-inf")
    rank = min(int(total * (each.rule.top or 1)), total - 1)
    from_top = np.cumsum(upper[::-1])[::-1]
    high = int(np.flatnonzero(from_top > rank)[-1])
    rank -= int(from_top[high] - upper[high])
    lower = sum(
        (np.bincount(bits[bits >> 16 == high] & 0xFFFF, minlength=1 << 16) for bits in ordered()),
        np.zeros(1 << 16, np.int64),
    )
    low = int(np.flatnonzero(np.cumsum(lower[::-1])[::-1] > rank)[-1])
    bits = np.uint32(high << 16 | low)
    return float((bits & np.uint32(0x7FFFFFFF) if bits >> 31 else ~bits).view(np.float32))
