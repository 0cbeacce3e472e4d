"""Estimate: what a recipe would do and what a worker would take, from headers and file sizes. Runs nothing."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from curate.run.run import Run
from curate.score.batch import BUDGET
from curate.score.identity import ask
from curate.score.measure import waves

RUNTIME = 400_000_000
"""Bytes of a worker's libraries, once any scorer has weights (torch on a CPU, as measured)."""
ASSUMED = (
    "weights twice their file (half-precision files are read as float32), "
    f"{2 * BUDGET >> 20} MiB of decoded pictures, {RUNTIME // 10**6} MB of libraries; activations are not in it"
)


@dataclass(frozen=True)
class Line:
    """A scorer: what it looks at, what it reads, in which pass over the pictures it runs, and its weights in bytes."""

    name: str
    use: str
    view: str
    reads: str
    columns: str
    wave: int
    pictures: str
    weights: int


@dataclass(frozen=True)
class Plan:
    """A recipe's scorers, and the memory in bytes of a worker that holds them all."""

    recipe: str
    shards: int | None
    lines: list[Line]
    memory: int


def plan_of(run: Run) -> Plan:
    """What a run would do; the number of shards only if its corpus was planned already."""
    wave_of = {scorer.name: at for at, wave in enumerate(waves(run.resolved.scorers), 1) for scorer in wave}
    lines = []
    for scorer in run.resolved.scorers:
        files = ask(scorer.plugin, "weights", scorer.given, f"{run.resolved.path}: score.{scorer.name}", [])
        gates = [f"after {gate.score}" for _, gate in scorer.gates]
        reads = ", ".join([*filter(None, (scorer.input, scorer.text_of)), *gates])
        least = scorer.spec.pixels
        pictures = "" if least is None else "full" if least == "full" else f"{least} px"
        size = sum(Path(file).stat().st_size for file in files)
        columns = ", ".join(scorer.all_columns)
        use = run.resolved.recipe.score[scorer.name].use
        lines.append(Line(scorer.name, use, scorer.view, reads, columns, wave_of[scorer.name], pictures, size))
    held = sum(line.weights for line in lines)
    memory = 2 * held + 2 * BUDGET * any(line.pictures for line in lines) + RUNTIME * bool(held)
    planned = len(run.plan.slices) if run.plan.made else None
    return Plan(str(run.resolved.path), planned, lines, memory)
