"""Grouping: an entry of ``group`` with all that it names found, its columns and its identity. Groups nothing.

Which members a group has never depends on what is kept of it: another ``keep`` reads the same files.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import polars as pl

from curate.plugin import Columns, Kind, Vector
from curate.recipe.compare import fault
from curate.recipe.measures import ORDERS, Group
from curate.recipe.recipe import Recipe
from curate.recipe.section import RecipeError
from curate.score.catalogue import Catalogue, column_kind, located
from curate.score.identity import short_hash
from curate.score.scorer import Scorer
from curate.store import digest
from curate.store.chunks import range_names
from curate.store.columns import Column, folders_of
from curate.store.digest import DamagedFile, ForeignFile
from curate.store.files import ChangedFile, Files
from curate.store.store import Store

VERSION = 1
"""Of the files below groups/: a change that gives other groups counts it up."""
COLUMNS: Columns = {"group": str, "size": int, "owned": bool}
RANKED: Columns = {"rank": int, "centroid": float, "nearest": float}
"""What a group says of each segment that was compared; with ``eps`` also RANKED.

``group`` is its id (null where it has no other member), ``size`` the number of members, ``owned`` whether another run
(``against``) has one. With ``eps`` the group is the cluster, ``rank`` the place in its order, ``centroid`` the cosine
to its centre and ``nearest`` the greatest cosine to a member of lower rank, where that exceeds 1 - eps.
"""


@dataclass(frozen=True)
class Reference:
    """The keys of another run's group: what is already owned.

    ``files``: its key files, in order; ``content``: the digest of what they say, in hex, as that run tells it.
    """

    store: Store
    folder: str
    files: tuple[str, ...]
    content: str

    def keys(self, wanted: Any = None) -> pl.DataFrame:
        """The keys that a filter leaves.

        Raises:
            ChangedFile: they are not those that were told of.
        """
        files = Files(self.store)
        found = files.rows(self.files, wanted, ["key"])
        if digest.of_files(files.contents).hex() != self.content:
            folder = self.store.path(self.folder)
            raise ChangedFile(f"{folder} has other keys than its group.json says: run `curate group` there")
        return found


@dataclass(frozen=True)
class Grouping:
    """One entry of ``group``, ready for work.

    ``kind``: what its members are; ``by``: the columns compared; ``best``: the column that ``keep`` names, if any.
    """

    name: str
    entry: Group
    kind: Kind
    by: tuple[Column, ...]
    gates: tuple[Column, ...]
    best: Column | None
    keys: str
    identity: str
    against: tuple[Reference, ...] = ()

    @property
    def home(self) -> str:
        """Where all of its files lie."""
        return f"groups/{self.name}-{self.identity}"

    @property
    def folder(self) -> str:
        """Where its tables lie, one for each shard."""
        return f"{self.home}/table"

    @property
    def summary(self) -> str:
        """The file that says what was grouped, and of how many shards; it is there once all tables are."""
        return f"{self.home}/group.json"

    @property
    def ranges(self) -> str:
        """The file that says into how many ranges its keys or clusters are cut."""
        return f"{self.home}/ranges.json"

    def file(self, step: str, name: str) -> str:
        """The file of a step that bears a name."""
        return f"{self.home}/{step}/{name}.parquet"

    @cached_property
    def owned(self) -> str:
        """What the keys say that it is grouped against; "" where there are none."""
        return digest.of_values(*(each.content for each in self.against)).hex() if self.against else ""

    @property
    def is_reference(self) -> bool:
        """Whether another run can be grouped ``against`` this: then its keys are a result like its tables."""
        return self.entry.scope == "corpus" and self.entry.method in ("exact", "within", "jaccard")

    @property
    def columns(self) -> Mapping[Kind, Columns]:
        """Its columns, as a scorer's."""
        return {self.kind: {**COLUMNS, **RANKED} if self.entry.method == "eps" else COLUMNS}

    @property
    def picks(self) -> bool:
        """Whether only one member, or some, of each group stay."""
        return self.entry.keep is not None


def columns_of(grouping: Grouping) -> dict[Kind, dict[str, Any]]:
    """Its entry in the catalogue of columns."""
    return {kind: dict(columns) for kind, columns in grouping.columns.items()}


def range_files(files: Files, grouping: Grouping) -> list[str]:
    """The files of its step ``groups``, one for each range of keys or clusters."""
    return [grouping.file("groups", name) for name in range_names(files.json(grouping.ranges)["ranges"])]


def resolve_groups(
    recipe: Recipe, scorers: Sequence[Scorer], known: Catalogue, shards: Sequence[str], file: str
) -> list[Grouping]:
    """The recipe's groups in its order, over these shards (none: only looked up, not against other runs).

    Raises:
        RecipeError: a column that does not exist, or cannot be compared in that way.
    """
    folders = folders_of(scorers)
    found = []
    for name, entry in recipe.group.items():
        where = f"{file}: group.{name}"
        kind = column_kind(entry.by[0], known, f"{where}.by", entry.kind, prefer="image")
        by = tuple(_column(each, known, folders, f"{where}.by", kind) for each in entry.by)
        for each in by:
            if wrong := unfit(entry, each.type):
                raise RecipeError(f"{where}: {entry.by[0]} {wrong}")
        best, gates = (
            None,
            tuple(_column(each.score, known, folders, f"{where}.after.score", kind) for each in entry.after),
        )
        for gate, column in zip(entry.after, gates, strict=True):
            if wrong := fault(column.type, gate):
                raise RecipeError(f"{where}.after: {gate.score} {wrong}")
        if entry.keep is not None and "." in entry.keep:
            best = _column(entry.keep, known, folders, f"{where}.keep", kind)
            if wrong := unfit(Group(by=(entry.keep,)), best.type):
                raise RecipeError(f"{where}.keep: {entry.keep} {wrong}")
        keys = short_hash([VERSION, kind, [each.name for each in by], entry.method, _origin(by, scorers)])
        let = [[each.comparisons(), each.missing] for each in entry.after]
        order = entry.keep if entry.keep in ORDERS else None
        names = {"within", "jaccard", "cosine", "eps", "clusters", "iterations", "seed", "scope"}
        how = entry.model_dump(mode="json", include=names)
        against = tuple(reference(url, keys, entry, where) for url in entry.against) if shards else ()
        others = [[each.store.url, each.folder] for each in against]
        parts = [keys, how, order, let, [[each.folder, each.name] for each in gates], list(shards), others]
        found.append(Grouping(name, entry, kind, by, gates, best, keys, short_hash(parts), against))
    return found


def _column(name: str, known: Catalogue, folders: Mapping[str, str], where: str, kind: Kind) -> Column:
    return located(name, column_kind(name, known, where, kind), known, folders)


def _origin(by: Sequence[Column], scorers: Sequence[Scorer]) -> list[str]:
    """What the compared columns were measured with: the same in two runs with other names for their scores."""
    origins = {scorer.folder: f"{scorer.identity} {scorer.gate}" for scorer in scorers}
    return [origins.get(each.folder, each.folder) for each in by]


def unfit(entry: Group, kind: Any) -> str | None:
    """Why a column of this type cannot be grouped like that; None where it can."""
    if entry.method in ("cosine", "eps"):
        return None if kind is Vector else f"is no embedding, which {entry.method} compares"
    if entry.method == "within":
        return None if kind in (str, bytes) else "is no hash (hex digits or bytes), which within compares"
    if entry.method == "jaccard":
        return None if kind is bytes else "is no MinHash signature (minhash.signature), which jaccard compares"
    return "is a list, and equal lists are not looked for" if kind in (list[float], Vector) else None


def reference(url: str, keys: str, entry: Group, where: str) -> Reference:
    """The largest finished group of another run that was made of the same keys.

    Raises:
        RecipeError: there is none, with what there is; or what one says of itself is damaged.
    """
    store, names, same = Store(url), list[str](), list[tuple[int, str, Reference]]()
    for folder in sorted(store.folders("groups")):
        try:
            about = store.get_json(f"groups/{folder}/group.json")
        except FileNotFoundError:
            names.append(f"{folder.rpartition('-')[0]} (not finished)")
            continue
        except (DamagedFile, ForeignFile) as error:
            raise RecipeError(f"{where}.against: {error}") from None
        names.append(f"{about['name']} ({about['group'].get('scope')})")
        mine = [each.model_dump(mode="json", exclude_none=True) for each in entry.after]
        gated = about["group"].get("after", []) not in ([], mine)
        if about["keys"] == keys and about["group"].get("scope") == "corpus" and not gated:
            home = f"groups/{folder}/keys"
            files = tuple(f"{home}/{chunk}.parquet" for chunk in about["chunks"])
            same.append((about["shards"], folder, Reference(store, home, files, about["keys_content"])))
    if not same:
        remedy = "run `curate group` there with the same by:, method, scope: corpus and score (name, model, weights)"
        there = ", ".join(names) or "none"
        raise RecipeError(f"{where}.against: {url} has no finished group like this (there: {there}); {remedy}")
    return max(same, key=lambda each: each[:2])[2]
