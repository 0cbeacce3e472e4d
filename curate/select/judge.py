"""Judge: reads the tables of one shard and applies a decision to its rows. Writes no file."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Protocol

import polars as pl

from curate.ledger.job import Phase
from curate.plugin import Kind
from curate.recipe.recipe import Resource
from curate.report import conserve
from curate.select.binding import Decision
from curate.select.decide import BoundRule, Removal, additions, decide, ruled, survivors
from curate.select.top import with_thresholds
from curate.store import table
from curate.store.chunks import Chunk
from curate.store.columns import Column
from curate.store.raw_shard import RAW
from curate.store.store import Store


class Remover(Protocol):
    """What goes for the sake of others in the whole run, and the jobs that find that out."""

    def removal(self, shard: str, content: str) -> Removal:
        """What is to be removed from one shard, of this content."""

    def made(self, shard: str) -> tuple[str, ...]:
        """The files that its own jobs made for that."""

    def columns(self) -> tuple[Column, ...]:
        """The columns of each shard that it looks at when it removes."""

    def phases(self, judge: Judge, several: Sequence[Chunk], needs: Resource) -> Iterator[Phase]:
        """The jobs that make those files; ``judge`` knows what is left before."""


@dataclass(frozen=True)
class Judge:
    """A decision, and who removes what of what its rules leave, in order."""

    store: Store
    decision: Decision
    removers: tuple[Remover, ...] = ()

    def phases(self, several: Sequence[Chunk], needs: Resource) -> Iterator[Phase]:
        """What the removers have to find out, each after those before it."""
        for at, remover in enumerate(self.removers):
            yield from remover.phases(replace(self, removers=self.removers[:at]), several, needs)

    def verdicts(self, shard: str) -> pl.DataFrame:
        """The verdict on each row of a shard."""
        raw, content = self._raw(shard)
        found = decide(ruled(raw, self.rules, *self._looked_up(shard, content)))
        conserve("segments", shard, raw.height, found.height)
        return found.with_columns(reason=pl.coalesce("reason", raw["said"]))

    def survivors(self, shard: str, kind: Kind) -> tuple[pl.DataFrame, str]:
        """What rules and removers leave of a kind in a shard, and the hash of what that holds."""
        raw, content = self._raw(shard)
        return survivors(ruled(raw, self.rules, *self._looked_up(shard, content)), kind), content

    def reads(self, shard: str) -> tuple[str, ...]:
        """The files that verdicts on a shard are made from."""
        columns = [each.column for each in self.decision.rules if each.folder]
        columns += [column for each in self.decision.adds for column in (each.text, each.image)]
        columns += [column for remover in self.removers for column in remover.columns()]
        files = dict.fromkeys([f"{RAW}/{shard}.parquet", *(column.file(shard) for column in columns)])
        return (*files, *self.made(shard))

    def reads_of(self, shards: Sequence[str], *more: Column) -> tuple[str, ...]:
        """The files that verdicts on several shards, and what more is asked of them, are made from."""
        columns = (column.file(shard) for shard in shards for column in more)
        return tuple(dict.fromkeys([*(name for shard in shards for name in self.reads(shard)), *columns]))

    def made(self, shard: str) -> tuple[str, ...]:
        """Those of them that were made only to decide; they are the same for all shards of a chunk."""
        top = any(each.rule.top is not None for each in self.decision.rules)
        made = [name for remover in self.removers for name in remover.made(shard)]
        return (*([f"{self.decision.folder}/rules.json"] if top else []), *made)

    @cached_property
    def rules(self) -> tuple[BoundRule, ...]:
        """The rules with their thresholds, looked up once."""
        return with_thresholds(self.store, self.decision)

    def _looked_up(
        self, shard: str, content: str
    ) -> tuple[list[pl.DataFrame | None], str, list[Removal], pl.DataFrame | None]:
        """What ``decide`` and ``ruled`` ask for besides rows and rules."""
        values = [each.column.read(self.store, shard, content) if each.folder else None for each in self.rules]
        removals = [remover.removal(shard, content) for remover in self.removers]
        adds = self.decision.adds
        read = [[column.read(self.store, shard, content) for column in (each.text, each.image)] for each in adds]
        return values, self.decision.empty, removals, additions(adds, [(texts, found) for texts, found in read])

    def _raw(self, shard: str) -> tuple[pl.DataFrame, str]:
        """The rows of a raw shard with what decisions look at, and its content's hash."""
        columns = ["document", "position", "kind", "status", "bytes", "original_width", "original_height"]
        with self.store.local(f"{RAW}/{shard}.parquet") as path:
            found, content = table.read(path, [*columns, "text"]), table.note(path, "content")
        length = pl.col("text").str.len_bytes().fill_null(0)
        said = pl.when(kind="reject").then(reject_class())
        return found.select(*columns, length=length, said=said).with_row_index("row"), content


def reject_class() -> pl.Expr:
    """Why a row is no document, without what is particular to it: "not JSON", "image_info[N].raw_url is int"."""
    return pl.col("text").str.split(": ").list.first().str.replace_all(r"\d+", "N")
