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
from curate.ledger.job import FileSet, Job, Phase, Ref, Target
from curate.ledger.making import Making, OneByOne
from curate.recipe.recipe import Resource
from curate.report import Report
from curate.select.binding import BY
from curate.select.decide import Removal
from curate.select.judge import Judge
from curate.store import schema
from curate.store.chunks import ROW_GROUP, Chunk, chunk_of, range_count
from curate.store.columns import KEY, Column
from curate.store.files import Files
from curate.store.store import Store

WINS = {"by": ["rank", "more", *KEY], "descending": [True, True, False, False], "nulls_last": True}
"""The order of a group's members, the representative first."""
REMOVED = pa.schema([pa.field("shard", pa.string(), nullable=False), *schema.KEY])


@dataclass(frozen=True)
class Representatives:
    """A group of which only some members stay; ``verdicts`` is the folder of the decision."""

    grouping: Grouping
    verdicts: str

    @property
    def local(self) -> bool:
        """Whether every group lies within one shard."""
        return self.grouping.entry.scope == "document"

    def file(self, what: str, name: str) -> str:
        """A file of its candidates, or of what goes."""
        return f"{self.verdicts}/{what}/{self.grouping.name}/{name}.parquet"

    def made(self, shard: str) -> tuple[str, ...]:
        """See ``Remover``."""
        return () if self.local else (self.file("removed", chunk_of(shard)),)

    def columns(self) -> tuple[Column, ...]:
        """See ``Remover``."""
        return members(self.grouping) if self.local else ()

    def origin(self, store: Store, shards: Sequence[str]) -> tuple[str, ...]:
        """See ``Remover``."""
        if self.local:
            return ()
        tables = (column.file(shard) for shard in shards for column in members(self.grouping))
        return (*tables, *(witness_files(store, self.grouping) if self.grouping.entry.method == "eps" else ()))

    def removal(self, files: Files, shard: str) -> Removal:
        """See ``Remover``."""
        chosen = self._within(files, shard) if self.local else self._found(files, shard)
        return Removal(self.grouping.kind, f"{self.grouping.kind}: duplicate ({self.grouping.name})", chosen)

    def _within(self, files: Files, shard: str) -> Callable[[pl.DataFrame], pl.DataFrame]:
        return lambda left: duplicates(candidates(files, self.grouping, shard, left))

    def _found(self, files: Files, shard: str) -> Callable[[pl.DataFrame], pl.DataFrame]:
        gone = files.rows(self.made(shard), ds.field("shard") == shard)
        return lambda left: left.join(gone, on=KEY, how="semi")

    def phases(self, judge: Judge, store: Store, several: Sequence[Chunk], needs: Resource) -> Iterator[Phase]:
        """See ``Remover``."""
        if self.local:
            return
        name = f"select {self.grouping.name}"
        files = tuple(self.file("candidates", each.name) for each in several)
        listing = [
            Job(each.name, (Target(file, judge.reads(each.shards, *members(self.grouping)), BY),), each.shards)
            for each, file in zip(several, files, strict=True)
        ]
        yield Phase(name, listing, OneByOne(store, ListCandidates(self, judge)), needs)
        picking = self._picking(store, files)
        yield Phase(name, picking, OneByOne(store, FindDuplicates(self, files, len(picking))), needs)
        found = tuple(job.targets[0].name for job in picking)
        reads = (FileSet("duplicates", found),)
        bringing = [
            Job(each.name, (Target(self.file("removed", each.name), reads, BY),), each.shards) for each in several
        ]
        yield Phase(name, bringing, OneByOne(store, BringTogether(found)), needs)

    def _picking(self, store: Store, files: tuple[str, ...]) -> list[Job]:
        """A job for each range of groups; with ``eps`` for each file of the group, which it gets as ``args``."""
        listed = FileSet("candidates", files)
        if self.grouping.entry.method == "eps":
            names = witness_files(store, self.grouping)
            return [self._pick(at, len(names), (listed, each), each) for at, each in enumerate(names)]
        total = range_count(counted(Files(store), files), len(files))
        return [self._pick(at, total, (listed,)) for at in range(total)]

    def _pick(self, at: int, total: int, reads: tuple[Ref, ...], args: str | None = None) -> Job:
        name = f"{at:05d}"
        return Job(name, (Target(self.file("duplicates", name), reads, f"{BY}: {at} of {total}"),), args)


def counted(files: Files, names: Sequence[str]) -> list[int]:
    """The rows of the first, middle and last of some files."""
    return [files.count(names[at]) for at in (0, len(names) // 2, -1)]


def members(grouping: Grouping) -> tuple[Column, ...]:
    """The columns of each shard that say who is in which group, and who of them is best."""
    group = Column(grouping.folder, "group", grouping.kind, str)
    return (group, grouping.best) if grouping.best else (group,)


def candidates(files: Files, grouping: Grouping, shard: str, left: pl.DataFrame) -> pl.DataFrame:
    """The members among what is left of a shard: group, owned, shard, document, position, rank, more."""
    names = [*KEY, "group", "owned", *(["rank"] if grouping.entry.method == "eps" else [])]
    found = files.read(f"{grouping.folder}/{shard}.parquet", names).drop_nulls("group")
    found = left.join(found, on=KEY, how="inner", maintain_order="left")
    keep, more = grouping.entry.keep, pl.lit(0, pl.Int64)
    if grouping.best:
        values = grouping.best.read(files, shard)
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

    def __call__(self, job: Job, making: Making) -> Report:
        """Writes the candidates by group."""
        files, grouping, frames = making.files, self.group.grouping, []
        for shard in job.args:
            left = self.judge.survivors(files, shard, grouping.kind)
            frames.append(candidates(files, grouping, shard, left))
        found = pl.concat(frames).sort("group", "shard", *KEY)
        making.write(job.targets[0].name, found.to_arrow(), ROW_GROUP)
        return Report(job.name)


@dataclass(frozen=True)
class FindDuplicates:
    """Picks in one of ``total`` ranges of groups; ``candidates`` are the files that list them."""

    group: Representatives
    candidates: tuple[str, ...]
    total: int

    def __call__(self, job: Job, making: Making) -> Report:
        """Writes what goes, by shard."""
        files = making.files
        if self.group.grouping.entry.method == "eps":
            about = files.rows([job.args], None, ["group", "rank", "witnesses"])
            clusters = about["group"].unique().to_arrow()
            witnesses = about.filter(pl.col("witnesses").list.len() > 0)
            found = semantic_duplicates(files.rows(self.candidates, ds.field("group").isin(clusters)), witnesses)
        else:
            found = duplicates(files.rows(self.candidates, group_range(int(job.name), self.total)))
        gone = found.select("shard", *KEY).sort("shard", *KEY)
        making.write(job.targets[0].name, gone.to_arrow().cast(REMOVED), ROW_GROUP)
        report = Report(job.name)
        report.counts["duplicates"] = gone.height
        return report


@dataclass(frozen=True)
class BringTogether:
    """Brings together what goes from a chunk of shards; ``files`` hold it by ranges of groups."""

    files: tuple[str, ...]

    def __call__(self, job: Job, making: Making) -> Report:
        """Writes what goes."""
        found = making.files.rows(self.files, ds.field("shard").isin(list(job.args))).sort("shard", *KEY)
        making.write(job.targets[0].name, found.to_arrow().cast(REMOVED), ROW_GROUP)
        return Report(job.name)


def group_range(at: int, total: int) -> Any:
    """The filter for one of ``total`` ranges of group ids, which are hex digits."""
    low, high = (f"{each * (1 << 16) // total:05x}"[1:] for each in (at, at + 1))
    wanted = ds.field("group") >= low
    return wanted & (ds.field("group") < high) if at + 1 < total else wanted
