"""Ledger: which files are fresh. The only place that decides what is still to be done.

A file is fresh if it exists: a name exists only when its content is complete.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import replace

from curate.store.job import Job
from curate.store.store import Store


class Ledger:
    """What is there in a run. Keeps nothing between two questions but the sets that were sealed."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._sealed: set[str] = set()

    def fresh(self, names: Iterable[str]) -> set[str]:
        """Those of the names (files, or sets, which end in a slash) that are there; each folder is listed once."""
        folders: defaultdict[str, set[str]] = defaultdict(set)
        for name in names:
            folder, slash, file = name.rpartition("/")
            folders[folder + slash].add(file)
        found = set[str]()
        for folder, files in folders.items():
            if files - {""}:
                found |= {folder + file for file in files & self._store.names(folder.rstrip("/"))}
        return found | (self._sealed & folders.keys())

    def unfinished(self, jobs: Iterable[Job]) -> list[Job]:
        """The jobs that have something to make, each with only the targets that are not fresh."""
        jobs = list(jobs)
        fresh = self.fresh(target.name for job in jobs for target in job.targets)
        left = (replace(job, targets=tuple(each for each in job.targets if each.name not in fresh)) for job in jobs)
        return [job for job in left if job.targets]

    def missing(self, jobs: Iterable[Job]) -> dict[str, str]:
        """The jobs that cannot be done yet: job -> the first name that it reads and that is not there."""
        reads = {job.name: job.reads for job in jobs}
        fresh = self.fresh(name for names in reads.values() for name in names)
        return {job: min(names - fresh) for job, names in reads.items() if names - fresh}

    def seal(self, folder: str) -> None:
        """Says that a set of files is complete; the name ends in a slash."""
        self._sealed.add(folder)
