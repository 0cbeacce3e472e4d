"""Report: what a job did, in numbers. The only thing that comes back from a worker."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field


class Mismatch(RuntimeError):  # noqa: N818
    """Rows that went in did not all come out. Always a bug, never data."""


class StopRun(Exception):  # noqa: N818
    """Bad code: the run ends at once, with the cause; another attempt would fail the same way."""


@dataclass
class Report:
    """One finished job: counts of what it handled, and its wall time in seconds."""

    shard: str
    counts: Counter[str] = field(default_factory=Counter)
    seconds: float = 0.0


def conserve(what: str, shard: str, came: int, went: int) -> None:
    """Raises Mismatch unless as much came out as went in."""
    if came != went:
        raise Mismatch(f"shard {shard}: {came} {what} went in, {went} came out")
