"""Dataset: several parquet files read as one, and the ranges that they are cut into. Writes nothing, lists nothing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import polars as pl

from curate.store.store import Store

ROW_GROUP = 8192
"""Rows of a row group in sorted files of which readers want a range."""
RANGE = 4_000_000
"""About how many rows one job holds at once."""


def rows(store: Store, names: Sequence[str], wanted: Any = None, columns: list[str] | None = None) -> pl.DataFrame:
    """Some rows and columns of parquet files."""
    if not names:
        return pl.DataFrame()
    frame = pl.from_arrow(store.dataset(names).to_table(filter=wanted, columns=columns))
    assert isinstance(frame, pl.DataFrame)
    return frame


def ranges(store: Store, names: Sequence[str], size: int = RANGE, most: int = 1 << 16) -> list[str]:
    """Names of ranges of about ``size`` of the rows in these files, by a look at the first, middle and last of them."""
    counts = [store.dataset([names[at]]).count_rows() for at in (0, len(names) // 2, -1)]
    return range_names(max(1, min(most, round(sum(counts) / 3 * len(names) / size))))


def range_names(count: int) -> list[str]:
    """The names of so many ranges."""
    return [f"{each:05d}" for each in range(count)]
