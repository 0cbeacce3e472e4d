"""Stages: the stages of a run in order, each over what is not done yet, and what is left undone. Measures nothing."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Self

from curate.group import steps
from curate.ledger.job import Phase
from curate.pack import pack
from curate.recipe.recipe import Resource
from curate.report import Failure, Incomplete, StopRun
from curate.run.executor import Executor
from curate.run.resources import needs
from curate.run.run import Run
from curate.run.scheduler import Progress, Scheduler
from curate.select import verdicts
from curate.store.files import Files
from curate.store.raw_shard import RAW

LISTED = 50
"""The most unfinished jobs that a message lists."""


@dataclass
class Stages:
    """The stages of a run, by name. ``partial``: select and pack although some shards are not there."""

    run: Run
    scheduler: Scheduler
    partial: bool = False

    @classmethod
    def of(cls, run: Run, executor: Executor, progress: Progress, partial: bool = False) -> Self:
        """The stages of a run whose jobs an executor does."""
        return cls(run, Scheduler(run.store, run.ledger, executor, progress), partial)

    def fetch(self) -> None:
        """Downloads the shards that are not there, if the corpus is what it was when it was planned."""
        self.run.plan.check_inputs(lambda: self.run.shards)
        self.scheduler.run(self.run.fetching(self._needs("fetch")))
        self.run.forget()
        rejects = self.scheduler.counts["fetch"]["rejects"]
        fetched = set(self.run.shards)
        if rejects and rejects == sum(part.count for part in self.run.plan.slices if part.shard in fetched):
            raise StopRun(f"none of {rejects:,} rows is a document: {self._first_reject()}")

    def _first_reject(self) -> str:
        raw = Files(self.run.store).read(f"{RAW}/{self.run.shards[0]}.parquet", ["kind", "file", "row", "text"])
        row = raw.filter(kind="reject").row(0, named=True)
        return f"{row['file']}, row {row['row']}: {row['text']}"

    def score(self) -> None:
        """Measures what has no score yet; a worker takes what the scorers that are left ask for."""
        fetched = set(self.run.shards)
        left = [job for job in self.run.unscored if job.name in fetched]
        folders = {target.name.rpartition("/")[0] for job in left for target in job.targets}
        names = [scorer.name for scorer in self.run.resolved.scorers if scorer.folder in folders]
        self.scheduler.run(self.run.scoring(self._needs("score", *names)))
        self.run.forget()

    def group(self) -> None:
        """Finds what is a duplicate of what."""
        self._refuse_holes()
        shards = self.run.scored
        for grouping in self.run.grouped if shards else ():
            self._all(steps.phases(self.run.store, grouping, shards, self._needs("group")))

    def select(self) -> None:
        """Decides every segment."""
        self._refuse_holes()
        self._all(verdicts.phases(self.run.store, self.run.decision, self.run.scored, self._needs("select")))

    def pack(self) -> None:
        """Writes the output and, last, its index."""
        self._refuse_holes()
        self.scheduler.run(pack.phases(self.run.store, self.run.output, self.run.scored, self._needs("pack")))

    def _all(self, phases: Iterable[Phase]) -> None:
        """Runs phases of which later stages need every job."""
        if not self.scheduler.run(phases):
            self.finish("score")

    def _needs(self, stage: str, *scorers: str) -> Resource:
        """What a worker of a stage takes."""
        return needs(self.run.resolved.recipe.resources, stage, *scorers)

    def _refuse_holes(self) -> None:
        """Nothing is selected or packed from a corpus with holes, unless told to."""
        if not self.partial:
            self.finish("score")

    def finish(self, stage: str) -> None:
        """Raises Incomplete if anything up to a stage was left undone, and lists what."""
        fetched, plan = set(self.run.shards), self.run.plan
        undone = [*plan.failures, *self.scheduler.failures]
        undone = [each for each in undone if each.stage != "score" or each.job in fetched]  # what is not there: below
        listed = {failure.job for failure in undone}
        known = {*fetched, *listed}
        missing = [part.shard for part in plan.slices if part.shard not in known]
        undone += [Failure("fetch", shard, "not fetched yet") for shard in missing]
        if stage != "fetch":
            unscored = sorted(fetched - {*self.run.scored} - listed)
            undone += [Failure("score", shard, "not scored yet (curate score)") for shard in unscored]
        if undone:
            lines = "\n  ".join(str(failure) for failure in undone[:LISTED])
            more = f"\n  ... and {len(undone) - LISTED} more" if len(undone) > LISTED else ""
            raise Incomplete(
                f"{len(undone)} of the planned jobs are not done:\n  {lines}{more}\n"
                "Run the same command again to try them again, or add --partial to go on without them."
            )
