"""Survive: who stays of each group of duplicates, among what the other rules leave. Groups nothing.

The best member stays, ties going to the least id; of a SemDeDup cluster a member goes if one that comes before it in
the cluster's order, and is too similar, is still there. Groups that reach over shards take two passes: each chunk of
shards lists its candidates, then each range of groups its losers, and select reads the losers of its shard.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.dataset as ds

from curate.group.grouping import Grouping
from curate.group.keys import ROW_GROUP, Chunk, ranges, rows
from curate.report import Report
from curate.select.decide import Pick, alive
from curate.store import table
from curate.store.columns import KEY, StaleScores
from curate.store.store import Store

WINS = {"by": ["rank", "more", *KEY], "descending": [True, True, False, False], "nulls_last": True}
"""The order of a group's members, the one that stays first."""
LOSERS = pa.schema([pa.field("shard", pa.string(), nullable=False), *table.KEY])


@dataclass(frozen=True)
class Picker:
    """A group of which only some members stay.

    ``at``: the ordinal of each shard, for ``keep: first``; ``chunk_of``: the name of its chunk.
    """

    grouping: Grouping
    at: dict[str, int]
    chunk_of: dict[str, str]

    @property
    def local(self) -> bool:
        """Whether every group lies within one shard."""
        return self.grouping.entry.scope == "document"

    def folder(self, verdicts: str, what: str) -> str:
        """Where its candidates or losers lie."""
        return f"{verdicts}/{what}/{self.grouping.name}"

    def pick(self, store: Store, verdicts: str, shard: str, content: str) -> Pick:
        """What select asks of it for one shard."""
        if self.local:
            chosen: Callable[[pl.DataFrame], pl.DataFrame] = lambda left: losers(  # noqa: E731
                self.candidates(store, shard, content, left)
            )
        else:
            name = f"{self.folder(verdicts, 'lost')}/{self.chunk_of[shard]}.parquet"
            with store.local(name) as path:
                if table.note(path, f"raw.{shard}") != content:
                    raise StaleScores(f"{path}: picked with another raw shard {shard}; delete {verdicts}, run again")
            gone = rows(store, [name], ds.field("shard") == shard)
            chosen = lambda left: left.join(gone, on=KEY, how="semi")  # noqa: E731
        return Pick(self.grouping.kind, f"{self.grouping.kind}: duplicate ({self.grouping.name})", chosen)

    def candidates(self, store: Store, shard: str, content: str, left: pl.DataFrame) -> pl.DataFrame:
        """The members among what is left: group, owned, rank, more, shard, document, position."""
        grouping = self.grouping
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
            rank = -((self.at[shard] << 32) + pl.col("row").cast(pl.Int64))
        return found.select("group", "owned", pl.lit(shard).alias("shard"), *KEY, rank=rank, more=more)


def losers(candidates: pl.DataFrame) -> pl.DataFrame:
    """All candidates but the best of each group; of a group that another run owns, all of them."""
    ordered = candidates.sort(**WINS)  # type: ignore[arg-type]
    return ordered.filter(pl.col("owned") | ~pl.col("group").is_first_distinct())


def beaten(candidates: pl.DataFrame, witnesses: pl.DataFrame) -> pl.DataFrame:
    """SemDeDup: the candidates of which a witness (group, rank, witnesses) is a candidate, too."""
    pairs = witnesses.explode("witnesses", empty_as_null=False).select("group", "rank", witness="witnesses")
    there = candidates.select("group", witness="rank")
    hit = pairs.join(there, on=["group", "witness"], how="semi").select("group", "rank").unique()
    return candidates.join(hit, on=["group", "rank"], how="semi")


@dataclass(frozen=True)
class CandidatesWorker:
    """Lists what is left of the members in a chunk of shards. ``left`` is what the rules and earlier picks leave."""

    store: Store
    picker: Picker
    left: Callable[[str], tuple[pl.DataFrame, str]]
    folder: str

    def __call__(self, chunk: Chunk) -> Report:
        """Writes ``candidates/NAME/NNNNN.parquet``, sorted by group."""
        began, frames, notes = time.monotonic(), [], {}
        for shard in chunk.shards:
            frame, content = self.left(shard)
            notes[f"raw.{shard}"] = content
            frames.append(self.picker.candidates(self.store, shard, content, alive(frame, self.picker.grouping.kind)))
        found = pl.concat(frames).sort("group", "shard", *KEY)
        with self.store.writing(f"{self.picker.folder(self.folder, 'candidates')}/{chunk.shard}.parquet") as path:
            table.write(path, found.to_arrow(), ROW_GROUP, **notes)
        return replace(Report(chunk.shard), seconds=time.monotonic() - began)


@dataclass(frozen=True)
class LosersWorker:
    """Picks in one of ``total`` ranges of groups."""

    store: Store
    picker: Picker
    folder: str
    total: int

    def __call__(self, job: str) -> Report:
        """Writes ``losers/NAME/NNNNN.parquet``, sorted by shard."""
        began, at = time.monotonic(), int(job)
        folder, grouping = self.picker.folder(self.folder, "candidates"), self.picker.grouping
        names = [f"{folder}/{name}" for name in sorted(self.store.names(folder))]
        if grouping.entry.method == "eps":
            about = rows(self.store, [f"{grouping.home}/groups/{job}.parquet"], None, ["group", "rank", "witnesses"])
            witnesses = about.filter(pl.col("witnesses").list.len() > 0)
            clusters = about["group"].unique().to_arrow()
            found = beaten(rows(self.store, names, ds.field("group").isin(clusters)), witnesses)
        else:
            found = losers(rows(self.store, names, group_range(at, self.total)))
        gone = found.select("shard", *KEY).sort("shard", *KEY)
        with self.store.writing(f"{self.picker.folder(self.folder, 'losers')}/{job}.parquet") as path:
            table.write(path, gone.to_arrow().cast(LOSERS), ROW_GROUP)
        report = Report(job, seconds=time.monotonic() - began)
        report.counts["duplicates"] = gone.height
        return report


@dataclass(frozen=True)
class LostWorker:
    """Brings the losers of all ranges together by chunk of shards."""

    store: Store
    picker: Picker
    folder: str

    def __call__(self, chunk: Chunk) -> Report:
        """Writes ``lost/NAME/NNNNN.parquet``, with the hashes of the raw shards that were looked at."""
        began, folder = time.monotonic(), self.picker.folder(self.folder, "losers")
        with self.store.local(f"{self.picker.folder(self.folder, 'candidates')}/{chunk.shard}.parquet") as path:
            notes = {f"raw.{shard}": table.note(path, f"raw.{shard}") for shard in chunk.shards}
        names = [f"{folder}/{name}" for name in sorted(self.store.names(folder))]
        found = rows(self.store, names, ds.field("shard").isin(list(chunk.shards))).sort("shard", *KEY)
        with self.store.writing(f"{self.picker.folder(self.folder, 'lost')}/{chunk.shard}.parquet") as path:
            table.write(path, found.to_arrow().cast(LOSERS), ROW_GROUP, **notes)
        return Report(chunk.shard, seconds=time.monotonic() - began)


def group_range(at: int, total: int) -> Any:
    """The filter for one of ``total`` ranges of group ids, which are hex digits."""
    low, high = (f"{each * (1 << 16) // total:05x}"[1:] for each in (at, at + 1))
    wanted = ds.field("group") >= low
    return wanted & (ds.field("group") < high) if at + 1 < total else wanted


def loser_jobs(store: Store, picker: Picker, verdicts: str) -> list[str]:
    """The ranges in which losers are looked for."""
    if picker.grouping.entry.method == "eps":
        return sorted(name.partition(".")[0] for name in store.names(f"{picker.grouping.home}/groups"))
    return ranges(store, picker.folder(verdicts, "candidates"))
