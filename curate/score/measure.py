"""Score: measure the segments of one shard and write columns. Drops nothing; reads no threshold but a gate's.

Pictures stream: each distinct one is read and decoded once, ahead of the models, and its row fans out to all the
places where it stands. A text is measured once however often it is repeated. Memory is bounded by batches.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from curate.plugin import Kind
from curate.recipe.compare import opens
from curate.recipe.rules import Gate
from curate.report import Report, StopRun, conserve
from curate.score.batch import show_pictures
from curate.score.scorer import Scorer
from curate.score.task import Key, Task
from curate.store import table
from curate.store.raw_shard import RawShard, open_shard
from curate.store.store import Store


@dataclass
class ScoreWorker:
    """Measures shards; holds each model from its first use on."""

    store: Store
    scorers: Sequence[Scorer]
    _calls: dict[str, Callable[[list[Any]], Any]] = field(default_factory=dict)

    def __call__(self, shard: str) -> Report:
        """Writes whatever scores of one shard are missing."""
        began = time.monotonic()
        report = Report(shard)
        with open_shard(self.store, shard) as raw:
            for wave in waves(self.scorers):
                tasks = [task for scorer in wave if (task := self._task(scorer, shard, raw))]
                self._measure(raw, tasks)
                for task in tasks:
                    self._write(task, shard, report)
        report.seconds = time.monotonic() - began
        return report

    def _task(self, scorer: Scorer, shard: str, raw: RawShard) -> Task | None:
        """What a scorer still has to do on a shard; None if nothing."""
        name = f"{scorer.folder}/{shard}.parquet"
        if self.store.exists(name):
            return None
        targets = raw.segments.filter(pl.col("kind").is_in(list(scorer.columns)))
        open_keys, hidden = targets.select("document", "position"), set[Key]()
        for kind, gate in scorer.gates:
            own = raw.segments.filter(pl.col("kind") == kind).select("document", "position")
            column = self._column(gate.score, raw, shard).select("document", "position", "value")
            let, shut = split(gate, own.join(column, on=["document", "position"], how="left", maintain_order="left"))
            open_keys = gated(scorer, kind, open_keys, let, shut)
            hidden |= set(shut.select("document", "position").iter_rows()) if kind != "document" else set()
        keys = set(open_keys.iter_rows())
        before = self._behind_other_gates(scorer, shard, keys, raw.content)
        if before is not None:
            keys -= keys_of(before)
            open_keys = open_keys.filter([key in keys for key in open_keys.iter_rows()])
        values = of = None
        if scorer.input:
            values = self._column(scorer.input, raw, shard).drop_nulls("value")
            if not scorer.reads:
                values = open_keys.join(values, on=["document", "position"], how="inner", maintain_order="left")
        if scorer.text_of:
            of = self._column(scorer.text_of, raw, shard).drop_nulls("value").select("document", "position", "value")
        return Task(scorer, targets, keys, before, values, raw.content, of, hidden)

    def _behind_other_gates(self, scorer: Scorer, shard: str, keys: set[Key], content: str) -> pa.Table | None:
        """The rows of these keys that the same scorer measured under other gates."""
        stem = f"{scorer.name}-{scorer.identity}"
        found, known = [], set[Key]()
        for folder in sorted(self.store.names("scores")):
            name = f"scores/{folder}/{shard}.parquet"
            if folder.startswith(stem) and self.store.exists(name):
                with self.store.local(name) as path:
                    if table.note(path, "raw") != content:
                        continue
                    rows = pq.read_table(path).replace_schema_metadata(None)
                wanted = keys - known
                found.append(rows.filter(pa.array([key in wanted for key in row_keys(rows)], pa.bool_())))
                known |= keys_of(found[-1])
        return pa.concat_tables(found) if found else None

    def _column(self, name: str, raw: RawShard, shard: str) -> pl.DataFrame:
        """Another score's column as document, position, kind, value."""
        score, _, column = name.partition(".")
        if score == "raw":
            return raw.segments.select("document", "position", value=pl.col(column))
        folder = "scores/source" if score == "source" else next(s.folder for s in self.scorers if s.name == score)
        with self.store.local(f"{folder}/{shard}.parquet") as path:
            return table.read(path, ["document", "position", column]).rename({column: "value"})

    def _call(self, scorer: Scorer) -> Callable[[list[Any]], Any]:
        """A scorer's batch call; builds it, and so loads its model, at its first use."""
        if scorer.name not in self._calls:
            try:
                self._calls[scorer.name] = scorer.build()
            except Exception as error:
                raise StopRun(f"score {scorer.name!r} could not be built: {type(error).__name__}: {error}") from error
        return self._calls[scorer.name]

    def _measure(self, raw: RawShard, tasks: Sequence[Task]) -> None:
        """Fills the tasks' rows: everything that looks at single pictures in one pass, then the rest."""
        running = [(task, self._call(task.scorer)) for task in tasks if task.open_keys]
        viewers = [viewer for task, call in running if (viewer := task.viewer(raw, call))]
        broken = show_pictures(raw, viewers) if viewers else set()
        for task, call in running:
            task.finish(raw, call)
            task.broken = len(broken & task.wanted)

    def _write(self, task: Task, shard: str, report: Report) -> None:
        """Commits a task's table and counts its rows."""
        content = task.table()
        if not task.scorer.gates:
            conserve(f"targets of {task.scorer.name}", shard, task.targets.height, content.num_rows)
        with self.store.writing(f"{task.scorer.folder}/{shard}.parquet") as path:
            table.write(path, content, raw=task.content)
        report.counts["rows"] += len(task.open_keys)
        report.counts["unmeasured"] += sum(task.rows.get(key) is None for key in task.open_keys)
        report.counts["undecodable"] = max(report.counts["undecodable"], task.broken)


def row_keys(rows: pa.Table) -> Iterator[Key]:
    """Document and position of each row."""
    return zip(rows["document"].to_pylist(), rows["position"].to_pylist(), strict=True)


def keys_of(rows: pa.Table) -> set[Key]:
    """Documents and positions of a table's rows."""
    return set(row_keys(rows))


def waves(scorers: Sequence[Scorer]) -> Iterator[list[Scorer]]:
    """Groups of scorers that can share one pass: none reads, or is gated by, a column of its own group."""
    group: list[Scorer] = []
    for scorer in scorers:
        names = {each.name for each in group}
        if scorer.upstream & names:
            yield group
            group = []
        group.append(scorer)
    if group:
        yield group


def gated(scorer: Scorer, kind: Kind, keys: pl.DataFrame, let: pl.DataFrame, shut: pl.DataFrame) -> pl.DataFrame:
    """The keys that a gate on this kind lets through: documents with anything that passes, less what does not."""
    opened = keys.join(let.select("document").unique(), on="document", how="semi", maintain_order="left")
    if kind == "document" or kind not in scorer.columns:
        return opened
    return opened.join(shut, on=["document", "position"], how="anti", maintain_order="left")


def split(gate: Gate, column: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The rows of a gate's column that pass, and those that do not."""
    kind = {pl.Float32: float, pl.String: str, pl.Boolean: bool}.get(column["value"].dtype.base_type(), int)
    return column.filter(opens(kind, gate)), column.filter(~opens(kind, gate))
