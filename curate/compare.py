"""Compare: a recipe's comparators as one polars expression, in float32 for floats. Knows no rule and no table."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import polars as pl

from curate.recipe import Condition

OPERATORS: dict[str, Callable[[pl.Expr, Any], pl.Expr]] = {
    "min": lambda value, limit: value >= limit,
    "max": lambda value, limit: value <= limit,
    "above": lambda value, limit: value > limit,
    "below": lambda value, limit: value < limit,
    "equals": lambda value, limit: value == limit,
    "one_of": lambda value, limit: value.is_in(list(limit)),
    "none_of": lambda value, limit: ~value.is_in(list(limit)),
}
NUMERIC = {"min", "max", "above", "below"}


def passes(value: pl.Expr, kind: Any, condition: Condition) -> pl.Expr:
    """Whether a column of this Python type meets all comparators; null where the value is null.

    float32(0.26) >= 0.26 is False once the left side is widened to float64, so both sides are compared in float32.
    """
    verdict = pl.lit(value=True)
    for name, limit in condition.comparisons().items():
        side: Any = limit
        if name in NUMERIC:
            side = pl.lit(limit, pl.Float32 if kind is float else pl.Float64)
        verdict = verdict & OPERATORS[name](value, side)
    return verdict
