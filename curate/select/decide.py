"""Decide: rules and columns to verdicts. Pure functions over frames; reads and writes no file.

Rules AND together and the first that fails is the reason; rules that count a document's survivors come after all
others; what goes for the sake of others (duplicates of a group, texts of which there are too many) is removed after
that, among what is left, and what counts survivors is looked at again. A document that fails takes its segments along.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

from curate.plugin import Kind
from curate.recipe.compare import passes
from curate.recipe.rules import Add, Condition, Rule
from curate.status import Status
from curate.store.columns import KEY, Column

COUNTS = ("images", "texts")
"""What a document rule may name besides columns: how many segments of a kind survive all other rules."""


@dataclass(frozen=True)
class BoundRule:
    """A rule with what it needs: the folder and type of its column, and the threshold that ``top`` came to.

    A rule that counts what is left of a document has no folder.
    """

    rule: Rule
    folder: str
    type: Any
    threshold: float | None = None

    @property
    def column(self) -> Column:
        """The column that is compared."""
        return Column(self.folder, self.rule.column.partition(".")[2], self.rule.kind, self.type)

    @property
    def condition(self) -> Condition:
        """What the column is compared with."""
        limits = self.rule.comparisons()
        if self.threshold is not None:
            limits["min"] = max(self.threshold, limits.get("min", self.threshold))
        return Condition(**limits)


@dataclass(frozen=True)
class Addition:
    """A line of ``add`` with the columns that it names."""

    add: Add
    text: Column
    image: Column


@dataclass(frozen=True)
class Removal:
    """What goes for the sake of others that stay: duplicates of a group, or texts of which there are too many.

    ``of`` gets the survivors of a kind, and returns document and position of those that go.
    """

    kind: Kind
    reason: str
    of: Callable[[pl.DataFrame], pl.DataFrame]


def decide(frame: pl.DataFrame) -> pl.DataFrame:
    """Verdicts for the rows that ``ruled`` gives, in order: document, position, kind, state, reason, bytes, added."""
    kept = pl.col("state").is_null()
    frame = frame.with_columns(size=pl.when(kept).then(size()).otherwise(0)).with_columns(
        bytes=pl.when((pl.col("kind") == "document") & kept)
        .then(pl.col("size").sum().over("document"))
        .otherwise("size")
    )
    added_here = pl.when(kept).then("added").otherwise(0).cast(pl.Int32).alias("added")
    return frame.select(*KEY, "kind", pl.col("state").fill_null("kept"), "reason", "bytes", added_here)


def additions(lines: Sequence[Addition], columns: Sequence[tuple[pl.DataFrame, pl.DataFrame]]) -> pl.DataFrame | None:
    """The images after which texts are put: document, position, added (a bit for each line of ``add``).

    ``columns[n]`` are the texts, and what is compared, of line n.
    """
    found = None
    for number, (line, (texts, values)) in enumerate(zip(lines, columns, strict=True)):
        let = values.filter(passes(pl.col("value"), line.image.type, line.add).fill_null(value=False))
        some = texts.filter(pl.col("value").str.strip_chars() != "").join(let, on=KEY, how="semi")
        some = some.select(*KEY, added=pl.lit(1 << number, pl.Int32))
        found = some if found is None else pl.concat([found, some])
    return None if found is None else found.group_by(KEY).agg(pl.col("added").sum().cast(pl.Int32))


def size() -> pl.Expr:
    """What a segment takes, in bytes: a picture's file, a text's UTF-8."""
    return pl.col("bytes").fill_null(0) + pl.when(kind="text").then(pl.col("length")).otherwise(0)


def ruled(
    raw: pl.DataFrame,
    rules: Sequence[BoundRule],
    values: Sequence[pl.DataFrame | None],
    empty: str,
    removals: Sequence[Removal] = (),
    added: pl.DataFrame | None = None,
) -> pl.DataFrame:
    """The rows of a raw shard with ``state`` (null for what survives) and ``reason`` after rules and removals.

    ``raw`` has document, position, kind, status, bytes and length (of texts, in bytes); ``values[i]`` is the column of
    ``rules[i]`` as document, position, value, or None for a rule that counts survivors.
    """
    frame = raw.with_columns(
        state=pl.when(kind="reject").then(pl.lit("rejected"))
        .when((pl.col("kind") == "image") & (pl.col("status") != Status.OK)).then(pl.lit("failed")),
        reason=pl.when((pl.col("kind") == "image") & (pl.col("status") != Status.OK)).then(pl.col("status")),
    )  # fmt: skip
    if added is None:
        frame = frame.with_columns(added=pl.lit(0, pl.Int32))
    else:
        frame = frame.join(added, on=KEY, how="left", maintain_order="left").with_columns(pl.col("added").fill_null(0))
    for rule, column in zip(rules, values, strict=True):
        if column is not None:
            frame = _apply(frame, rule, column)
    frame = frame.with_columns(
        state=pl.coalesce("state", pl.when(pl.col("reason").is_not_null()).then(pl.lit("dropped")))
    )
    frame = _recount(frame, rules, empty)
    for removal in removals:
        gone = removal.of(survivors(frame, removal.kind)).select(*KEY, gone=pl.lit(value=True))
        if gone.height:
            frame = _recount(_remove(frame, gone, removal), rules, empty)
    return frame


def survivors(frame: pl.DataFrame, kind: Kind) -> pl.DataFrame:
    """What is left of a kind of segments; ``size`` is in bytes, a document's that of all that is left of it."""
    left = frame.filter(pl.col("state").is_null()).with_columns(size=size())
    if kind == "document":
        left = left.with_columns(pl.col("size").sum().over("document"))
    return left.filter(pl.col("kind") == kind)


def _remove(frame: pl.DataFrame, gone: pl.DataFrame, removal: Removal) -> pl.DataFrame:
    """Drops what a removal names; a document takes its segments along."""
    if removal.kind == "document":
        frame = frame.join(gone.drop("position").unique(), on="document", how="left", maintain_order="left")
    else:
        frame = frame.join(gone, on=KEY, how="left", maintain_order="left")
    hit = pl.col("gone").fill_null(value=False) & pl.col("state").is_null()
    return frame.with_columns(
        state=pl.when(hit).then(pl.lit("dropped")).otherwise("state"),
        reason=pl.when(hit).then(pl.lit(removal.reason)).otherwise("reason"),
    ).drop("gone")


def _recount(frame: pl.DataFrame, rules: Sequence[BoundRule], empty: str) -> pl.DataFrame:
    """Applies the rules that count what is left of a document."""
    for each in (each for each in rules if not each.folder):
        frame = _drop_documents(frame, ~passes(pl.col(each.rule.column), int, each.condition), str(each.rule))
    if empty == "drop":
        frame = _drop_documents(frame, pl.col("images") == 0, "document: no image left")
        frame = _drop_documents(frame, pl.col("texts") == 0, "document: no text left")
    return frame


def _apply(frame: pl.DataFrame, each: BoundRule, column: pl.DataFrame) -> pl.DataFrame:
    """Gives a reason to the rows that fail one rule and have none yet."""
    rule, kind = each.rule, each.rule.kind
    if each.threshold is not None:  # it was found among float32 values
        column = column.with_columns(pl.col("value").cast(pl.Float32))
    verdict = passes(pl.col("value"), each.type if each.threshold is None else float, each.condition)
    if kind == "document":
        column = column.filter(pl.col("position") == -1).drop("position")
        frame = frame.join(column, on="document", how="left", maintain_order="left")
        concerned = pl.col("kind") != "reject"
    else:
        frame = frame.join(column, on=KEY, how="left", maintain_order="left")
        concerned = pl.col("kind") == kind
    missing = pl.lit(f"{rule} (missing)") if rule.missing == "drop" else pl.lit(None, pl.String)
    fails = pl.when(pl.col("value").is_null()).then(missing).when(~verdict).then(pl.lit(str(rule)))
    return frame.with_columns(reason=pl.coalesce("reason", pl.when(concerned).then(fails))).drop("value")


def _drop_documents(frame: pl.DataFrame, fails: pl.Expr, reason: str) -> pl.DataFrame:
    """Drops the documents whose survivors fail, with all that is left of them."""
    left = pl.col("state").is_null()
    frame = frame.with_columns(
        images=(left & (pl.col("kind") == "image")).sum().over("document"),
        texts=(
            (left & (pl.col("kind") == "text")).cast(pl.UInt32)
            + pl.when(left).then(pl.col("added").bitwise_count_ones()).otherwise(0)
        )
        .sum()
        .over("document"),
    )
    hit = left & fails
    return frame.with_columns(
        state=pl.when(hit).then(pl.lit("dropped")).otherwise("state"),
        reason=pl.when(hit).then(pl.lit(reason)).otherwise("reason"),
    ).drop("images", "texts")
