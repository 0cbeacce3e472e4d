"""Resolved: a recipe with everything that it names found, or a message that says what is not. Runs nothing."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path

from curate.compare import fault
from curate.decide import COUNTS
from curate.document import Reader
from curate.grouping import Grouping, columns_of, resolve_groups
from curate.plugin import KINDS
from curate.recipe import Recipe, RecipeError, nearest
from curate.recipe_file import load
from curate.scorer import Catalogue, Scorer, catalogue, column_kind, resolve
from curate.source import load_reader
from curate.writers import WRITERS


class Resolved:
    """The recipe in a file, with ``changes`` on top: its reader, scorers, columns and rules."""

    path: Path
    changes: Mapping[str, str]

    @cached_property
    def recipe(self) -> Recipe:
        """The validated recipe."""
        return load(self.path, self.changes)

    @cached_property
    def reader(self) -> Reader:
        """The corpus reader."""
        try:
            sys.path.append(str(self.path.parent.absolute()))  # a reader may lie beside the recipe
            return load_reader(self.recipe.source.reader)
        except (LookupError, TypeError, ImportError, AttributeError) as error:
            raise RecipeError(f"{self.path}: source.reader: {error}") from None

    @cached_property
    def scorers(self) -> list[Scorer]:
        """The recipe's scorers, in order."""
        return resolve(self.recipe, self.path.parent.absolute(), self.reader, str(self.path))

    @cached_property
    def known(self) -> Catalogue:
        """Every column there is: those of scores and of groups."""
        return self.measured | {each.name: columns_of(each) for each in self.groupings(())}

    @cached_property
    def measured(self) -> Catalogue:
        """The columns of scores, which groups may read."""
        return catalogue(self.scorers, self.reader)

    def groupings(self, shards: Sequence[str]) -> list[Grouping]:
        """The recipe's groups over these shards."""
        return resolve_groups(self.recipe, self.scorers, self.measured, shards, str(self.path))

    def check(self) -> None:
        """Finds what is wrong with a recipe before anything is downloaded.

        Raises:
            RecipeError: with file, key and the nearest valid name.
        """
        known = self.known  # looks up the reader and every scorer, even where no rule reads them
        for at, rule in enumerate(self.recipe.keep):
            where = f"{self.path}: keep.{at}.{rule.kind}"
            if "." in rule.column:
                column_kind(rule.column, known, where, rule.kind)
                score, _, column = rule.column.partition(".")
                if wrong := fault(known[score][rule.kind][column], rule, rule.top is not None):
                    raise RecipeError(f"{where}: {rule.column} {wrong}")
            elif rule.kind != "document" or rule.column not in COUNTS:
                names = [f"{score}.{name}" for score, kinds in known.items() for name in kinds.get(rule.kind, {})]
                counts = list(COUNTS) if rule.kind == "document" else []
                raise RecipeError(f"{where}: {rule.column!r} is no column{nearest(rule.column, counts + names)}")
            if rule.top is not None and "." not in rule.column:
                raise RecipeError(f"{where}: top needs a measured column")
        verify = self.recipe.fetch.verify
        if verify and not any(verify in self.reader.columns.get(kind, {}) for kind in KINDS):
            raise RecipeError(f"{self.path}: fetch.verify: the corpus {self.reader.corpus!r} has no column {verify!r}")
        where = f"{self.path}: place.by"
        if self.recipe.place.by == "matched":
            column_kind("source.matched", known, where, "image")
        elif self.recipe.place.by != "dom":
            column_kind(self.recipe.place.by, known, where, "image")
            score, _, column = self.recipe.place.by.partition(".")
            if known[score]["image"][column] != list[float]:
                raise RecipeError(f"{where}: {self.recipe.place.by} is no list of similarities, such as clip.sims")
        if self.recipe.pack.format not in WRITERS:
            raise RecipeError(
                f"{self.path}: pack.format: no format {self.recipe.pack.format!r}"
                f"{nearest(self.recipe.pack.format, list(WRITERS))}"
            )
