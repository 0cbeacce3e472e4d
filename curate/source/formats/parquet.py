"""Parquet: rows from the row groups that hold them. A value that Python cannot hold costs its row alone."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import IO, Any

import pyarrow as pa
import pyarrow.parquet as pq

from curate.document import BadRow
from curate.source.rows import Format, Slice, opened
from curate.store import digest

BATCH = 512
"""Rows that are in memory at once."""
ENDS = 1 << 16
"""Bytes at either end of a file that are hashed."""
DAMAGE = (EOFError, pa.ArrowInvalid, pa.ArrowNotImplementedError)


def count(_: str, file: IO[bytes], shard_rows: int, limit: int | None) -> tuple[int, list[int]]:
    """Rows of a file, from its footer; shards have no offsets."""
    total = pq.read_metadata(file).num_rows
    total = total if limit is None else min(total, limit)
    return total, [0] * -(-total // shard_rows)


def ends(file: IO[bytes]) -> bytes:
    """The digest of the first ENDS bytes, the last, and the footer: rows in another order have another first page."""
    size = file.seek(0, 2)
    file.seek(0)
    head = file.read(ENDS)
    file.seek(max(0, size - ENDS))
    tail = file.read(ENDS)
    footer = 8 + int.from_bytes(tail[-8:-4], "little")
    if len(tail) < footer <= size:
        file.seek(size - footer)
        tail = file.read(footer)
    return digest.of_values(head, tail)


def read(part: Slice) -> Iterator[Mapping[str, Any] | BadRow]:
    """The rows of a shard, NaN as None; those that come earlier in its first row group are decoded and dropped."""
    start, stop = part.start, part.start + part.count
    with opened(part.path) as file, pq.ParquetFile(file, pre_buffer=False, buffer_size=1 << 20) as content:
        groups: list[int] = []
        first = at = 0
        for group in range(content.num_row_groups):
            size = content.metadata.row_group(group).num_rows
            if at < stop and at + size > start:
                first = at if not groups else first
                groups.append(group)
            at += size
        for batch in content.iter_batches(BATCH, row_groups=groups, use_threads=False):
            low, high = max(0, start - first), min(batch.num_rows, stop - first)
            if low < high:
                yield from _values(batch.slice(low, high - low))
            first += batch.num_rows
            if first >= stop:
                return


def _values(batch: Any) -> list[Mapping[str, Any] | BadRow]:
    """A batch as Python rows; halved where something in it has no Python value, down to the row that is bad."""
    try:
        return [_without_nan(row) for row in batch.to_pylist()]
    except (ValueError, OverflowError) as error:
        if batch.num_rows > 1:
            half = batch.num_rows // 2
            return _values(batch.slice(0, half)) + _values(batch.slice(half))
        return [BadRow(f"{'not UTF-8' if isinstance(error, UnicodeDecodeError) else 'unreadable value'}: {error}")]


def _without_nan(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _without_nan(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [_without_nan(inner) for inner in value]
    return None if isinstance(value, float) and value != value else value


FORMAT = Format((".parquet",), count, read, DAMAGE, ends)
