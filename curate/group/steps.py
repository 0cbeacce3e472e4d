"""Steps: how the work of a group is cut into independent jobs, each of which writes one file. Compares nothing."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.dataset as ds

from curate.group.grouping import Grouping
from curate.group.keys import Chunk, content_of, members, rows
from curate.report import Report, conserve
from curate.store import table
from curate.store.columns import KEY, StaleScores
from curate.store.store import Store

ONE = "00000"
"""The name of a step's only job."""


@dataclass(frozen=True)
class Step:
    """Some independent jobs: what remains of them, and how many are done."""

    name: str
    todo: Sequence[Any]
    done: int
    worker: Callable[[Any], Report]


@dataclass(frozen=True)
class Context:
    """What the workers of a grouping share."""

    store: Store
    grouping: Grouping
    shards: tuple[str, ...]

    @property
    def done(self) -> bool:
        """Whether the group was finished, and every table is still there."""
        name = f"{self.grouping.home}/group.json"
        if not self.store.exists(name) or not self.store.get_json(name)["done"]:
            return False
        there = self.store.names(self.grouping.folder)
        return all(f"{shard}.parquet" in there for shard in self.shards)

    def name(self, step: str, job: str) -> str:
        """The file that a job writes."""
        return f"{self.grouping.home}/{step}/{job}.parquet"

    def read(
        self, step: str, wanted: Any = None, columns: list[str] | None = None, job: str | None = None
    ) -> pl.DataFrame:
        """All files of a step as one frame, or one job's, or the rows that a filter wants."""
        there = sorted(self.store.names(f"{self.grouping.home}/{step}"))
        names = [
            f"{self.grouping.home}/{step}/{name}" for name in there if job in (None, name.removesuffix(".parquet"))
        ]
        return rows(self.store, names, wanted, columns)

    def step(self, name: str, jobs: Sequence[Any], worker: Callable[[Any], Report]) -> Step:
        """A step with the jobs that have no file yet."""
        there = self.store.names(f"{self.grouping.home}/{name}")
        todo = [job for job in jobs if not {f"{name}.parquet" for name in written_by(job)} <= there]
        return Step(name, todo, len(jobs) - len(todo), worker)


def written_by(job: Any) -> Sequence[str]:
    """The names of a job's files: a chunk's tables are one for each shard."""
    return job.shards if isinstance(job, Tables) else (job.shard if isinstance(job, Chunk) else str(job),)


def tables(several: Sequence[Chunk]) -> list[Chunk]:
    """Chunks as jobs that write a table for each of their shards."""
    return [Tables(chunk.shards) for chunk in several]


class Tables(Chunk):
    """A chunk that is done when each of its shards has a table."""


def chunk_notes(context: Context, step: str, chunk: Chunk) -> dict[str, str]:
    """The hashes of the raw shards of a chunk when a step looked at them."""
    with context.store.local(context.name(step, chunk.shards[0])) as path:
        return {shard: table.note(path, f"raw.{shard}") for shard in chunk.shards}


def write(
    context: Context,
    step: str,
    job: str,
    frame: pl.DataFrame,
    schema: pa.Schema,
    began: float,
    row_group: int = 100_000,
) -> Report:
    """Writes the file of a job."""
    with context.store.writing(context.name(step, job)) as path:
        table.write(path, frame.select(schema.names).to_arrow().cast(schema), row_group)
    report = Report(job, seconds=time.monotonic() - began)
    report.counts[step] = frame.height
    return report


@dataclass(frozen=True)
class ShardTables:
    """Brings what was found of the segments of a chunk back to their shards; ``first`` is the step that looked."""

    context: Context
    first: str
    without: tuple[str, ...] = ()

    def __call__(self, chunk: Chunk) -> Report:
        """Writes the tables that are missing."""
        began, report, context = time.monotonic(), Report(chunk.shard), self.context
        notes = chunk_notes(context, self.first, chunk)
        found = context.read("groups", ds.field("shard").isin(list(chunk.shards))).drop(self.without)
        looked = context.read(self.first, ds.field("shard").isin(list(chunk.shards)), ["shard", *KEY], chunk.shard)
        found = looked.join(found, on=["shard", *KEY], how="left")
        for shard in chunk.shards:
            write_table(context, shard, notes[shard], found.filter(pl.col("shard") == shard), report)
        report.seconds = time.monotonic() - began
        return report


def write_table(context: Context, shard: str, content: str, found: pl.DataFrame, report: Report) -> None:
    """Writes a shard's table: a row for each segment that was looked at, whatever came of it.

    One that was gated out, or is alone, has size 1 and no group; one with nothing to compare has nulls.
    """
    grouping, store = context.grouping, context.store
    name = f"{grouping.folder}/{shard}.parquet"
    columns = grouping.columns[grouping.kind]
    if content_of(store, shard) != content:
        raise StaleScores(f"{grouping.home}: grouped with another raw shard {shard}; delete that folder and run again")
    if store.exists(name):
        return
    looked = members(store, grouping, shard, content)
    present = pl.col("key").is_not_null() | pl.col("gated")
    kept = [each for each in columns if each in found.columns]
    looked = looked.join(found.select(*KEY, *kept), on=KEY, how="left", maintain_order="left").with_columns(
        size=pl.when(present).then(pl.col("size").fill_null(1)),
        owned=pl.when(present).then(pl.col("owned").fill_null(value=False)),
    )
    schema = table.score_schema(columns)
    with store.writing(name) as path:
        table.write(path, looked.select(schema.names).to_arrow().cast(schema), raw=content)
    conserve("members", shard, found.height, looked["key"].len() - looked["key"].null_count())
    report.counts["segments"] += looked.height
    report.counts["with company"] += looked["group"].len() - looked["group"].null_count()


def about(context: Context, *, done: bool) -> dict[str, Any]:
    """What a grouping's folder says of itself."""
    grouping = context.grouping
    entry = grouping.entry.model_dump(mode="json", exclude={"keep"}, exclude_none=True)
    return {"name": grouping.name, "keys": grouping.keys, "group": entry, "shards": len(context.shards), "done": done}
