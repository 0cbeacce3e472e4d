"""Executor: the seam between stages and where their jobs run, and the simplest of its kind: this process.

A job is one shard (or one output tar). Only its name and a small report cross the seam.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from curate.recipe import Resource
from curate.report import Report, StopRun

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
        failures = []
        for job in jobs:
            for attempt in range(1, ATTEMPTS + 1):
                try:
                    done(worker(job))
                    break
                except StopRun:
                    raise
                except Exception as error:
                    if attempt == ATTEMPTS:
                        failures.append(Failure(stage, name_of(job), spell(error)))
        return failures


def name_of(job: Any) -> str:
    """A job's name: the shard or tar it makes."""
    return str(getattr(job, "shard", job))


def spell(error: BaseException) -> str:
    """An error as one line."""
    notes = "; ".join(getattr(error, "__notes__", []))
    return f"{type(error).__name__}: {error}" + (f" ({notes})" if notes else "")
