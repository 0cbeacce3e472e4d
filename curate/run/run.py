"""Run: a recipe in a folder: its shards, and the folders that its stages fill. Runs no job."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Self

from curate.fetch import crawl
from curate.group.grouping import Grouping
from curate.ledger.job import Job, Phase
from curate.ledger.ledger import Ledger
from curate.pack import pack
from curate.plugin import KINDS
from curate.recipe.recipe import Resource
from curate.run.bind import Resolved
from curate.run.decided import Decided
from curate.run.plan import Plan
from curate.score import measure
from curate.select import binding
from curate.store.columns import folders_of
from curate.store.store import Store

SMALL = Resource()
"""What a worker takes if nothing is said of it."""


@dataclass
class Run:
    """A recipe in a folder. Which shards are there is asked of the ledger once, until ``forget``."""

    resolved: Resolved
    plan: Plan
    ledger: Ledger
    _grouped: dict[tuple[str, ...], list[Grouping]] = field(default_factory=dict)

    @classmethod
    def open(
        cls, recipe: Path, store: Store, limit: int | None = None, changes: Mapping[str, str] | None = None
    ) -> Self:
        """The run of a recipe's file, with ``changes`` on top, over the first ``limit`` documents of its source."""
        resolved = Resolved(recipe, changes or {})
        return cls(resolved, Plan(resolved, store, limit), Ledger(store))

    @property
    def store(self) -> Store:
        """The folder."""
        return self.plan.store

    def fetching(self, needs: Resource = SMALL) -> Iterable[Phase]:
        """The phases of fetch: all shards of the plan."""
        resolved = self.resolved
        source, settings = resolved.recipe.source, resolved.recipe.fetch
        return crawl.phases(self.store, self.plan.slices, resolved.reader, source, settings, needs)

    def scoring(self, needs: Resource = SMALL) -> Iterable[Phase]:
        """The phases of score: all shards of the plan."""
        return [
            replace(each, jobs=self._scoring) for each in measure.phases(self.store, (), self.resolved.scorers, needs)
        ]

    @cached_property
    def _scoring(self) -> list[Job]:
        """The jobs of score; of the recipe and the names of the plan's shards alone, neither of which changes."""
        return measure.jobs_of([part.shard for part in self.plan.slices], self.resolved.scorers)

    def unfinished(self, phases: Iterable[Phase]) -> list[Job]:
        """The jobs of some phases that are not done, each with what is missing of it."""
        return self.ledger.unfinished(job for phase in phases for job in phase.jobs)

    @cached_property
    def shards(self) -> list[str]:
        """The shards that have been fetched, in order."""
        left = {job.name for job in self.unfinished(self.fetching())}
        return [part.shard for part in self.plan.slices if part.shard not in left]

    @cached_property
    def unscored(self) -> list[Job]:
        """The jobs of shards that lack scores, fetched or not, each with what is missing of it."""
        return self.unfinished(self.scoring())

    @cached_property
    def scored(self) -> list[str]:
        """The shards that have been fetched, and have every score."""
        left = {job.name for job in self.unscored}
        return [shard for shard in self.shards if shard not in left]

    def forget(self) -> None:
        """Has the ledger asked again: shards were fetched or scored."""
        for name in ("shards", "unscored", "scored", "decided"):
            self.__dict__.pop(name, None)

    def over(self, shards: Sequence[str]) -> Run:
        """The same run, as it is when these shards, and no others, have been fetched and scored."""
        found = Run(self.resolved, self.plan, self.ledger)
        found.shards = found.scored = list(shards)
        return found

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
    def decision(self) -> binding.Decision:
        """What decides, with everything that it reads."""
        resolved = self.resolved
        return binding.decision(resolved.recipe, resolved.scorers, resolved.known, self.grouped, self.scored)

    @property
    def verdicts(self) -> str:
        """The folder of the verdicts that this recipe comes to."""
        return self.decision.folder

    @cached_property
    def decided(self) -> Decided:
        """What was decided, if it is what would be decided now."""
        return Decided(self.store, self.ledger, self.resolved.path, self.decision, self.grouped, self.scored)

    @property
    def funnel(self) -> list[dict[str, Any]]:
        """What ended how, and why; RecipeError where nobody decided, or what was decided is stale."""
        return self.decided.funnel()

    @property
    def output(self) -> pack.Output:
        """What is packed, and into which folder."""
        resolved, decision = self.resolved, self.decision
        recipe, known, scores = resolved.recipe, resolved.known, self.folders
        return pack.output(recipe, resolved.path, resolved.changes, known, scores, decision.folder, decision.adds)

    @property
    def out(self) -> str:
        """The folder of the output."""
        return self.output.folder
