"""Chunks: shards by their numbers, and 64 of them at a time. Knows no file.

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
