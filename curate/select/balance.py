"""Balance: MetaCLIP's flattening of the long tail, over what all other rules leave. Matches no text.

Xu et al. 2023, "Demystifying CLIP Data". An entry of the metadata that more than t texts have keeps each of them with
probability t / count; a text stays if any of its entries keeps it, so one without an entry goes. The entries of what is
left are counted, then each text is drawn for by a hash of its place, wherever that is done::

    balance/entries/CHUNK.parquet   each chunk of shards   entry, count
    balance/total.parquet           one job                entry, count
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
import polars as pl

from curate.ledger.job import Job, Phase, Target
from curate.ledger.making import Held, Making, OneByOne
from curate.recipe.recipe import Resource
from curate.report import Report
from curate.select.binding import BY, BoundBalance
from curate.select.decide import Removal
from curate.select.judge import Judge
from curate.store.chunks import Chunk
from curate.store.columns import KEY, Column
from curate.store.files import Files
from curate.store.store import Store

Numbers = npt.NDArray[np.float64]
Counts = npt.NDArray[np.int64]


def counted(entries: Iterable[bytes | None], size: int = 0) -> Counts:
    """In how many texts each entry is found, of at least ``size``; takes a column of little-endian uint32 entries."""
    found = np.frombuffer(b"".join(each for each in entries if each), "<u4")
    return np.bincount(found, minlength=size)


def probabilities(counts: Counts, t: int) -> Numbers:
    """With which probability each entry keeps a text: 1 up to ``t`` texts, then t / count."""
    return t / np.maximum(counts, t)


def keep_probability(entries: bytes | None, p: Numbers) -> float:
    """With which probability a text stays: that one of its entries keeps it; 0 without an entry."""
    return float(1 - np.prod(1 - p[np.frombuffer(entries or b"", "<u4")]))


def draw(document: str, position: int, seed: int = 0) -> float:
    """A number in [0, 1) for a text, the same wherever and whenever it is drawn; the text stays if it is smaller."""
    name = f"{seed}\0{document}\0{position}".encode()
    return (int.from_bytes(hashlib.blake2b(name, digest_size=8).digest(), "big") >> 11) / (1 << 53)


@dataclass(frozen=True)
class Balancer:
    """Removes texts of which there are too many; ``verdicts`` is the folder of the decision."""

    bound: BoundBalance
    verdicts: str

    @property
    def total(self) -> str:
        """The file that says how often there is each entry."""
        return f"{self.verdicts}/balance/total.parquet"

    def made(self, _: str) -> tuple[str, ...]:
        """See ``Remover``."""
        return (self.total,)

    def columns(self) -> tuple[Column, ...]:
        """See ``Remover``."""
        return (self.bound.column,)

    def origin(self, _: Store, shards: Sequence[str]) -> tuple[str, ...]:
        """See ``Remover``."""
        return tuple(self.bound.column.file(shard) for shard in shards)

    def removal(self, files: Files, shard: str) -> Removal:
        """See ``Remover``."""
        entries, p = self.bound.column.read(files, shard), self._held.get(files, self._probabilities)

        def gone(left: pl.DataFrame) -> pl.DataFrame:
            found = left.select(KEY).join(entries, on=KEY, how="left", maintain_order="left")
            lost = [
                draw(document, position, self.bound.balance.seed) >= keep_probability(value, p)
                for document, position, value in found.iter_rows()
            ]
            return found.filter(pl.Series(lost, dtype=pl.Boolean)).select(KEY)

        return Removal("text", "text: balance", gone)

    @cached_property
    def _held(self) -> Held[Numbers]:
        return Held(self.total)

    def _probabilities(self, files: Files) -> Numbers:
        """With which probability each entry keeps a text."""
        counts = files.read(self.total)
        return probabilities(spread(counts["entry"].to_numpy(), counts["count"].to_numpy()), self.bound.balance.most)

    def phases(self, judge: Judge, store: Store, several: Sequence[Chunk], needs: Resource) -> Iterator[Phase]:
        """See ``Remover``."""
        files = tuple(f"{self.verdicts}/balance/entries/{each.name}.parquet" for each in several)
        counting = [
            Job(each.name, (Target(file, judge.reads(each.shards, self.bound.column), BY),), each.shards)
            for each, file in zip(several, files, strict=True)
        ]
        yield Phase("select balance", counting, OneByOne(store, CountEntries(self, judge)), needs)
        total = Job("total", (Target(self.total, files, BY),))
        yield Phase("select balance", [total], OneByOne(store, AddEntries(files)), needs)


def spread(entries: npt.NDArray[np.int64], counts: Counts) -> Counts:
    """Counts by entry, with the zeros that files leave out."""
    total = np.zeros(int(entries.max(initial=0)) + 1, np.int64)
    total[entries] = counts
    return total


@dataclass(frozen=True)
class CountEntries:
    """Counts the entries of what is left of a chunk of shards."""

    balancer: Balancer
    judge: Judge

    def __call__(self, job: Job, making: Making) -> Report:
        """Writes entry, count."""
        total = np.zeros(0, np.int64)
        for shard in job.args:
            left = self.judge.survivors(making.files, shard, "text")
            entries = self.balancer.bound.column.read(making.files, shard)
            here = counted(left.select(KEY).join(entries, on=KEY, how="left")["value"], len(total))
            total = here + np.pad(total, (0, len(here) - len(total)))
        write(making, job, total)
        return Report(job.name)


@dataclass(frozen=True)
class AddEntries:
    """Adds up the counts in ``files``."""

    files: tuple[str, ...]

    def __call__(self, job: Job, making: Making) -> Report:
        """Writes entry, count; holds one chunk at a time."""
        total = np.zeros(0, np.int64)
        for name in self.files:
            found = making.files.read(name)
            here = spread(found["entry"].to_numpy(), found["count"].to_numpy())
            total = np.pad(total, (0, max(0, len(here) - len(total))))
            total[: len(here)] += here
        write(making, job, total)
        return Report(job.name)


def write(making: Making, job: Job, counts: Counts) -> None:
    """Writes the counts that are not 0."""
    found = pl.DataFrame({"entry": np.flatnonzero(counts), "count": counts[counts > 0]})
    making.write(job.targets[0].name, found.cast(pl.Int64).to_arrow())
