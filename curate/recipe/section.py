"""Section: what the parts of a recipe share: strictness, and the words of its errors. Knows no part."""

from __future__ import annotations

import difflib
from typing import Any

from pydantic import BaseModel, ConfigDict


class RecipeError(ValueError):
    """A recipe that cannot be used; the message names file, key, fault and remedy."""


class Section(BaseModel):
    """A part of a recipe: unknown keys are errors, values do not change."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def nearest(name: str, known: list[str]) -> str:
    """``; did you mean 'x'? (known: x, y, z)``: the end of an error message."""
    known = list(dict.fromkeys(known))
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    guess = f"; did you mean {close[0]!r}?" if close else ""
    return f"{guess} (known: {', '.join(known) or 'none'})"


def spell(value: Any) -> str:
    """A threshold as it is written in reasons: 0.25, 150, [a, b]."""
    if isinstance(value, float):
        return str(int(value)) if value.is_integer() and abs(value) < 1e15 else repr(value)
    return f"[{', '.join(map(str, value))}]" if isinstance(value, tuple) else str(value)
