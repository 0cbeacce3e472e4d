"""Keys: what a group compares, as sorted bytes: a hash of equal values, or the fingerprint itself. Finds no duplicates.

A key begins with a hash of its scope (but not where the scope is the corpus), so that the members of a scope stand
together. Files hold the keys of a chunk of shards, sorted: who wants a range of keys reads only a part of each.
"""

from __future__ import annotations

import hashlib
import struct
from collections import Counter
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import polars as pl
import pyarrow as pa

from curate.group.grouping import Grouping
from curate.ledger.job import Job
from curate.ledger.making import Making
from curate.recipe.compare import opens
from curate.report import Report, StopRun
from curate.store import schema, table
from curate.store.chunks import ROW_GROUP
from curate.store.columns import KEY, Column
from curate.store.files import Files
from curate.store.raw_shard import RAW

HASH = 16
"""Bytes of a hashed key, and of a scope's hash before a fingerprint."""
SCHEMA = pa.schema(
    [
        pa.field("key", pa.binary(), nullable=False),
        pa.field("shard", pa.string(), nullable=False),
        *schema.KEY,
    ]
)


@dataclass(frozen=True)
class WriteKeys:
    """Writes the sorted keys of a chunk."""

    grouping: Grouping

    def __call__(self, job: Job, making: Making) -> Report:
        """``args``: the shards of the chunk."""
        frames = []
        for shard in job.args:
            found = members(making.files, self.grouping, shard)
            frames.append(found.drop_nulls("key").select("key", pl.lit(shard).alias("shard"), *KEY))
        keys = pl.concat(frames).sort("key", "shard", *KEY)
        return write(making, job, "members", keys, SCHEMA, ROW_GROUP)


def write(
    making: Making,
    job: Job,
    what: str,
    frame: pl.DataFrame,
    schema: pa.Schema,
    row_group: int = table.ROW_GROUP,
    **notes: str,
) -> Report:
    """Writes the only file of a job; the report counts its rows as ``what``."""
    (target,) = job.targets
    making.write(target.name, frame.select(schema.names).to_arrow().cast(schema), row_group, **notes)
    return Report(job.name, Counter({what: frame.height}))


PAGE = Column(RAW, "url", "document", str)
"""The page that a document stands on: its host is its domain."""


def read_by(grouping: Grouping, shard: str) -> tuple[str, ...]:
    """The files that ``members`` reads of a shard, all of them and no other."""
    pages = (PAGE,) if grouping.entry.scope == "domain" else ()
    return tuple(sorted({column.file(shard) for column in (*grouping.by, *grouping.gates, *pages)}))


def members(files: Files, grouping: Grouping, shard: str) -> pl.DataFrame:
    """What one shard has for a group: document, position, gated, key (null where a value is missing, or gated out)."""
    first, *others = (each.read(files, shard).rename({"value": f"v{at}"}) for at, each in enumerate(grouping.by))
    frame = first
    for other in others:
        frame = frame.join(other, on=KEY, how="left", maintain_order="left")
    frame = frame.with_columns(gated=False)
    for gate, column in zip(grouping.entry.after, grouping.gates, strict=True):
        frame = frame.join(column.read(files, shard), on=KEY, how="left", maintain_order="left")
        frame = frame.with_columns(gated=pl.col("gated") | ~opens(column.type, gate)).drop("value")
    whole = pl.all_horizontal(pl.col(f"v{at}").is_not_null() for at in range(len(grouping.by)))
    wanted = frame.filter(whole & ~pl.col("gated"))
    if grouping.entry.method in ("cosine", "eps"):
        return frame.select(*KEY, "gated").join(
            wanted.select(*KEY, key="v0"), on=KEY, how="left", maintain_order="left"
        )
    values = wanted.select(f"v{at}" for at in range(len(grouping.by))).iter_rows()
    keys = [
        key_of(grouping, scope, value)
        for scope, value in zip(scopes(files, grouping, shard, wanted), values, strict=True)
    ]
    wanted = wanted.select(*KEY).with_columns(key=pl.Series(keys, dtype=pl.Binary))
    return frame.select(*KEY, "gated").join(wanted, on=KEY, how="left", maintain_order="left")


def scopes(files: Files, grouping: Grouping, shard: str, frame: pl.DataFrame) -> list[str]:
    """The scope of each row: its document, the network location of its document's page, or "" for the corpus."""
    if grouping.entry.scope == "corpus":
        return [""] * frame.height
    if grouping.entry.scope == "document":
        return frame["document"].to_list()
    pages = dict(PAGE.read(files, shard).select("document", "value").iter_rows())
    return [network_location(pages[document] or "") for document in frame["document"]]


def network_location(url: str) -> str:
    """Host and port of a page, in lower case; of what is no URL, itself."""
    try:
        return urlsplit(url).netloc.lower()
    except ValueError:
        return url


def key_of(grouping: Grouping, scope: str, values: tuple[Any, ...]) -> bytes:
    """A member's key."""
    if grouping.entry.method == "exact":
        return digest(scope, *values)
    value = values[0]
    try:
        fingerprint = bytes.fromhex(value) if isinstance(value, str) else value
    except ValueError:
        column = grouping.entry.by[0]
        raise StopRun(f"group {grouping.name!r}: {column} has {value[:40]!r}, which is no hash in hex digits") from None
    return fingerprint if grouping.entry.scope == "corpus" else digest(scope) + fingerprint


def digest(*values: Any) -> bytes:
    """128 bits of values in order; ("a", "bc") and ("ab", "c") differ."""
    hashed = hashlib.blake2b(digest_size=HASH)
    for value in values:
        data = spelled(value)
        hashed.update(len(data).to_bytes(8, "little") + data)
    return hashed.digest()


def spelled(value: Any) -> bytes:
    """A value as bytes; floats as the float32 that they are stored as."""
    if isinstance(value, bytes):
        return value
    return struct.pack("<f", value) if isinstance(value, float) else str(value).encode()
