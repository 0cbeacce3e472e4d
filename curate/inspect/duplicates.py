"""Duplicates: the groups a document is in, with their members, how near they are, and who survived. Changes nothing."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow.dataset as ds

from curate.group.grouping import Grouping
from curate.group.keys import HASH, members
from curate.group.steps import tables
from curate.inspect.explain import find
from curate.recipe.section import RecipeError
from curate.run.run import SMALL, Run
from curate.store.columns import KEY
from curate.store.files import Files
from curate.store.raw_shard import RAW, open_shard
from curate.store.store import Store

MOST = 50
"""Members of a group that are shown."""


@dataclass(frozen=True)
class Member:
    """One segment of a group. ``distance`` is to the one asked about, in the group's own measure."""

    document: str
    position: int
    what: str
    picture: str
    distance: str
    state: str
    reason: str | None


@dataclass(frozen=True)
class DuplicateGroup:
    """A group that a segment is in: its members, itself first, then the nearest."""

    name: str
    group: str
    size: int
    asked: tuple[str, int]
    members: list[Member]


def duplicates_of(run: Run, name: str, pictures: Path | None = None) -> Iterator[DuplicateGroup]:
    """Every group with company that a document (an id or its beginning, or a URL) has a segment in.

    ``pictures``: a folder to write the members' pictures to.

    Raises:
        RecipeError: a group is not finished.
    """
    for grouping in run.grouped:
        if run.unfinished([tables(run.store, grouping, run.scored, SMALL)]):
            raise RecipeError(
                f"{run.store.url}: group {grouping.name!r} is not finished: curate group {run.resolved.path}"
            )
    for shard, document in find(run, name):
        for grouping in run.grouped:
            own = Files(run.store).rows([f"{grouping.folder}/{shard}.parquet"], ds.field("document") == document)
            for row in own.drop_nulls("group").iter_rows(named=True):
                if row["size"] > 1 or row["owned"]:
                    yield group_of(run, grouping, row, pictures)


def group_of(run: Run, grouping: Grouping, asked: dict[str, Any], pictures: Path | None) -> DuplicateGroup:
    """One group, seen from one of its members."""
    found, files = [], Files(run.store)
    for shard in run.scored:
        table = files.rows([f"{grouping.folder}/{shard}.parquet"], ds.field("group") == asked["group"])
        if table.height:
            keys = members(files, grouping, shard).select(*KEY, "key")
            found.append(table.join(keys, on=KEY, how="left").with_columns(shard=pl.lit(shard)))
    table = pl.concat(found)
    mine = table.filter((pl.col("document") == asked["document"]) & (pl.col("position") == asked["position"]))
    far = [distance(grouping, mine["key"][0], key) for key in table["key"]]
    table = table.with_columns(far=pl.Series(far, dtype=pl.Float64)).sort("far", *KEY)
    table = pl.concat([mine.with_columns(far=pl.lit(-1.0)), table.join(mine, on=KEY, how="anti")])
    listed = [member(run, grouping, row, pictures) for row in table.head(MOST).iter_rows(named=True)]
    place = (asked["document"], asked["position"])
    return DuplicateGroup(grouping.name, asked["group"], asked["size"], place, listed)


def distance(grouping: Grouping, mine: Any, other: Any) -> float:
    """How far two members are apart: bits, or 1 - similarity; 0 for equal values."""
    method = grouping.entry.method
    if method == "exact":
        return 0.0
    if method in ("cosine", "eps"):
        a, b = (np.asarray(each, np.float64) for each in (mine, other))
        return 1 - float(a @ b) / max(float(np.linalg.norm(a) * np.linalg.norm(b)), 1e-12)
    if grouping.entry.scope != "corpus":
        mine, other = mine[HASH:], other[HASH:]
    if method == "within":
        return float((int.from_bytes(mine, "big") ^ int.from_bytes(other, "big")).bit_count())
    ours, theirs = (np.frombuffer(each, "<u4") for each in (mine, other))
    return float((ours != theirs).mean())


def spelled(grouping: Grouping, far: float) -> str:
    """A distance in words."""
    if far < 0:
        return "asked about"
    method = grouping.entry.method
    return "equal" if method == "exact" else f"{far:.0f} bits" if method == "within" else f"{1 - far:.4f} similar"


def member(run: Run, grouping: Grouping, row: dict[str, Any], pictures: Path | None) -> Member:
    """A member with what it is, where its picture lies, and how it ended."""
    wanted = (ds.field("document") == row["document"]) & (ds.field("position") == row["position"])
    files, shard = Files(run.store), row["shard"]
    raw = files.rows([f"{RAW}/{shard}.parquet"], wanted).row(0, named=True)
    ended = {} if run.decided.wrong(shard) else files.rows([run.decided.verdicts(shard)], wanted).row(0, named=True)
    picture = ""
    if raw["kind"] == "image" and raw["sha256"]:
        file = f"{raw['sha256']}.{raw['format']}"
        picture = f"{run.store.path(RAW)}/{shard}.tar: {file}"
        if pictures is not None:
            picture = str(written(run.store, shard, raw["sha256"], pictures / file))
    what = raw["text"] if raw["kind"] == "text" else raw["url"]
    far = spelled(grouping, row["far"])
    state = ended.get("state", "not decided yet")
    return Member(row["document"], row["position"], what or "", picture, far, state, ended.get("reason"))


def written(store: Store, shard: str, sha256: str, path: Path) -> Path:
    """A picture of a raw shard as a file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with open_shard(Files(store), shard) as raw:
        path.write_bytes(raw.bytes_of(sha256))
    return path
