"""Explain: what a finished run says about one document, one score, or all of it. Reads tables; changes nothing."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from curate.document import DOCUMENT
from curate.group import steps
from curate.ledger.state import STALE
from curate.plugin import SCALARS
from curate.recipe.section import RecipeError
from curate.run.run import SMALL, Run
from curate.store.columns import folders_of
from curate.store.files import Files
from curate.store.raw_shard import RAW


@dataclass(frozen=True)
class Line:
    """One segment of a document: what it is, what was measured, and how it ended."""

    position: int
    kind: str
    what: str
    scores: dict[str, Any]
    state: str
    reason: str | None


def find(run: Run, name: str) -> Iterator[tuple[str, str]]:
    """The documents (shard, id) whose id begins with ``name``, or whose page or one of whose images has it as URL."""
    is_url = "://" in name
    for shard in run.shards:
        rows = Files(run.store).read(f"{RAW}/{shard}.parquet", ["document", "url"])
        match = pl.col("url") == name if is_url else pl.col("document").str.starts_with(name)
        for document in rows.filter(match)["document"].unique(maintain_order=True):
            yield shard, document


def why(run: Run, shard: str, document: str) -> list[Line]:
    """Every segment of a document with its scores and its verdict.

    Raises:
        RecipeError: there is no verdict on its shard, or it is stale; says what to do.
    """
    files = Files(run.store)
    rows = files.read(f"{RAW}/{shard}.parquet").filter(document=document)
    verdicts = files.read(run.decided.verdicts(shard)).filter(document=document)
    ended = {row["position"]: (row["state"], row["reason"]) for row in verdicts.iter_rows(named=True)}
    scores = scores_of(run, shard, document)
    lines = []
    for row in rows.iter_rows(named=True):
        what = row["text"] if row["kind"] in {"text", "reject"} else row["url"]
        if row["kind"] == "image" and row["detail"]:
            what = f"{what} [{row['detail']}]"
        lines.append(
            Line(row["position"], row["kind"], what or "", scores.get(row["position"], {}), *ended[row["position"]])
        )
    return lines


def scores_of(run: Run, shard: str, document: str) -> dict[int, dict[str, Any]]:
    """Every scalar score of a document, by position."""
    found, files = dict[int, dict[str, Any]](), Files(run.store)
    for score, folder in run.folders.items():
        name = f"{folder}/{shard}.parquet"
        types = {key: kind for group in run.resolved.known[score].values() for key, kind in group.items()}
        columns = [key for key, kind in types.items() if kind in SCALARS]
        if not columns or not run.store.exists(name):
            continue
        rows = files.read(name, ["document", "position", *columns]).filter(document=document).drop("document")
        for row in rows.iter_rows(named=True):
            position = row.pop("position")
            measured = {f"{score}.{key}": value for key, value in row.items() if value is not None}
            found.setdefault(position, {}).update(measured)
    return found


@dataclass(frozen=True)
class Histogram:
    """The distribution of a numeric column and what each threshold would keep."""

    column: str
    measured: int
    missing: int
    edges: list[float]
    counts: list[int]

    def kept_from(self, at: int) -> float:
        """The share of measured values that are at least ``edges[at]``."""
        return sum(self.counts[at:]) / max(self.measured, 1)


def hist(run: Run, name: str, bins: int = 20) -> Histogram:
    """The distribution of ``score.column`` over the run: exact counts in equal bins from least to greatest.

    Raises:
        LookupError: there is no such numeric column, or nothing was measured.
        RecipeError: what was measured is stale; says what to do.
    """
    score, _, column = name.partition(".")
    kinds = run.resolved.known.get(score, {})
    kind = next((kind for kind, columns in kinds.items() if columns.get(column) in (int, float, bool)), None)
    if kind is None:
        numeric = [
            f"{s}.{c}"
            for s, ks in run.resolved.known.items()
            for cs in ks.values()
            for c, t in cs.items()
            if t in (int, float)
        ]
        raise LookupError(f"{name!r} is no numeric column; there are: {', '.join(numeric)}")
    folders = folders_of(run.resolved.scorers, run.grouped)
    _refuse_stale(run, folders[score])
    values = list(_values(run, folders[score], column, kind))
    present = [part[~np.isnan(part)] for part in values]
    measured, missing = sum(map(len, present)), sum(map(len, values)) - sum(map(len, present))
    if not measured:
        raise LookupError(f"{name}: nothing was measured")
    least = min(float(part.min()) for part in present if len(part))
    greatest = max(float(part.max()) for part in present if len(part))
    edges = np.linspace(least, greatest if greatest > least else least + 1, bins + 1)
    counts: Any = sum(np.histogram(part, edges)[0] for part in present)
    return Histogram(name, measured, missing, [float(edge) for edge in edges], [int(count) for count in counts])


def _refuse_stale(run: Run, folder: str) -> None:
    """Tells nothing of tables that are made from files which say something else now."""
    grouped = [steps.tables(run.store, each, run.scored, SMALL) for each in run.grouped if each.folder == folder]
    targets = (target for phase in grouped or run.scoring() for job in phase.jobs for target in job.targets)
    states = run.ledger.states([each for each in targets if each.name.rpartition("/")[0] == folder])
    if any(state == STALE for state, _ in states):
        stage = "group" if grouped else "score"
        raise RecipeError(f"{run.store.url}: {folder} is stale: curate {stage} {run.resolved.path}")


def _values(run: Run, folder: str, column: str, kind: str) -> Iterator[np.ndarray[Any, Any]]:
    there = run.store.listing(folder)
    for shard in run.shards:
        if f"{shard}.parquet" in there:
            names = [column, "position"] + (["kind"] if folder == RAW else [])
            frame = Files(run.store).read(f"{folder}/{shard}.parquet", names)
            if folder == RAW:
                frame = frame.filter(pl.col("kind") == kind)
            elif kind == "document":
                frame = frame.filter(pl.col("position") == DOCUMENT)
            yield frame[column].cast(pl.Float64).to_numpy()


def totals(funnel: Sequence[dict[str, Any]]) -> dict[str, dict[str, int]]:
    """Kind -> state -> how many: in = kept + dropped + failed."""
    found: dict[str, dict[str, int]] = {}
    for row in funnel:
        states = found.setdefault(row["kind"], {"in": 0})
        states["in"] += row["count"]
        states[row["state"]] = states.get(row["state"], 0) + row["count"]
    return found


def examples(run: Run) -> dict[str, tuple[str, str]]:
    """One document that was kept and one that was dropped, as (shard, id); those with the most to say come first."""
    best: dict[str, tuple[int, str, str]] = {}
    for shard in run.scored:
        columns = ["document", "position", "kind", "state"]
        frame = Files(run.store).read(run.decided.verdicts(shard), columns)
        told = frame.group_by("document", maintain_order=True).agg(
            state=pl.col("state").filter(pl.col("position") == DOCUMENT).first(),
            told=pl.col("state").filter(pl.col("kind") != "document").n_unique() * 100 - pl.len(),
        )
        for document, state, worth in told.iter_rows():
            if state in {"kept", "dropped"} and worth > best.get(state, (-(10**9),))[0]:
                best[state] = (worth, shard, document)
        if len(best) == 2:
            break
    return {state: (shard, document) for state, (_, shard, document) in best.items()}
