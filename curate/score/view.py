"""View: what a scorer is shown of a shard, and what comes back, as arrays by row number. Reads and writes no file.

The rows of a shard are its documents and segments in order, numbered from 0. A view says which distinct *items* the
rows that are owed come down to, and has an *index* from rows to items, -1 where a row has none; results are as many
as items, and fan out to rows by that index. A view is a file in ``views/``, found by its name.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa

from curate.document import DOCUMENT, Row
from curate.score.batch import Viewer
from curate.score.scorer import Scorer
from curate.status import Status
from curate.store.columns import KEY
from curate.store.raw_shard import RawShard

Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]
Call = Callable[[list[Any]], Any]


class Segments:
    """The rows of a raw shard: each document's own, and then one for each of its segments.

    ``starts`` has the row number of each document, ``owner`` the document, from 0, of each row.
    """

    def __init__(self, raw: RawShard) -> None:
        self.raw, self.frame = raw, raw.segments
        heads = self.frame["position"].to_numpy() == DOCUMENT
        self.starts: Ints = np.flatnonzero(heads)
        self.owner: Ints = np.cumsum(heads) - 1

    def of_kind(self, *kinds: str) -> Bools:
        """Which rows are of one of these kinds."""
        return self.frame["kind"].is_in(kinds).to_numpy()

    def spread(self, column: pl.DataFrame) -> pl.Series:
        """The values of a column (document, position, value) by row number; null where it has none."""
        column = column.select(*KEY, "value")
        return self.frame.select(KEY).join(column, on=KEY, how="left", maintain_order="left")["value"]

    def numbers(self, keys: pl.DataFrame) -> Ints:
        """The row number of each key (document, position); -1 for one that the shard does not have."""
        own = self.frame.select(KEY).with_row_index("number")
        found = keys.select(KEY).join(own, on=KEY, how="left", maintain_order="left")["number"]
        return found.cast(pl.Int64).fill_null(-1).to_numpy()


@dataclass(frozen=True)
class Owed:
    """What one scorer has yet to measure of a shard.

    ``rows``: the numbers of those rows, ascending. ``hidden``: which rows of the shard its gates hide. ``values``: the
    column that it reads, and ``text_of``: which of its document's texts an image goes with, both by row number.
    ``known``: the table of ``known_rows``, which need not be measured again. ``made_from``: a digest of what
    rows depend on.
    """

    scorer: Scorer
    segments: Segments
    rows: Ints
    hidden: Bools
    values: pl.Series | None = None
    text_of: pl.Series | None = None
    known: pa.Table | None = None
    known_rows: Ints = field(default_factory=lambda: np.empty(0, np.int64))
    made_from: str = ""

    @cached_property
    def frame(self) -> pl.DataFrame:
        """The rows themselves."""
        return self.segments.frame[self.rows]

    @cached_property
    def good(self) -> Bools:
        """Which of the rows are images that were fetched."""
        return ((self.frame["kind"] == "image") & (self.frame["status"] == Status.OK)).fill_null(value=False).to_numpy()

    @cached_property
    def place(self) -> Ints:
        """Where each row of the shard stands among those owed; -1 for one that is not."""
        found = np.full(self.segments.frame.height, -1)
        found[self.rows] = np.arange(len(self.rows))
        return found


@dataclass(frozen=True)
class Measured:
    """Results, one for each item, and which of them each owed row gets; -1 for none.

    ``apart``: the same for columns that do not go by ``index``.
    """

    results: Sequence[Row | None]
    index: Ints
    apart: Mapping[str, Ints] = field(default_factory=dict)

    @property
    def present(self) -> Bools:
        """Which of the owed rows have a result."""
        there = np.array([*(result is not None for result in self.results), False])  # -1 is the last
        found: Bools = np.any([there[index] for index in (self.index, *self.apart.values())], axis=0)
        return found


class View(Protocol):
    """One scorer on one shard; made of what it owes, and its batch call."""

    @property
    def viewer(self) -> Viewer | None:
        """The part that looks at single pictures, in the one pass over them that all scorers share."""

    def measured(self) -> Measured:
        """Completes what is measured, once the pictures have been shown."""


def view_of(owed: Owed, call: Call) -> View:
    """The view that a scorer asks for: ``view`` in the file of that name; one for all columns of other scorers."""
    name = "column" if "." in owed.scorer.view else owed.scorer.view
    made: View = importlib.import_module(f"curate.score.views.{name}").view(owed, call)
    return made


def distinct(frame: pl.DataFrame, wanted: Bools | None = None) -> tuple[pl.DataFrame, Ints]:
    """The distinct rows of a frame in order of appearance, and which of them each row is.

    Those that are not ``wanted`` are none, and have -1.
    """
    chosen = frame if wanted is None else frame.filter(wanted)
    items = chosen.unique(keep="first", maintain_order=True)
    numbered = items.with_row_index("item")
    found = chosen.join(numbered, on=frame.columns, how="left", nulls_equal=True, maintain_order="left")["item"]
    index = np.full(frame.height, -1)
    index[slice(None) if wanted is None else wanted] = found.cast(pl.Int64).to_numpy()
    return items, index
