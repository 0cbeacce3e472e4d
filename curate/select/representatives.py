"""Representatives: who stays of each group of duplicates, among what the other rules leave. Groups nothing.

The best member stays, ties going to the least id; of a SemDeDup cluster a member goes if one that comes before it in
the cluster's order, and is too similar, is still there. Groups that reach over shards take three passes::

    candidates/NAME/CHUNK.parquet   each chunk of shards   the members that are left, by group
    duplicates/NAME/NNNNN.parquet   each range of groups   those that go, by shard
    removed/NAME/CHUNK.parquet      each chunk of shards   those of all ranges
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.dataset as ds

from curate.group.grouping import Grouping
from curate.group.steps import witness_files
from curate.ledger.job import Job, Phase, Target
from curate.ledger.making import OneByOne
from curate.recipe.recipe import Resource
from curate.report import Report
from curate.select.decide import Removal
from curate.select.judge import Judge
from curate.store import schema, table
from curate.store.chunks import ROW_GROUP, Chunk, chunk_of, ranges, rows
from curate.store.columns import KEY, Column, StaleScores
from curate.store.store import Store

WINS = {"by": ["rank", "more", *KEY], "descending": [True, True, False, False], "nulls_last": True}
"""The order of a group's members, the representative first."""
REMOVED = pa.schema([pa.field("shard", pa.string(), nullable=False), *schema.KEY])


@dataclass(frozen=True)
class Representatives:
    """A group of which only some members stay; ``verdicts`` is the folder of the decision."""

    store: Store
    grouping: Grouping
    verdicts: str

    @property
    def local(self) -> bool:
        """Whether every group lies within one shard."""
        return self.grouping.entry.scope == "document"

    def folder(self, what: str) -> str:
        """Where its candidates, or what goes, lie."""
        return f"{self.verdicts}/{what}/{self.grouping.name}"

    def made(self, shard: str) -> tuple[str, ...]:
        """See ``Remover``."""
        return () if self.local else (f"{self.folder('removed')}/{chunk_of(shard)}.parquet",)

    def columns(self) -> tuple[Column, ...]:
        """See ``Remover``."""
        return members(self.grouping) if self.local else ()

    def removal(self, shard: str, content: str) -> Removal:
        """See ``Remover``."""
        chosen = self._within(shard, content) if self.local else self._found(shard, content)
        return Removal(self.grouping.kind, f"{self.grouping.kind}: duplicate ({self.grouping.name})", chosen)

    def _within(self, shard: str, content: str) -> Callable[[pl.DataFrame], pl.DataFrame]:
        return lambda left: duplicates(candidates(self.store, self.grouping, shard, content, left))

    def _found(self, shard: str, content: str) -> Callable[[pl.DataFrame], pl.DataFrame]:
        (name,) = self.made(shard)
        with self.store.local(name) as path:
            if table.note(path, f"raw.{shard}") != content:
                raise StaleScores(f"{path}: picked with another raw shard {shard}; delete {self.verdicts}, run again")
        gone = rows(self.store, [name], ds.field("shard") == shard)
        return lambda left: left.join(gone, on=KEY, how="semi")

    def phases(self, judge: Judge, several: Sequence[Chunk], needs: Resource) -> Iterator[Phase]:
        """See ``Remover``."""
        if self.local:
            return
        name = f"select {self.grouping.name}"
        listed, picked = (f"{self.folder(what)}/" for what in ("candidates", "duplicates"))
        files = tuple(f"{listed}{each.name}.parquet" for each in several)
        listing = [
            Job(each.name, (Target(file, judge.reads_of(each.shards, *members(self.grouping))),), each.shards)
            for each, file in zip(several, files, strict=True)
        ]
        yield Phase(name, listing, OneByOne(ListCandidates(self, judge)), needs, seals=listed)
        picking = self._picking(listed, picked, files)
        yield Phase(name, picking, OneByOne(FindDuplicates(self, files, len(picking))), needs, seals=picked)
        found = tuple(job.targets[0].name for job in picking)
        bringing = [
            Job(each.name, (Target(self.made(each.name)[0], (file, picked)),), each.shards)
            for each, file in zip(several, files, strict=True)
        ]
        yield Phase(name, bringing, OneByOne(BringTogether(self, found)), needs)

    def _picking(self, listed: str, picked: str, files: Sequence[str]) -> list[Job]:
        """A job for each range of groups; with ``eps`` for each file of the group, which it gets as ``args``."""
        if self.grouping.entry.method == "eps":
            return [
                Job(f"{at:05d}", (Target(f"{picked}{at:05d}.parquet", (listed, each)),), each)
                for at, each in enumerate(witness_files(self.store, self.grouping))
            ]
        return [Job(each, (Target(f"{picked}{each}.parquet", (listed,)),)) for each in ranges(self.store, files)]


def members(grouping: Grouping) -> tuple[Column, ...]:
    """The columns of each shard that say who is in which group, and who of them is best."""
    group = Column(grouping.folder, "group", grouping.kind, str)
    return (group, grouping.best) if grouping.best else (group,)


def candidates(store: Store, grouping: Grouping, shard: str, content: str, left: pl.DataFrame) -> pl.DataFrame:
    """The members among what is left of a shard: group, owned, shard, document, position, rank, more."""
    with store.local(f"{grouping.folder}/{shard}.parquet") as path:
        names = [*KEY, "group", "owned", *(["rank"] if grouping.entry.method == "eps" else [])]
        if table.note(path, "raw") != content:
            raise StaleScores(f"{path}: grouped with another raw shard {shard}; delete {grouping.home}, run again")
        found = table.read(path, names).drop_nulls("group")
    found = left.join(found, on=KEY, how="inner", maintain_order="left")
    keep, more = grouping.entry.keep, pl.lit(0, pl.Int64)
    if grouping.best:
        values = grouping.best.read(store, shard, content)
        found = found.join(values, on=KEY, how="left", maintain_order="left")
        value = pl.col("value")
        rank = value.fill_nan(None) if grouping.best.type is float else value
    elif keep == "largest" and grouping.kind == "image":
        rank = pl.col("original_width").cast(pl.Int64) * pl.col("original_height")
        more = pl.col("bytes").fill_null(0)
    elif keep == "largest":
        rank = pl.col("size").cast(pl.Int64)
    elif grouping.entry.method == "eps":
        rank = pl.col("rank").cast(pl.Int64)
    else:
        rank = -((int(shard) << 32) + pl.col("row").cast(pl.Int64))
    return found.select("group", "owned", pl.lit(shard).alias("shard"), *KEY, rank=rank, more=more)


def duplicates(candidates: pl.DataFrame) -> pl.DataFrame:
    """All candidates but the representative of each group; of a group that another run owns, all of them."""
    by_rank = candidates.sort(**WINS)  # type: ignore[arg-type]
    return by_rank.filter(pl.col("owned") | ~pl.col("group").is_first_distinct())


def semantic_duplicates(candidates: pl.DataFrame, witnesses: pl.DataFrame) -> pl.DataFrame:
    """SemDeDup: the candidates of which a witness (group, rank, witnesses) is a candidate, too."""
    pairs = witnesses.explode("witnesses", empty_as_null=False).select("group", "rank", witness="witnesses")
    there = candidates.select("group", witness="rank")
    hit = pairs.join(there, on=["group", "witness"], how="semi").select("group", "rank").unique()
    return candidates.join(hit, on=["group", "rank"], how="semi")


@dataclass(frozen=True)
class ListCandidates:
    """Lists what is left of the members in a chunk of shards."""

    group: Representatives
    judge: Judge

    def __call__(self, job: Job) -> Report:
        """Writes the candidates by group, with the hashes of the raw shards that were looked at."""
        store, grouping, frames, notes = self.group.store, self.group.grouping, [], {}
        for shard in job.args:
            left, content = self.judge.survivors(shard, grouping.kind)
            notes[f"raw.{shard}"] = content
            frames.append(candidates(store, grouping, shard, content, left))
        found = pl.concat(frames).sort("group", "shard", *KEY)
        with store.writing(job.targets[0].name) as path:
            table.write(path, found.to_arrow(), ROW_GROUP, **notes)
        return Report(job.name)


@dataclass(frozen=True)
class FindDuplicates:
    """Picks in one of ``total`` ranges of groups; ``files`` hold the candidates."""

    group: Representatives
    files: tuple[str, ...]
    total: int

    def __call__(self, job: Job) -> Report:
        """Writes what goes, by shard."""
        store = self.group.store
        if self.group.grouping.entry.method == "eps":
            about = rows(store, [job.args], None, ["group", "rank", "witnesses"])
            clusters = about["group"].unique().to_arrow()
            witnesses = about.filter(pl.col("witnesses").list.len() > 0)
            found = semantic_duplicates(rows(store, self.files, ds.field("group").isin(clusters)), witnesses)
        else:
            found = duplicates(rows(store, self.files, group_range(int(job.name), self.total)))
        gone = found.select("shard", *KEY).sort("shard", *KEY)
        with store.writing(job.targets[0].name) as path:
            table.write(path, gone.to_arrow().cast(REMOVED), ROW_GROUP)
        report = Report(job.name)
        report.counts["duplicates"] = gone.height
        return report


@dataclass(frozen=True)
class BringTogether:
    """Brings together what goes from a chunk of shards; ``files`` hold it by ranges of groups."""

    group: Representatives
    files: tuple[str, ...]

    def __call__(self, job: Job) -> Report:
        """Writes what goes, with the hashes of the raw shards that were looked at."""
        store = self.group.store
        with store.local(f"{self.group.folder('candidates')}/{job.name}.parquet") as path:
            notes = {f"raw.{shard}": table.note(path, f"raw.{shard}") for shard in job.args}
        found = rows(store, self.files, ds.field("shard").isin(list(job.args))).sort("shard", *KEY)
        with store.writing(job.targets[0].name) as path:
            table.write(path, found.to_arrow().cast(REMOVED), ROW_GROUP, **notes)
        return Report(job.name)


def group_range(at: int, total: int) -> Any:
    """The filter for one of ``total`` ranges of group ids, which are hex digits."""
    low, high = (f"{each * (1 << 16) // total:05x}"[1:] for each in (at, at + 1))
    wanted = ds.field("group") >= low
    return wanted & (ds.field("group") < high) if at + 1 < total else wanted
