"""Shard tables: what is known of the kept segments of a raw shard, by document and position. Reads no picture."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

from curate.document import DOCUMENT, Text
from curate.pack.output_folder import Output
from curate.store.columns import KEY, SOURCE, table_name
from curate.store.files import Files

Key = tuple[str, int]
"""Document and position."""


def tables_of(output: Output, shard: str) -> list[str]:
    """The tables that are opened for a raw shard, its own aside."""
    folders = [output.verdicts, *(folder for score, folder in output.scores.items() if output.scalars(score))]
    folders += [found[0] for found in (matched_column(output), blurred_column(output)) if found]
    names = [*(table_name(folder, shard) for folder in folders), *(each.text.file(shard) for each in output.adds)]
    return list(dict.fromkeys(names))


def matched_column(output: Output) -> tuple[str, dict[str, str]] | None:
    """The folder and the columns that images are placed by, and what they are called here."""
    by = output.recipe.place.by
    if by == "dom":
        return None
    if by == "matched":
        return SOURCE, {"matched": "matched", "matched_sim": "matched_sim"}
    score, _, column = by.partition(".")
    return output.scores[score], {column: "sims"}


def blurred_column(output: Output) -> tuple[str, str] | None:
    """The folder and the column of what is blurred."""
    score, _, column = (output.recipe.pack.blur or "").partition(".")
    return (output.scores[score], column) if score else None


@dataclass(frozen=True)
class ShardTables:
    """The tables of a raw shard: verdicts, scores and groups.

    ``kept``: document, position and ``added`` of each segment that is kept of the documents in question.
    """

    files: Files
    output: Output
    shard: str
    kept: pl.DataFrame

    @classmethod
    def of(cls, files: Files, output: Output, shard: str, first: int, count: int) -> ShardTables:
        """The tables for ``count`` of the kept documents of a raw shard, from the ``first`` on."""
        verdicts = files.read(table_name(output.verdicts, shard), [*KEY, "state", "added"])
        kept = verdicts.filter(state="kept").drop("state")
        chosen = kept.filter(position=DOCUMENT)["document"].slice(first, count)
        return cls(files, output, shard, kept.filter(pl.col("document").is_in(chosen.implode())))

    def positions(self) -> dict[str, set[int]]:
        """What is kept of each document, and its own position."""
        several = self.kept.group_by("document").agg("position").iter_rows()
        return {document: set(positions) for document, positions in several}

    def scores(self) -> dict[Key, dict[str, Any]]:
        """Every scalar score, as "score.column" -> value."""
        found: dict[Key, dict[str, Any]] = {}
        for score, folder in self.output.scores.items():
            if columns := list(self.output.scalars(score)):
                for document, position, *values in self._read(folder, columns).iter_rows():
                    named = zip(columns, values, strict=True)
                    row = {f"{score}.{name}": value for name, value in named if value is not None}
                    found.setdefault((document, position), {}).update(row)
        return found

    def matches(self) -> dict[Key, dict[str, Any]]:
        """What the placement reads of each image: ``matched`` and ``matched_sim``, or ``sims``."""
        found = matched_column(self.output)
        if found is None:
            return {}
        folder, names = found
        frame = self._read(folder, list(names)).rename(names)
        return {(row.pop("document"), row.pop("position")): row for row in frame.iter_rows(named=True)}

    def boxes(self) -> dict[Key, Sequence[float]]:
        """The parts of images that are blurred, where it is known which."""
        found = blurred_column(self.output)
        if found is None:
            return {}
        folder, column = found
        rows = self._read(folder, [column]).drop_nulls(column).iter_rows()
        return {(document, position): boxes for document, position, boxes in rows}

    def added(self) -> dict[Key, list[Text]]:
        """The texts that are put after images."""
        found: dict[Key, list[Text]] = {}
        for number, each in enumerate(self.output.adds):
            here = self.kept.filter(pl.col("added").cast(pl.Int64) // (1 << number) % 2 == 1).select(*KEY)
            texts = here.join(each.text.read(self.files, self.shard), on=KEY, how="left", maintain_order="left")
            for document, position, text in texts.iter_rows():
                found.setdefault((document, position), []).append(Text(text, each.add.text.partition(".")[0]))
        return found

    def _read(self, folder: str, columns: Sequence[str]) -> pl.DataFrame:
        """Some columns of a table, of the kept segments."""
        found = self.files.read(table_name(folder, self.shard), [*KEY, *columns])
        return found.join(self.kept, on=KEY, how="semi", maintain_order="left")
