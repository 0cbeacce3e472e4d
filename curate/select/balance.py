"""Balance: MetaCLIP's flattening of the long tail, over what all other rules leave. Matches no text.

Xu et al. 2023, "Demystifying CLIP Data". An entry of the metadata that more than t texts have keeps each of them with
probability t / count; a text stays if any of its entries keeps it, so one without an entry goes. Two passes: chunks of
shards count the entries of what is left, then each text is drawn for by a hash of its place, wherever that is done.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import polars as pl

from curate.group.keys import Chunk, rows
from curate.recipe.rules import Balance
from curate.report import Report
from curate.select.decide import Pick, alive
from curate.store import table
from curate.store.columns import KEY, Column
from curate.store.store import Store

Numbers = npt.NDArray[np.float64]


def counted(entries: Iterable[bytes | None], size: int = 0) -> npt.NDArray[np.int64]:
    """In how many texts each entry is found, of at least ``size``; takes a column of little-endian uint32 entries."""
    found = np.frombuffer(b"".join(each for each in entries if each), "<u4")
    return np.bincount(found, minlength=size)


def probabilities(counts: npt.NDArray[np.int64], t: int) -> Numbers:
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
    """A recipe's ``balance`` with its column."""

    balance: Balance
    column: Column

    def pick(self, store: Store, verdicts: str, shard: str, content: str) -> Pick:
        """What select asks of it for one shard; the counts must be there."""
        names = [f"{verdicts}/balance/{name}" for name in sorted(store.names(f"{verdicts}/balance"))]
        counts = rows(store, names).group_by("entry").agg(pl.col("count").sum())
        total = np.zeros(int(counts["entry"].max() or 0) + 1, np.int64)  # type: ignore[arg-type]
        total[counts["entry"].to_numpy()] = counts["count"].to_numpy()
        p = probabilities(total, self.balance.most)
        entries = self.column.read(store, shard, content)

        def losers(left: pl.DataFrame) -> pl.DataFrame:
            found = left.select(KEY).join(entries, on=KEY, how="left", maintain_order="left")
            gone = [
                draw(document, position, self.balance.seed) >= keep_probability(value, p)
                for document, position, value in found.iter_rows()
            ]
            return found.filter(pl.Series(gone, dtype=pl.Boolean)).select(KEY)

        return Pick("text", "text: balance", losers)


@dataclass(frozen=True)
class EntriesWorker:
    """Counts the entries of what is left of a chunk of shards."""

    store: Store
    balancer: Balancer
    left: Callable[[str], tuple[pl.DataFrame, str]]
    folder: str

    def __call__(self, chunk: Chunk) -> Report:
        """Writes ``balance/NNNNN.parquet``: entry, count."""
        began, total = time.monotonic(), np.zeros(0, np.int64)
        for shard in chunk.shards:
            frame, content = self.left(shard)
            entries = self.balancer.column.read(self.store, shard, content)
            here = counted(alive(frame, "text").select(KEY).join(entries, on=KEY, how="left")["value"], len(total))
            total = here + np.pad(total, (0, len(here) - len(total)))
        found = pl.DataFrame({"entry": np.flatnonzero(total), "count": total[total > 0]})
        with self.store.writing(f"{self.folder}/balance/{chunk.shard}.parquet") as path:
            table.write(path, found.cast(pl.Int64).to_arrow())
        return Report(chunk.shard, seconds=time.monotonic() - began)
