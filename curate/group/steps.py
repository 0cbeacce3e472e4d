"""Steps: the work of a group as phases: which files it makes, from which, and which of them stay. Compares nothing.

What stays: a table for each shard; with ``eps`` the witnesses, which select reads; where another run can be grouped
against this, the keys; and, last, ``group.json``. All else is there for the tables only, and is made again if they need
it::

    keys       each chunk of shards      what is compared, sorted                 equal, near
    values     one job                   distinct fingerprints                    near in the corpus
    links      each band                 pairs of near fingerprints               near in the corpus
    sample, centroids, vectors           embeddings by their nearest centroid     cosine, eps
    groups     each range of keys, or of clusters; one job near in the corpus     all but within documents
    table      each chunk of shards      group and size of each segment           all
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from curate.group.clusters import (
    PER_JOB,
    AssignVectors,
    CompareClusters,
    FitCentroids,
    SampleVectors,
    sampled_shards,
)
from curate.group.grouping import Grouping, range_files
from curate.group.keys import WriteKeys, read_by
from curate.group.matching import ConnectLinks, DistinctValues, GroupRange, LinkBand, band_count
from curate.group.membership import TablesByKey, TablesByShard, TablesOfDocuments
from curate.recipe.recipe import Resource
from curate.report import Report
from curate.store.chunks import Chunk, chunks
from curate.store.dataset import RANGE, range_names, ranges
from curate.store.job import Job, OneByOne, Phase, Target
from curate.store.store import Store

ONE = "00000"
"""The name of a step's only job."""


def phases(store: Store, grouping: Grouping, shards: Sequence[str], needs: Resource) -> Iterator[Phase]:
    """The phases of one grouping over these shards."""
    yield from Steps(store, grouping, tuple(shards), needs).results()


def witness_files(store: Store, grouping: Grouping) -> list[str]:
    """The files of a finished group by ``eps`` that say which vectors resemble which, one for a range of clusters.

    Columns: shard, document, position, group, size, owned, rank, centroid, nearest, witnesses (ranks in the group).
    """
    return range_files(store, grouping)


@dataclass(frozen=True)
class Steps:
    """The phases of one grouping."""

    store: Store
    grouping: Grouping
    shards: tuple[str, ...]
    needs: Resource

    def results(self) -> Iterator[Phase]:
        """Those that make what stays."""
        grouping = self.grouping
        if grouping.is_reference:
            yield self._keys()
        if grouping.entry.method == "eps":
            yield from self._clusters(self._vectors)
        yield self._tables()
        names = tuple(chunk.name for chunk in self._chunks)
        job = Job(ONE, (Target(grouping.summary, (self._folder("table"),)),))
        yield self._phase([job], WriteSummary(self.store, grouping, len(self.shards), names))

    def _tables(self) -> Phase:
        """The tables, and first what only they read."""
        store, grouping = self.store, self.grouping
        entry, groups = grouping.entry, self._folder("groups")
        if entry.scope == "document":
            jobs = [self._table_job(chunk) for chunk in self._chunks]
            return self._phase(jobs, TablesOfDocuments(store, grouping), "table")
        compared = "vectors" if entry.method in ("cosine", "eps") else "keys"
        jobs = [self._table_job(chunk, grouping.file(compared, chunk.name), groups) for chunk in self._chunks]
        if entry.method == "eps":
            return self._phase(jobs, TablesByShard(store, grouping, compared), "table", self._vectors)
        if entry.method == "cosine":
            return self._phase(jobs, TablesByShard(store, grouping, compared), "table", self._clustered)
        if entry.method == "exact" or entry.scope == "domain":
            return self._phase(jobs, TablesByShard(store, grouping, compared), "table", self._key_ranges)
        return self._phase(jobs, TablesByKey(store, grouping, grouping.file("groups", ONE)), "table", self._linked)

    @property
    def _chunks(self) -> list[Chunk]:
        return chunks(self.shards)

    def _folder(self, step: str) -> str:
        """The set of all files of a step."""
        return f"{self.grouping.home}/{step}/"

    def _files(self, step: str) -> tuple[str, ...]:
        """The files of a step that has one for each chunk."""
        return tuple(self.grouping.file(step, chunk.name) for chunk in self._chunks)

    def _phase(
        self,
        jobs: Sequence[Job],
        work: Callable[[Job], Report],
        step: str = "",
        first: Callable[[], Iterator[Phase]] | None = None,
    ) -> Phase:
        seals = self._folder(step) if step else ""
        return Phase(f"group {self.grouping.name}", jobs, OneByOne(work), self.needs, first, seals)

    def _job(self, step: str, name: str, reads: tuple[str, ...], args: Any = None) -> Job:
        """A job that makes one file of a step."""
        return Job(name, (Target(self.grouping.file(step, name), reads),), args)

    def _chunk_job(self, step: str, chunk: Chunk, *more: str) -> Job:
        """A job that makes one file of a step from the shards of a chunk, and more."""
        reads = tuple(name for shard in chunk.shards for name in read_by(self.grouping, shard))
        return self._job(step, chunk.name, (*reads, *more), chunk.shards)

    def _table_job(self, chunk: Chunk, *more: str) -> Job:
        """A job that makes the tables of a chunk."""
        grouping = self.grouping
        return Job(
            chunk.name,
            tuple(Target(grouping.file("table", each), (*read_by(grouping, each), *more)) for each in chunk.shards),
        )

    def _ranges(self, step: str, size: int = RANGE, most: int = 1 << 16) -> Phase:
        """Says into how many ranges the rows of a step's files are cut."""
        job = Job(ONE, (Target(self.grouping.ranges, (self._folder(step),)),))
        return self._phase([job], CountRanges(self.store, self._files(step), size, most))

    def _range_jobs(self, step: str) -> list[Job]:
        """A job for each range, which reads all files of a step."""
        files = range_files(self.store, self.grouping)
        reads = (self._folder(step),)
        return [Job(f"{at:05d}", (Target(file, reads),), at) for at, file in enumerate(files)]

    def _keys(self) -> Phase:
        jobs = [self._chunk_job("keys", chunk) for chunk in self._chunks]
        return self._phase(jobs, WriteKeys(self.store, self.grouping), "keys")

    def _key_ranges(self) -> Iterator[Phase]:
        """Groups of equal keys, or of near ones within scopes."""
        if not self.grouping.is_reference:
            yield self._keys()
        yield self._ranges("keys")
        jobs = self._range_jobs("keys")
        yield self._phase(jobs, GroupRange(self.store, self.grouping, self._files("keys"), len(jobs)), "groups")

    def _linked(self) -> Iterator[Phase]:
        """Groups of fingerprints that are near in the corpus."""
        store, grouping = self.store, self.grouping
        work = DistinctValues(store, grouping, self._files("keys"))
        yield self._phase([self._job("values", ONE, (self._folder("keys"),))], work)
        values = grouping.file("values", ONE)
        names = range_names(band_count(store, values, grouping.entry))
        jobs = [self._job("links", name, (values,), at) for at, name in enumerate(names)]
        yield self._phase(jobs, LinkBand(store, grouping.entry, values), "links")
        links = tuple(grouping.file("links", name) for name in names)
        join = self._job("groups", ONE, (values, self._folder("links")))
        yield self._phase([join], ConnectLinks(store, values, links), "groups")

    def _vectors(self) -> Iterator[Phase]:
        """Embeddings by cluster."""
        store, grouping = self.store, self.grouping
        looked = sampled_shards(self.shards)
        jobs = [self._chunk_job("sample", chunk) for chunk in chunks(looked)]
        yield self._phase(jobs, SampleVectors(store, grouping, len(looked)), "sample")
        sample = tuple(grouping.file("sample", job.name) for job in jobs)
        fit = self._job("centroids", ONE, (self._folder("sample"),))
        yield self._phase([fit], FitCentroids(store, grouping.entry, sample))
        centroids = grouping.file("centroids", ONE)
        jobs = [self._chunk_job("vectors", chunk, centroids) for chunk in self._chunks]
        yield self._phase(jobs, AssignVectors(store, grouping, centroids), "vectors")

    def _clusters(self, first: Callable[[], Iterator[Phase]] | None = None) -> Iterator[Phase]:
        """Groups of near vectors within clusters, or with ``eps`` order and witnesses."""
        clusters = self.grouping.entry.clusters or 1
        yield replace(self._ranges("vectors", PER_JOB, clusters), first=first)
        jobs = self._range_jobs("vectors")
        work = CompareClusters(self.store, self.grouping.entry, self._files("vectors"), len(jobs))
        yield self._phase(jobs, work, "groups", first)

    def _clustered(self) -> Iterator[Phase]:
        """Groups by ``cosine``."""
        yield from self._vectors()
        yield from self._clusters()


@dataclass(frozen=True)
class CountRanges:
    """Says into how many ranges of about ``size`` rows files are cut."""

    store: Store
    files: tuple[str, ...]
    size: int
    most: int

    def __call__(self, job: Job) -> Report:
        """Writes the number."""
        (target,) = job.targets
        self.store.put_json(target.name, {"ranges": len(ranges(self.store, self.files, self.size, self.most))})
        return Report(job.name)


@dataclass(frozen=True)
class WriteSummary:
    """What a grouping's folder says of itself: ``chunks`` names its key files, if it has any."""

    store: Store
    grouping: Grouping
    shards: int
    chunks: tuple[str, ...]

    def __call__(self, job: Job) -> Report:
        """Writes it."""
        (target,) = job.targets
        entry = self.grouping.entry.model_dump(mode="json", exclude={"keep"}, exclude_none=True)
        about = {"name": self.grouping.name, "keys": self.grouping.keys, "group": entry}
        self.store.put_json(target.name, about | {"shards": self.shards, "chunks": self.chunks})
        return Report(job.name)
