"""Schema: the columns of our parquet files, and rows to columns. Opens no file, decides nothing."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from curate.plugin import Vector

KEY = [pa.field("document", pa.string(), nullable=False), pa.field("position", pa.int32(), nullable=False)]

RAW = pa.schema(
    [
        *KEY,
        pa.field("kind", pa.string(), nullable=False),  # document | text | image | reject
        pa.field("text", pa.string()),  # the text; of a reject, the reason
        pa.field("source", pa.string()),  # who wrote the text
        pa.field("url", pa.string()),  # of the image; of a document row, the page
        pa.field("alt", pa.string()),
        pa.field("status", pa.string()),  # of an image: one of curate.status
        pa.field("detail", pa.string()),
        pa.field("http", pa.int16()),
        pa.field("attempts", pa.int16()),
        pa.field("final_url", pa.string()),
        pa.field("sha256", pa.string()),  # of the bytes as downloaded
        pa.field("format", pa.string()),
        pa.field("width", pa.int32()),  # of the stored file
        pa.field("height", pa.int32()),
        pa.field("original_width", pa.int32()),
        pa.field("original_height", pa.int32()),
        pa.field("frames", pa.int16()),
        pa.field("bytes", pa.int64()),  # of the stored file
        pa.field("offset", pa.int64()),  # of those bytes in raw/NNNNNNNN.tar
        pa.field("crc32", pa.int64()),  # of those bytes
        pa.field("corpus", pa.string()),  # of a document or reject row, with file and row
        pa.field("file", pa.string()),
        pa.field("row", pa.int64()),
    ]
)
"""raw/NNNNNNNN.parquet: a row for the document, then one for each segment; a reject has one row and no segments."""

RAW_SAYS = [name for name in RAW.names if name not in {"detail", "http", "attempts", "offset"}]
"""The columns that are the content of a raw shard: not how it was asked for, nor where its bytes lie."""

VERDICT = pa.schema(
    [
        *KEY,
        pa.field("kind", pa.string(), nullable=False),
        pa.field("state", pa.string(), nullable=False),  # kept | dropped | failed | rejected
        pa.field("reason", pa.string()),  # the first rule that removed it; null if kept
        pa.field("bytes", pa.int64(), nullable=False),  # what is kept of it, in bytes; a document's is its total
        pa.field("added", pa.int32(), nullable=False),  # bit n: line n of `add` puts a text after this image
    ]
)
"""verdicts/<hash>/NNNNNNNN.parquet: a row for every row of raw/NNNNNNNN.parquet, in the same order."""

RAW_COLUMNS: dict[str, dict[str, Any]] = {
    "document": {"url": str, "corpus": str, "file": str, "row": int},
    "image": {
        "url": str, "alt": str, "status": str, "format": str, "sha256": str, "final_url": str,
        "width": int, "height": int, "original_width": int, "original_height": int, "frames": int, "bytes": int,
    },
    "text": {"text": str, "source": str},
}  # fmt: skip
"""The columns of RAW that rules and scorers may read, as the score named ``raw``."""

ARROW = {
    bool: pa.bool_(),
    int: pa.int64(),
    float: pa.float32(),
    str: pa.string(),
    bytes: pa.binary(),
    list[float]: pa.list_(pa.float32()),
    Vector: pa.list_(pa.float16()),
}


def score_schema(columns: Mapping[str, Any]) -> pa.Schema:
    """The schema of a scorer's table: document, position and its declared columns."""
    return pa.schema([*KEY, *(pa.field(name, ARROW[kind]) for name, kind in columns.items())])


def column(values: Sequence[Any], kind: pa.DataType) -> pa.Array:
    """An arrow column; NaN becomes null, numpy values are taken as they are."""
    if pa.types.is_list(kind):
        return nested(values, kind)
    if pa.types.is_floating(kind):
        values = [None if value is None or math.isnan(value) else float(value) for value in values]
    elif pa.types.is_integer(kind):
        values = [None if value is None else int(value) for value in values]
    elif pa.types.is_boolean(kind):
        values = [None if value is None else bool(value) for value in values]
    return pa.array(values, kind)


def nested(values: Sequence[Any], kind: pa.ListType) -> pa.Array:
    """A list column, built flat: the values may be numpy arrays or lists."""
    lengths = [0 if value is None else len(value) for value in values]
    offsets = pa.array(np.concatenate([[0], np.cumsum(lengths)]), pa.int32())
    present = [np.asarray(value, kind.value_type.to_pandas_dtype()) for value in values if value is not None]
    flat = pa.array(np.concatenate(present) if present else np.empty(0, kind.value_type.to_pandas_dtype()))
    missing = pa.array([value is None for value in values]) if len(present) < len(values) else None
    return pa.ListArray.from_arrays(offsets, flat, type=kind, mask=missing)


def table(rows: Iterable[Mapping[str, Any]], schema: pa.Schema) -> pa.Table:
    """Rows as an arrow table of this schema; a column that a row lacks is null."""
    rows = list(rows)
    return pa.Table.from_arrays(
        [column([row.get(field.name) for row in rows], field.type) for field in schema], schema=schema
    )
