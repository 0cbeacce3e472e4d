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

from curate.ledger.job import FileSet, Job, Phase, Target
from curate.ledger.making import Making, OneByOne
from curate.recipe.recipe import Resource
from curate.report import Report
from curate.select.binding import BY, Decision
from curate.select.decide import BoundRule
from curate.store.chunks import Chunk
from curate.store.files import Files
from curate.store.store import Store

Counts = npt.NDArray[np.int64]
Upper = tuple[int, int] | None
"""The upper half of the bits of a threshold, and its rank from the top among the values that share it."""
HALVES = ("upper", "lower")
BINS = 1 << 16
COUNTS = pa.schema([pa.field("rule", pa.int16()), pa.field("bits", pa.int32()), pa.field("count", pa.int64())])


def phases(store: Store, decision: Decision, several: Sequence[Chunk], needs: Resource) -> Iterator[Phase]:
    """Writes ``rules.json``: the rules as people read them, and the threshold of each that has a ``top``."""
    names, found = tuple(chunk.name for chunk in several), upper_file(decision)

    def counting() -> Iterator[Phase]:
        upper, lower = (CountHalves(decision, half).phase(store, several, needs) for half in HALVES)
        find = Job("upper", (Target(found, tuple(half_file(decision, "upper", each) for each in names), BY),))
        yield upper
        yield Phase("select top", [find], OneByOne(store, FindUpper(decision, names)), needs)
        yield lower

    target = Target(decision.rules_file, by=BY)
    if decision.tops:
        reads = (found, *(half_file(decision, "lower", each) for each in names))
        columns = (column.file(shard) for column in decision.tops for chunk in several for shard in chunk.shards)
        target = replace(target, reads=reads, made_from=(FileSet("columns", tuple(dict.fromkeys(columns))),))
    worker, first = OneByOne(store, WriteRules(decision, names)), counting if decision.tops else None
    yield Phase("select rules", [Job("rules", (target,))], worker, needs, first)


def upper_file(decision: Decision) -> str:
    """The file that says the upper half of each threshold."""
    return f"{decision.folder}/top/upper.json"


def half_file(decision: Decision, half: str, chunk: str) -> str:
    """The file of the values of a chunk, counted by one half of their bits."""
    return f"{decision.folder}/top/{half}/{chunk}.parquet"


def with_thresholds(files: Files, decision: Decision) -> tuple[BoundRule, ...]:
    """The rules with the thresholds that were found."""
    if not decision.tops:
        return decision.rules
    found = files.json(decision.rules_file)["top"]
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

    decision: Decision
    half: str

    def phase(self, store: Store, several: Sequence[Chunk], needs: Resource) -> Phase:
        """A job for each chunk."""
        upper = [upper_file(self.decision)] if self.half == "lower" else []

        def target(chunk: Chunk) -> Target:
            files = (column.file(shard) for shard in chunk.shards for column in self.decision.tops)
            return Target(half_file(self.decision, self.half, chunk.name), (*upper, *dict.fromkeys(files)), BY)

        jobs = [Job(each.name, (target(each),), each.shards) for each in several]
        return Phase("select top", jobs, OneByOne(store, self), needs)

    def __call__(self, job: Job, making: Making) -> Report:
        """Writes the counts that are not 0."""
        rules = self.decision.rules
        uppers: Sequence[Upper] = [None] * len(rules)
        if self.half == "lower":
            uppers = making.files.json(upper_file(self.decision))["upper"]
        counts = {at: np.zeros(BINS, np.int64) for at, rule in enumerate(rules) if rule.rule.top is not None}
        for shard in job.args:
            for at, total in counts.items():
                total += self._counts(rules[at].column.read(making.files, shard)["value"], uppers[at])
        found = [
            pl.DataFrame(
                {"rule": np.full(np.count_nonzero(total), at), "bits": np.flatnonzero(total), "count": total[total > 0]}
            )
            for at, total in counts.items()
        ]
        making.write(job.targets[0].name, pl.concat(found).to_arrow().cast(COUNTS))
        return Report(job.name)

    def _counts(self, values: pl.Series, upper: Upper) -> Counts:
        bits = ordered(values)
        if self.half == "upper":
            return np.bincount(bits >> 16, minlength=BINS)
        return np.bincount(bits[bits >> 16 == upper[0]] & 0xFFFF if upper else bits[:0], minlength=BINS)


def added_up(files: Files, names: Sequence[str], rules: int) -> Counts:
    """The counts of all chunks as (rules, bins); holds one chunk at a time."""
    total = np.zeros((rules, BINS), np.int64)
    for name in names:
        found = files.read(name)
        np.add.at(total, (found["rule"].to_numpy(), found["bits"].to_numpy()), found["count"].to_numpy())
    return total


@dataclass(frozen=True)
class FindUpper:
    """Finds the upper half of each threshold."""

    decision: Decision
    chunks: tuple[str, ...]

    def __call__(self, job: Job, making: Making) -> Report:
        """Writes ``upper``: null for a rule without ``top``, or without any measured value."""
        names = [half_file(self.decision, "upper", chunk) for chunk in self.chunks]
        rules = self.decision.rules
        counts = added_up(making.files, names, len(rules))
        found = [
            None if each.rule.top is None else upper_half(count, each.rule.top)
            for each, count in zip(rules, counts, strict=True)
        ]
        making.write_json(job.targets[0].name, {"upper": found})
        return Report(job.name)


@dataclass(frozen=True)
class WriteRules:
    """Finds the thresholds, and writes down the rules."""

    decision: Decision
    chunks: tuple[str, ...]

    def __call__(self, job: Job, making: Making) -> Report:
        """Writes ``keep``, the rules, and ``top``, the threshold of each; null for one without ``top``."""
        keep = [str(each.rule) for each in self.decision.rules]
        making.write_json(job.targets[0].name, {"keep": keep, "top": self._thresholds(making.files)})
        return Report(job.name)

    def _thresholds(self, files: Files) -> list[float | None]:
        rules = self.decision.rules
        if not self.decision.tops:
            return [None] * len(rules)
        uppers = files.json(upper_file(self.decision))["upper"]
        lowers = added_up(files, [half_file(self.decision, "lower", each) for each in self.chunks], len(rules))
        return [
            None if each.rule.top is None else threshold(upper, lower)
            for each, upper, lower in zip(rules, uppers, lowers, strict=True)
        ]
