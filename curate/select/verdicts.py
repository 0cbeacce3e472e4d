"""Select: turn score columns into verdicts, shard by shard. Reads no pixels and loads no model.

Every row of a raw shard gets one verdict: kept, or why not. Only two things are global, and small: the thresholds of
``top`` rules, and who of a group of duplicates goes.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

from curate.group.grouping import Grouping
from curate.recipe.recipe import Recipe
from curate.report import Report, conserve
from curate.score.catalogue import Catalogue
from curate.score.scorer import Scorer
from curate.select.decide import Addition, Bound, additions, decide, judge
from curate.store import table
from curate.store.columns import Column, folders_of
from curate.store.raw_shard import RAW
from curate.store.store import Store


def bind(
    recipe: Recipe, scorers: Sequence[Scorer], known: Catalogue, groupings: Sequence[Grouping] = ()
) -> list[Bound]:
    """The recipe's rules with their columns looked up (thresholds of ``top`` rules are still open)."""
    folders = folders_of(scorers, groupings)
    bound = []
    for rule in recipe.keep:
        score, _, column = rule.column.partition(".")
        if column:
            bound.append(Bound(rule, folders[score], known[score][rule.kind][column]))
        else:
            bound.append(Bound(rule, "", int))
    return bound


def bind_adds(recipe: Recipe, scorers: Sequence[Scorer], known: Catalogue) -> list[Addition]:
    """The lines of ``add`` with their columns looked up."""
    folders, found = folders_of(scorers), []
    for add in recipe.add:
        columns = []
        for name in (add.text, add.image):
            score, _, column = name.partition(".")
            columns.append(Column(folders[score], column, "image", known[score]["image"][column]))
        found.append(Addition(add, *columns))
    return found


def verdict_hash(
    recipe: Recipe,
    bound: Sequence[Bound],
    shards: Sequence[str],
    groupings: Sequence[Grouping] = (),
    scorers: Sequence[Scorer] = (),
) -> str:
    """8 hex digits of everything that decides: rules, the identity of scores and groups they read, and the shards."""
    parts = [[each.rule.model_dump(), each.folder] for each in bound]
    kept = [[each.home, each.entry.keep, each.best and each.best.folder] for each in groupings if each.picks]
    folders = folders_of(scorers)
    more = [[add.model_dump(), folders[add.text.split(".")[0]], folders[add.image.split(".")[0]]] for add in recipe.add]
    if recipe.balance:
        more.append([recipe.balance.model_dump(), folders[recipe.balance.by.split(".")[0]]])
    whole = [parts, recipe.empty, list(shards), kept, more]
    return hashlib.sha256(json.dumps(whole).encode()).hexdigest()[:8]


@dataclass(frozen=True)
class SelectWorker:
    """Decides shards."""

    store: Store
    bound: Sequence[Bound]
    empty: str
    folder: str
    pickers: Sequence[Any] = ()
    adds: Sequence[Addition] = ()

    def __call__(self, shard: str) -> Report:
        """Writes the verdicts of one shard."""
        began = time.monotonic()
        raw, content = self._raw(shard)
        picks = [picker.pick(self.store, self.folder, shard, content) for picker in self.pickers]
        added = self._added(shard, content)
        verdicts = decide(raw, self.bound, self._values(shard, content), self.empty, picks, added)
        verdicts = verdicts.with_columns(reason=pl.coalesce("reason", raw["said"]))
        conserve("segments", shard, raw.height, verdicts.height)
        with self.store.writing(f"{self.folder}/{shard}.parquet") as path:
            table.write(path, verdicts.to_arrow().cast(table.VERDICT))
        report = Report(shard, seconds=time.monotonic() - began)
        kept = verdicts.filter(pl.col("state") == "kept")["kind"].value_counts()
        report.counts.update({f"{kind}s kept": count for kind, count in kept.iter_rows()})
        return report

    def left(self, shard: str) -> tuple[pl.DataFrame, str]:
        """What all rules and picks leave of a shard, and the hash of what that holds."""
        raw, content = self._raw(shard)
        picks = [picker.pick(self.store, self.folder, shard, content) for picker in self.pickers]
        added = self._added(shard, content)
        return judge(raw, self.bound, self._values(shard, content), self.empty, picks, added), content

    def _added(self, shard: str, content: str) -> pl.DataFrame | None:
        """After which images texts are put."""
        read = [[column.read(self.store, shard, content) for column in (each.text, each.image)] for each in self.adds]
        return additions(self.adds, [(texts, values) for texts, values in read])

    def _raw(self, shard: str) -> tuple[pl.DataFrame, str]:
        """The rows of a raw shard with what decisions look at, and its content's hash."""
        columns = ["document", "position", "kind", "status", "bytes", "original_width", "original_height"]
        with self.store.local(f"{RAW}/{shard}.parquet") as path:
            lazy, content = pl.scan_parquet(path, glob=False), table.note(path, "content")
            length = pl.col("text").str.len_bytes().fill_null(0)
            said = pl.when(kind="reject").then(reject_class())
            return lazy.select(*columns, length=length, said=said).with_row_index("row").collect(), content

    def _values(self, shard: str, content: str) -> list[pl.DataFrame | None]:
        """Each rule's column; None for a rule that counts survivors."""
        return [each.column.read(self.store, shard, content) if each.folder else None for each in self.bound]


def reject_class() -> pl.Expr:
    """Why a row is no document, without what is particular to it: "not JSON", "image_info[N].raw_url is int"."""
    return pl.col("text").str.split(": ").list.first().str.replace_all(r"\d+", "N")


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
