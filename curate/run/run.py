"""Run: the stages of a recipe in order, and what of them is done. Measures nothing itself.

A stage says which files it makes; the ledger says which of them are there. So a killed run goes on where it was.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from curate.fetch import crawl
from curate.group import steps
from curate.group.grouping import Grouping
from curate.pack import pack
from curate.plugin import KINDS
from curate.recipe.recipe import Resource
from curate.recipe.section import RecipeError
from curate.report import Failure, StopRun
from curate.run.bind import Resolved
from curate.run.executor import Executor
from curate.run.plan import Plan
from curate.run.scheduler import Progress, Scheduler
from curate.score import measure
from curate.select import verdicts
from curate.store import table
from curate.store.columns import folders_of
from curate.store.job import Job, Phase
from curate.store.raw_shard import RAW
from curate.store.store import Store

LISTED = 50
"""The most unfinished jobs that a message lists."""


SMALL = Resource()
"""What a worker takes if nothing is said of it."""


class Incomplete(RuntimeError):  # noqa: N818
    """Some jobs are not done; the message lists them with their causes."""


@dataclass
class Run:
    """A recipe in a folder. ``partial``: select and pack although some shards are not there."""

    resolved: Resolved
    plan: Plan
    scheduler: Scheduler
    partial: bool = False
    _grouped: dict[tuple[str, ...], list[Grouping]] = field(default_factory=dict)

    @classmethod
    def open(
        cls,
        recipe: Path,
        store: Store,
        executor: Executor,
        progress: Progress,
        limit: int | None = None,
        changes: Mapping[str, str] | None = None,
        partial: bool = False,
    ) -> Self:
        """The run of a recipe's file in a folder: ``changes`` on top of the recipe, ``limit`` documents of its source."""
        resolved = Resolved(recipe, changes or {})
        return cls(resolved, Plan(resolved, store, limit), Scheduler(store, executor, progress), partial)

    @property
    def store(self) -> Store:
        """The folder of the run."""
        return self.plan.store

    def fetch(self) -> None:
        """Downloads the shards that are not there."""
        self.scheduler.run(self._fetching())
        counts = self.scheduler.counts["fetch"]
        if counts["rejects"] and counts["rejects"] == sum(part.count for part in self.plan.slices):
            raise StopRun(f"none of {counts['rejects']:,} rows is a document: {self._first_reject()}")

    def _fetching(self) -> Iterable[Phase]:
        resolved = self.resolved
        source, settings = resolved.recipe.source, resolved.recipe.fetch
        return crawl.phases(self.store, self.plan.slices, resolved.reader, source, settings, self._needs("fetch"))

    def _first_reject(self) -> str:
        with self.store.local(f"{RAW}/{self.shards[0]}.parquet") as path:
            row = table.read(path, ["kind", "file", "row", "text"]).filter(kind="reject").row(0, named=True)
        return f"{row['file']}, row {row['row']}: {row['text']}"

    def score(self) -> None:
        """Measures what has no score yet; a worker takes what the scorers that are left ask for."""
        left = {target.name for job in self._left(self._scoring()) for target in job.targets}
        folders = {name.rpartition("/")[0] for name in left}
        names = [scorer.name for scorer in self.resolved.scorers if scorer.folder in folders]
        self.scheduler.run(self._scoring(self._needs("score", *names)))

    def _scoring(self, needs: Resource = SMALL) -> Iterable[Phase]:
        return measure.phases(self.store, [part.shard for part in self.plan.slices], self.resolved.scorers, needs)

    def group(self) -> None:
        """Finds what is a duplicate of what."""
        self._refuse_partial()
        shards = self.scored
        for grouping in self.grouped if shards else ():
            self._all(steps.phases(self.store, grouping, shards, self._needs("group")))

    def select(self) -> None:
        """Decides every segment."""
        self._refuse_partial()
        self._all(verdicts.phases(self.store, self.decision, self.scored, self._needs("select")))

    def pack(self) -> None:
        """Writes the output and, last, its index."""
        self._refuse_partial()
        self._all(pack.phases(self.store, self.output, self.scored, self._needs("pack")))

    def _all(self, phases: Iterable[Phase]) -> None:
        """Runs phases of which later stages need every job."""
        if not self.scheduler.run(phases):
            self.finish("score")

    def _left(self, phases: Iterable[Phase]) -> list[Job]:
        """The jobs of some phases that are not done."""
        return self.scheduler.ledger.unfinished(job for phase in phases for job in phase.jobs)

    @property
    def shards(self) -> list[str]:
        """The shards that have been fetched, in order."""
        left = {job.name for job in self._left(self._fetching())}
        return [part.shard for part in self.plan.slices if part.shard not in left]

    @property
    def scored(self) -> list[str]:
        """The shards that have been fetched, and have every score."""
        left = {job.name for job in self._left(self._scoring())}
        return [shard for shard in self.shards if shard not in left]

    @property
    def grouped(self) -> list[Grouping]:
        """The recipe's groups over what has been scored."""
        shards = tuple(self.scored)
        if shards not in self._grouped:  # another run that is grouped against may lie far away
            self._grouped[shards] = self.resolved.groupings(shards)
        return self._grouped[shards]

    @property
    def folders(self) -> dict[str, str]:
        """The folder of each score and group, and of the corpus' own columns if it has any."""
        own = any(self.resolved.reader.columns.get(kind) for kind in KINDS)
        found = folders_of(self.resolved.scorers, self.grouped)
        return {name: folder for name, folder in found.items() if name != "raw" and (own or name != "source")}

    @property
    def decision(self) -> verdicts.Decision:
        """What decides, with everything that it reads."""
        resolved = self.resolved
        return verdicts.decision(resolved.recipe, resolved.scorers, resolved.known, self.grouped, self.scored)

    @property
    def verdicts(self) -> str:
        """The folder of the verdicts that this recipe comes to."""
        return self.decision.folder

    @property
    def funnel(self) -> list[dict[str, Any]]:
        """What ended how, and why."""
        name = f"{self.verdicts}/funnel.json"
        if not self.store.exists(name):
            path = self.resolved.path
            raise RecipeError(f"{self.store.url} has no verdicts for {path} as it is: curate select {path}")
        rows: list[dict[str, Any]] = self.store.get_json(name)
        return rows

    @property
    def output(self) -> pack.Output:
        """What is packed, and into which folder."""
        return pack.output(self.resolved, self.decision, self.folders)

    @property
    def out(self) -> str:
        """The folder of the output."""
        return self.output.folder

    def _needs(self, stage: str, *scorers: str) -> Resource:
        """What a worker of a stage takes: the stage's own line, and what its scorers ask for, together."""
        resources = self.resolved.recipe.resources
        lines = [resources[name] for name in (stage, *scorers) if name in resources]
        cpus = [line.cpus for line in lines if line.cpus is not None]
        memory = [line.memory for line in lines if line.memory is not None]
        workers = [line.workers for line in lines if line.workers is not None]
        return Resource(
            cpus=max(cpus, default=None),
            gpus=sum(line.gpus for line in lines),
            memory=max(memory, default=None),
            workers=workers[0] if workers else None,
        )

    def _refuse_partial(self) -> None:
        """Nothing is selected or packed from a corpus with holes, unless told to."""
        if not self.partial:
            self.finish("score")

    def finish(self, stage: str) -> None:
        """Raises Incomplete if anything up to a stage was left undone, and lists what."""
        fetched = self.shards
        undone = [*self.plan.failures, *self.scheduler.failures]
        undone = [each for each in undone if each.stage != "score" or each.job in fetched]  # what is not there: below
        listed = {failure.job for failure in undone}
        missing = [part.shard for part in self.plan.slices if part.shard not in {*fetched, *listed}]
        undone += [Failure("fetch", shard, "not fetched yet") for shard in missing]
        if stage != "fetch":
            unscored = sorted({*fetched} - {*self.scored} - listed)
            undone += [Failure("score", shard, "not scored yet (curate score)") for shard in unscored]
        if undone:
            lines = "\n  ".join(str(failure) for failure in undone[:LISTED])
            more = f"\n  ... and {len(undone) - LISTED} more" if len(undone) > LISTED else ""
            raise Incomplete(
                f"{len(undone)} of the planned jobs are not done:\n  {lines}{more}\n"
                "Run the same command again to try them again, or add --partial to go on without them."
            )
