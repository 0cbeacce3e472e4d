"""Job: the work of a stage as plain data: which files are made, of what, and by whom. Runs nothing, decides nothing.

A *target* is one committed file. A *job* makes one or several, and only a few hundred bytes of it travel. What is
expensive (a model, a session, a matrix) belongs to the *worker*, which lives across jobs and takes them itself. A
*phase* is jobs that do not depend on each other; a *stage* is a generator of phases, so that the jobs of one may depend
on what the last one wrote. What is temporary is made ``first`` of a phase that needs it, and only if that has work.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from os.path import commonprefix
from typing import Any, Protocol

from curate.recipe.recipe import Resource
from curate.report import Failure, Report
from curate.store.digest import SIZE
from curate.store.files import Expected


@dataclass(frozen=True, eq=False)
class FileSet:
    """Several files that stand for one: what is made from all of them notes one digest. Two are never equal.

    ``files`` that are only read, and made from nothing, may be found out when they are asked for.
    """

    name: str
    files: Iterable[str]


Ref = str | FileSet
"""A file, or a set of files."""


@dataclass(frozen=True, slots=True)
class Target:
    """One file that is to be made, of what, and how.

    ``reads``: what is opened for it. ``made_from``: what it depends on, if ``reads`` are not that: a file that stays
    names only files that stay, and so does not bring back the temporary ones between. ``by``: parameters and version,
    as far as the name does not say them. ``fixed``: it is never stale: one that was made ``by`` something else is
    foreign. ``digest``: of the content of what it is made from; the ledger fills it in.
    """

    name: str
    reads: tuple[Ref, ...] = ()
    by: str = ""
    made_from: tuple[Ref, ...] | None = None
    fixed: bool = False
    digest: bytes = b""

    @property
    def origin(self) -> tuple[Ref, ...]:
        """What it depends on."""
        return self.reads if self.made_from is None else self.made_from


@dataclass(frozen=True, slots=True)
class Job:
    """What a worker does at once: named after the shard, chunk, range or tar that it makes.

    ``targets``: the files that are to be made; of those it can make, a worker gets the ones that are not fresh.
    ``args``: plain data. ``expected``: filled in by the ledger. A job has less than 4 kB when pickled.
    """

    name: str
    targets: tuple[Target, ...]
    args: Any = None
    expected: Expected | None = None

    def __reduce__(self) -> tuple[Any, ...]:
        """What targets are made from stays behind where its digest is known: a chunk reads hundreds of files."""
        names = [target.name for target in self.targets]
        start = commonprefix(names)  # noqa: RUF071 - characters are what is to be saved
        rests = [name[len(start) :] for name in names]
        end = commonprefix([rest[::-1] for rest in rests])[::-1]  # noqa: RUF071
        middles = "\n".join(rest[: len(rest) - len(end)] for rest in rests)
        origins: Any = tuple(target.digest or target.origin for target in self.targets)
        if all(target.digest for target in self.targets):
            origins = b"".join(origins)
        bys = tuple(target.by for target in self.targets)
        return _unpacked, (self.name, start, middles, end, origins, bys, self.args, self.expected)

    @property
    def reads(self) -> dict[Ref, None]:
        """What must be there before it can be done, in order: all that its targets read, but for its own targets."""
        own = {target.name for target in self.targets}
        return {ref: None for target in self.targets for ref in target.reads if ref not in own}


def _unpacked(
    name: str, start: str, middles: str, end: str, origins: Any, bys: Sequence[str], args: Any, expected: Any
) -> Job:
    if isinstance(origins, bytes):
        origins = [origins[at : at + SIZE] for at in range(0, len(origins), SIZE)]
    targets = (
        Target(start + middle + end, by=by, digest=known)
        if isinstance(known, bytes)
        else Target(start + middle + end, known, by)
        for middle, known, by in zip(middles.split("\n") if bys else (), origins, bys, strict=True)
    )
    return Job(name, tuple(targets), args, expected)


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
    make what these jobs read and nobody else does; they run only if a job here is not done. ``spoils``: files that say
    of others that they are complete; they are removed before a job here begins. ``holds``: the most jobs that one
    worker has at a time.
    """

    name: str
    jobs: Sequence[Job]
    worker: Worker
    needs: Resource = field(default_factory=Resource)
    first: Callable[[], Iterator[Phase]] | None = None
    spoils: tuple[str, ...] = ()
    holds: int = 1

    @property
    def stage(self) -> str:
        """The stage that it belongs to."""
        return self.name.partition(" ")[0]
