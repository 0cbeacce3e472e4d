"""Owed: the rows of a shard that a scorer has yet to measure: what gates open, less what is known. Measures nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from curate.recipe.compare import opens
from curate.recipe.rules import Gate
from curate.score.scorer import Scorer
from curate.score.tables import names_of
from curate.score.view import Bools, Ints, Owed, Segments
from curate.store import schema, table
from curate.store.columns import KEY, SOURCE, Column
from curate.store.raw_shard import RAW
from curate.store.store import Store


def inputs_of(scorer: Scorer) -> list[str]:
    """The columns that a scorer reads, that say which text is a caption, and that its gates look at."""
    names = (scorer.input, scorer.text_of, *(gate.score for _, gate in scorer.gates))
    return [name for name in names if name]


def column_of(name: str, scorers: Iterable[Scorer]) -> Column:
    """``score.column`` of one of these scorers or of the corpus; of the download, only its file is of use here."""
    score, _, column = name.partition(".")
    if score in ("raw", "source"):
        return Column(RAW if score == "raw" else SOURCE, column, "document")
    scorer = next(each for each in scorers if each.name == score)
    kind = next(kind for kind, group in scorer.columns.items() if column in group)
    return Column(scorer.folder, column, kind, scorer.columns[kind][column])


def owed(
    store: Store, shard: str, segments: Segments, scorer: Scorer, scorers: Sequence[Scorer], folders: Iterable[str]
) -> Owed:
    """What a scorer owes of a shard; ``scorers``: whose columns it may read, ``folders``: where its rows may lie."""

    def read(name: str) -> pl.Series:
        column = column_of(name, scorers)
        if column.folder == RAW:
            return segments.frame[column.name]
        return segments.spread(column.read(store, shard, segments.raw.content))

    opened, hidden = through(scorer, segments, read)
    known, rows = known_rows(store, shard, segments, scorer, opened, folders)
    opened[rows] = False
    values, of = (read(name) if name else None for name in (scorer.input, scorer.text_of))
    return Owed(scorer, segments, np.flatnonzero(opened), hidden, values, of, known, rows)


def through(scorer: Scorer, segments: Segments, read: Callable[[str], pl.Series]) -> tuple[Bools, Bools]:
    """The rows that all gates of a scorer let through, and those that they hide.

    A gate opens documents with anything that passes; and of its own kind of segment, only what passes.
    """
    opened, hidden = segments.of_kind(*scorer.columns), np.zeros(segments.frame.height, bool)
    for kind, gate in scorer.gates:
        own, passes = segments.of_kind(kind), lets_through(gate, read(gate.score))
        documents = np.zeros(len(segments.starts), bool)
        documents[segments.owner[own & passes]] = True
        opened &= documents[segments.owner]
        if kind != "document":
            hidden |= own & ~passes
            opened &= ~(own & ~passes)
    return opened, hidden


def lets_through(gate: Gate, values: pl.Series) -> Bools:
    """Which values pass a gate."""
    kind = {pl.Float32: float, pl.String: str, pl.Boolean: bool}.get(values.dtype.base_type(), int)
    return values.to_frame("value").with_columns(passes=opens(kind, gate))["passes"].to_numpy()


def known_rows(
    store: Store, shard: str, segments: Segments, scorer: Scorer, opened: Bools, folders: Iterable[str]
) -> tuple[pa.Table | None, Ints]:
    """The open rows that the same scorer measured behind other gates, and their numbers.

    A cache, and so it looks at what there is: whether it finds rows or none, the scorer's table is the same.
    """
    left, found, numbers = opened.copy(), list[pa.Table](), list[Ints]()
    for folder in sorted(folders):
        measured = None
        if folder.startswith(f"{scorer.name}-{scorer.identity}"):
            measured = _measured_in(f"scores/{folder}", store, shard, segments, scorer)
        if measured is not None:
            there = segments.numbers(pl.DataFrame(measured.select(KEY)))
            chosen = (there >= 0) & left[there]
            left[there[chosen]] = False
            found.append(measured.filter(pa.array(chosen)))
            numbers.append(there[chosen])
    return (pa.concat_tables(found), np.concatenate(numbers)) if found else (None, np.empty(0, np.int64))


def _measured_in(folder: str, store: Store, shard: str, segments: Segments, scorer: Scorer) -> pa.Table | None:
    """A scorer's rows of a shard in a folder, with all columns; None unless they are whole, and of this raw shard."""
    schema, parts = schema.score_schema(scorer.all_columns), list[pa.Table]()
    for name in names_of(scorer, shard, folder):
        if not store.exists(name):
            return None
        with store.local(name) as path:
            if table.note(path, "raw") != segments.raw.content:
                return None
            parts.append(pq.read_table(path))
    columns = {name: part[name] for part in parts for name in part.column_names}
    return pa.table([columns[name] for name in schema.names], schema=schema)
