"""Owed: the rows of a shard that a scorer has yet to measure: what gates open, less what is known. Measures nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import numpy as np
import polars as pl
import pyarrow as pa

from curate.recipe.compare import opens
from curate.recipe.rules import Gate
from curate.score.scorer import Scorer
from curate.score.tables import names_of
from curate.score.view import Bools, Ints, Owed, Segments
from curate.store import digest, schema
from curate.store.columns import KEY, SOURCE, Column
from curate.store.digest import DamagedFile, ForeignFile
from curate.store.files import Files
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


def reads_of(scorer: Scorer, shard: str, scorers: Iterable[Scorer]) -> tuple[str, ...]:
    """The tables of a shard that a scorer's are made from."""
    columns = [column_of(name, scorers).file(shard) for name in inputs_of(scorer)]
    return tuple(dict.fromkeys([f"{RAW}/{shard}.parquet", *columns]))


def rows_from(files: Files, shard: str, scorer: Scorer, scorers: Sequence[Scorer]) -> str:
    """A digest of all that a measured row depends on: not on gates, if they only say which rows there are.

    The scorer is part of it: a table that lies in the wrong folder is none of its own.
    """
    gates = [gate.score for _, gate in scorer.gates] if scorer.sees_gates else []
    columns = (column_of(name, scorers).file(shard) for name in (scorer.input, scorer.text_of, *gates) if name)
    contents = {name: files.contents[name] for name in (f"{RAW}/{shard}.parquet", *columns)}
    return digest.of_values(scorer.name, scorer.identity, digest.of_files(contents)).hex()


def owed(
    files: Files, shard: str, segments: Segments, scorer: Scorer, scorers: Sequence[Scorer], folders: Iterable[str]
) -> Owed:
    """What a scorer owes of a shard; ``scorers``: whose columns it may read, ``folders``: where its rows may lie."""

    def read(name: str) -> pl.Series:
        column = column_of(name, scorers)
        if column.folder == RAW:
            return segments.frame[column.name]
        return segments.spread(column.read(files, shard))

    opened, hidden = through(scorer, segments, read)
    values, of = (read(name) if name else None for name in (scorer.input, scorer.text_of))
    made_from = rows_from(files, shard, scorer, scorers)
    known, rows = known_rows(files.store, shard, segments, scorer, opened, folders, made_from)
    opened[rows] = False
    return Owed(scorer, segments, np.flatnonzero(opened), hidden, values, of, known, rows, made_from)


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
    store: Store,
    shard: str,
    segments: Segments,
    scorer: Scorer,
    opened: Bools,
    folders: Iterable[str],
    made_from: str,
) -> tuple[pa.Table | None, Ints]:
    """The open rows that the same scorer measured behind other gates, from what they would be now, and their numbers.

    A cache, and so it looks at what there is: whether it finds rows or none, the scorer's table is the same.
    """
    left, found, numbers = opened.copy(), list[pa.Table](), list[Ints]()
    for folder in sorted(folders):
        measured = None
        if folder.startswith(f"{scorer.name}-{scorer.identity}"):
            measured = _measured_in(f"scores/{folder}", store, shard, scorer, made_from)
        if measured is not None:
            there = segments.numbers(pl.DataFrame(measured.select(KEY)))
            chosen = (there >= 0) & left[there]
            left[there[chosen]] = False
            found.append(measured.filter(pa.array(chosen)))
            numbers.append(there[chosen])
    return (pa.concat_tables(found), np.concatenate(numbers)) if found else (None, np.empty(0, np.int64))


def _measured_in(folder: str, store: Store, shard: str, scorer: Scorer, made_from: str) -> pa.Table | None:
    """A scorer's rows of a shard in a folder, with all columns; None unless they are whole, and from the same."""
    files, columns = Files(store), dict[str, pa.ChunkedArray]()
    for name in names_of(scorer, shard, folder):
        try:
            if not store.exists(name) or files.notes(name).get("rows_from") != made_from:
                return None
            rows = files.read(name).to_arrow()
        except (DamagedFile, ForeignFile):
            return None
        columns |= dict(zip(rows.column_names, rows.columns, strict=True))
    wanted = schema.score_schema(scorer.all_columns)
    return pa.table([columns[field.name].cast(field.type) for field in wanted], schema=wanted)
