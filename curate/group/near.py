"""Group: which segments are duplicates of each other, as files. Drops nothing; select picks who stays.

The work is cut into steps of independent jobs, each of which writes one file, so a killed run goes on with what is
missing::

    keys      each chunk of shards   what is compared, sorted                     equal, near
    count     each range of keys     keys that several members have: the groups   equal, near within a scope
    values    one job                distinct fingerprints                        near in the corpus
    links     each band              pairs of near fingerprints                   near in the corpus
    join      one job                connected components                         near in the corpus
    table     each chunk of shards   group and size of each segment               all
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq

from curate.group import clusters
from curate.group import components as gather
from curate.group.keys import ROW_GROUP, Chunk, KeysWorker, chunks, content_of, members, ranges, rows
from curate.group.steps import ONE, Context, ShardTables, Step, chunk_notes, tables, write, write_table
from curate.report import Report
from curate.store import table
from curate.store.columns import KEY

VALUES = pa.schema([pa.field("key", pa.large_binary()), pa.field("count", pa.int64()), pa.field("owned", pa.bool_())])
LINKS = pa.schema([pa.field("i", pa.int64()), pa.field("j", pa.int64()), pa.field("distance", pa.float32())])
MEMBERS = pa.schema(
    [
        pa.field("shard", pa.string()),
        *table.KEY,
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


def steps(context: Context) -> Iterator[Step]:
    """The steps of a grouping in order; each looks at what the last one left."""
    entry = context.grouping.entry
    if entry.method in ("cosine", "eps"):
        yield from clusters.steps(context)
        return
    several = chunks(context.shards)
    if entry.scope == "document":
        yield context.step("table", tables(several), DocumentTables(context))
        return
    yield context.step("keys", several, KeysWorker(context.store, context.grouping))
    if entry.method == "exact" or entry.scope == "domain":
        jobs = ranges(context.store, f"{context.grouping.home}/keys")
        yield context.step("groups", jobs, CountWorker(context, len(jobs)))
        yield context.step("table", tables(several), ShardTables(context, "keys"))
    else:
        yield context.step("values", [ONE], ValuesWorker(context))
        with context.store.local(context.name("values", ONE)) as path:
            metadata = pq.read_metadata(path)
        head = context.store.dataset([context.name("values", ONE)]).head(1, columns=["key"])["key"].to_pylist()
        width = gather.array(head, entry).shape[1]
        bands = [f"{at:05d}" for at in range(len(gather.bands(metadata.num_rows, width, entry)))]
        yield context.step("links", bands, LinksWorker(context))
        yield context.step("groups", [ONE], JoinWorker(context))
        yield context.step("table", tables(several), KeyedTables(context))


def key_range(at: int, total: int) -> Any:
    """The filter for keys of one of ``total`` equal ranges of their first 16 bits; None for all."""
    low, high = (pa.scalar((each * (1 << 16) // total).to_bytes(3, "big")[1:], pa.binary()) for each in (at, at + 1))
    if total == 1:
        return None
    from_low = ds.field("key") >= low
    return from_low & (ds.field("key") < high) if at + 1 < total else from_low


def owned_keys(context: Context, wanted: Any = None) -> pl.DataFrame | None:
    """The keys of the runs that this one is grouped against."""
    found = [
        rows(each.store, [f"{each.folder}/{name}" for name in each.files()], wanted, ["key"])
        for each in context.grouping.against
    ]
    return pl.concat(found) if found else None


@dataclass(frozen=True)
class CountWorker:
    """Groups one range of keys: equal ones, or near ones in the scopes whose hash lies in it."""

    context: Context
    total: int

    def __call__(self, job: str) -> Report:
        """Writes ``groups/NNNNN.parquet``: the members that have company, by shard."""
        began, wanted = time.monotonic(), key_range(int(job), self.total)
        members = self.context.read("keys", wanted)
        values = gather.counted(members, owned_keys(self.context, wanted))
        entry = self.context.grouping.entry
        found = gather.equal(values) if entry.method == "exact" else gather.scoped(values, entry)
        by_shard = members.join(found, on="key").sort("shard", *KEY)
        return write(self.context, "groups", job, by_shard, MEMBERS, began, ROW_GROUP)


@dataclass(frozen=True)
class ValuesWorker:
    """The distinct fingerprints of the corpus in order, and how many members have each."""

    context: Context

    def __call__(self, job: str) -> Report:
        """Writes ``values/00000.parquet``."""
        began = time.monotonic()
        values = gather.counted(self.context.read("keys", None, ["key"]), owned_keys(self.context))
        return write(self.context, "values", job, values, VALUES, began)


@dataclass(frozen=True)
class LinksWorker:
    """Pairs of near fingerprints that one band sees; holds all distinct fingerprints."""

    context: Context
    _held: dict[str, Any] = field(default_factory=dict)

    def __call__(self, job: str) -> Report:
        """Writes ``links/NNNNN.parquet``."""
        began, entry = time.monotonic(), self.context.grouping.entry
        if "matrix" not in self._held:
            keys = self.context.read("values", None, ["key"])["key"]
            self._held["matrix"] = gather.array(keys, entry)
        i, j, distance = gather.links(self._held["matrix"], entry, int(job))
        found = pl.DataFrame({"i": i, "j": j, "distance": distance.astype("f4")}).sort("i", "j")
        return write(self.context, "links", job, found, LINKS, began)


@dataclass(frozen=True)
class JoinWorker:
    """Connected components of all links."""

    context: Context

    def __call__(self, job: str) -> Report:
        """Writes ``groups/00000.parquet``."""
        began = time.monotonic()
        found = gather.linked(self.context.read("values"), self._links())
        return write(self.context, "groups", job, found.sort("key"), PARTS, began)

    def _links(self) -> Iterator[gather.Links]:
        for name in sorted(self.context.store.names(f"{self.context.grouping.home}/links")):
            band = rows(self.context.store, [f"{self.context.grouping.home}/links/{name}"])
            yield band["i"].to_numpy(), band["j"].to_numpy(), band["distance"].to_numpy()


@dataclass(frozen=True)
class KeyedTables:
    """Gives every segment of a chunk of shards the group of its key; holds the keys that have company."""

    context: Context
    _held: dict[str, pl.DataFrame] = field(default_factory=dict)

    def __call__(self, chunk: Chunk) -> Report:
        """Writes the tables that are missing."""
        began, report = time.monotonic(), Report(chunk.shard)
        notes = chunk_notes(self.context, "keys", chunk)
        keys = rows(self.context.store, [self.context.name("keys", chunk.shards[0])])
        if "groups" not in self._held:
            self._held["groups"] = self.context.read("groups")
        found = keys.join(self._held["groups"], on="key", how="left")
        for shard in chunk.shards:
            write_table(self.context, shard, notes[shard], found.filter(pl.col("shard") == shard), report)
        report.seconds = time.monotonic() - began
        return report


@dataclass(frozen=True)
class DocumentTables:
    """Groups within documents: all in one shard, so nothing else is needed."""

    context: Context

    def __call__(self, chunk: Chunk) -> Report:
        """Writes the tables that are missing."""
        began, report = time.monotonic(), Report(chunk.shard)
        entry = self.context.grouping.entry
        for shard in chunk.shards:
            content = content_of(self.context.store, shard)
            keys = members(self.context.store, self.context.grouping, shard, content).drop_nulls("key")
            values = gather.counted(keys)
            found = gather.equal(values) if entry.method == "exact" else gather.scoped(values, entry)
            write_table(self.context, shard, content, keys.join(found, on="key", how="left"), report)
        report.seconds = time.monotonic() - began
        return report
