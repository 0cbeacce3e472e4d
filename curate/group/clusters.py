"""Clusters: embeddings by their nearest centroid, and grouped within clusters only. Needs the extra ``dedup`` (faiss).

As SemDeDup (Abbas et al. 2023): k-means on a sample, every vector to its nearest centroid, pairs within clusters only.
No job holds more than the sample, a chunk of shards, or a range of clusters::

    sample      each chunk         vectors at even distances
    centroids   one job            k-means on the sample
    vectors     each chunk         cluster and cosine to its centre of each vector, with the vector, by cluster
    groups      range of clusters  near pairs: components, or who comes before whom
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa
import pyarrow.dataset as ds

from curate.group.components import name_of
from curate.group.grouping import Grouping
from curate.group.keys import members, write
from curate.group.semantic import Floats, Vectors, duplicates, exact_cosines, margin, near, unit_vectors
from curate.group.semantic import order as preference
from curate.group.union_find import components_in_pieces
from curate.ledger.job import Job
from curate.ledger.making import Held, Making
from curate.recipe.measures import Group
from curate.report import Report
from curate.store import schema
from curate.store.files import Files

PER_JOB = 200_000
"""About how many vectors a job of a range of clusters holds."""
SAMPLE = 256
"""Vectors for each centroid that k-means looks at, at most."""
LOOKED = 4096
"""Shards that the sample is taken from, at most."""
SAMPLED = pa.schema([pa.field("key", pa.list_(pa.float16()))])
CENTROIDS = pa.schema([pa.field("centroid", pa.list_(pa.float32()))])
VECTORS = pa.schema(
    [
        pa.field("cluster", pa.int32()),
        pa.field("centroid", pa.float32()),
        pa.field("shard", pa.string()),
        *schema.KEY,
        pa.field("key", pa.list_(pa.float16())),
    ]
)
GROUPS = pa.schema(
    [
        pa.field("shard", pa.string()),
        *schema.KEY,
        pa.field("group", pa.string()),
        pa.field("size", pa.int64()),
        pa.field("owned", pa.bool_()),
        pa.field("rank", pa.int64()),
        pa.field("centroid", pa.float32()),
        pa.field("nearest", pa.float32()),
        pa.field("witnesses", pa.list_(pa.int64())),
    ]
)


def fit(sample: Floats, clusters: int, iterations: int, seed: int) -> Floats:
    """Centroids (k, d) of unit length by faiss' spherical k-means on all of the sample (n, d); k <= clusters.

    With no more distinct vectors than clusters, they are the centroids. It runs on one thread: the last bits of a
    matrix product, and with them who is nearest, depend on how threads share it.
    """
    import faiss  # half a second, which no other command should wait for

    rows = unit_vectors(sample)
    rows = rows[rows.any(axis=1)]
    distinct = {sha256(row.tobytes()).digest(): at for at, row in enumerate(rows)}
    if len(distinct) <= clusters:
        return rows[sorted(distinct.values())]
    every = {"min_points_per_centroid": 1, "max_points_per_centroid": len(rows)}
    threads = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(1)
    try:
        kmeans = faiss.Kmeans(rows.shape[1], clusters, niter=iterations, seed=seed, spherical=True, **every)
        kmeans.train(rows)
    finally:
        faiss.omp_set_num_threads(threads)
    centroids = unit_vectors(np.asarray(kmeans.centroids))
    return centroids[centroids.any(axis=1)]


def assign(vectors: Vectors, centroids: Floats) -> tuple[npt.NDArray[np.int32], Floats]:
    """The centroid with the largest cosine for each of (n, d) vectors, the first of equals, and that cosine."""
    centres = unit_vectors(centroids)
    cluster, similarity = np.zeros(len(vectors), np.int32), np.zeros(len(vectors), np.float32)
    size = max(64, (1 << 22) // len(centres))
    for at in range(0, len(vectors), size):
        block = unit_vectors(vectors[at : at + size])
        products = block @ centres.T
        limit = products.max(axis=1) - 2 * margin(centres.shape[1])
        row, centre = np.divmod(np.flatnonzero(products >= limit[:, None]), len(centres))
        cosines = exact_cosines(block, row, centres, centre)
        best = np.lexsort((centre, -cosines, row))[np.searchsorted(row, np.arange(len(block)))]
        cluster[at : at + size], similarity[at : at + size] = centre[best], cosines[best]
    return cluster, similarity


def matrix(column: pl.Series) -> npt.NDArray[Any]:
    """A column of vectors as (n, d)."""
    flat = column.explode(empty_as_null=False).to_numpy() if len(column) else np.empty(0, np.float16)
    return flat.reshape(len(column), -1) if len(column) else flat.reshape(0, 0)


def sampled_shards(shards: Sequence[str]) -> Sequence[str]:
    """The shards that the sample is taken from: at even distances, so it depends on how the corpus was cut."""
    return shards[:: -(-len(shards) // LOOKED)]


@dataclass(frozen=True)
class SampleVectors:
    """Vectors at even distances from shards of a chunk; ``shards``: from how many they are taken in all."""

    grouping: Grouping
    shards: int

    def __call__(self, job: Job, making: Making) -> Report:
        """Writes them in the order of the shards. ``args``: the shards."""
        share = max(1, -(-SAMPLE * (self.grouping.entry.clusters or 1) // self.shards))
        frames = [frame_of(SAMPLED)]
        for shard in job.args:
            found = members(making.files, self.grouping, shard).select("key").drop_nulls()
            frames.append(found.gather_every(max(1, found.height // share)).head(share))
        return write(making, job, "sampled", pl.concat(frames), SAMPLED)


@dataclass(frozen=True)
class FitCentroids:
    """K-means on the sample."""

    entry: Group
    sample: tuple[str, ...]

    def __call__(self, job: Job, making: Making) -> Report:
        """Writes the centroids."""
        parts = [matrix(making.files.rows([name])["key"]) for name in self.sample]
        parts = [part for part in parts if len(part)]
        sample = np.concatenate(parts).astype(np.float32) if parts else np.empty((0, 1), np.float32)
        centroids = fit(sample, self.entry.clusters or 1, self.entry.iterations, self.entry.seed)
        found = pl.from_arrow(pa.table({"centroid": pa.array(list(centroids), CENTROIDS.field(0).type)}))
        assert isinstance(found, pl.DataFrame)
        return write(making, job, "centroids", found, CENTROIDS)


@dataclass(frozen=True)
class AssignVectors:
    """Gives each vector of a chunk its cluster."""

    grouping: Grouping
    centroids: str

    @cached_property
    def _centroids(self) -> Held[npt.NDArray[Any]]:
        return Held(self.centroids)

    def _read(self, files: Files) -> npt.NDArray[Any]:
        return matrix(files.rows([self.centroids])["centroid"])

    def __call__(self, job: Job, making: Making) -> Report:
        """Writes the vectors by cluster. ``args``: the shards."""
        frames, centroids = [frame_of(VECTORS)], self._centroids.get(making.files, self._read)
        for shard in job.args:
            found = members(making.files, self.grouping, shard).drop_nulls("key")
            if found.height:
                cluster, similarity = np.zeros(found.height, np.int32), np.zeros(found.height, np.float32)
                if len(centroids):  # none where every vector of the sample is zero
                    cluster, similarity = assign(matrix(found["key"]), centroids)
                found = found.with_columns(cluster=pl.Series(cluster), centroid=pl.Series(similarity))
                frames.append(found.select("cluster", "centroid", pl.lit(shard).alias("shard"), *VECTORS.names[3:]))
        vectors = pl.concat(frames).sort(VECTORS.names[:1] + VECTORS.names[2:5])
        return write(making, job, "vectors", vectors, VECTORS, 1024)


def frame_of(schema: pa.Schema) -> pl.DataFrame:
    """No rows with the columns of a schema that has vectors."""
    empty = pl.from_arrow(schema.empty_table())
    assert isinstance(empty, pl.DataFrame)
    return empty.cast({"key": pl.List(pl.Float16)})


@dataclass(frozen=True)
class CompareClusters:
    """Compares the vectors of one of ``total`` ranges of clusters, one cluster after the other."""

    entry: Group
    vectors: tuple[str, ...]
    total: int

    def __call__(self, job: Job, making: Making) -> Report:
        """Writes what was found of each vector, by shard. ``args``: which range."""
        low, high = ((self.entry.clusters or 1) * each // self.total for each in (job.args, job.args + 1))
        wanted = (ds.field("cluster") >= low) & (ds.field("cluster") < high)
        vectors = making.files.rows(self.vectors, wanted).sort("cluster", "document", "position")
        compare = self._order if self.entry.method == "eps" else self._components
        parts = [compare(part) for part in vectors.partition_by("cluster", maintain_order=True)]
        found = pl.concat(parts) if parts else pl.from_arrow(GROUPS.empty_table())
        assert isinstance(found, pl.DataFrame)
        return write(making, job, "vectors", found.sort("shard", "document", "position"), GROUPS, 8192)

    def _order(self, part: pl.DataFrame) -> pl.DataFrame:
        """SemDeDup's figures for one cluster."""
        entry = self.entry
        ids = [f"{document}.{position:06d}" for document, position in part.select("document", "position").iter_rows()]
        keep: Any = entry.keep or "hard"
        order = preference(part["centroid"].to_numpy(), ids, keep, entry.seed)
        nearest, links = duplicates(matrix(part["key"]), order, entry.eps or 0)
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
        label = components_in_pieces(part.height, near(matrix(part["key"]), self.entry.cosine or 1))
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
