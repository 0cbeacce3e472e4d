"""Scheduler: phases in order, each with the jobs that the ledger says are not done. Knows no stage."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable
from typing import Protocol

from curate.ledger.job import Phase
from curate.ledger.ledger import Ledger
from curate.report import Failure, Report
from curate.run.executor import Executor
from curate.store.store import Store, sweep


class Progress(Protocol):
    """What a phase tells whoever watches."""

    def start(self, phase: str, total: int, done: int) -> None:
        """A phase begins with so many jobs, of which some were done before."""

    def advance(self, report: Report) -> None:
        """A job is done."""

    def end(self, phase: str, counts: Counter[str], seconds: float) -> None:
        """A phase is over."""


class Scheduler:
    """Runs phases on a store; ``failures`` lists the jobs that could not be done, ``counts`` what a stage handled."""

    def __init__(self, store: Store, ledger: Ledger, executor: Executor, progress: Progress) -> None:
        self.failures: list[Failure] = []
        self.counts: dict[str, Counter[str]] = {}
        self._swept = False
        self._store, self._ledger, self._executor, self._progress = store, ledger, executor, progress

    def _sweep(self) -> None:
        """Removes what killed runs left half-written, before the first job."""
        if not self._swept:
            sweep(self._store)
            self._swept = True

    def run(self, phases: Iterable[Phase]) -> bool:
        """Runs the phases of a stage; False, and no further, after one with jobs that could not be done."""
        try:
            return all(self._run(phase) for phase in phases)
        finally:
            self._ledger.inventory.save()

    def _run(self, phase: Phase) -> bool:
        todo = self._ledger.unfinished(phase.jobs)
        if todo and phase.first is not None and not self.run(phase.first()):
            return False
        blocked = self._ledger.blocked(todo)
        failures = [Failure(phase.stage, job, why) for job, why in blocked.items()]
        counts, began = Counter[str](), time.monotonic()
        self._progress.start(phase.name, len(phase.jobs), len(phase.jobs) - len(todo))

        def done(report: Report) -> None:
            counts.update(report.counts)
            self._ledger.take(report)
            self._progress.advance(report)

        if ready := [self._ledger.handed(job) for job in todo if job.name not in blocked]:
            self._sweep()
            for name in phase.spoils:
                self._ledger.remove(name)
            failures += self._executor.run(phase, ready, done)
            doubtful = {failure.job for failure in failures if failure.lasting}
            for job in (job for job in ready if job.name in doubtful):
                self._ledger.doubt(job)
        self.counts[phase.stage] = counts
        self._progress.end(phase.name, counts, time.monotonic() - began)
        known = set(self.failures)
        self.failures += [failure for failure in failures if failure not in known]
        return not failures
