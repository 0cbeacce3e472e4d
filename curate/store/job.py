"""Job: the work of a stage as plain data: which files are made, of what, and by whom. Runs nothing, decides nothing.

A *target* is one committed file. A *job* makes one or several, and only a few hundred bytes of it travel. What is
expensive (a model, a session, a matrix) belongs to the *worker*, which lives across jobs and takes them itself. A
*phase* is jobs that do not depend on each other; a *stage* is a generator of phases, so that the jobs of one may depend
on what the last one wrote. What is temporary is made ``first`` of a phase that needs it, and only if that has work.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from os.path import commonprefix
from typing import Any, Protocol

from curate.recipe.recipe import Resource
from curate.report import Failure, Report, StopRun, described


@dataclass(frozen=True, slots=True)
class Target:
    """One file, and what it is made from: names of files, or of sealed sets, which end in a slash."""

    name: str
    reads: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Job:
    """What a worker does at once: named after the shard, chunk, range or tar that it makes.

    ``targets``: the files that are to be made; of those it can make, a worker gets the ones that are not fresh.
    ``args``: plain data. A job has less than 4 kB when pickled.
    """

    name: str
    targets: tuple[Target, ...]
    args: Any = None

    def __reduce__(self) -> tuple[Any, ...]:
        """What targets are made from stays behind: whoever decides knows it, and a chunk reads hundreds of files."""
        names = [target.name for target in self.targets]
        common = commonprefix(names)  # noqa: RUF071 - characters are what is to be saved
        return _unpacked, (self.name, common, tuple(name[len(common) :] for name in names), self.args)

    @property
    def reads(self) -> set[str]:
        """What must be there before it can be done: all that its targets read, but for its own targets."""
        return {name for target in self.targets for name in target.reads} - {target.name for target in self.targets}


def _unpacked(name: str, common: str, rests: Sequence[str], args: Any) -> Job:
    return Job(name, tuple(Target(common + rest) for rest in rests), args)


WAITS = "a worker that holds a job must not wait for another: take(wait=False)"


class Jobs(Protocol):
    """Where a worker takes jobs and says how they ended. A worker may hold several and end them in any order."""

    def take(self, wait: bool = True) -> Job | None:
        """The next job; None if there will be none, or, without ``wait``, if there is none now.

        Raises:
            RuntimeError: it would wait while it holds a job, which nobody else can end.
        """

    def done(self, job: Job, outcome: Report | Failure) -> None:
        """Says how a job ended."""


class Worker(Protocol):
    """Does the jobs of a phase until there are none. It is sent to a process once, and builds what it holds there.

    What it raises ends the run. A job that cannot be done ends with a ``Failure``.
    """

    def __call__(self, jobs: Jobs) -> None:
        """Takes jobs until ``take`` gives None."""


@dataclass(frozen=True)
class Phase:
    """Jobs that do not depend on each other.

    ``name``: the stage, and what of it, as people see it. ``needs``: what one worker takes. ``first``: the phases that
    make what these jobs read and nobody else does; they run only if a job here is not done. ``seals``: the set of files
    that is complete when all jobs are. ``holds``: the most jobs that one worker has at a time.
    """

    name: str
    jobs: Sequence[Job]
    worker: Worker
    needs: Resource = field(default_factory=Resource)
    first: Callable[[], Iterator[Phase]] | None = None
    seals: str = ""
    holds: int = 1

    @property
    def stage(self) -> str:
        """The stage that it belongs to."""
        return self.name.partition(" ")[0]


@dataclass(frozen=True)
class OneByOne:
    """A worker that does one job after the other with a function, or an object that holds what is expensive."""

    work: Callable[[Job], Report]

    def __call__(self, jobs: Jobs) -> None:
        """See ``Worker``. What a job raises is its failure; only StopRun ends the run."""
        while (job := jobs.take()) is not None:
            began = time.monotonic()
            try:
                report = self.work(job)
                report.seconds = time.monotonic() - began
                jobs.done(job, report)
            except StopRun:
                raise
            except Exception as error:
                jobs.done(job, Failure("", job.name, described(error)))
