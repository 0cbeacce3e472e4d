"""Clusters: embeddings grouped by nearness, one cluster at a time. Needs the extra ``dedup`` (faiss).

As SemDeDup (Abbas et al. 2023): k-means on a sample, every vector to its nearest centroid, pairs within clusters only.
No job holds more than a chunk of shards or a range of clusters::

    centroids   one job            k-means on a sample
    vectors     each chunk         cluster and cosine to its centre of each vector, with the vector, by cluster
    groups      range of clusters  near pairs: components, or who comes before whom
    table       each chunk         what that says of each segment
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa
import pyarrow.dataset as ds

from curate.group import semantic
from curate.group.components import name_of
from curate.group.keys import Chunk, chunks, content_of, members, ranges
from curate.group.steps import ONE, Context, ShardTables, Step, tables
from curate.group.union_find import merged
from curate.report import Report
from curate.store import table

PER_JOB = 200_000
"""About how many vectors a job of a range of clusters holds."""
SAMPLE = 256
"""Vectors for each centroid that k-means looks at, at most."""
LOOKED = 4096
"""Shards that the sample is taken from, at most."""
CENTROIDS = pa.schema([pa.field("centroid", pa.list_(pa.float32()))])
VECTORS = pa.schema(
    [
        pa.field("cluster", pa.int32()),
        pa.field("centroid", pa.float32()),
        pa.field("shard", pa.string()),
        *table.KEY,
        pa.field("key", pa.list_(pa.float16())),
    ]
)
GROUPS = pa.schema(
    [
        pa.field("shard", pa.string()),
        *table.KEY,
        pa.field("group", pa.string()),
        pa.field("size", pa.int64()),
        pa.field("owned", pa.bool_()),
        pa.field("rank", pa.int64()),
        pa.field("centroid", pa.float32()),
        pa.field("nearest", pa.float32()),
        pa.field("witnesses", pa.list_(pa.int64())),
    ]
)


def steps(context: Context) -> Iterator[Step]:
    """The steps of a group by ``cosine`` or ``eps``."""
    several = chunks(context.shards)
    yield context.step("centroids", [ONE], CentroidsWorker(context))
    yield context.step("vectors", several, VectorsWorker(context))
    jobs = ranges(context.store, f"{context.grouping.home}/vectors", PER_JOB, context.grouping.entry.clusters or 1)
    yield context.step("groups", jobs, ClustersWorker(context, len(jobs)))
    yield context.step("table", tables(several), ShardTables(context, "vectors", ("witnesses",)))


def matrix(column: pl.Series) -> npt.NDArray[Any]:
    """A column of vectors as (n, d)."""
    flat = column.explode(empty_as_null=False).to_numpy() if len(column) else np.empty(0, np.float16)
    return flat.reshape(len(column), -1) if len(column) else flat.reshape(0, 0)


@dataclass(frozen=True)
class CentroidsWorker:
    """K-means on vectors taken at even distances from shards at even distances; it depends on how they were cut."""

    context: Context

    def __call__(self, job: str) -> Report:
        """Writes ``centroids/00000.parquet``."""
        began, context = time.monotonic(), self.context
        entry = context.grouping.entry
        wanted = SAMPLE * (entry.clusters or 1)
        looked = context.shards[:: -(-len(context.shards) // LOOKED)]
        share = max(1, -(-wanted // len(looked)))
        parts = []
        for shard in looked:
            found = members(context.store, context.grouping, shard, content_of(context.store, shard))[
                "key"
            ].drop_nulls()
            parts.append(matrix(found.gather_every(max(1, len(found) // share)).head(share)))
        parts = [part for part in parts if len(part)]
        sample = np.concatenate(parts).astype(np.float32) if parts else np.empty((0, 1), np.float32)
        centroids = semantic.fit(sample, entry.clusters or 1, entry.iterations, entry.seed)
        with context.store.writing(context.name("centroids", job)) as path:
            table.write(path, pa.table({"centroid": pa.array(list(centroids), CENTROIDS.field(0).type)}))
        return Report(job, seconds=time.monotonic() - began)


@dataclass(frozen=True)
class VectorsWorker:
    """Gives each vector of a chunk its cluster, and writes them by cluster."""

    context: Context

    def __call__(self, chunk: Chunk) -> Report:
        """Writes ``vectors/NNNNN.parquet``."""
        began, context, notes = time.monotonic(), self.context, {}
        centroids = matrix(context.read("centroids")["centroid"])
        frames = []
        for shard in chunk.shards:
            notes[f"raw.{shard}"] = content = content_of(context.store, shard)
            found = members(context.store, context.grouping, shard, content).drop_nulls("key")
            if found.height:
                cluster, similarity = np.zeros(found.height, np.int32), np.zeros(found.height, np.float32)
                if len(centroids):  # none where every vector of the sample is zero
                    cluster, similarity = semantic.assign(matrix(found["key"]), centroids)
                found = found.with_columns(cluster=pl.Series(cluster), centroid=pl.Series(similarity))
                frames.append(found.select("cluster", "centroid", pl.lit(shard).alias("shard"), *VECTORS.names[3:]))
        empty = pl.from_arrow(VECTORS.empty_table())
        assert isinstance(empty, pl.DataFrame)
        found = pl.concat([empty.cast({"key": pl.List(pl.Float16)}), *frames]).sort(
            VECTORS.names[:1] + VECTORS.names[2:5]
        )
        with context.store.writing(context.name("vectors", chunk.shard)) as path:
            table.write(path, found.to_arrow().cast(VECTORS), 1024, **notes)
        report = Report(chunk.shard, seconds=time.monotonic() - began)
        report.counts["vectors"] = found.height
        return report


@dataclass(frozen=True)
class ClustersWorker:
    """Compares the vectors of a range of clusters, one cluster after the other."""

    context: Context
    total: int

    def __call__(self, job: str) -> Report:
        """Writes ``groups/NNNNN.parquet``, by shard."""
        began, at, entry = time.monotonic(), int(job), self.context.grouping.entry
        low, high = ((entry.clusters or 1) * each // self.total for each in (at, at + 1))
        wanted = (ds.field("cluster") >= low) & (ds.field("cluster") < high)
        vectors = self.context.read("vectors", wanted).sort("cluster", "document", "position")
        compare = self._order if entry.method == "eps" else self._components
        parts = [compare(part) for part in vectors.partition_by("cluster", maintain_order=True)]
        found = pl.concat(parts) if parts else pl.from_arrow(GROUPS.empty_table())
        assert isinstance(found, pl.DataFrame)
        found = found.sort("shard", "document", "position")
        with self.context.store.writing(self.context.name("groups", job)) as path:
            table.write(path, found.select(GROUPS.names).to_arrow().cast(GROUPS), 8192)
        report = Report(job, seconds=time.monotonic() - began)
        report.counts["vectors"] = vectors.height
        return report

    def _order(self, part: pl.DataFrame) -> pl.DataFrame:
        """SemDeDup's figures for one cluster."""
        entry = self.context.grouping.entry
        ids = [f"{document}.{position:06d}" for document, position in part.select("document", "position").iter_rows()]
        keep: Any = entry.keep or "hard"
        order = semantic.order(part["centroid"].to_numpy(), ids, keep, entry.seed)
        nearest, links = semantic.duplicates(matrix(part["key"]), order, entry.eps or 0)
        rank = np.empty(part.height, np.int64)
        rank[order] = np.arange(part.height)
        witnesses = pa.LargeListArray.from_arrays(links.start, rank[links.item])
        return (
            part.drop("key")
            .with_columns(
                group=pl.lit(f"{part['cluster'][0]:08x}"),
                size=pl.lit(part.height, pl.Int64),
                owned=pl.lit(value=False),
                rank=pl.Series(rank),
                nearest=pl.Series(nearest, dtype=pl.Float32).fill_nan(None),
                witnesses=pl.Series(witnesses).cast(pl.List(pl.Int64)),
            )
            .select(GROUPS.names)
        )

    def _components(self, part: pl.DataFrame) -> pl.DataFrame:
        """Connected components of near vectors of one cluster."""
        label = merged(part.height, semantic.near(matrix(part["key"]), self.context.grouping.entry.cosine or 1))
        keys = [
            f"{document}.{position}".encode() for document, position in part.select("document", "position").iter_rows()
        ]
        frame = (
            part.drop("key")
            .with_columns(label=pl.Series(label))
            .with_columns(size=pl.len().over("label").cast(pl.Int64))
        )
        names = [name_of(keys[each]) if size > 1 else None for each, size in frame.select("label", "size").iter_rows()]
        return frame.with_columns(
            group=pl.Series(names, dtype=pl.String),
            owned=pl.lit(value=False),
            rank=pl.lit(None, pl.Int64),
            nearest=pl.lit(None, pl.Float32),
            witnesses=pl.lit(None, pl.List(pl.Int64)),
        ).select(GROUPS.names)
