"""Screen: what people see of a run in a terminal: progress bars, funnel, a document, a histogram. Computes nothing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress import Progress as Bars
from rich.table import Table

from curate.inspect.duplicates import DuplicateGroup
from curate.inspect.estimate import ASSUMED, Plan
from curate.inspect.explain import Histogram, Line, totals
from curate.report import Report

COLOUR = {"kept": "green", "dropped": "yellow", "failed": "red", "rejected": "red"}
LINE_EVERY = 30
"""Seconds between lines in a log."""
BRIEF = 1.0
"""Seconds under which a part of a stage is not worth a line of its own."""
UNIT = {
    "fetch": "images",
    "score": "rows",
    "group": "with company",
    "select": "images kept",
    "pack": "samples",
    "verify": "bytes",
}


class Watch:
    """Progress bars with counts, rates and failures; plain lines where there is no terminal."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self._bars = Bars(
            TextColumn("[bold]{task.description:7}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[said]}"),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )
        self._task: Any = None
        self._counts: Counter[str] = Counter()
        self._stage = ""

    def start(self, stage: str, total: int, done: int) -> None:
        """See ``curate.run.scheduler.Progress``."""
        self._counts, self._stage, self._told = Counter(), stage, 0.0
        self._total, self._before = total, done
        if total > done:
            self._bars.start()
            self._task = self._bars.add_task(stage, total=total, completed=done, said="")

    def advance(self, report: Report) -> None:
        """See ``curate.run.scheduler.Progress``."""
        self._counts.update(report.counts)
        elapsed = self._bars.tasks[-1].elapsed or 0.0
        self._bars.update(self._task, advance=1, said=summary(self._stage, self._counts, elapsed))
        if not self.console.is_terminal and elapsed - self._told >= LINE_EVERY:
            self._told = elapsed
            done = int(self._bars.tasks[-1].completed)
            self.console.print(
                f"{self._stage:7} {done:,} of {self._total:,} {jobs_of(self._stage)}: ", end="", highlight=False
            )
            self.console.print(summary(self._stage, self._counts, elapsed), highlight=False)

    def end(self, stage: str, counts: Counter[str], seconds: float) -> None:
        """See ``curate.run.scheduler.Progress``."""
        if self._task is not None:
            self._bars.stop()
            self._bars.remove_task(self._task)
            self._task = None
        todo = self._total - self._before
        if " " in stage and (not todo or seconds < BRIEF):
            return
        said = f"{summary(stage, counts, seconds)} in {seconds:.1f} s" if todo else "nothing to do"
        before = f", {self._before:,} done before" if self._before else ""
        self.console.print(f"[bold]{stage:7}[/] {self._total:,} {jobs_of(stage)}{before}: {said}", highlight=False)


def jobs_of(stage: str) -> str:
    """What the jobs of a stage, or of a part of it, are."""
    return "files" if stage == "verify" else "jobs" if " " in stage else "shards"


def summary(stage: str, counts: Counter[str], seconds: float) -> str:
    """``1,234 images (56/s), 7 failed``."""
    stage, _, part = stage.partition(" ")
    unit = UNIT[stage]
    if part and not counts[unit]:
        return ", ".join(f"{count:,} {name}" for name, count in counts.items()) or "done"
    rest = [
        f"{count:,} {name}" for name, count in counts.items() if name in {"failed", "rejects", "undecodable"} and count
    ]
    rate = f" ({counts[unit] / seconds:,.0f}/s)" if seconds > 0.5 else ""
    return ", ".join([f"{counts[unit]:,} {unit}{rate}", *rest])


def show_funnel(console: Console, funnel: Sequence[dict[str, Any]]) -> None:
    """The funnel: what came in, what stayed, and why the rest did not."""
    sums = totals(funnel)
    grid = Table(box=box.SIMPLE, title="Funnel", title_justify="left")
    for heading, side in (("", "left"), ("ended", "left"), ("because", "left"), ("count", "right"), ("share", "right")):
        grid.add_column(heading, justify=side)  # type: ignore[arg-type]
    for kind, states in sums.items():
        balance = " + ".join(f"{count:,} {state}" for state, count in states.items() if state != "in")
        grid.add_row(f"[bold]{kind}s[/]", "in", f"= {balance}", f"[bold]{states['in']:,}[/]", "")
        for row in (row for row in funnel if row["kind"] == kind):
            share = f"{100 * row['count'] / states['in']:.1f} %"
            colour = COLOUR[row["state"]]
            grid.add_row("", f"[{colour}]{row['state']}[/]", escape(row["reason"] or ""), f"{row['count']:,}", share)
    console.print(grid)


def show_document(console: Console, lines: Sequence[Line]) -> None:
    """A document segment by segment: scores, verdict, and the rule that removed it."""
    grid = Table(box=box.SIMPLE, show_header=True)
    for heading in ("at", "segment", "scores", "verdict"):
        grid.add_column(heading, overflow="fold", max_width=64)
    for line in lines:
        scores = ", ".join(
            f"{name} {value:.4g}" if isinstance(value, float) else f"{name} {value}"
            for name, value in line.scores.items()
        )
        place = "doc" if line.position < 0 else str(line.position)
        verdict = f"[{COLOUR[line.state]}]{line.state}[/]" + (f": {escape(line.reason)}" if line.reason else "")
        what = "".join(letter if letter.isprintable() else " " for letter in line.what)  # a page may hold escapes
        text = what if len(what) < 160 else what[:157] + "..."
        grid.add_row(place, f"[dim]{line.kind}[/] {escape(text)}", escape(scores), verdict)
    console.print(grid)


def show_group(console: Console, group: DuplicateGroup) -> None:
    """A group of duplicates: its members, how near they are to the one asked about, and who survived."""
    document, position = group.asked
    console.print(f"[bold]{group.name}[/]: {document} at {position} is one of {group.size:,} in group {group.group}")
    grid = Table(box=box.SIMPLE, show_header=True)
    for heading in ("document", "at", "distance", "verdict", "what", "picture"):
        grid.add_column(heading, overflow="fold", max_width=48)
    for each in group.members:
        colour = COLOUR.get(each.state, "dim")
        verdict = f"[{colour}]{each.state}[/]" + (f": {escape(each.reason)}" if each.reason else "")
        what = "".join(letter if letter.isprintable() else " " for letter in each.what)[:160]
        grid.add_row(each.document[:12], str(each.position), each.distance, verdict, escape(what), escape(each.picture))
    console.print(grid)


def show_plan(console: Console, plan: Plan) -> None:
    """What a recipe would do, and what a worker would take."""
    known = "not planned yet" if plan.shards is None else f"{plan.shards:,} shards"
    console.print(f"[bold]{plan.recipe}[/]: {known}", highlight=False)
    grid = Table(box=box.SIMPLE, show_header=True)
    for heading in ("score", "use", "looks at", "reads", "columns", "pass", "pictures", "weights"):
        grid.add_column(heading, overflow="fold", max_width=40)
    for line in plan.lines:
        weights = f"{line.weights / 1e6:,.1f} MB" if line.weights else ""
        names = (line.name, line.use, line.view, line.reads, line.columns, str(line.wave), line.pictures, weights)
        grid.add_row(*map(escape, names))
    console.print(grid)
    console.print(f"Memory of a worker that holds them all: about {plan.memory / 1e9:.1f} GB", highlight=False)
    console.print(f"  assumed: {ASSUMED}", highlight=False)


def show_histogram(console: Console, histogram: Histogram) -> None:
    """A bar for each bin, and what a threshold at its lower edge would keep."""
    grid = Table(
        box=box.SIMPLE, title=f"{histogram.column}: {histogram.measured:,} measured, {histogram.missing:,} missing"
    )
    for heading, side in (("min", "right"), ("", "left"), ("values", "right"), ("kept at this min", "right")):
        grid.add_column(heading, justify=side)  # type: ignore[arg-type]
    most = max(histogram.counts)
    for at, count in enumerate(histogram.counts):
        bar = "█" * round(40 * count / most)
        grid.add_row(f"{histogram.edges[at]:.4g}", bar, f"{count:,}", f"{100 * histogram.kept_from(at):.1f} %")
    console.print(grid)
