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
from dataclasses import dataclass
from functools import partial
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
from curate.ledger.job import Job, Phase, Target
from curate.ledger.making import OneByOne
from curate.recipe.measures import Group
from curate.recipe.recipe import Resource
from curate.report import Report
from curate.store.chunks import RANGE, Chunk, chunks, range_names, ranges
from curate.store.store import Store

ONE = "00000"
"""The name of a step's only job."""


def phases(store: Store, grouping: Grouping, shards: Sequence[str], needs: Resource) -> Iterator[Phase]:
    """The phases of one grouping over these shards: those that make what stays, each with what it needs ``first``."""
    layout = Layout(store, grouping, tuple(shards), needs)
    if grouping.is_reference:
        yield _keys(layout)
    if grouping.entry.method == "eps":
        yield from _compared(layout, first=partial(_vectors, layout))
    yield _tables(layout)
    job = Job(ONE, (Target(grouping.summary, (layout.folder("table"),)),))
    names = tuple(chunk.name for chunk in layout.chunks)
    yield layout.phase([job], WriteSummary(store, grouping, len(shards), names))


def witness_files(store: Store, grouping: Grouping) -> list[str]:
    """The files of a finished group by ``eps`` that say which vectors resemble which, one for a range of clusters.

    Columns: shard, document, position, group, size, owned, rank, centroid, nearest, witnesses (ranks in the group).
    """
    return range_files(store, grouping)


@dataclass(frozen=True)
class Layout:
    """A grouping over some shards: how its work is cut into jobs, and which files those make."""

    store: Store
    grouping: Grouping
    shards: tuple[str, ...]
    needs: Resource

    @property
    def chunks(self) -> list[Chunk]:
        """The chunks of its shards."""
        return chunks(self.shards)

    def folder(self, step: str) -> str:
        """The set of all files of a step."""
        return f"{self.grouping.home}/{step}/"

    def files(self, step: str) -> tuple[str, ...]:
        """The files of a step that has one for each chunk."""
        return tuple(self.grouping.file(step, chunk.name) for chunk in self.chunks)

    def phase(
        self,
        jobs: Sequence[Job],
        work: Callable[[Job], Report],
        step: str = "",
        first: Callable[[], Iterator[Phase]] | None = None,
    ) -> Phase:
        """Jobs with what does them; ``step``: the one whose files are complete then."""
        seals = self.folder(step) if step else ""
        return Phase(f"group {self.grouping.name}", jobs, OneByOne(work), self.needs, first, seals)

    def job(self, step: str, name: str, reads: tuple[str, ...], args: Any = None) -> Job:
        """A job that makes one file of a step."""
        return Job(name, (Target(self.grouping.file(step, name), reads),), args)

    def chunk_job(self, step: str, chunk: Chunk, *more: str) -> Job:
        """A job that makes one file of a step from the shards of a chunk, and more."""
        reads = tuple(name for shard in chunk.shards for name in read_by(self.grouping, shard))
        return self.job(step, chunk.name, (*reads, *more), chunk.shards)

    def table_job(self, chunk: Chunk, *more: str) -> Job:
        """A job that makes the tables of a chunk."""
        grouping = self.grouping
        return Job(
            chunk.name,
            tuple(Target(grouping.file("table", each), (*read_by(grouping, each), *more)) for each in chunk.shards),
        )

    def range_jobs(self, step: str) -> list[Job]:
        """A job for each range, which reads all files of a step."""
        files = range_files(self.store, self.grouping)
        reads = (self.folder(step), self.grouping.ranges)
        return [Job(f"{at:05d}", (Target(file, reads),), at) for at, file in enumerate(files)]


def _keys(layout: Layout) -> Phase:
    """What is compared, sorted."""
    jobs = [layout.chunk_job("keys", chunk) for chunk in layout.chunks]
    return layout.phase(jobs, WriteKeys(layout.store, layout.grouping), "keys")


def _tables(layout: Layout) -> Phase:
    """The tables, and first what only they read."""
    store, grouping, entry = layout.store, layout.grouping, layout.grouping.entry
    if entry.scope == "document":
        jobs = [layout.table_job(chunk) for chunk in layout.chunks]
        return layout.phase(jobs, TablesOfDocuments(store, grouping), "table")
    compared, first = _before_tables(entry)
    groups = layout.folder("groups")
    jobs = [layout.table_job(chunk, grouping.file(compared, chunk.name), groups) for chunk in layout.chunks]
    by_key = TablesByKey(store, grouping, grouping.file("groups", ONE))
    work = by_key if first is _near_keys else TablesByShard(store, grouping, compared)
    return layout.phase(jobs, work, "table", partial(first, layout))


def _before_tables(entry: Group) -> tuple[str, Callable[[Layout], Iterator[Phase]]]:
    """The step that lists what was compared, and the phases of which only the tables read the files."""
    if entry.method == "eps":
        return "vectors", _vectors
    if entry.method == "cosine":
        return "vectors", _near_vectors
    return "keys", _key_ranges if entry.method == "exact" or entry.scope == "domain" else _near_keys


def _key_ranges(layout: Layout) -> Iterator[Phase]:
    """Groups of equal keys, or of near ones within scopes."""
    if not layout.grouping.is_reference:
        yield _keys(layout)
    yield _ranges(layout, "keys")
    jobs, keys = layout.range_jobs("keys"), layout.files("keys")
    yield layout.phase(jobs, GroupRange(layout.store, layout.grouping, keys, len(jobs)), "groups")


def _near_keys(layout: Layout) -> Iterator[Phase]:
    """Groups of fingerprints that are near in the corpus."""
    store, grouping = layout.store, layout.grouping
    job = layout.job("values", ONE, (layout.folder("keys"),))
    yield layout.phase([job], DistinctValues(store, grouping, layout.files("keys")))
    values = grouping.file("values", ONE)
    names = range_names(band_count(store, values, grouping.entry))
    jobs = [layout.job("links", name, (values,), at) for at, name in enumerate(names)]
    yield layout.phase(jobs, LinkBand(store, grouping.entry, values), "links")
    links = tuple(grouping.file("links", name) for name in names)
    job = layout.job("groups", ONE, (values, layout.folder("links")))
    yield layout.phase([job], ConnectLinks(store, values, links), "groups")


def _vectors(layout: Layout) -> Iterator[Phase]:
    """Embeddings by cluster."""
    store, grouping = layout.store, layout.grouping
    looked = sampled_shards(layout.shards)
    jobs = [layout.chunk_job("sample", chunk) for chunk in chunks(looked)]
    yield layout.phase(jobs, SampleVectors(store, grouping, len(looked)), "sample")
    sample = tuple(grouping.file("sample", job.name) for job in jobs)
    job = layout.job("centroids", ONE, (layout.folder("sample"),))
    yield layout.phase([job], FitCentroids(store, grouping.entry, sample))
    centroids = grouping.file("centroids", ONE)
    jobs = [layout.chunk_job("vectors", chunk, centroids) for chunk in layout.chunks]
    yield layout.phase(jobs, AssignVectors(store, grouping, centroids), "vectors")


def _near_vectors(layout: Layout) -> Iterator[Phase]:
    """Groups of near embeddings within clusters."""
    yield from _vectors(layout)
    yield from _compared(layout)


def _compared(layout: Layout, first: Callable[[], Iterator[Phase]] | None = None) -> Iterator[Phase]:
    """What is near within the clusters; ``first`` makes the embeddings by cluster."""
    entry = layout.grouping.entry
    yield _ranges(layout, "vectors", PER_JOB, entry.clusters or 1, first)
    jobs = layout.range_jobs("vectors")
    work = CompareClusters(layout.store, entry, layout.files("vectors"), len(jobs))
    yield layout.phase(jobs, work, "groups", first)


def _ranges(
    layout: Layout,
    step: str,
    size: int = RANGE,
    most: int = 1 << 16,
    first: Callable[[], Iterator[Phase]] | None = None,
) -> Phase:
    """Says into how many ranges the rows of a step's files are cut."""
    job = Job(ONE, (Target(layout.grouping.ranges, (layout.folder(step),)),))
    return layout.phase([job], CountRanges(layout.store, layout.files(step), size, most), first=first)


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
