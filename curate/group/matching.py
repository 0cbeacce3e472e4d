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
from curate.ledger.making import Held, Making
from curate.recipe.measures import Group
from curate.report import Report
from curate.store import schema
from curate.store.chunks import ROW_GROUP, range_count
from curate.store.columns import KEY
from curate.store.files import Files

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
    """The keys of the runs that this one is grouped against.

    Raises:
        ChangedFile: they are not those that were told of when this run looked.
    """
    found = [each.keys(wanted) for each in against]
    return pl.concat(found) if found else None


@dataclass(frozen=True)
class CountRanges:
    """Says into how many ranges of about ``size`` rows ``tables`` files are cut, by a look at some of them."""

    looked: tuple[str, ...]
    tables: int
    size: int
    most: int

    def __call__(self, job: Job, making: Making) -> Report:
        """Writes the number."""
        (target,) = job.targets
        counts = [making.files.count(name) for name in self.looked]
        making.write_json(target.name, {"ranges": range_count(counts, self.tables, self.size, self.most)})
        return Report(job.name)


@dataclass(frozen=True)
class GroupRange:
    """Groups one of ``total`` ranges of keys: equal ones, or near ones in the scopes whose hash lies in it."""

    grouping: Grouping
    keys: tuple[str, ...]
    total: int

    def __call__(self, job: Job, making: Making) -> Report:
        """Writes the members that have company, by shard. ``args``: which range."""
        wanted = key_range(job.args, self.total)
        members = making.files.rows(self.keys, wanted)
        values = distinct_keys(members, owned_keys(self.grouping.against, wanted))
        entry = self.grouping.entry
        found = equal_groups(values) if entry.method == "exact" else near_groups(values, entry)
        by_shard = members.join(found, on="key").sort("shard", *KEY)
        return write(making, job, "groups", by_shard, MEMBERS, ROW_GROUP)


@dataclass(frozen=True)
class DistinctValues:
    """The distinct fingerprints of the corpus in order, and how many members have each."""

    grouping: Grouping
    keys: tuple[str, ...]

    def __call__(self, job: Job, making: Making) -> Report:
        """Writes all of them, and of how many words one is as a note."""
        keys = making.files.rows(self.keys, None, ["key"])
        values = distinct_keys(keys, owned_keys(self.grouping.against))
        words = fingerprint_matrix(values["key"].head(1), self.grouping.entry).shape[1]
        return write(making, job, "values", values, VALUES, words=str(words))


def band_count(files: Files, values: str, entry: Group) -> int:
    """In how many bands the distinct fingerprints of a file are looked for."""
    return len(bands(files.count(values), int(files.notes(values)["words"]), entry))


@dataclass(frozen=True)
class LinkBand:
    """Pairs of near fingerprints that one band sees; holds all distinct fingerprints."""

    entry: Group
    values: str

    @cached_property
    def _matrix(self) -> Held[Fingerprints]:
        return Held(self.values)

    def _read(self, files: Files) -> Fingerprints:
        return fingerprint_matrix(files.rows([self.values], None, ["key"])["key"], self.entry)

    def __call__(self, job: Job, making: Making) -> Report:
        """Writes the pairs in order. ``args``: which band."""
        i, j, distance = links(self._matrix.get(making.files, self._read), self.entry, job.args)
        found = pl.DataFrame({"i": i, "j": j, "distance": distance.astype("f4")}).sort("i", "j")
        return write(making, job, "links", found, LINKS)


@dataclass(frozen=True)
class ConnectLinks:
    """Connected components of the links of all bands."""

    values: str
    links: tuple[str, ...]

    def __call__(self, job: Job, making: Making) -> Report:
        """Writes the group of each key that has company."""
        found = linked_groups(making.files.rows([self.values]), self._links(making.files))
        return write(making, job, "groups", found.sort("key"), PARTS)

    def _links(self, files: Files) -> Iterator[Links]:
        for name in self.links:
            band = files.rows([name])
            yield band["i"].to_numpy(), band["j"].to_numpy(), band["distance"].to_numpy()
