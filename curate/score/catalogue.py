"""Catalogue: every column that rules, gates and views may name, with its type. Reads no table."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Protocol

from curate.document import Reader
from curate.plugin import KINDS, Columns, Kind
from curate.recipe.section import RecipeError, nearest
from curate.store.columns import Column
from curate.store.schema import RAW_COLUMNS

Catalogue = dict[str, dict[Kind, dict[str, Any]]]
"""Score name -> kind of segment -> column -> type: everything that rules, gates and views may name."""


class Named(Protocol):
    """A scorer, as far as its columns go."""

    @property
    def name(self) -> str:
        """Its name in the recipe."""

    @property
    def columns(self) -> Mapping[Kind, Columns]:
        """Its columns by kind of segment."""


def known_type(name: str, known: Catalogue, where: str, kind: Kind = "image") -> Any:
    """The type of a column of this kind of segment; RecipeError if there is none."""
    score, _, column = name.partition(".")
    column_kind(name, known, where, kind)
    return known[score][kind][column]


def located(name: str, kind: Kind, known: Catalogue, folders: Mapping[str, str]) -> Column:
    """A column that is known to exist, with the folder that its tables lie in."""
    score, _, column = name.partition(".")
    return Column(folders[score], column, kind, known[score][kind][column])


def catalogue(scorers: Iterable[Named], corpus: Reader) -> Catalogue:
    """The columns of these scorers, of the corpus itself (``source``) and of the download (``raw``)."""
    known: Catalogue = {"raw": {kind: dict(RAW_COLUMNS[kind]) for kind in KINDS}}
    known["source"] = {kind: dict(corpus.columns.get(kind, {})) for kind in KINDS}
    return known | {scorer.name: {kind: dict(group) for kind, group in scorer.columns.items()} for scorer in scorers}


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
