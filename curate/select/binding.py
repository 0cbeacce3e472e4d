"""Binding: the rules of a recipe with the columns that they read, and the folder that they come to. Reads no file."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass

from curate.group.grouping import Grouping
from curate.recipe.recipe import Recipe
from curate.recipe.rules import Balance
from curate.score.catalogue import Catalogue, located
from curate.score.scorer import Scorer
from curate.select.decide import Addition, BoundRule
from curate.store.columns import Column, folders_of

VERSION = 1
"""Of this wing: a change that gives other verdicts counts it up, and all of its files are made again."""
BY = f"select {VERSION}"
"""What every file of this wing says that it was made by; its name says the rest."""


@dataclass(frozen=True)
class BoundBalance:
    """A recipe's ``balance`` with its column."""

    balance: Balance
    column: Column


@dataclass(frozen=True)
class Decision:
    """All that decides what stays.

    ``folder``: where the verdicts lie; ``rules``: those of ``keep``, with thresholds of ``top`` still open;
    ``groups``: those of which only some members stay, in the order in which they are picked.
    """

    folder: str
    rules: tuple[BoundRule, ...]
    adds: tuple[Addition, ...] = ()
    empty: str = "drop"
    groups: tuple[Grouping, ...] = ()
    balance: BoundBalance | None = None

    @property
    def tops(self) -> tuple[Column, ...]:
        """The columns of which thresholds have to be found first."""
        return tuple(each.column for each in self.rules if each.rule.top is not None)

    @property
    def rules_file(self) -> str:
        """The file that says the rules, and the thresholds that were found."""
        return f"{self.folder}/rules.json"


def decision(
    recipe: Recipe,
    scorers: Sequence[Scorer],
    known: Catalogue,
    groupings: Sequence[Grouping],
    shards: Sequence[str],
) -> Decision:
    """What decides on these shards, with every column looked up."""
    rules = bind(recipe, scorers, known, groupings)
    return Decision(
        f"verdicts/{verdict_hash(recipe, rules, shards, groupings, scorers)}",
        tuple(rules),
        tuple(bind_adds(recipe, scorers, known)),
        recipe.empty,
        tuple(each for each in groupings if each.picks),
        bind_balance(recipe, scorers, known),
    )


def bind(
    recipe: Recipe, scorers: Sequence[Scorer], known: Catalogue, groupings: Sequence[Grouping] = ()
) -> list[BoundRule]:
    """The lines of ``keep`` with their columns looked up."""
    folders = folders_of(scorers, groupings)
    bound = []
    for rule in recipe.keep:
        score, _, column = rule.column.partition(".")
        if column:
            bound.append(BoundRule(rule, folders[score], known[score][rule.kind][column]))
        else:
            bound.append(BoundRule(rule, "", int))
    return bound


def bind_adds(recipe: Recipe, scorers: Sequence[Scorer], known: Catalogue) -> list[Addition]:
    """The lines of ``add`` with their columns looked up."""
    folders = folders_of(scorers)
    return [
        Addition(add, *(located(name, "image", known, folders) for name in (add.text, add.image))) for add in recipe.add
    ]


def bind_balance(recipe: Recipe, scorers: Sequence[Scorer], known: Catalogue) -> BoundBalance | None:
    """The recipe's ``balance``, if any, with its column looked up."""
    if recipe.balance is None:
        return None
    return BoundBalance(recipe.balance, located(recipe.balance.by, "text", known, folders_of(scorers)))


def verdict_hash(
    recipe: Recipe,
    bound: Sequence[BoundRule],
    shards: Sequence[str],
    groupings: Sequence[Grouping] = (),
    scorers: Sequence[Scorer] = (),
) -> str:
    """8 hex digits of everything that decides: rules, the identity of scores and groups they read, and the shards."""
    parts = [[each.rule.model_dump(), each.folder] for each in bound]
    kept = [[each.home, each.entry.keep, each.best and each.best.folder] for each in groupings if each.picks]
    folders = folders_of(scorers)
    more = [[add.model_dump(), folders[add.text.split(".")[0]], folders[add.image.split(".")[0]]] for add in recipe.add]
    if recipe.balance:
        more.append([recipe.balance.model_dump(), folders[recipe.balance.by.split(".")[0]]])
    whole = [parts, recipe.empty, list(shards), kept, more]
    return hashlib.sha256(json.dumps(whole).encode()).hexdigest()[:8]
