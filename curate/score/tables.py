"""Tables: what was measured, as a scorer's tables of a shard; vectors have one of their own. Measures nothing."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pyarrow as pa

from curate.plugin import Vector
from curate.report import StopRun
from curate.score.scorer import Scorer
from curate.score.view import Measured, Owed
from curate.store import schema
from curate.store.columns import KEY, table_name


def names_of(scorer: Scorer, shard: str, folder: str = "") -> list[str]:
    """The files of a scorer's tables of a shard, in its folder or another; one for vectors only if it has any."""
    kinds = (None, Vector) if Vector in scorer.all_columns.values() else (None,)
    return [table_name(folder or scorer.folder, shard, kind) for kind in kinds]


def parts_of(scorer: Scorer, shard: str, whole: pa.Table) -> dict[str, pa.Table]:
    """The tables by the names of their files: the same rows, in the same order."""
    parts: dict[str, list[str]] = {name: list(KEY) for name in names_of(scorer, shard)}
    for name, type_ in scorer.all_columns.items():
        parts[table_name(scorer.folder, shard, type_)].append(name)
    return {name: whole.select(columns) for name, columns in parts.items()}


def tabulated(owed: Owed, measured: Measured) -> pa.Table:
    """A row for each that was owed, with all columns: each result stands wherever the index says.

    Raises:
        StopRun: a result is no row, or has a column or a value that was not declared.
    """
    name, columns = owed.scorer.name, owed.scorer.all_columns
    for row in measured.results:
        if row is not None and not isinstance(row, Mapping):
            raise StopRun(f"score {name!r} returned {type(row).__name__} {row!r:.60} in place of a row")
        if row is not None and not row.keys() <= columns.keys():
            unknown = ", ".join(sorted(row.keys() - columns.keys()))
            raise StopRun(f"score {name!r} returned columns it did not declare: {unknown}")
    wanted = schema.score_schema(columns)
    arrays = [owed.frame[key].to_arrow().cast(wanted.field(key).type) for key in KEY]
    for field in list(wanted)[len(KEY) :]:
        values = [None if row is None else row.get(field.name) for row in measured.results]
        try:
            items = schema.column(values, field.type)
        except (TypeError, ValueError, OverflowError) as error:
            raise StopRun(f"score {name!r} returned a value that is not as declared: {error}") from error
        index = measured.apart.get(field.name, measured.index)
        arrays.append(items.take(pa.array(index, pa.int64(), mask=index < 0)))
    return pa.Table.from_arrays(arrays, schema=wanted)


def merged(owed: Owed, fresh: pa.Table) -> pa.Table:
    """The rows that were measured and those that were known, in the order of their numbers."""
    if owed.known is None:
        return fresh
    order = np.argsort(np.concatenate([owed.known_rows, owed.rows]))
    return pa.concat_tables([owed.known, fresh]).take(pa.array(order)).combine_chunks()
