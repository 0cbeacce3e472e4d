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

from curate.ledger.job import Job, Phase, Target
from curate.ledger.making import OneByOne
from curate.recipe.recipe import Resource
from curate.report import Report
from curate.store import table
from curate.store.chunks import Chunk
from curate.store.store import Store

ENDED = ["kind", "state", "reason"]
ORDER = {"document": 0, "image": 1, "text": 2, "reject": 3}


def phases(store: Store, verdicts: str, several: Sequence[Chunk], needs: Resource) -> Iterator[Phase]:
    """Writes ``funnel.json``; ``verdicts`` is a folder of which all tables are there, and sealed."""
    folder = f"{verdicts}/counts/"
    files = tuple(f"{folder}{each.name}.json" for each in several)
    counting = [
        Job(each.name, (Target(file, (f"{verdicts}/",)),), each.shards)
        for each, file in zip(several, files, strict=True)
    ]
    first = Phase("select counts", counting, OneByOne(CountVerdicts(store, verdicts)), needs, seals=folder)
    total = Job("funnel", (Target(f"{verdicts}/funnel.json", (folder,)),))
    yield Phase("select funnel", [total], OneByOne(AddCounts(store, files)), needs, lambda: iter([first]))


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

    store: Store
    verdicts: str

    def __call__(self, job: Job) -> Report:
        """Writes kind, state, reason and how many rows ended like that."""
        total = Counter[tuple[str, str, str | None]]()
        for shard in job.args:
            with self.store.local(f"{self.verdicts}/{shard}.parquet") as path:
                found = table.read(path, ENDED).group_by(ENDED, maintain_order=True).len()
            for kind, state, reason, count in found.iter_rows():
                total[kind, state, reason] += count
        self.store.put_json(job.targets[0].name, [[*ended, count] for ended, count in total.items()])
        return Report(job.name)


@dataclass(frozen=True)
class AddCounts:
    """Adds up the counts in ``files``."""

    store: Store
    files: tuple[str, ...]

    def __call__(self, job: Job) -> Report:
        """Writes the funnel."""
        self.store.put_json(job.targets[0].name, funnel(self.store.get_json(name) for name in self.files))
        return Report(job.name)
