"""Columns: one measured column of one shard, whoever wrote it. The only place that knows where columns lie."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

from curate.plugin import Kind, Vector
from curate.store.files import Files
from curate.store.raw_shard import RAW

KEY = ["document", "position"]
SOURCE = "scores/source"
UNTIED = (RAW, SOURCE)
"""Folders whose tables belong to the raw shard beside them by their own making."""

SHARD = "\0"
"""Stands for a shard in names that are found out once for all of them."""


def of_shard(names: Iterable[str], shard: str) -> tuple[str, ...]:
    """Those names, for one shard."""
    return tuple([name.replace(SHARD, shard) for name in names])


def table_name(folder: str, shard: str, type_: Any = None) -> str:
    """The file of a shard's columns of this type in a folder: vectors lie apart, so that no rule reads them."""
    return f"{folder}/{shard}{'.vectors' if type_ is Vector else ''}.parquet"


@dataclass(frozen=True)
class Column:
    """``score.column`` of one kind of segment, and the folder that its tables lie in."""

    folder: str
    name: str
    kind: Kind
    type: Any = None

    def file(self, shard: str) -> str:
        """The file that it lies in; what the corpus brought along lies in one, vectors or not."""
        return table_name(self.folder, shard, None if self.folder in UNTIED else self.type)

    def read(self, files: Files, shard: str) -> pl.DataFrame:
        """The column as document, position, value."""
        raw = self.folder == RAW
        names = [*KEY, self.name] + (["kind"] if raw and self.name != "kind" else [])
        found = files.read(self.file(shard), names)
        if raw:
            found = found.filter(pl.col("kind") == self.kind)
        return found.select(*KEY, value=pl.col(self.name))


def folders_of(scorers: Sequence[Any], groupings: Sequence[Any] = ()) -> Mapping[str, str]:
    """The folder of each score and group by its name, those of the download and the corpus itself included."""
    own = {each.name: each.folder for each in (*scorers, *groupings)}
    return {"raw": RAW, "source": SOURCE} | own
