"""Select: turn score columns into verdicts. Reads no pixels and loads no model.

Every row of a raw shard gets one verdict: kept, or why not. Rules AND together and the first that fails is the reason;
rules that count a document's survivors come after all others, and a document that fails takes its segments along.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from curate import table
from curate.compare import passes
from curate.recipe import Condition, Recipe, Rule
from curate.report import Report, conserve
from curate.scorer import Catalogue, Scorer
from curate.shard import RAW
from curate.status import Status
from curate.store import Store

KEY = ["document", "position"]
COUNTS = ("images", "texts")
"""What a document rule may name besides columns: how many segments of a kind survive all other rules."""


@dataclass(frozen=True)
class Bound:
    """A rule with what it needs: the folder and type of its column, and the threshold that ``top`` came to."""

    rule: Rule
    folder: str
    type: Any
    threshold: float | None = None

    @property
    def condition(self) -> Condition:
        """What the column is compared with."""
        limits = self.rule.comparisons()
        if self.threshold is not None:
            limits["min"] = max(self.threshold, limits.get("min", self.threshold))
        return Condition(**limits)


def bind(recipe: Recipe, scorers: Sequence[Scorer], known: Catalogue) -> list[Bound]:
    """The recipe's rules with their columns looked up (thresholds of ``top`` rules are still open)."""
    folders = {scorer.name: scorer.folder for scorer in scorers} | {"raw": RAW, "source": "scores/source"}
    bound = []
    for rule in recipe.keep:
        score, _, column = rule.column.partition(".")
        if column:
            bound.append(Bound(rule, folders[score], known[score][rule.kind][column]))
        else:
            bound.append(Bound(rule, "", int))
    return bound


def verdict_hash(recipe: Recipe, bound: Sequence[Bound], shards: Sequence[str]) -> str:
    """8 hex digits of everything that decides: rules, the identity of the scores they read, and the shards."""
    parts = [[each.rule.model_dump(), each.folder] for each in bound]
    return hashlib.sha256(json.dumps([parts, recipe.empty, list(shards)]).encode()).hexdigest()[:8]


class StaleScores(ValueError):  # noqa: N818
    """Scores of a raw shard that was fetched anew since."""


@dataclass(frozen=True)
class SelectWorker:
    """Decides shards."""

    store: Store
    bound: Sequence[Bound]
    empty: str
    folder: str

    def __call__(self, shard: str) -> Report:
        """Writes the verdicts of one shard."""
        began = time.monotonic()
        columns = ["document", "position", "kind", "status", "bytes"]
        with self.store.local(f"{RAW}/{shard}.parquet") as path:
            lazy, content = pl.scan_parquet(path, glob=False), table.note(path, "content")
            length = pl.col("text").str.len_bytes().fill_null(0)
            raw = lazy.select(*columns, length=length, said=pl.when(kind="reject").then(reject_class())).collect()
        values = [self._values(each, shard, content) for each in self.bound]
        verdicts = decide(raw, self.bound, values, self.empty)
        verdicts = verdicts.with_columns(reason=pl.coalesce("reason", raw["said"]))
        conserve("segments", shard, raw.height, verdicts.height)
        with self.store.writing(f"{self.folder}/{shard}.parquet") as path:
            table.write(path, verdicts.to_arrow().cast(table.VERDICT))
        report = Report(shard, seconds=time.monotonic() - began)
        kept = verdicts.filter(pl.col("state") == "kept")["kind"].value_counts()
        report.counts.update({f"{kind}s kept": count for kind, count in kept.iter_rows()})
        return report

    def _values(self, each: Bound, shard: str, content: str) -> pl.DataFrame | None:
        """A rule's column as document, position, value; None for a rule that counts survivors."""
        if not each.folder:
            return None
        column = each.rule.column.partition(".")[2]
        with self.store.local(f"{each.folder}/{shard}.parquet") as path:
            names = [*KEY, column] + (["kind"] if each.folder == RAW else [])
            if each.folder not in (RAW, "scores/source") and table.note(path, "raw") != content:
                raise StaleScores(f"{path}: measured on another raw shard {shard}; delete it and run again")
            found = table.read(path, names)
        if each.folder == RAW:
            found = found.filter(pl.col("kind") == each.rule.kind).drop("kind")
        return found.rename({column: "value"})


def reject_class() -> pl.Expr:
    """Why a row is no document, without what is particular to it: "not JSON", "image_info[N].raw_url is int"."""
    return pl.col("text").str.split(": ").list.first().str.replace_all(r"\d+", "N")


def decide(
    raw: pl.DataFrame, bound: Sequence[Bound], values: Sequence[pl.DataFrame | None], empty: str
) -> pl.DataFrame:
    """Verdicts for the rows of a raw shard (document, position, kind, status, bytes, length), in their order.

    Pure: ``values[i]`` is the column of ``bound[i]`` as document, position, value.
    """
    frame = raw.with_columns(
        state=pl.when(kind="reject").then(pl.lit("rejected"))
        .when((pl.col("kind") == "image") & (pl.col("status") != Status.OK)).then(pl.lit("failed")),
        reason=pl.when((pl.col("kind") == "image") & (pl.col("status") != Status.OK)).then(pl.col("status")),
    )  # fmt: skip
    for each, column in zip(bound, values, strict=True):
        if column is not None:
            frame = _apply(frame, each, column)
    frame = frame.with_columns(
        state=pl.coalesce("state", pl.when(pl.col("reason").is_not_null()).then(pl.lit("dropped")))
    )
    for each in (each for each in bound if not each.folder):
        frame = _drop_documents(frame, ~passes(pl.col(each.rule.column), int, each.condition), str(each.rule))
    if empty == "drop":
        frame = _drop_documents(frame, pl.col("images") == 0, "document: no image left")
        frame = _drop_documents(frame, pl.col("texts") == 0, "document: no text left")
    kept = pl.col("state").is_null()
    size = pl.when(kept).then(pl.col("bytes").fill_null(0) + pl.when(kind="text").then(pl.col("length")).otherwise(0))
    frame = frame.with_columns(size=size.otherwise(0)).with_columns(
        bytes=pl.when((pl.col("kind") == "document") & kept)
        .then(pl.col("size").sum().over("document"))
        .otherwise("size")
    )
    return frame.select(*KEY, "kind", pl.col("state").fill_null("kept"), "reason", "bytes")


def _apply(frame: pl.DataFrame, each: Bound, column: pl.DataFrame) -> pl.DataFrame:
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
        texts=(left & (pl.col("kind") == "text")).sum().over("document"),
    )
    hit = left & fails
    return frame.with_columns(
        state=pl.when(hit).then(pl.lit("dropped")).otherwise("state"),
        reason=pl.when(hit).then(pl.lit(reason)).otherwise("reason"),
    ).drop("images", "texts")


def top_threshold(store: Store, each: Bound, shards: Sequence[str]) -> float:
    """The value that the best fraction of all measured values of the run reaches.

    As in DataComp's baselines: with N values, the one at rank int(N * fraction) from the top (0-based), and every value
    of at least that stays. Two passes over one column, counting by the upper and then the lower half of the
    float32's bits: exact, in memory that does not grow with the corpus.
    """
    kind, column = each.rule.kind, each.rule.column.partition(".")[2]

    def ordered() -> Any:
        for shard in shards:
            with store.local(f"{each.folder}/{shard}.parquet") as path:
                found = table.read(path, [column] + (["kind"] if each.folder == RAW else []))
            if each.folder == RAW:
                found = found.filter(pl.col("kind") == kind)
            bits = found[column].drop_nulls().cast(pl.Float32).to_numpy().view(np.uint32)
            yield np.where(bits >> 31, ~bits, bits | np.uint32(1 << 31))

    upper = sum((np.bincount(bits >> 16, minlength=1 << 16) for bits in ordered()), np.zeros(1 << 16, np.int64))
    total = int(upper.sum())
    if total == 0:
        return float("-inf")
    rank = min(int(total * (each.rule.top or 1)), total - 1)
    from_top = np.cumsum(upper[::-1])[::-1]
    high = int(np.flatnonzero(from_top > rank)[-1])
    rank -= int(from_top[high] - upper[high])
    lower = sum(
        (np.bincount(bits[bits >> 16 == high] & 0xFFFF, minlength=1 << 16) for bits in ordered()),
        np.zeros(1 << 16, np.int64),
    )
    low = int(np.flatnonzero(np.cumsum(lower[::-1])[::-1] > rank)[-1])
    bits = np.uint32(high << 16 | low)
    return float((bits & np.uint32(0x7FFFFFFF) if bits >> 31 else ~bits).view(np.float32))


def funnel(store: Store, folder: str, shards: Sequence[str]) -> list[dict[str, Any]]:
    """How many documents, images and texts ended how, and why; each kind's counts add up to what was read."""
    total: dict[tuple[str, str, str | None], int] = {}
    for shard in shards:
        with store.local(f"{folder}/{shard}.parquet") as path:
            counts = pl.scan_parquet(path, glob=False).group_by("kind", "state", "reason").len().collect()
        for kind, state, reason, count in counts.iter_rows():
            total[kind, state, reason] = total.get((kind, state, reason), 0) + count
    order: Mapping[str, int] = {"document": 0, "image": 1, "text": 2, "reject": 3}
    rows = sorted(total.items(), key=lambda item: (order[item[0][0]], item[0][1] != "kept", -item[1], item[0][2] or ""))
    return [{"kind": kind, "state": state, "reason": reason, "count": count} for (kind, state, reason), count in rows]
