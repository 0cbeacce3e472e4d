"""Bind: a recipe with everything that it names found, or a message that says what is not. Runs nothing."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from curate.document import Reader
from curate.group.grouping import Grouping, columns_of, resolve_groups
from curate.pack.writer import writer
from curate.plugin import KINDS
from curate.recipe.compare import fault
from curate.recipe.recipe import Recipe
from curate.recipe.recipe_file import load
from curate.recipe.section import RecipeError, nearest
from curate.score.catalogue import Catalogue, catalogue, column_kind, known_type
from curate.score.plugins import masker
from curate.score.scorer import Scorer, resolve
from curate.select.decide import COUNTS
from curate.source.corpus import load_reader


@dataclass
class Resolved:
    """The recipe in a file, with ``changes`` on top: its reader, scorers, columns and rules."""

    path: Path
    changes: Mapping[str, str] = field(default_factory=dict)

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
                type_ = known_type(rule.column, known, where, rule.kind)
                if wrong := fault(type_, rule, rule.top is not None):
                    raise RecipeError(f"{where}: {rule.column} {wrong}")
            elif rule.kind != "document" or rule.column not in COUNTS:
                names = [f"{score}.{name}" for score, kinds in known.items() for name in kinds.get(rule.kind, {})]
                counts = list(COUNTS) if rule.kind == "document" else []
                raise RecipeError(f"{where}: {rule.column!r} is no column{nearest(rule.column, counts + names)}")
            if rule.top is not None and "." not in rule.column:
                raise RecipeError(f"{where}: top needs a measured column")
        self._check_texts(known)
        verify = self.recipe.fetch.verify
        if verify and not any(verify in self.reader.columns.get(kind, {}) for kind in KINDS):
            raise RecipeError(f"{self.path}: fetch.verify: the corpus {self.reader.corpus!r} has no column {verify!r}")
        where = f"{self.path}: place.by"
        if self.recipe.place.by == "matched":
            column_kind("source.matched", known, where, "image")
        elif self.recipe.place.by != "dom" and known_type(self.recipe.place.by, known, where) != list[float]:
            raise RecipeError(f"{where}: {self.recipe.place.by} is no list of similarities, such as clip.sims")
        writer(self.recipe.pack.format, f"{self.path}: pack.format")

    def _check_texts(self, known: Catalogue) -> None:
        """Finds what is wrong with the texts that are added or thinned out, and with what pack hides."""
        for at, add in enumerate(self.recipe.add):
            where = f"{self.path}: add.{at}"
            if known_type(add.text, known, f"{where}.text") is not str:
                raise RecipeError(f"{where}.text: {add.text} holds no texts")
            if wrong := fault(known_type(add.image, known, f"{where}.image"), add):
                raise RecipeError(f"{where}.image: {add.image} {wrong}")
        balance, where = self.recipe.balance, f"{self.path}: balance.by"
        if balance and known_type(balance.by, known, where, "text") is not bytes:
            raise RecipeError(f"{where}: {balance.by} holds no entries, such as metaclip.entries")
        boxes, where = self.recipe.pack.blur, f"{self.path}: pack.blur"
        if boxes and known_type(boxes, known, where) != list[float]:
            raise RecipeError(f"{where}: {boxes} is no list of boxes, such as faces.boxes")
        if self.recipe.pack.mask:
            masker(self.recipe.pack.mask, f"{self.path}: pack.mask")
