"""Chunks: shards by their numbers, and 64 of them at a time; and the ranges of sorted tables. Knows no file.

Whatever looks at the whole corpus does so chunk by chunk, and the driver reads what each chunk came to, never a shard.
A chunk is always the same 64 numbers, whether all of its shards are there or not.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

SIZE = 64
"""Shards of a chunk."""


@dataclass(frozen=True, slots=True)
class Chunk:
    """The shards of a run that lie in one chunk; ``name`` is that of the first number of the chunk."""

    name: str
    shards: tuple[str, ...]


def shard_name(number: int) -> str:
    """The name of a shard in a run: eight digits."""
    return f"{number:08d}"


def chunk_of(shard: str) -> str:
    """The name of the chunk that a shard lies in."""
    return shard_name(int(shard) // SIZE * SIZE)


def chunks(shards: Sequence[str]) -> list[Chunk]:
    """Shards, in order, by chunk."""
    return [Chunk(name, tuple(several)) for name, several in groupby(shards, chunk_of)]


ROW_GROUP = 8192
"""Rows of a row group in sorted tables of which readers want a range."""
RANGE = 4_000_000
"""About how many rows of all sorted tables one job holds at once."""


def range_count(rows: Sequence[int], tables: int, size: int = RANGE, most: int = 1 << 16) -> int:
    """Into how many ranges of about ``size`` rows so many tables are cut, of some of which the rows were counted."""
    return max(1, min(most, round(sum(rows) / len(rows) * tables / size)))


def range_names(count: int) -> list[str]:
    """The names of so many ranges."""
    return [f"{each:05d}" for each in range(count)]
