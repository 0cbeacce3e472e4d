"""Steps: how the work of a group is cut into independent jobs, each of which writes one file. Compares nothing."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl
import pyarrow as pa

from curate import table
from curate.columns import KEY, StaleScores
from curate.grouping import Grouping, Reference
from curate.keys import Chunk, content_of, members, rows
from curate.report import Report, conserve
from curate.store import Store

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
    against: tuple[Reference, ...] = ()

    def name(self, step: str, job: str) -> str:
        """The file that a job writes."""
        return f"{self.grouping.home}/{step}/{job}.parquet"

    def read(self, step: str, wanted: Any = None, columns: list[str] | None = None) -> pl.DataFrame:
        """All files of a step as one frame, or the rows that a filter wants."""
        names = [
            f"{self.grouping.home}/{step}/{name}" for name in sorted(self.store.names(f"{self.grouping.home}/{step}"))
        ]
        return rows(self.store, names, wanted, columns)

    def step(self, name: str, jobs: Sequence[Any], worker: Callable[[Any], Report]) -> Step:
        """A step with the jobs that have no file yet."""
        there = self.store.names(f"{self.grouping.home}/{name}")
        todo = [job for job in jobs if f"{getattr(job, 'shard', job)}.parquet" not in there]
        return Step(name, todo, len(jobs) - len(todo), worker)


def tables(several: Sequence[Chunk]) -> list[Chunk]:
    """Chunks named after their last shard: a chunk whose last table is there is done."""
    return [Last(chunk.shards) for chunk in several]


class Last(Chunk):
    """A chunk that is done when its last shard is."""

    @property
    def shard(self) -> str:
        """The job's name."""
        return self.shards[-1]


def chunk_notes(context: Context, step: str, chunk: Chunk) -> dict[str, str]:
    """The hashes of the raw shards of a chunk when a step looked at them."""
    with context.store.local(context.name(step, chunk.shards[0])) as path:
        return {shard: table.note(path, f"raw.{shard}") for shard in chunk.shards}


def write(context: Context, step: str, job: str, frame: pl.DataFrame, schema: pa.Schema, began: float) -> Report:
    """Writes the file of a job."""
    with context.store.writing(context.name(step, job)) as path:
        table.write(path, frame.select(schema.names).to_arrow().cast(schema))
    report = Report(job, seconds=time.monotonic() - began)
    report.counts[step] = frame.height
    return report


def write_table(context: Context, shard: str, content: str, found: pl.DataFrame, report: Report) -> None:
    """Writes a shard's table: a row for each segment that was looked at, whatever came of it.

    One that was gated out, or is alone, has size 1 and no group; one with nothing to compare has nulls.
    """
    grouping, store = context.grouping, context.store
    name = f"{grouping.folder}/{shard}.parquet"
    columns = grouping.columns[grouping.kind]
    if store.exists(name):
        return
    if content_of(store, shard) != content:
        raise StaleScores(f"{grouping.home}: grouped with another raw shard {shard}; delete that folder and run again")
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


def about(grouping: Grouping, *, done: bool) -> dict[str, Any]:
    """What a grouping's folder says of itself."""
    entry = grouping.entry.model_dump(mode="json", exclude={"keep"}, exclude_none=True)
    return {"name": grouping.name, "keys": grouping.keys, "group": entry, "done": done}
