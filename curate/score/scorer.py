"""Scorer: a recipe's scorers, found by name, with their identity and their order. Measures nothing.

A scorer's identity is everything that could change its numbers: plugin, parameters, the weights' sha256, its version or
code, how pictures are decoded, and the identity of the column it reads. Scores lie in a folder that bears it, so other
thresholds, workers or recipe lines leave them valid, and another model never finds them.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import inspect
import pkgutil
import sys
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from importlib.metadata import entry_points
from pathlib import Path
from types import ModuleType
from typing import Any

import curate.filters
from curate.document import Reader
from curate.image.codec import VERSION
from curate.plugin import KINDS, Columns, Kind, Spec, build, parameters, spec_of
from curate.recipe.compare import fault
from curate.recipe.measures import Score
from curate.recipe.recipe import Recipe
from curate.recipe.rules import Gate
from curate.recipe.section import RecipeError, nearest
from curate.score.identity import ask, identity, short_hash
from curate.store.table import RAW_COLUMNS


@dataclass(frozen=True)
class Scorer:
    """One entry of a recipe's ``score:``, ready to be built in a worker.

    ``gate`` is a hash of what decides which rows it measures: the condition, the column's identity, its own gate.
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


Catalogue = dict[str, dict[Kind, dict[str, Any]]]
"""Score name -> kind of segment -> column -> type: everything that rules, gates and views may name."""


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
            found[name] = _resolve_one(name, waiting.pop(name), recipe, folder, catalogue(found, corpus), found, file)
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
    if (sees or shares) and any(kind != "document" for kind, _ in gates):
        inputs.append(["seen through", [gate]])  # what is measured of a document depends on what of it is seen
    named = identity(
        plugin, scorer.spec, given, view=view, columns=columns, inputs=inputs, decoder=VERSION, where=where
    )
    return replace(scorer, identity=named)


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


def known_type(name: str, known: Catalogue, where: str) -> Any:
    """The type of an image column."""
    score, _, column = name.partition(".")
    column_kind(name, known, where, "image")
    return known[score]["image"][column]


def catalogue(scorers: Mapping[str, Scorer] | list[Scorer], corpus: Reader) -> Catalogue:
    """The columns of these scorers, of the corpus itself (``source``) and of the download (``raw``)."""
    several = scorers.values() if isinstance(scorers, Mapping) else scorers
    known: Catalogue = {"raw": {kind: dict(RAW_COLUMNS[kind]) for kind in KINDS}}
    known["source"] = {kind: dict(corpus.columns.get(kind, {})) for kind in KINDS}
    return known | {scorer.name: {kind: dict(group) for kind, group in scorer.columns.items()} for scorer in several}


def column_kind(name: str, known: Catalogue, where: str, kind: Kind | None = None, prefer: Kind | None = None) -> Kind:
    """The kind of segment that a column describes: it must be ``kind``, or is best ``prefer``, of several."""
    score, _, column = name.partition(".")
    kinds: list[Kind] = [each for each, group in known.get(score, {}).items() if column in group]
    for wish in (kind, prefer):
        if wish in kinds:
            return wish
    if kinds and kind is None:
        return kinds[0]
    options = [f"{score}.{column}" for score, kinds in known.items() for each in kinds.values() for column in each]
    said = f"is a column of {kinds[0]}s, not of {kind}s" if kinds else f"is no column{nearest(name, options)}"
    raise RecipeError(f"{where}: {name!r} {said}")


def find(use: str, folder: Path, where: str = "use") -> Any:
    """A plugin by name: built in, beside the recipe, ``module:attribute``, or an entry point ``curate.filters``.

    Raises:
        RecipeError: nothing, or two things, of that name; with the names there are.
    """
    if ":" in use:
        module_name, _, attribute = use.partition(":")
        if str(folder) not in sys.path:
            sys.path.append(str(folder))
        try:
            return getattr(importlib.import_module(module_name), attribute)
        except (ModuleNotFoundError, AttributeError) as error:
            raise RecipeError(f"{where}: {use!r}: {error}") from None
    modules = pkgutil.iter_modules(curate.filters.__path__)
    built_in = [module.name for module in modules if not module.ispkg and not module.name.startswith("_")]
    beside = folder / f"{use}.py"
    installed = {entry.name: entry for entry in entry_points(group="curate.filters")}
    places = [use in built_in, beside.is_file(), use in installed]
    if sum(places) > 1:
        culprit = beside if places[1] else "one of the entry points"
        raise RecipeError(f"{where}: {use!r} is found twice: rename {culprit}")
    if places[0]:
        return only_scorer(importlib.import_module(f"curate.filters.{use}"))
    if places[1]:
        return only_scorer(load_file(beside))
    if places[2]:
        return installed[use].load()
    raise RecipeError(f"{where}: no scorer named {use!r}{nearest(use, [*built_in, *installed])}")


def masker(name: str, where: str) -> Callable[[str], str]:
    """What hides parts of texts: ``mask`` of a built-in scorer's module, or module:function.

    Raises:
        RecipeError: there is no such function.
    """
    module, _, attribute = name.partition(":")
    module, attribute = (module, attribute) if attribute else (f"curate.filters.{module}", "mask")
    try:
        found: Callable[[str], str] = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        raise RecipeError(f"{where}: {name!r}: {error}") from None
    return found


def declared(use: str, folder: Path, where: str) -> tuple[Any, Spec]:
    """A plugin by name, with its declaration; RecipeError if there is none."""
    plugin = find(use, folder, where)
    try:
        return plugin, spec_of(plugin)
    except TypeError as error:
        raise RecipeError(f"{where}: {error}") from None


def load_file(path: Path) -> ModuleType:
    """A plain Python file as a module, loaded once; it may import its neighbours."""
    if str(path.parent) not in sys.path:
        sys.path.append(str(path.parent))
    name = f"curate_plugin_{path.stem}_{hashlib.sha256(path.read_bytes()).hexdigest()[:8]}"
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, path)
        if spec is None or spec.loader is None:
            raise RecipeError(f"{path}: not a Python file")
        sys.modules[name] = module = importlib.util.module_from_spec(spec)
        try:
            spec.loader.exec_module(module)
        except Exception as error:
            del sys.modules[name]
            line = getattr(error, "lineno", None) or traceback.extract_tb(error.__traceback__)[-1].lineno
            raise RecipeError(f"{path}, line {line}: {type(error).__name__}: {error}") from error
    return sys.modules[name]


def only_scorer(module: ModuleType) -> Any:
    """The one scorer that a module defines."""
    scorers = [each for each in vars(module).values() if hasattr(each, "__curate__")]
    own = [scorer for scorer in scorers if scorer.__module__ == module.__name__]
    if len(own) != 1:
        raise RecipeError(f"{module.__file__} defines {len(own)} scorers; name one as module:attribute")
    return own[0]
