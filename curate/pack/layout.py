"""Layout: which kept documents go into which output shard. Follows from the verdicts alone; reads no picture.

The documents are measured chunk by chunk, and one job cuts them. What it writes, ``meta/layout.parquet``, has a row for
each run of documents that lie in one raw shard and go into one output shard.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa

from curate.ledger.job import FileSet, Job, Phase, Target
from curate.ledger.making import Making, OneByOne
from curate.pack.output_folder import Output, made_by
from curate.pack.writer import writer
from curate.recipe.output import Pack
from curate.recipe.recipe import Resource
from curate.report import Report
from curate.store.chunks import ROW_GROUP, chunks
from curate.store.columns import table_name
from curate.store.files import Files
from curate.store.store import Store

RECKONED = {"document": 2048, "image": 1536, "text": 256}
"""Bytes reckoned for tar headers, padding and the line in the json, besides the content."""
END = 10_240
"""Most bytes at the end of a tar."""

LAYOUT = pa.schema(
    [
        pa.field("tar", pa.int64(), nullable=False),  # the number of the output shard
        pa.field("shard", pa.string(), nullable=False),  # the raw shard
        pa.field("first", pa.int64(), nullable=False),  # among the kept documents of the raw shard
        pa.field("count", pa.int64(), nullable=False),
    ]
)
"""meta/layout.parquet, in the order in which documents are packed."""
SIZES = pa.schema(
    [
        pa.field("shard", pa.string(), nullable=False),
        pa.field("needed", pa.int64(), nullable=False),  # bytes
        pa.field("samples", pa.int64(), nullable=False),
    ]
)
"""meta/layout/NNNNNNNN.parquet, temporary: a row for each kept document of a chunk, in order."""
Run = tuple[str, int, int]
"""Documents that lie together: the raw shard, the first of its kept documents, and how many."""


def layout_file(out: str) -> str:
    """The layout of an output folder."""
    return f"{out}/meta/layout.parquet"


def phases(store: Store, output: Output, shards: Sequence[str], needs: Resource) -> Iterator[Phase]:
    """Writes the layout."""
    several, by = chunks(shards), made_by(output.recipe.pack)
    files = tuple(f"{output.folder}/meta/layout/{chunk.name}.parquet" for chunk in several)
    verdicts = FileSet("verdicts", tuple(table_name(output.verdicts, shard) for shard in shards))

    def first() -> Iterator[Phase]:
        jobs = [
            Job(
                chunk.name,
                (Target(file, tuple(table_name(output.verdicts, each) for each in chunk.shards), by),),
                chunk.shards,
            )
            for chunk, file in zip(several, files, strict=True)
        ]
        worker = MeasureDocuments(output.verdicts, writer(output.recipe.pack.format).per_image)
        yield Phase("pack sizes", jobs, OneByOne(store, worker), needs)

    job = Job("layout", (Target(layout_file(output.folder), files, by, (verdicts,)),))
    worker = OneByOne(store, CutDocuments(files, output.recipe.pack))
    yield Phase("pack layout", [job], worker, needs, first, spoils=(output.index,))


def runs_of_tars(store: Store, out: str) -> list[list[Run]]:
    """The runs of documents of each output shard."""
    rows = Files(store).read(layout_file(out))
    tars = rows.group_by("tar", maintain_order=True).agg(pl.struct("shard", "first", "count").alias("runs"))
    return [[(run["shard"], run["first"], run["count"]) for run in runs] for runs in tars["runs"].to_list()]


@dataclass(frozen=True)
class MeasureDocuments:
    """Writes what the kept documents of a chunk take."""

    verdicts: str
    per_image: bool

    def __call__(self, job: Job, making: Making) -> Report:
        """Reads the verdicts of a chunk, a shard at a time."""
        (target,) = job.targets
        found = [SIZES.empty_table()]
        for shard in job.args:
            columns = ["document", "kind", "state", "bytes", "added"]
            rows = making.files.read(table_name(self.verdicts, shard), columns)
            sizes = sizes_of(rows, self.per_image).select(pl.lit(shard).alias("shard"), "needed", "samples")
            found.append(sizes.to_arrow().cast(SIZES))
        together = pa.concat_tables(found)
        making.write(target.name, together)
        return Report(job.name, Counter(documents=together.num_rows))


def sizes_of(verdicts: pl.DataFrame, per_image: bool) -> pl.DataFrame:
    """For each kept document of a raw shard, in order, the bytes that are needed and the samples that it becomes."""
    rows = verdicts.filter(state="kept")
    more = pl.col("added").bitwise_count_ones().cast(pl.Int64)
    extra = pl.col("kind").replace_strict(RECKONED, return_dtype=pl.Int64) + more * RECKONED["text"]
    own = (pl.col("kind") == "text").any().cast(pl.Int64)
    pairs = pl.when(kind="image").then(pl.max_horizontal(own + more, 1)).otherwise(0)
    if per_image:  # an image with several texts is written with each
        extra = extra + (pairs - 1).clip(0) * (pl.col("bytes") + RECKONED["image"])
    extras = rows.group_by("document").agg(extra=extra.sum(), images=pairs.sum())
    kept = rows.filter(kind="document").join(extras, on="document", how="left", maintain_order="left")
    return kept.select(
        needed=pl.col("bytes") + pl.col("extra"),
        samples=pl.col("images").cast(pl.Int64) if per_image else pl.lit(1, pl.Int64),
    )


@dataclass(frozen=True)
class CutDocuments:
    """Cuts all kept documents into output shards; ``files`` has their sizes, chunk by chunk."""

    files: Sequence[str]
    pack: Pack

    def __call__(self, job: Job, making: Making) -> Report:
        """Writes the layout."""
        (target,) = job.targets
        sizes = (making.files.read(name) for name in self.files)
        found = [each.to_arrow().cast(LAYOUT) for each in cut(sizes, self.pack)]
        runs = pa.concat_tables([LAYOUT.empty_table(), *found])
        making.write(target.name, runs, ROW_GROUP)
        tars = runs["tar"][-1].as_py() + 1 if runs.num_rows else 0
        return Report(job.name, Counter(tars=tars))


def cut(sizes: Iterable[pl.DataFrame], pack: Pack) -> Iterator[pl.DataFrame]:
    """The runs of documents, as in ``LAYOUT``, for each frame of documents, as in ``SIZES``.

    An output shard is closed when the next document would bring it over ``shard_bytes`` or ``shard_count``; one that
    alone is larger gets an output shard of its own. One that has no sample yet is not closed.
    """
    tar, size, count = 0, END, 0  # the open output shard, and what is in it
    for frame in sizes:
        needed, samples = (totals(frame[name]) for name in ("needed", "samples"))
        at, starts = 0, list[int]()  # since when the open one is filled; where new ones begin
        while True:
            too_large = reached(needed, int(needed[at]) - size + pack.shard_bytes) - 1
            too_many = reached(samples, int(samples[at]) - count + pack.shard_count) - 1
            filled = reached(samples, int(samples[at]) - count)
            end = max(at, filled, min(too_large, too_many))
            if end >= frame.height:
                break
            starts.append(end)
            at, size, count = end, END, 0
        size, count = size + int(needed[-1] - needed[at]), count + int(samples[-1] - samples[at])
        yield runs_of(frame["shard"], starts, tar)
        tar += len(starts)


def totals(values: pl.Series) -> npt.NDArray[np.int64]:
    """What the first 0, 1, 2 ... values come to."""
    return np.concatenate([[0], values.to_numpy().cumsum()]).astype(np.int64)


def reached(sums: npt.NDArray[np.int64], limit: int) -> int:
    """The first index at which a sum is above the limit; beyond the last if none is."""
    return int(np.searchsorted(sums, min(limit, int(sums[-1])), side="right"))


def runs_of(shards: pl.Series, starts: Sequence[int], tar: int) -> pl.DataFrame:
    """Documents, by the raw shard of each, cut where raw shards and output shards begin; ``tar`` is open before."""
    lengths = shards.rle().struct.field("len").to_numpy().astype(np.int64)
    firsts = np.cumsum(lengths) - lengths
    begins = np.union1d(firsts, np.asarray(starts, np.int64))
    of = np.searchsorted(firsts, begins, side="right") - 1
    return pl.DataFrame(
        {
            "tar": tar + np.searchsorted(np.asarray(starts, np.int64), begins, side="right"),
            "shard": shards.gather(begins),
            "first": begins - firsts[of],
            "count": np.diff(begins, append=len(shards)),
        }
    )
