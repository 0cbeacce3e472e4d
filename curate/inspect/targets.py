"""Targets: the files that the stages of a recipe make in a run, named by the stages themselves. Judges none of them."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field

from polars.exceptions import PolarsError

from curate.group import steps
from curate.ledger.job import Phase, Target
from curate.pack import pack
from curate.run.plan import PLAN
from curate.run.run import SMALL, Run
from curate.select import verdicts
from curate.store.digest import DamagedFile, ForeignFile
from curate.store.files import Files
from curate.store.raw_shard import RAW
from curate.store.store import Store

OWN = ("scores", "groups", "verdicts", "out")
"""Folders in which each recipe has folders of its own."""


def home(name: str) -> str:
    """The folder that a stage fills which a file lies in; "" for none."""
    first, second, *more = [*name.split("/"), ""]
    return RAW if first == RAW and second else f"{first}/{second}" if first in OWN and second and any(more) else ""


@dataclass
class Targets:
    """The targets of a recipe, in order.

    ``lasting``: those that stay; ``passing``: those that are made only for others, and may be missing. ``ends``: the
    folders of which not all targets could be named, with those that would have told the others. ``places``: of each
    that stays, the folder of its stage, and the number of its phase there.
    """

    lasting: dict[str, Target] = field(default_factory=dict)
    passing: dict[str, Target] = field(default_factory=dict)
    ends: dict[str, list[str]] = field(default_factory=dict)
    places: dict[str, tuple[str, int]] = field(default_factory=dict)

    def take(self, folder: str, phases: Iterable[Phase], passing: bool = False) -> None:
        """Takes up the targets of phases that fill a folder, as far as they can be named."""
        last = list[str]()
        try:
            for at, phase in enumerate(phases):
                made = {target.name: target for job in phase.jobs for target in job.targets}
                last = [*made]
                if passing:
                    self.passing |= made
                else:
                    self.lasting |= made
                    self.places |= dict.fromkeys(made, (folder, at))
                if phase.first is not None:
                    self.take(folder, phase.first(), passing=True)
        except (ValueError, LookupError, FileNotFoundError, PolarsError):  # damaged, gone, or another file altogether
            self.ends.setdefault(folder, last)


def targets_of(run: Run, files: Collection[str]) -> Targets:
    """The targets of a run, of which these files are there."""
    found = Targets()
    if not has_plan(run.store):
        found.ends[""] = [PLAN]
        return found
    shards = [part.shard for part in run.plan.slices]
    found.take(RAW, run.fetching())
    found.take("scores", run.scoring())
    run = run.over(judged_shards(run, shards, found, files))
    if run.scored:
        for grouping in run.grouped:
            found.take(grouping.home, steps.phases(run.store, grouping, run.scored, SMALL))
        decision, output = run.decision, run.output
        found.take(decision.folder, verdicts.phases(run.store, decision, run.scored, SMALL))
        found.take(output.folder, pack.phases(run.store, output, run.scored, SMALL))
    return found


def has_plan(store: Store) -> bool:
    """Whether there is a plan, and it is what was written."""
    try:
        return "inputs" in Files(store).json(PLAN)
    except (DamagedFile, ForeignFile, FileNotFoundError):
        return False


def judged_shards(run: Run, planned: list[str], found: Targets, files: Collection[str]) -> list[str]:
    """The shards over which the verdicts were made that are there, or else all that are planned.

    They are those of the plan, or, with --partial, those that had every score then; of these files may be missing now.
    """
    verdicts = {home(name) for name in files}
    for shards in [planned, *partial(planned, found, files)]:
        if shards and run.over(shards).verdicts in verdicts:
            return shards
    return planned


def partial(planned: list[str], found: Targets, files: Collection[str]) -> Iterator[list[str]]:
    """Those shards of a plan of which all tables are there, and those of which any is."""
    there = dict[str, list[bool]]()
    for name in found.lasting:
        there.setdefault(name.rpartition("/")[2].partition(".")[0], []).append(name in files)
    yield [shard for shard in planned if all(there.get(shard, [False]))]
    yield [shard for shard in planned if any(there.get(shard, [False]))]
