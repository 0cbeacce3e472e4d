"""Decided: what was decided in a run, told only if it is what would be decided now. Decides nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from curate.group import steps
from curate.group.grouping import Grouping
from curate.ledger.job import Target
from curate.ledger.ledger import Ledger
from curate.ledger.state import MISSING, STALE
from curate.recipe.recipe import Resource
from curate.recipe.section import RecipeError
from curate.select import verdicts
from curate.select.binding import Decision
from curate.store.store import Store


@dataclass(frozen=True)
class Decided:
    """The verdicts of a recipe over some shards, and what came of all of them.

    Of one shard only its own files are judged; what stands for the whole run is looked at once.
    """

    store: Store
    ledger: Ledger
    recipe: Path
    decision: Decision
    grouped: Sequence[Grouping]
    shards: Sequence[str]

    def verdicts(self, shard: str) -> str:
        """The table of the verdicts on a shard.

        Raises:
            RecipeError: there is none, or it is stale; says which command makes it.
        """
        if wrong := self.wrong(shard):
            raise RecipeError(wrong)
        return f"{self.decision.folder}/{shard}.parquet"

    def funnel(self) -> list[dict[str, Any]]:
        """What ended how, and why.

        Raises:
            RecipeError: it is not there, or something that it comes from is stale; says which command makes it.
        """
        name = f"{self.decision.folder}/funnel.json"
        if self.ledger.inventory.find(name) is None:
            raise RecipeError(self._none)
        if self._is_stale([each for several in self._targets.values() for each in several]):
            raise RecipeError(self._stale)
        rows: list[dict[str, Any]] = self.store.get_json(name)["funnel"]
        return rows

    def wrong(self, shard: str) -> str:
        """Why nothing can be said of a shard, and what to do; "" if it can."""
        if self.ledger.inventory.find(f"{self.decision.folder}/{shard}.parquet") is None:
            return self._none
        stale = self._is_stale([*self._targets.get("rules", ()), *self._targets.get(shard, ())])
        return self._stale if stale else ""

    @property
    def _none(self) -> str:
        return f"{self.store.url} has no verdicts for {self.recipe} as it is: curate select {self.recipe}"

    @property
    def _stale(self) -> str:
        return f"{self.store.url}: the verdicts for {self.recipe} are stale: curate select {self.recipe}"

    def _is_stale(self, targets: Sequence[Target]) -> bool:
        return any(state in (MISSING, STALE) for state, _ in self.ledger.states(targets))

    @cached_property
    def _targets(self) -> dict[str, list[Target]]:
        """Groups, verdicts and what came of them: all that stays, by the last part of its name."""
        phases = [steps.tables(self.store, each, self.shards, Resource()) for each in self.grouped if self.shards]
        phases += verdicts.phases(self.store, self.decision, self.shards, Resource())
        found = dict[str, list[Target]]()
        for target in (target for phase in phases for job in phase.jobs for target in job.targets):
            found.setdefault(target.name.rpartition("/")[2].partition(".")[0], []).append(target)
        return found
