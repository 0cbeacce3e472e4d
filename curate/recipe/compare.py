"""Compare: a recipe's comparators as one polars expression, in float32 for floats. Knows no rule and no table."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import polars as pl

from curate.recipe.rules import Condition, Gate

OPERATORS: dict[str, Callable[[pl.Expr, Any], pl.Expr]] = {
    "min": lambda value, limit: value >= limit,
    "max": lambda value, limit: value <= limit,
    "above": lambda value, limit: value > limit,
    "below": lambda value, limit: value < limit,
    "equals": lambda value, limit: value == limit,
    "one_of": lambda value, limit: value.is_in(limit),
    "none_of": lambda value, limit: ~value.is_in(limit),
}
NUMERIC = {"min", "max", "above", "below"}
MEMBERS = {"one_of", "none_of"}


def passes(value: pl.Expr, kind: Any, condition: Condition) -> pl.Expr:
    """Whether a column of this Python type meets all comparators; null where the value is null.

    float32(0.26) >= 0.26 is False once the left side is widened to float64, so both sides are compared in float32.
    """
    verdict = pl.lit(value=True)
    for name, limit in condition.comparisons().items():
        limits = list(limit) if name in MEMBERS else [limit]
        whole = all(isinstance(each, int) and abs(each) < 1 << 63 for each in limits)
        type_ = {bool: pl.Boolean, str: pl.String, float: pl.Float32}.get(kind, pl.Int64 if whole else pl.Float64)
        side = pl.Series(limits, dtype=type_, strict=False)
        if name in MEMBERS:
            verdict = verdict & OPERATORS[name](value.cast(type_), side.implode())
        else:
            verdict = verdict & OPERATORS[name](value, pl.lit(side[0], type_))
    return verdict


def opens(kind: Any, gate: Gate) -> pl.Expr:
    """Whether a gate lets a column's ``value`` through, null or not."""
    return passes(pl.col("value"), kind, gate).fill_null(value=gate.missing == "keep")


def fault(kind: Any, condition: Condition, top: bool = False) -> str | None:
    """Why a column of this type cannot be compared like that; None where it can."""
    if kind not in (bool, int, float, str):
        return "is a list, which has no order"
    numeric = kind in (int, float)
    for name, limit in condition.comparisons().items():
        if name in NUMERIC and not numeric:
            return f"holds {kind.__name__} values: {name} needs numbers; use equals, one_of or none_of"
        for each in limit if name in MEMBERS else (limit,):
            if isinstance(each, bool) != (kind is bool) or isinstance(each, str) != (kind is str):
                return f"holds {kind.__name__} values: {name} compares it with {each!r}"
    return "holds no numbers, which top needs" if top and not numeric else None
