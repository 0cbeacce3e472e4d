"""Membership: which group each segment of a shard is in, as tables. Looks for no group.

Tables are made by chunks of shards, and only those that a job is asked for.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import PurePosixPath

import polars as pl
import pyarrow.dataset as ds

from curate.group.components import distinct_keys, equal_groups, near_groups
from curate.group.grouping import Grouping, range_files
from curate.group.keys import members
from curate.ledger.job import Job
from curate.ledger.making import Held, Making
from curate.report import Report, conserve
from curate.store import schema
from curate.store.columns import KEY
from curate.store.files import Files


@dataclass(frozen=True)
class TablesOfDocuments:
    """Groups within documents: all in one shard, so nothing but the shard is needed."""

    grouping: Grouping

    def __call__(self, job: Job, making: Making) -> Report:
        """Writes the tables of some shards."""
        report, entry = Report(job.name), self.grouping.entry
        for shard in shards_of(job):
            keys = members(making.files, self.grouping, shard).drop_nulls("key")
            values = distinct_keys(keys)
            found = equal_groups(values) if entry.method == "exact" else near_groups(values, entry)
            write_table(making, self.grouping, shard, keys.join(found, on="key", how="left"), report)
        return report


@dataclass(frozen=True)
class TablesByShard:
    """Brings what was found of the segments of a chunk in each range, sorted by shard, back to their shards.

    ``compared``: the step whose file of the chunk lists the segments that were compared.
    """

    grouping: Grouping
    compared: str

    def __call__(self, job: Job, making: Making) -> Report:
        """Writes the tables of some shards of a chunk."""
        report, files, shards = Report(job.name), making.files, shards_of(job)
        wanted, name = ds.field("shard").isin(shards), self.grouping.file(self.compared, job.name)
        columns = [*KEY, *self.grouping.columns[self.grouping.kind]]
        found = files.rows(range_files(files, self.grouping), wanted, ["shard", *columns])
        found = files.rows([name], wanted, ["shard", *KEY]).join(found, on=["shard", *KEY], how="left")
        for shard in shards:
            write_table(making, self.grouping, shard, found.filter(pl.col("shard") == shard), report)
        return report


@dataclass(frozen=True)
class TablesByKey:
    """Gives every segment of a chunk the group of its key; holds the keys that have company, which lie in one file."""

    grouping: Grouping
    groups: str

    @cached_property
    def _group_of_key(self) -> Held[pl.DataFrame]:
        return Held(self.groups)

    def _read(self, files: Files) -> pl.DataFrame:
        return files.rows([self.groups])

    def __call__(self, job: Job, making: Making) -> Report:
        """Writes the tables of some shards of a chunk."""
        report, files, name = Report(job.name), making.files, self.grouping.file("keys", job.name)
        found = files.rows([name]).join(self._group_of_key.get(files, self._read), on="key", how="left")
        for shard in shards_of(job):
            write_table(making, self.grouping, shard, found.filter(pl.col("shard") == shard), report)
        return report


def shards_of(job: Job) -> list[str]:
    """The shards whose tables a job is to make."""
    return [PurePosixPath(target.name).stem for target in job.targets]


def write_table(making: Making, grouping: Grouping, shard: str, found: pl.DataFrame, report: Report) -> None:
    """Writes a shard's table: a row for each segment that was looked at, whatever came of it.

    One that was gated out, or is alone, has size 1 and no group; one with nothing to compare has nulls.
    """
    columns = grouping.columns[grouping.kind]
    looked = members(making.files, grouping, shard)
    present = pl.col("key").is_not_null() | pl.col("gated")
    kept = [each for each in columns if each in found.columns]
    looked = looked.join(found.select(*KEY, *kept), on=KEY, how="left", maintain_order="left").with_columns(
        size=pl.when(present).then(pl.col("size").fill_null(1)),
        owned=pl.when(present).then(pl.col("owned").fill_null(value=False)),
    )
    form = schema.score_schema(columns)
    making.write(grouping.file("table", shard), looked.select(form.names).to_arrow().cast(form))
    conserve("members", shard, found.height, looked["key"].len() - looked["key"].null_count())
    report.counts["segments"] += looked.height
    report.counts["with company"] += looked["group"].len() - looked["group"].null_count()
