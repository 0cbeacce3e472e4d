"""Digest: fast 128-bit hashes of bytes, of named files, and of what a table says; what is raised where one is wrong.

They notice damage and change, not malice: where strangers check, there is sha256.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import xxhash

SIZE = 16
"""Bytes of a digest; in files it is written as 32 hex digits."""

Running = xxhash.xxh3_128
"""A digest of bytes that come one after the other."""


class DamagedFile(ValueError):  # noqa: N818
    """A file that is not what was written."""


class ForeignFile(ValueError):  # noqa: N818
    """A file that bears none of our notes."""


def of_bytes(*parts: Any) -> bytes:
    """The digest of some buffers, one after the other."""
    hashed = xxhash.xxh3_128()
    for part in parts:
        hashed.update(part)
    return hashed.digest()


def of_values(*values: str | bytes) -> bytes:
    """The digest of values in order; ("a", "bc") and ("ab", "c") differ."""
    several = [value.encode() if isinstance(value, str) else value for value in values]
    return xxhash.xxh3_128_digest(b"".join([len(data).to_bytes(8, "little") + data for data in several]))


def of_files(contents: Mapping[str, bytes]) -> bytes:
    """The digest of files, in whatever order, by name and content."""
    return of_values(*(part for name in sorted(contents) for part in (name, contents[name])))


def of_origin(name: str, content: bytes) -> bytes:
    """The digest that a file of this name notes of what it is made from: another file's would not do in its place."""
    return of_values(name, content)


def of_table(rows: pa.Table) -> bytes:
    """The digest of what a table says: names, types and values in order, however they are stored."""
    parts = [of_values(f"{rows.num_rows}")]
    for field, column in zip(rows.schema, rows.columns, strict=True):
        parts += [of_values(field.name, str(field.type)), *_of_array(column.combine_chunks())]
    return of_bytes(*parts)


def _of_array(values: Any) -> list[bytes]:
    """The digests of an array's validity and values; what lies in the place of a null does not count."""
    if isinstance(values, pa.ChunkedArray):  # no rows
        values = values.combine_chunks() if values.num_chunks else pa.array([], values.type)
    found = [of_bytes(np.packbits(values.is_null().to_numpy(zero_copy_only=False)))]
    kind = values.type
    if pa.types.is_null(kind):
        return found
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        lengths = pc.fill_null(pc.list_value_length(values), 0)
        return [*found, of_bytes(lengths.cast(pa.int64()).to_numpy()), *_of_array(values.flatten())]
    if pa.types.is_boolean(kind):
        return [*found, of_bytes(np.packbits(pc.fill_null(values, False).to_numpy(zero_copy_only=False)))]
    if pa.types.is_floating(kind) or pa.types.is_integer(kind):
        return [*found, of_bytes(_filled(values).to_numpy(zero_copy_only=False))]
    values = pc.fill_null(values.cast(pa.large_binary()), b"")
    lengths = pc.binary_length(values).cast(pa.int64()).to_numpy()
    _, offsets, data = values.buffers()
    first = values.offset * 8
    low, high = np.frombuffer(offsets, np.int64, 1, first)[0], int(lengths.sum())
    return [*found, of_bytes(lengths), of_bytes(memoryview(data)[low : low + high] if data else b"")]


def _filled(values: Any) -> Any:
    """Numbers with 0 in the place of nulls."""
    if not values.null_count:
        return values
    return pc.if_else(values.is_valid(), values, pa.scalar(np.zeros(1, values.type.to_pandas_dtype())[0], values.type))


def of_path(path: Path) -> bytes:
    """The digest of a local file."""
    hashed = xxhash.xxh3_128()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            hashed.update(block)
    return hashed.digest()
