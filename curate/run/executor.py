"""Executor: the seam between stages and where their jobs run, and the simplest of its kind: this process.

A job is one shard (or one output tar). Only its name and a small report cross the seam.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from curate.recipe.recipe import Resource
from curate.report import Report, StopRun

HOPELESS = 5
"""After so many failed jobs, and no good one, the run ends."""
ATTEMPTS = 3
"""How often a shard is tried before it is reported as failed."""


@dataclass(frozen=True)
class Failure:
    """A job that was given up after its last attempt."""

    stage: str
    shard: str
    cause: str

    def __str__(self) -> str:
        return f"{self.stage} {self.shard}: {self.cause}"


Worker = Callable[[Any], Report]


class Executor(Protocol):
    """Where jobs run: in this process, or on Ray."""

    def run(
        self, stage: str, jobs: Sequence[Any], worker: Worker, resource: Resource, done: Callable[[Report], None]
    ) -> list[Failure]:
        """Does every job, calling ``done`` for each; returns those that failed ``ATTEMPTS`` times."""
        ...


class InProcess:
    """Does the jobs here, one after the other."""

    def run(
        self, stage: str, jobs: Sequence[Any], worker: Worker, resource: Resource, done: Callable[[Report], None]
    ) -> list[Failure]:
        """See ``Executor``. The resources are those of this machine."""
        del resource
        failures, succeeded = list[Failure](), 0
        for job in jobs:
            for attempt in range(1, ATTEMPTS + 1):
                try:
                    done(worker(job))
                    succeeded += 1
                    break
                except StopRun:
                    raise
                except Exception as error:
                    if attempt == ATTEMPTS:
                        failures.append(Failure(stage, name_of(job), spell(error)))
                        give_up(failures, succeeded)
        return failures


def give_up(failures: Sequence[Failure], succeeded: int) -> None:
    """Ends a run of which nothing succeeds: what is wrong there is not the shards."""
    if not succeeded and len(failures) >= HOPELESS:
        listed = "\n  ".join(map(str, failures))
        raise StopRun(f"the first {len(failures)} jobs all failed {ATTEMPTS} times:\n  {listed}")


def name_of(job: Any) -> str:
    """A job's name: the shard or tar it makes."""
    return str(getattr(job, "shard", job))


def spell(error: BaseException) -> str:
    """An error as one line."""
    notes = "; ".join(getattr(error, "__notes__", []))
    return f"{type(error).__name__}: {error}" + (f" ({notes})" if notes else "")
