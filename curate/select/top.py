"""Top: the thresholds that ``top`` fractions of all measured values of a run come to. Exact, in constant memory.

As in DataComp's baselines: with N values, the one at rank int(N * fraction) from the top (0-based), and every value of
at least that stays. Values are counted by the upper half of their float32 bits, and then, where the upper half is that
of the value looked for, by the lower half; chunk by chunk, for all rules at once::

    top/upper/CHUNK.parquet   each chunk of shards   rule, bits, count
    top/upper.json            one job                of each rule the upper half, and the rank among those that share it
    top/lower/CHUNK.parquet   each chunk of shards   rule, bits, count
    rules.json                one job                the rules, and the thresholds
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa

from curate.ledger.job import Job, Phase, Target
from curate.ledger.making import OneByOne
from curate.recipe.recipe import Resource
from curate.report import Report
from curate.select.binding import Decision
from curate.select.decide import BoundRule
from curate.store import table
from curate.store.chunks import Chunk
from curate.store.store import Store

Counts = npt.NDArray[np.int64]
Upper = tuple[int, int] | None
"""The upper half of the bits of a threshold, and its rank from the top among the values that share it."""
HALVES = ("upper", "lower")
BINS = 1 << 16
COUNTS = pa.schema([pa.field("rule", pa.int16()), pa.field("bits", pa.int32()), pa.field("count", pa.int64())])


def phases(store: Store, decision: Decision, several: Sequence[Chunk], needs: Resource) -> Iterator[Phase]:
    """Writes ``rules.json``: the rules as people read them, and the threshold of each that has a ``top``."""
    top = any(each.rule.top is not None for each in decision.rules)
    folder, names = decision.folder, tuple(chunk.name for chunk in several)
    reads = (f"{folder}/top/upper.json", f"{folder}/top/lower/") if top else ()
    job = Job("rules", (Target(f"{folder}/rules.json", reads),))

    def counting() -> Iterator[Phase]:
        upper, lower = (CountHalves(store, folder, decision.rules, half).phase(several, needs) for half in HALVES)
        find = Job("upper", (Target(f"{folder}/top/upper.json", (f"{folder}/top/upper/",)),))
        worker = OneByOne(FindUpper(store, decision, names))
        yield Phase("select top", [find], worker, needs, lambda: iter([upper]))
        yield lower

    yield Phase("select rules", [job], OneByOne(WriteRules(store, decision, names)), needs, counting if top else None)


def with_thresholds(store: Store, decision: Decision) -> tuple[BoundRule, ...]:
    """The rules with the thresholds that were found."""
    if all(each.rule.top is None for each in decision.rules):
        return decision.rules
    found = store.get_json(f"{decision.folder}/rules.json")["top"]
    return tuple(replace(each, threshold=value) for each, value in zip(decision.rules, found, strict=True))


def threshold(upper: Upper, lower: Counts) -> float:
    """The value that a fraction comes to; -inf where nothing was measured. ``lower``: how many have each lower half."""
    if upper is None:
        return float("-inf")
    high, rank = upper
    bits = np.uint32(high << 16 | at_rank(lower, rank)[0])
    return float((bits & np.uint32(0x7FFFFFFF) if bits >> 31 else ~bits).view(np.float32))


def upper_half(counts: Counts, fraction: float) -> Upper:
    """Where a fraction's threshold lies; ``counts``: how many values have each upper half."""
    total = int(counts.sum())
    return at_rank(counts, min(int(total * fraction), total - 1)) if total else None


def at_rank(counts: Counts, rank: int) -> tuple[int, int]:
    """The bin that holds the value of this rank from the top, and the rank within it."""
    from_top = np.cumsum(counts[::-1])[::-1]
    found = int(np.flatnonzero(from_top > rank)[-1])
    return found, rank - int(from_top[found] - counts[found])


def ordered(values: pl.Series) -> npt.NDArray[np.uint32]:
    """The measured values as integers in the same order: the bits of the float32, flipped."""
    bits = values.drop_nulls().cast(pl.Float32).to_numpy().view(np.uint32)
    return np.where(bits >> 31, ~bits, bits | np.uint32(1 << 31))


@dataclass(frozen=True)
class CountHalves:
    """Counts the values of a chunk of shards by one half of their bits, for each rule with a ``top``."""

    store: Store
    folder: str
    rules: tuple[BoundRule, ...]
    half: str

    def phase(self, several: Sequence[Chunk], needs: Resource) -> Phase:
        """A job for each chunk."""
        folder = f"{self.folder}/top/{self.half}/"
        upper = [f"{self.folder}/top/upper.json"] if self.half == "lower" else []
        columns = [each.column for each in self.rules if each.rule.top is not None]

        def target(chunk: Chunk) -> Target:
            files = (column.file(shard) for column in columns for shard in chunk.shards)
            return Target(f"{folder}{chunk.name}.parquet", (*upper, *files))

        jobs = [Job(each.name, (target(each),), each.shards) for each in several]
        return Phase("select top", jobs, OneByOne(self), needs, seals=folder)

    def __call__(self, job: Job) -> Report:
        """Writes the counts that are not 0."""
        upper = self.store.get_json(f"{self.folder}/top/upper.json") if self.half == "lower" else None
        parts = []
        for at, rule in enumerate(self.rules):
            if rule.rule.top is not None:
                counts = self._counts(rule, job.args, upper and upper[at])
                bits = np.flatnonzero(counts)
                parts.append(pl.DataFrame({"rule": np.full(len(bits), at), "bits": bits, "count": counts[bits]}))
        with self.store.writing(job.targets[0].name) as path:
            table.write(path, pl.concat(parts).to_arrow().cast(COUNTS))
        return Report(job.name)

    def _counts(self, rule: BoundRule, shards: Sequence[str], upper: Upper) -> Counts:
        total = np.zeros(BINS, np.int64)
        if self.half == "lower" and upper is None:
            return total
        for shard in shards:
            bits = ordered(rule.column.read(self.store, shard)["value"])
            half = bits >> 16 if upper is None else bits[bits >> 16 == upper[0]] & 0xFFFF
            total += np.bincount(half, minlength=BINS)
        return total


def added_up(store: Store, names: Sequence[str], rules: int) -> Counts:
    """The counts of all chunks as (rules, bins); holds one chunk at a time."""
    total = np.zeros((rules, BINS), np.int64)
    for name in names:
        with store.local(name) as path:
            found = table.read(path)
        np.add.at(total, (found["rule"].to_numpy(), found["bits"].to_numpy()), found["count"].to_numpy())
    return total


@dataclass(frozen=True)
class FindUpper:
    """Finds the upper half of each threshold."""

    store: Store
    decision: Decision
    chunks: tuple[str, ...]

    def __call__(self, job: Job) -> Report:
        """Writes ``top/upper.json``: null for a rule without ``top``, or without any measured value."""
        names = [f"{self.decision.folder}/top/upper/{chunk}.parquet" for chunk in self.chunks]
        rules = self.decision.rules
        counts = added_up(self.store, names, len(rules))
        found = [
            None if each.rule.top is None else upper_half(count, each.rule.top)
            for each, count in zip(rules, counts, strict=True)
        ]
        self.store.put_json(job.targets[0].name, found)
        return Report(job.name)


@dataclass(frozen=True)
class WriteRules:
    """Finds the thresholds, and writes down the rules."""

    store: Store
    decision: Decision
    chunks: tuple[str, ...]

    def __call__(self, job: Job) -> Report:
        """Writes ``rules.json``."""
        rules = self.decision.rules
        said = {"keep": [str(each.rule) for each in rules], "top": self._thresholds()}
        self.store.put_json(job.targets[0].name, said)
        return Report(job.name)

    def _thresholds(self) -> list[float | None]:
        rules, folder = self.decision.rules, self.decision.folder
        if all(each.rule.top is None for each in rules):
            return [None] * len(rules)
        uppers = self.store.get_json(f"{folder}/top/upper.json")
        lowers = added_up(self.store, [f"{folder}/top/lower/{chunk}.parquet" for chunk in self.chunks], len(rules))
        return [
            None if each.rule.top is None else threshold(upper, lower)
            for each, upper, lower in zip(rules, uppers, lowers, strict=True)
        ]
