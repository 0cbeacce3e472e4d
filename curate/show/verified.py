"""Verified: what became of a run's files, in lines of at most 80 columns, names aside. Computes nothing."""

from __future__ import annotations

import textwrap
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import islice

from rich.console import Console

from curate.inspect.condition import UNJUDGED, UNUSED, WRONG, Finding, Verified
from curate.inspect.targets import home
from curate.ledger.state import DAMAGED, FOREIGN, GOOD, MISSING, STALE

LISTED = 50
"""The most files, or folders, of each state that are listed."""
PICTURES = 5
"""The most lost pictures of a tar that are listed."""
WIDTH = 80
MEANS = {
    GOOD: "what was written, and what would be written now",
    DAMAGED: "not what was written",
    FOREIGN: "not ours, and never removed: remove it yourself",
    MISSING: "made by the next run",
    STALE: "made again by the next run",
    UNJUDGED: "depends on what is listed here",
    UNUSED: "of other recipes; may be removed by hand",
}
COLOUR = {GOOD: "green", DAMAGED: "red", FOREIGN: "red", MISSING: "yellow", STALE: "yellow"}


def show_verified(console: Console, found: Verified) -> None:
    """How many files are in each state, and which."""
    counts = found.counts
    for state in MEANS:
        if counts[state]:
            console.print(f"  [{COLOUR.get(state, 'dim')}]{state:10}[/] {counts[state]:>9,}  {MEANS[state]}")
    for state in WRONG:
        _listed(console, state, counts[state], (line for each in found.those(state) for line in _lines(each)))
    folders = Counter(home(each.name) or each.name for each in found.those(UNUSED))
    _listed(console, UNUSED, len(folders), ([f"{name}  {count:,} files"] for name, count in sorted(folders.items())))
    for name in found.unknown:
        _plain(console, f"What follows from {name} was not judged.")


def _listed(console: Console, state: str, count: int, entries: Iterator[Sequence[str]]) -> None:
    """The first of some entries, each of some lines, and how many there are beyond."""
    if count:
        console.print(f"[bold]{state}[/]")
        for lines in islice(entries, LISTED):
            for line in lines:
                _plain(console, f"  {line}")
        if count > LISTED:
            _plain(console, f"  ... and {count - LISTED:,} more")


def _lines(each: Finding) -> Iterator[list[str]]:
    """What is said of a file."""
    lines = [each.name, *(f"  {line}" for line in textwrap.wrap(each.why, WIDTH - 4))]
    lines += [f"  {sha256}" for sha256 in each.lost[:PICTURES]]
    lines += [f"  ... and {len(each.lost) - PICTURES:,} more"] if len(each.lost) > PICTURES else []
    yield lines


def show_repaired(console: Console, done: Sequence[tuple[str, str]]) -> None:
    """What was taken away."""
    _listed(console, "repaired", len(done), ([name, f"  {what}"] for name, what in done))


def show_command(console: Console, what: str, command: str) -> None:
    """What to run next, in a line of its own that can be copied."""
    _plain(console, f"{what}:\n  {command}")


def _plain(console: Console, line: str) -> None:
    console.print(line, soft_wrap=True, markup=False, highlight=False)
