"""Executor: the seam between phases and where their jobs run, and the simplest of its kind: this process."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Protocol

from curate.ledger.job import WAITS, Job, Phase
from curate.report import Failure, Report, StopRun

HOPELESS = 5
"""After so many jobs that failed ``ATTEMPTS`` times, and no good one, the run ends."""
ATTEMPTS = 3
"""How often a job is tried before it is reported as failed."""


class Executor(Protocol):
    """Where jobs run: in this process, or on Ray."""

    def run(self, phase: Phase, jobs: Sequence[Job], done: Callable[[Report], None]) -> list[Failure]:
        """Does these jobs of a phase, calling ``done`` for each; returns those that failed, and were given up."""


class Queue:
    """The jobs of a phase: which wait, how often each was tried, and how they ended.

    ``later``: one that failed is tried again after all others, when what was wrong may have passed; else at once.
    """

    def __init__(self, phase: Phase, jobs: Sequence[Job], done: Callable[[Report], None], later: bool = False) -> None:
        self.waiting = deque(jobs)
        self.failures: list[Failure] = []
        self._stage, self._done, self._later = phase.stage, done, later
        self._tries: Counter[str] = Counter()
        self._good = False

    def ended(self, job: Job, outcome: Report | Failure) -> None:
        """Takes up how a job ended: one that failed waits again, or is given up; at once, if a file is to blame.

        Raises:
            StopRun: nothing succeeds: what is wrong there is not the jobs.
        """
        if isinstance(outcome, Report):
            self._good = True
            self._done(outcome)
            return
        self._tries[job.name] += 1
        if self._tries[job.name] < ATTEMPTS and not outcome.lasting:
            (self.waiting.append if self._later else self.waiting.appendleft)(job)
            return
        self.failures.append(replace(outcome, stage=self._stage))
        hopeless = [each for each in self.failures if not each.lasting]
        if not self._good and len(hopeless) >= HOPELESS:
            listed = "\n  ".join(map(str, hopeless))
            raise StopRun(f"the first {len(hopeless)} jobs all failed {ATTEMPTS} times:\n  {listed}")


class InProcess:
    """Does the jobs here; the worker takes them straight from the queue."""

    def run(self, phase: Phase, jobs: Sequence[Job], done: Callable[[Report], None]) -> list[Failure]:
        """See ``Executor``. The resources are those of this machine."""
        queue = Queue(phase, jobs, done)
        here = _Here(queue, phase.holds)
        phase.worker(here)
        if queue.waiting or here.held:
            raise StopRun(f"{phase.name}: the worker ended with {len(queue.waiting) + here.held} jobs left")
        return queue.failures


class _Here:
    """See ``Jobs``: what a worker in this process takes from."""

    def __init__(self, queue: Queue, holds: int) -> None:
        self._queue, self._holds = queue, holds
        self.held = 0

    def take(self, wait: bool = True) -> Job | None:
        """A worker that holds as many jobs as it may gets one when it has ended another."""
        if wait and self.held:
            raise RuntimeError(WAITS)
        if not self._queue.waiting or self.held >= self._holds:
            return None
        self.held += 1
        return self._queue.waiting.popleft()

    def done(self, job: Job, outcome: Report | Failure) -> None:
        """Takes up how a job ended."""
        self.held -= 1
        self._queue.ended(job, outcome)
