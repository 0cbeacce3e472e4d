"""Membership: which group each segment of a shard is in, as tables. Looks for no group.

Tables are made by chunks of shards, and only those that a job is asked for.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import PurePosixPath

import polars as pl
import pyarrow.dataset as ds

from curate.group.components import distinct_keys, equal_groups, near_groups
from curate.group.grouping import Grouping, range_files
from curate.group.keys import content_of, members
from curate.ledger.job import Job
from curate.report import Report, conserve
from curate.store import schema, table
from curate.store.chunks import rows
from curate.store.columns import KEY, StaleScores
from curate.store.store import Store


@dataclass(frozen=True)
class TablesOfDocuments:
    """Groups within documents: all in one shard, so nothing but the shard is needed."""

    store: Store
    grouping: Grouping

    def __call__(self, job: Job) -> Report:
        """Writes the tables of some shards."""
        report, entry = Report(job.name), self.grouping.entry
        for shard in shards_of(job):
            content = content_of(self.store, shard)
            keys = members(self.store, self.grouping, shard, content).drop_nulls("key")
            values = distinct_keys(keys)
            found = equal_groups(values) if entry.method == "exact" else near_groups(values, entry)
            write_table(self.store, self.grouping, shard, content, keys.join(found, on="key", how="left"), report)
        return report


@dataclass(frozen=True)
class TablesByShard:
    """Brings what was found of the segments of a chunk in each range, sorted by shard, back to their shards.

    ``compared``: the step whose file of the chunk lists the segments that were compared.
    """

    store: Store
    grouping: Grouping
    compared: str

    @cached_property
    def _groups(self) -> list[str]:
        return range_files(self.store, self.grouping)

    def __call__(self, job: Job) -> Report:
        """Writes the tables of some shards of a chunk."""
        report, shards = Report(job.name), shards_of(job)
        wanted, name = ds.field("shard").isin(shards), self.grouping.file(self.compared, job.name)
        columns = [*KEY, *self.grouping.columns[self.grouping.kind]]
        found = rows(self.store, self._groups, wanted, ["shard", *columns])
        found = rows(self.store, [name], wanted, ["shard", *KEY]).join(found, on=["shard", *KEY], how="left")
        for shard, content in raw_contents(self.store, name, shards).items():
            write_table(self.store, self.grouping, shard, content, found.filter(pl.col("shard") == shard), report)
        return report


@dataclass(frozen=True)
class TablesByKey:
    """Gives every segment of a chunk the group of its key; holds the keys that have company, which lie in one file."""

    store: Store
    grouping: Grouping
    groups: str

    @cached_property
    def _group_of_key(self) -> pl.DataFrame:
        return rows(self.store, [self.groups])

    def __call__(self, job: Job) -> Report:
        """Writes the tables of some shards of a chunk."""
        report, name = Report(job.name), self.grouping.file("keys", job.name)
        found = rows(self.store, [name]).join(self._group_of_key, on="key", how="left")
        for shard, content in raw_contents(self.store, name, shards_of(job)).items():
            write_table(self.store, self.grouping, shard, content, found.filter(pl.col("shard") == shard), report)
        return report


def shards_of(job: Job) -> list[str]:
    """The shards whose tables a job is to make."""
    return [PurePosixPath(target.name).stem for target in job.targets]


def raw_contents(store: Store, name: str, shards: list[str]) -> Mapping[str, str]:
    """The hashes of raw shards when a file of their chunk was made."""
    with store.local(name) as path:
        return {shard: table.note(path, f"raw.{shard}") for shard in shards}


def write_table(
    store: Store, grouping: Grouping, shard: str, content: str, found: pl.DataFrame, report: Report
) -> None:
    """Writes a shard's table: a row for each segment that was looked at, whatever came of it.

    One that was gated out, or is alone, has size 1 and no group; one with nothing to compare has nulls.
    """
    columns = grouping.columns[grouping.kind]
    if content_of(store, shard) != content:
        raise StaleScores(f"{grouping.home}: grouped with another raw shard {shard}; delete that folder and run again")
    looked = members(store, grouping, shard, content)
    present = pl.col("key").is_not_null() | pl.col("gated")
    kept = [each for each in columns if each in found.columns]
    looked = looked.join(found.select(*KEY, *kept), on=KEY, how="left", maintain_order="left").with_columns(
        size=pl.when(present).then(pl.col("size").fill_null(1)),
        owned=pl.when(present).then(pl.col("owned").fill_null(value=False)),
    )
    schema = schema.score_schema(columns)
    with store.writing(f"{grouping.folder}/{shard}.parquet") as path:
        table.write(path, looked.select(schema.names).to_arrow().cast(schema), raw=content)
    conserve("members", shard, found.height, looked["key"].len() - looked["key"].null_count())
    report.counts["segments"] += looked.height
    report.counts["with company"] += looked["group"].len() - looked["group"].null_count()
