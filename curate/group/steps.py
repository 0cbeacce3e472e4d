"""Steps: the work of a group as phases: which files it makes, from which, and which of them stay. Compares nothing.

What stays: a table for each shard; with ``eps`` the witnesses, which select reads; where another run can be grouped
against this, the keys; and, last, ``group.json``. All else is there for the tables only, and is made again if they need
it. So what stays is made from the columns of all shards, whatever it reads::

    keys       each chunk of shards      what is compared, sorted                 equal, near
    values     one job                   distinct fingerprints                    near in the corpus
    links      each band                 pairs of near fingerprints               near in the corpus
    sample, centroids, vectors           embeddings by their nearest centroid     cosine, eps
    groups     each range of keys, or of clusters; one job near in the corpus     all but within documents
    table      each chunk of shards      group and size of each segment           all
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
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
from curate.group.matching import ConnectLinks, CountRanges, DistinctValues, GroupRange, LinkBand, band_count
from curate.group.membership import TablesByKey, TablesByShard, TablesOfDocuments
from curate.ledger.job import FileSet, Job, Phase, Ref, Target
from curate.ledger.making import Making, OneByOne
from curate.recipe.measures import Group
from curate.recipe.recipe import Resource
from curate.report import Report
from curate.store import digest
from curate.store.chunks import RANGE, Chunk, chunks, range_names
from curate.store.files import Files
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
    yield _summary(layout)


def tables(store: Store, grouping: Grouping, shards: Sequence[str], needs: Resource) -> Phase:
    """The phase that makes the tables: once it has no work left, the groups are known."""
    return _tables(Layout(store, grouping, tuple(shards), needs))


def witness_files(store: Store, grouping: Grouping) -> list[str]:
    """The files of a finished group by ``eps`` that say which vectors resemble which, one for a range of clusters.

    Columns: shard, document, position, group, size, owned, rank, centroid, nearest, witnesses (ranks in the group).
    """
    return range_files(Files(store), grouping)


@dataclass(frozen=True)
class Layout:
    """A grouping over some shards: how its work is cut into jobs, and which files those make."""

    store: Store
    grouping: Grouping
    shards: tuple[str, ...]
    needs: Resource

    @cached_property
    def chunks(self) -> list[Chunk]:
        """The chunks of its shards."""
        return chunks(self.shards)

    @cached_property
    def corpus(self) -> FileSet:
        """All that is compared: what stays, and looks at all shards, is made from it."""
        files = dict.fromkeys(name for shard in self.shards for name in read_by(self.grouping, shard))
        return FileSet(f"{self.grouping.home}/corpus", tuple(files))

    def files(self, step: str) -> tuple[str, ...]:
        """The files of a step that has one for each chunk."""
        return tuple(self.grouping.file(step, chunk.name) for chunk in self.chunks)

    def set_of(self, step: str, files: Iterable[str]) -> FileSet:
        """All files of a step."""
        return FileSet(f"{self.grouping.home}/{step}", files)

    def phase(
        self,
        jobs: Sequence[Job],
        work: Callable[[Job, Making], Report],
        first: Callable[[], Iterator[Phase]] | None = None,
    ) -> Phase:
        """Jobs with what does them."""
        return Phase(f"group {self.grouping.name}", jobs, OneByOne(self.store, work), self.needs, first)

    def job(self, step: str, name: str, reads: tuple[Ref, ...], args: Any = None, by: str = "") -> Job:
        """A job that makes one file of a step."""
        return Job(name, (Target(self.grouping.file(step, name), reads, by),), args)

    def chunk_job(self, step: str, chunk: Chunk, *more: str) -> Job:
        """A job that makes one file of a step from the shards of a chunk, and more."""
        reads = tuple(name for shard in chunk.shards for name in read_by(self.grouping, shard))
        return self.job(step, chunk.name, (*reads, *more), chunk.shards)


def _keys(layout: Layout) -> Phase:
    """What is compared, sorted."""
    jobs = [layout.chunk_job("keys", chunk) for chunk in layout.chunks]
    return layout.phase(jobs, WriteKeys(layout.grouping))


def _tables(layout: Layout) -> Phase:
    """The tables, and first what only they read."""
    grouping, entry = layout.grouping, layout.grouping.entry
    if entry.scope == "document":
        return layout.phase(_table_jobs(layout), TablesOfDocuments(grouping))
    compared, first = _before_tables(entry)
    if first is _near_keys:
        file = grouping.file("groups", ONE)
        return layout.phase(_table_jobs(layout, compared, file), TablesByKey(grouping, file), partial(first, layout))
    groups = layout.set_of("groups", RangeFiles(layout.store, grouping))
    jobs = _table_jobs(layout, compared, grouping.ranges, groups)
    return layout.phase(jobs, TablesByShard(grouping, compared), partial(first, layout))


def _table_jobs(layout: Layout, compared: str = "", *more: Ref) -> list[Job]:
    """Jobs that make the tables of a chunk, which read the chunk's file of what was ``compared``, if any, and more."""
    grouping, jobs = layout.grouping, list[Job]()
    for chunk in layout.chunks:
        listed = (grouping.file(compared, chunk.name), *more) if compared else ()
        origin = (layout.corpus,) if compared else None
        targets = (
            Target(grouping.file("table", shard), (*read_by(grouping, shard), *listed), grouping.owned, origin)
            for shard in chunk.shards
        )
        jobs.append(Job(chunk.name, tuple(targets)))
    return jobs


@dataclass(frozen=True)
class RangeFiles:
    """The files of the step ``groups``: how many there are is read when one asks, as what is ``first`` decides it."""

    store: Store
    grouping: Grouping

    @cached_property
    def _names(self) -> list[str]:
        return range_files(Files(self.store), self.grouping)

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)


def _summary(layout: Layout) -> Phase:
    """What a folder says of itself: of its keys, where others may be grouped against it; else that it is whole."""
    grouping, keys = layout.grouping, layout.files("keys") if layout.grouping.is_reference else ()
    if keys:
        target = Target(grouping.summary, (layout.set_of("keys", keys),))
    else:
        tables = tuple(grouping.file("table", shard) for shard in layout.shards)
        target = Target(grouping.summary, made_from=(layout.set_of("table", tables),))
    chunks = tuple(chunk.name for chunk in layout.chunks)
    return layout.phase([Job(ONE, (target,))], WriteSummary(grouping, len(layout.shards), chunks, keys))


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
    yield _ranges(layout, "keys", RANGE)
    jobs, keys = _range_jobs(layout, "keys"), layout.files("keys")
    yield layout.phase(jobs, GroupRange(layout.grouping, keys, len(jobs)))


def _near_keys(layout: Layout) -> Iterator[Phase]:
    """Groups of fingerprints that are near in the corpus."""
    grouping, keys = layout.grouping, layout.files("keys")
    values = grouping.file("values", ONE)
    job = layout.job("values", ONE, (layout.set_of("keys", keys),), by=grouping.owned)
    yield layout.phase([job], DistinctValues(grouping, keys))
    names = range_names(band_count(Files(layout.store), values, grouping.entry))
    jobs = [layout.job("links", name, (values,), at, f"{at + 1} of {len(names)}") for at, name in enumerate(names)]
    yield layout.phase(jobs, LinkBand(grouping.entry, values))
    links = tuple(grouping.file("links", name) for name in names)
    job = layout.job("groups", ONE, (values, layout.set_of("links", links)))
    yield layout.phase([job], ConnectLinks(values, links))


def _vectors(layout: Layout) -> Iterator[Phase]:
    """Embeddings by cluster."""
    grouping = layout.grouping
    looked = sampled_shards(layout.shards)
    jobs = [layout.chunk_job("sample", chunk) for chunk in chunks(looked)]
    yield layout.phase(jobs, SampleVectors(grouping, len(looked)))
    sample = tuple(grouping.file("sample", job.name) for job in jobs)
    job = layout.job("centroids", ONE, (layout.set_of("sample", sample),))
    yield layout.phase([job], FitCentroids(grouping.entry, sample))
    centroids = grouping.file("centroids", ONE)
    jobs = [layout.chunk_job("vectors", chunk, centroids) for chunk in layout.chunks]
    yield layout.phase(jobs, AssignVectors(grouping, centroids))


def _near_vectors(layout: Layout) -> Iterator[Phase]:
    """Groups of near embeddings within clusters."""
    yield from _vectors(layout)
    yield from _compared(layout)


def _compared(layout: Layout, first: Callable[[], Iterator[Phase]] | None = None) -> Iterator[Phase]:
    """What is near within the clusters; ``first`` makes the embeddings by cluster, and what this makes stays then."""
    entry, origin = layout.grouping.entry, (layout.corpus,) if first else None
    yield _ranges(layout, "vectors", PER_JOB, entry.clusters or 1, first)
    jobs = _range_jobs(layout, "vectors", origin)
    work = CompareClusters(entry, layout.files("vectors"), len(jobs))
    yield layout.phase(jobs, work, first)


def _ranges(
    layout: Layout,
    step: str,
    size: int,
    most: int = 1 << 16,
    first: Callable[[], Iterator[Phase]] | None = None,
) -> Phase:
    """Says into how many ranges the rows of a step's files are cut."""
    files = layout.files(step)
    looked = files[0], files[len(files) // 2], files[-1]
    origin = (layout.corpus,) if first else None
    job = Job(ONE, (Target(layout.grouping.ranges, tuple(dict.fromkeys(looked)), f"{size}", origin),))
    return layout.phase([job], CountRanges(looked, len(files), size, most), first)


def _range_jobs(layout: Layout, step: str, origin: tuple[Ref, ...] | None = None) -> list[Job]:
    """A job for each range, which reads all files of a step."""
    grouping, reads = layout.grouping, (layout.set_of(step, layout.files(step)),)
    files = range_files(Files(layout.store), grouping)
    owned = f" {grouping.owned}" if grouping.owned else ""
    return [
        Job(f"{at:05d}", (Target(file, reads, f"{at + 1} of {len(files)}{owned}", origin),), at)
        for at, file in enumerate(files)
    ]


@dataclass(frozen=True)
class WriteSummary:
    """What a grouping's folder says of itself: how many shards it is of, in which chunks, and what its ``keys`` say."""

    grouping: Grouping
    shards: int
    chunks: tuple[str, ...]
    keys: tuple[str, ...]

    def __call__(self, job: Job, making: Making) -> Report:
        """Writes it."""
        (target,) = job.targets
        entry = self.grouping.entry.model_dump(mode="json", exclude={"keep"}, exclude_none=True)
        about: dict[str, Any] = {"name": self.grouping.name, "keys": self.grouping.keys, "group": entry}
        about |= {"shards": self.shards, "chunks": list(self.chunks)}
        if self.keys:
            for name in self.keys:
                making.files.notes(name)
            about["keys_content"] = digest.of_files(making.files.contents).hex()
        making.write_json(target.name, about)
        return Report(job.name)
