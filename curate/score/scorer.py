"""Scorer: a recipe's scorers with their identity, each after what it reads. Measures nothing.

A scorer's identity is everything that could change its numbers: plugin, parameters, the weights' sha256, its version or
code, how pictures are decoded, and the identity of the column it reads. Scores lie in a folder that bears it, so other
thresholds, workers or recipe lines leave them valid, and another model never finds them.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from curate.document import Reader
from curate.image.codec import VERSION
from curate.plugin import Columns, Kind, Spec, build, parameters
from curate.recipe.compare import fault
from curate.recipe.measures import Score
from curate.recipe.recipe import Recipe
from curate.recipe.rules import Gate
from curate.recipe.section import RecipeError, nearest
from curate.score.catalogue import Catalogue, catalogue, column_kind, known_type
from curate.score.identity import ask, identity, short_hash
from curate.score.plugins import declared


@dataclass(frozen=True)
class Scorer:
    """One entry of a recipe's ``score:``, ready to be built in a worker.

    ``gate`` is a hash of what decides which rows it measures: the condition, the column's identity, its own gate.
    ``sees_gates``: what it measures of a row depends on what its gates hide elsewhere.
    """

    name: str
    plugin: Any
    given: Mapping[str, Any]
    spec: Spec
    view: str
    columns: Mapping[Kind, Columns]
    identity: str
    gates: tuple[tuple[Kind, Gate], ...] = ()
    gate: str = ""
    reads: str | None = None
    text_of: str | None = None
    use: str = ""
    sees_gates: bool = False

    @property
    def folder(self) -> str:
        """Where its tables lie in a run: one folder for each gate, so that what is there is complete."""
        return f"scores/{self.name}-{self.identity}" + (f"-{self.gate}" if self.gate else "")

    @cached_property
    def all_columns(self) -> dict[str, Any]:
        """Its columns of every kind, by name."""
        return {name: kind for group in self.columns.values() for name, kind in group.items()}

    @property
    def input(self) -> str | None:
        """The column that it reads, if any."""
        return self.view if "." in self.view else self.reads

    @property
    def upstream(self) -> set[str]:
        """The scores whose columns it reads or is gated by."""
        names = (self.input, self.text_of, *(gate.score for _, gate in self.gates))
        return {name.split(".")[0] for name in names if name}

    def build(self) -> Callable[[list[Any]], list[Any]]:
        """Its batch call; loads the model."""
        return build(self.plugin, self.given)


def resolve(recipe: Recipe, folder: Path, corpus: Reader, file: str) -> list[Scorer]:
    """The recipe's scorers in an order in which each comes after what it reads.

    Raises:
        RecipeError: a scorer, parameter or column that does not exist, or a circle.
    """
    found: dict[str, Scorer] = {}
    waiting = dict(recipe.score)
    while waiting:
        ready = [name for name, entry in waiting.items() if not needs(entry, recipe, folder, file, name) & set(waiting)]
        if not ready:
            raise RecipeError(f"{file}: score: {', '.join(waiting)} wait for each other")
        for name in ready:
            known = catalogue(found.values(), corpus)
            scorer = _resolve_one(name, waiting.pop(name), recipe, folder, known, found, file)
            found[name] = replace(scorer, use=recipe.score[name].use)
    return list(found.values())


def needs(entry: Score, recipe: Recipe, folder: Path, file: str, name: str) -> set[str]:
    """The names of the scores that an entry reads or is gated by."""
    spec = declared(entry.use, folder, f"{file}: score.{name}.use")[1]
    columns = (entry.on or spec.reads or spec.view, entry.text_of, *(gate.score for gate in entry.after))
    names = {column.split(".")[0] for column in columns if column and "." in column}
    unknown = names - set(recipe.score) - {"raw", "source"}
    if unknown:
        raise RecipeError(
            f"{file}: score.{name}: no score named {unknown.pop()!r}{nearest('', [*recipe.score, 'raw', 'source'])}"
        )
    return names


def _resolve_one(
    name: str, entry: Score, recipe: Recipe, folder: Path, known: Catalogue, found: Mapping[str, Scorer], file: str
) -> Scorer:
    """One scorer, once everything that it reads is known."""
    where = f"{file}: score.{name}"
    plugin, spec = declared(entry.use, folder, f"{where}.use")
    try:
        given = parameters(plugin, entry.parameters)
    except TypeError as error:
        options = [key for key in inspect.signature(plugin).parameters if inspect.isclass(plugin)] or [
            *list(inspect.signature(plugin).parameters)[1:]
        ]
        raise RecipeError(f"{where}: {error}; {entry.use} takes {', '.join(options) or 'no parameters'}") from None
    view, columns, reads = entry.on or spec.view, dict(spec.columns), None
    if spec.view == "document":
        view, reads = "document", entry.on or spec.reads
    if entry.text_of and view != "pair":
        raise RecipeError(f"{where}.text_of: goes with scorers of pairs; {entry.use} looks at {view}")
    if entry.text_of and known_type(entry.text_of, known, f"{where}.text_of") is not int:
        raise RecipeError(f"{where}.text_of: {entry.text_of} is no number of a text, such as clip.best")
    if reads:
        column_kind(reads, known, f"{where}.on", prefer="image")
    if "." in view:
        kind = column_kind(view, known, f"{where}.on", prefer=next(iter(spec.columns)))
        columns = {kind: {key: value for group in spec.columns.values() for key, value in group.items()}}
    gates = tuple(_gate(each, columns, view, known, f"{where}.after") for each in entry.after)
    gate = short_hash(
        [[each.comparisons(), each.missing, each.score, _state(each.score, found)] for each in entry.after]
    )
    if spec.pixels is not None:
        spec = replace(spec, pixels=ask(plugin, "pixels", given, where, spec.pixels))
    if recipe.decode == "exact" and spec.pixels is not None:
        spec = replace(spec, pixels="full")
    batch = recipe.resources[name].batch if name in recipe.resources else None
    scorer = Scorer(name, plugin, given, replace(spec, batch=batch or spec.batch), view, columns, "", gates)
    scorer = replace(scorer, gate=gate if gates else "", reads=reads, text_of=entry.text_of)
    inputs = [[each, _state(each, found)] for each in (scorer.input, scorer.text_of) if each]
    shares = view == "pair" and "text" in columns  # a text's value is the greatest of its pictures'
    sees = view == "document" and not hasattr(plugin, "encode_image")
    sees_gates = (sees or shares) and any(kind != "document" for kind, _ in gates)
    if sees_gates:
        inputs.append(["seen through", [gate]])  # what is measured of a document depends on what of it is seen
    named = identity(
        plugin, scorer.spec, given, view=view, columns=columns, inputs=inputs, decoder=VERSION, where=where
    )
    return replace(scorer, identity=named, sees_gates=sees_gates)


def _gate(gate: Gate, columns: Mapping[Kind, Columns], view: str, known: Catalogue, where: str) -> tuple[Kind, Gate]:
    """A gate with the kind of segments that it looks at."""
    looked_at, _, column = gate.score.partition(".")
    kind = column_kind(gate.score, known, f"{where}.score", prefer=next(iter(columns)))
    if wrong := fault(known[looked_at][kind][column], gate):
        raise RecipeError(f"{where}: {gate.score} {wrong}")
    if kind not in ("document", *columns) and view not in {"document", "pair"}:
        raise RecipeError(f"{where}: {gate.score} is a column of {kind}s")
    return kind, gate


def _state(column: str, found: Mapping[str, Scorer]) -> list[str]:
    """What the values of a column depend on; nothing for what the download or the corpus says."""
    scorer = found.get(column.split(".")[0])
    return [scorer.identity, scorer.gate] if scorer else []
