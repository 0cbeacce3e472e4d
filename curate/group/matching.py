"""Matching: which keys of the corpus are equal or near, in jobs of a range or a band. Drops nothing, writes no table.

Equal keys, and near ones within a scope, stand together in sorted files: a job groups one range of them. Fingerprints
that are near in the corpus may lie anywhere::

    values    one job      the distinct fingerprints
    links     each band    pairs of near fingerprints
    groups    one job      their connected components
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.dataset as ds

from curate.group.components import (
    Fingerprints,
    Links,
    bands,
    distinct_keys,
    equal_groups,
    fingerprint_matrix,
    linked_groups,
    links,
    near_groups,
)
from curate.group.grouping import Grouping, Reference
from curate.group.keys import write
from curate.ledger.job import Job
from curate.recipe.measures import Group
from curate.report import Report
from curate.store import schema
from curate.store.chunks import ROW_GROUP, rows
from curate.store.columns import KEY
from curate.store.store import Store

VALUES = pa.schema([pa.field("key", pa.large_binary()), pa.field("count", pa.int64()), pa.field("owned", pa.bool_())])
LINKS = pa.schema([pa.field("i", pa.int64()), pa.field("j", pa.int64()), pa.field("distance", pa.float32())])
MEMBERS = pa.schema(
    [
        pa.field("shard", pa.string()),
        *schema.KEY,
        pa.field("group", pa.string()),
        pa.field("size", pa.int64()),
        pa.field("owned", pa.bool_()),
    ]
)
PARTS = pa.schema(
    [
        pa.field("key", pa.binary()),
        pa.field("group", pa.string()),
        pa.field("size", pa.int64()),
        pa.field("owned", pa.bool_()),
    ]
)


def key_range(at: int, total: int) -> Any:
    """The filter for keys of one of ``total`` equal ranges of their first 16 bits; None for all."""
    low, high = (pa.scalar((each * (1 << 16) // total).to_bytes(3, "big")[1:], pa.binary()) for each in (at, at + 1))
    if total == 1:
        return None
    from_low = ds.field("key") >= low
    return from_low & (ds.field("key") < high) if at + 1 < total else from_low


def owned_keys(against: tuple[Reference, ...], wanted: Any = None) -> pl.DataFrame | None:
    """The keys of the runs that this one is grouped against."""
    found = [rows(each.store, each.files, wanted, ["key"]) for each in against]
    return pl.concat(found) if found else None


@dataclass(frozen=True)
class GroupRange:
    """Groups one of ``total`` ranges of keys: equal ones, or near ones in the scopes whose hash lies in it."""

    store: Store
    grouping: Grouping
    keys: tuple[str, ...]
    total: int

    def __call__(self, job: Job) -> Report:
        """Writes the members that have company, by shard. ``args``: which range."""
        wanted = key_range(job.args, self.total)
        members = rows(self.store, self.keys, wanted)
        values = distinct_keys(members, owned_keys(self.grouping.against, wanted))
        entry = self.grouping.entry
        found = equal_groups(values) if entry.method == "exact" else near_groups(values, entry)
        by_shard = members.join(found, on="key").sort("shard", *KEY)
        return write(self.store, job, "groups", by_shard, MEMBERS, ROW_GROUP)


@dataclass(frozen=True)
class DistinctValues:
    """The distinct fingerprints of the corpus in order, and how many members have each."""

    store: Store
    grouping: Grouping
    keys: tuple[str, ...]

    def __call__(self, job: Job) -> Report:
        """Writes all of them."""
        keys = rows(self.store, self.keys, None, ["key"])
        return write(self.store, job, "values", distinct_keys(keys, owned_keys(self.grouping.against)), VALUES)


def band_count(store: Store, values: str, entry: Group) -> int:
    """In how many bands the distinct fingerprints of a file are looked for."""
    dataset = store.dataset([values])
    width = fingerprint_matrix(dataset.head(1, columns=["key"])["key"].to_pylist(), entry).shape[1]
    return len(bands(dataset.count_rows(), width, entry))


@dataclass(frozen=True)
class LinkBand:
    """Pairs of near fingerprints that one band sees; holds all distinct fingerprints."""

    store: Store
    entry: Group
    values: str

    @cached_property
    def _matrix(self) -> Fingerprints:
        return fingerprint_matrix(rows(self.store, [self.values], None, ["key"])["key"], self.entry)

    def __call__(self, job: Job) -> Report:
        """Writes the pairs in order. ``args``: which band."""
        i, j, distance = links(self._matrix, self.entry, job.args)
        found = pl.DataFrame({"i": i, "j": j, "distance": distance.astype("f4")}).sort("i", "j")
        return write(self.store, job, "links", found, LINKS)


@dataclass(frozen=True)
class ConnectLinks:
    """Connected components of the links of all bands."""

    store: Store
    values: str
    links: tuple[str, ...]

    def __call__(self, job: Job) -> Report:
        """Writes the group of each key that has company."""
        found = linked_groups(rows(self.store, [self.values]), self._links())
        return write(self.store, job, "groups", found.sort("key"), PARTS)

    def _links(self) -> Iterator[Links]:
        for name in self.links:
            band = rows(self.store, [name])
            yield band["i"].to_numpy(), band["j"].to_numpy(), band["distance"].to_numpy()
