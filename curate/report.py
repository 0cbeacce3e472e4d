"""Report: how a job ended: in numbers, or with a cause. The only thing that comes back from a worker."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import NamedTuple


class Mismatch(RuntimeError):  # noqa: N818
    """Rows that went in did not all come out. Always a bug, never data."""


class StopRun(Exception):  # noqa: N818
    """Bad code: the run ends at once, with the cause; another attempt would fail the same way."""


class Incomplete(RuntimeError):  # noqa: N818
    """Some jobs are not done; the message lists them with their causes."""


class Beside(NamedTuple):
    """A file that belongs to another, which bears its size in bytes and its digest."""

    name: str
    size: int
    digest: bytes
    stamp: str = ""


class Entry(NamedTuple):
    """A committed file, as its listing and its notes have it. Digests are 16 bytes; see ``curate.store.table``."""

    name: str
    size: int
    stamp: str
    by: str
    made_from: bytes
    content: bytes
    beside: tuple[Beside, ...] = ()


@dataclass
class Report:
    """One finished job: counts of what it handled, its wall time in seconds, and the files that it made."""

    job: str
    counts: Counter[str] = field(default_factory=Counter)
    seconds: float = 0.0
    made: list[Entry] = field(default_factory=list)


@dataclass(frozen=True)
class Failure:
    """A job that was not done, and why. ``lasting``: it lies in a file, so another attempt would fail the same way."""

    stage: str
    job: str
    cause: str
    lasting: bool = False

    def __str__(self) -> str:
        return f"{self.stage} {self.job}: {self.cause}"


def conserve(what: str, job: str, came: int, went: int) -> None:
    """Raises Mismatch unless as much came out as went in."""
    if came != went:
        raise Mismatch(f"{job}: {came} {what} went in, {went} came out")


def described(error: BaseException) -> str:
    """An error as one line."""
    notes = "; ".join(getattr(error, "__notes__", []))
    return f"{type(error).__name__}: {error}" + (f" ({notes})" if notes else "")
