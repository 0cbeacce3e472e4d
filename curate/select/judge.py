"""Judge: reads the tables of one shard and applies a decision to its rows. Writes no file."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Protocol

import polars as pl

from curate.ledger.job import FileSet, Phase
from curate.ledger.making import Held
from curate.plugin import Kind
from curate.recipe.recipe import Resource
from curate.report import conserve
from curate.select.binding import Decision
from curate.select.decide import BoundRule, Removal, additions, decide, ruled, survivors
from curate.select.top import with_thresholds
from curate.store.chunks import Chunk
from curate.store.columns import Column
from curate.store.files import Files
from curate.store.raw_shard import RAW
from curate.store.store import Store


class Remover(Protocol):
    """What goes for the sake of others in the whole run, and the jobs that find that out."""

    def removal(self, files: Files, shard: str) -> Removal:
        """What is to be removed from one shard."""

    def columns(self) -> tuple[Column, ...]:
        """The columns of each shard that it looks at when it removes."""

    def made(self, shard: str) -> tuple[str, ...]:
        """The temporary files that its own jobs made for that."""

    def origin(self, store: Store, shards: Sequence[str]) -> tuple[str, ...]:
        """The permanent files that its own jobs read, besides those that the judge reads."""

    def phases(self, judge: Judge, store: Store, several: Sequence[Chunk], needs: Resource) -> Iterator[Phase]:
        """Those jobs; ``judge`` knows what is left before."""


@dataclass(frozen=True)
class Judge:
    """A decision, and who removes what of what its rules leave, in order."""

    decision: Decision
    removers: tuple[Remover, ...] = ()

    def phases(self, store: Store, several: Sequence[Chunk], needs: Resource) -> Iterator[Phase]:
        """What the removers have to find out, each after those before it."""
        for at, remover in enumerate(self.removers):
            yield from remover.phases(replace(self, removers=self.removers[:at]), store, several, needs)

    def verdicts(self, files: Files, shard: str) -> pl.DataFrame:
        """The verdict on each row of a shard."""
        raw = self._raw(files, shard)
        found = decide(self._ruled(files, shard, raw))
        conserve("segments", shard, raw.height, found.height)
        return found.with_columns(reason=pl.coalesce("reason", raw["said"]))

    def survivors(self, files: Files, shard: str, kind: Kind) -> pl.DataFrame:
        """What rules and removers leave of a kind in a shard."""
        return survivors(self._ruled(files, shard, self._raw(files, shard)), kind)

    def permanent(self, shard: str) -> tuple[str, ...]:
        """The files that verdicts on a shard are made from, and that stay."""
        top = (self.decision.rules_file,) if self.decision.tops else ()
        return (*self._tables(shard), *top)

    def made(self, shard: str) -> tuple[str, ...]:
        """The temporary files that are opened besides."""
        return tuple(name for remover in self.removers for name in remover.made(shard))

    def reads(self, shards: Sequence[str], *more: Column) -> tuple[str, ...]:
        """The files that are opened for what is left of some shards, and for ``more`` columns of them."""
        found = dict[str, None]()
        for shard in shards:
            found |= dict.fromkeys((*self.permanent(shard), *self.made(shard)))
            found |= dict.fromkeys(column.file(shard) for column in more)
        return tuple(found)

    def beyond(self, store: Store, shards: Sequence[str]) -> tuple[FileSet, ...]:
        """The permanent files of all shards from which removers know what goes from any; none if they need not."""
        found = dict[str, None]()
        for at, remover in enumerate(self.removers):
            if origin := remover.origin(store, shards):
                before = replace(self, removers=self.removers[:at])
                found |= dict.fromkeys(name for shard in shards for name in before._tables(shard))
                found |= dict.fromkeys(origin)
        return (FileSet("shards", tuple(found)),) if found else ()

    def _tables(self, shard: str) -> tuple[str, ...]:
        return tuple(column.file(shard) for column in self._columns)

    @cached_property
    def _columns(self) -> list[Column]:
        """A column of each table that is looked at."""
        columns = [Column(RAW, "kind", "document"), *(each.column for each in self.decision.rules if each.folder)]
        columns += [column for each in self.decision.adds for column in (each.text, each.image)]
        columns += [column for remover in self.removers for column in remover.columns()]
        return list({column.file(""): column for column in columns}.values())

    @cached_property
    def _held(self) -> Held[tuple[BoundRule, ...]]:
        return Held(*([self.decision.rules_file] if self.decision.tops else []))

    def _ruled(self, files: Files, shard: str, raw: pl.DataFrame) -> pl.DataFrame:
        """The rows after rules and removers."""
        rules = self._held.get(files, lambda files: with_thresholds(files, self.decision))
        adds = self.decision.adds
        named = {each.column for each in rules if each.folder} | {
            each for add in adds for each in (add.text, add.image)
        }
        # table by table, that of the shard first: it was read just now
        in_order = sorted(named, key=lambda each: (each.folder != RAW, each.file(shard)))
        found = {column: column.read(files, shard) for column in in_order}
        values = [found[each.column] if each.folder else None for each in rules]
        removals = [remover.removal(files, shard) for remover in self.removers]
        added = additions(adds, [(found[each.text], found[each.image]) for each in adds])
        return ruled(raw, rules, values, self.decision.empty, removals, added)

    def _raw(self, files: Files, shard: str) -> pl.DataFrame:
        """The rows of a raw shard with what decisions look at."""
        columns = ["document", "position", "kind", "status", "bytes", "original_width", "original_height"]
        found = files.read(f"{RAW}/{shard}.parquet", [*columns, "text"])
        length = pl.col("text").str.len_bytes().fill_null(0)
        said = pl.when(kind="reject").then(reject_class())
        return found.select(*columns, length=length, said=said).with_row_index("row")


def reject_class() -> pl.Expr:
    """Why a row is no document, without what is particular to it: "not JSON", "image_info[N].raw_url is int"."""
    return pl.col("text").str.split(": ").list.first().str.replace_all(r"\d+", "N")
