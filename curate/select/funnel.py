"""Funnel: how many documents, images and texts ended how, and why. Decides nothing.

::

    counts/CHUNK.json   each chunk of shards   how many of its rows ended how
    funnel.json         one job                their sums
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from curate.ledger.job import FileSet, Job, Phase, Target
from curate.ledger.making import Making, OneByOne
from curate.recipe.recipe import Resource
from curate.report import Report
from curate.select.binding import BY
from curate.store.chunks import Chunk, chunks
from curate.store.store import Store

ENDED = ["kind", "state", "reason"]
ORDER = {"document": 0, "image": 1, "text": 2, "reject": 3}


def phases(store: Store, verdicts: str, shards: Sequence[str], needs: Resource) -> Iterator[Phase]:
    """Writes ``funnel.json``; ``verdicts`` is a folder with a table for each of the shards."""

    def counting() -> Iterator[Phase]:
        jobs = [
            Job(each.name, (Target(_counts(verdicts, each), _tables(verdicts, each.shards), BY),), each.shards)
            for each in chunks(shards)
        ]
        yield Phase("select counts", jobs, OneByOne(store, CountVerdicts(verdicts)), needs)

    job = Job("funnel", (target(verdicts, shards),))
    worker = OneByOne(store, AddCounts(tuple(_counts(verdicts, each) for each in chunks(shards))))
    yield Phase("select funnel", [job], worker, needs, counting)


def target(verdicts: str, shards: Sequence[str]) -> Target:
    """``funnel.json``: an object with the list ``funnel``. It is good if it counts the verdicts as they are."""
    reads = tuple(_counts(verdicts, each) for each in chunks(shards))
    return Target(f"{verdicts}/funnel.json", reads, BY, (FileSet("verdicts", _tables(verdicts, shards)),))


def _counts(verdicts: str, chunk: Chunk) -> str:
    return f"{verdicts}/counts/{chunk.name}.json"


def _tables(verdicts: str, shards: Sequence[str]) -> tuple[str, ...]:
    return tuple(f"{verdicts}/{shard}.parquet" for shard in shards)


def funnel(counts: Iterable[Sequence[Sequence[Any]]]) -> list[dict[str, Any]]:
    """Counts (kind, state, reason, how many) added up; each kind's add up to what was read."""
    total = Counter[tuple[str, str, str | None]]()
    for chunk in counts:
        for kind, state, reason, count in chunk:
            total[kind, state, reason] += count
    rows = sorted(total.items(), key=lambda row: (ORDER[row[0][0]], row[0][1] != "kept", -row[1], row[0][2] or ""))
    return [{"kind": kind, "state": state, "reason": reason, "count": count} for (kind, state, reason), count in rows]


@dataclass(frozen=True)
class CountVerdicts:
    """Counts the verdicts of a chunk of shards."""

    verdicts: str

    def __call__(self, job: Job, making: Making) -> Report:
        """Writes ``counts``: kind, state, reason and how many rows ended like that."""
        total = Counter[tuple[str, str, str | None]]()
        for name in _tables(self.verdicts, job.args):
            found = making.files.read(name, ENDED).group_by(ENDED, maintain_order=True).len()
            for kind, state, reason, count in found.iter_rows():
                total[kind, state, reason] += count
        making.write_json(job.targets[0].name, {"counts": [[*ended, count] for ended, count in total.items()]})
        return Report(job.name)


@dataclass(frozen=True)
class AddCounts:
    """Adds up the counts in ``files``."""

    files: tuple[str, ...]

    def __call__(self, job: Job, making: Making) -> Report:
        """Writes the funnel."""
        added_up = funnel(making.files.json(name)["counts"] for name in self.files)
        making.write_json(job.targets[0].name, {"funnel": added_up})
        return Report(job.name)
