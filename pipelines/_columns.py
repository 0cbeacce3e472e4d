"""Columns: the values of a corpus row by name and type, checked. Knows no corpus, guesses no missing value."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from curate.document import BadRow, Document, pair

URL = ("url", "image_url")
TEXT = ("text", "caption", "alt_text")
WIDTH = ("original_width", "width")
HEIGHT = ("original_height", "height")
"""Names of the same thing, in any case, the preferred first: img2dataset's ``width`` is that of its resized copy."""

EXACT = 2**53
"""Beyond it a float no longer holds every whole number."""


def pair_of(
    row: Mapping[str, Any], columns: Mapping[str, type], aliases: Mapping[str, tuple[str, ...]] | None = None
) -> Document:
    """A row of image URL and caption as a document of one image and one text, with these columns as its scores.

    Column names are compared in any case; of several that mean the same, the first that is not null counts, and a
    corpus need not have them all. A blank caption is none.

    Raises:
        BadRow: no URL, or a value of another type than its column.
    """
    cells: dict[str, Any] = {}
    for name, value in row.items():
        cells.setdefault(name.lower(), value)
    for names in (URL, TEXT):
        if cells.keys().isdisjoint(names):
            raise BadRow(f"no column {' or '.join(names)}")
    url = string("url", _first(cells, URL))
    if not url or url.isspace():
        raise BadRow("null URL")
    text = string("text", _first(cells, TEXT))
    same = {"width": WIDTH, "height": HEIGHT, **(aliases or {})}
    scores = {name: typed(name, _first(cells, same.get(name, (name,))), kind) for name, kind in columns.items()}
    return pair(url, None if not text or text.isspace() else text, scores)


def _first(cells: Mapping[str, Any], names: tuple[str, ...]) -> Any:
    return next((cells[name] for name in names if cells.get(name) is not None), None)


def string(name: str, value: Any) -> str | None:
    """A text or null, nothing else."""
    if value is None or isinstance(value, str):
        return value
    raise BadRow(f"{name} is {type(value).__name__}, not str")


def typed(name: str, value: Any, kind: type) -> Any:
    """A value for a column of int, float or str; None for null, NaN and infinities.

    Types drift between copies of a corpus: a whole number may be a float (None if too large to be exact), and an
    identifier a number.
    """
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return None
    if isinstance(value, str) and kind is str:
        return value
    if not isinstance(value, int | float) or isinstance(value, bool) or (kind is str and value % 1):
        raise BadRow(f"{name} is {type(value).__name__}, not {kind.__name__}")
    if kind is float:
        if abs(value) > 1e308:
            raise BadRow(f"{name} is out of range")
        return float(value)
    if isinstance(value, float):
        if not value.is_integer():
            raise BadRow(f"{name} is {value}, not a whole number")
        if abs(value) > EXACT:
            return None
        value = int(value)
    if not -(2**63) <= value < 2**63:
        raise BadRow(f"{name} is out of range")
    return kind(value)
