"""Measure: the scores of shards, a shard at a time. Drops nothing; reads no threshold but a gate's.

Pictures stream: each distinct one is read and decoded once, ahead of the models, and its row fans out to all the
places where it stands. A text is measured once however often it is repeated. Memory is bounded by batches.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from curate.ledger.job import Job, Phase, Target
from curate.ledger.making import Making, OneByOne
from curate.recipe.recipe import Resource
from curate.report import Report, StopRun, conserve
from curate.score.batch import show_pictures
from curate.score.owed import owed, reads_of
from curate.score.scorer import Scorer
from curate.score.tables import merged, names_of, parts_of, tabulated
from curate.score.view import Call, Measured, Owed, Segments, view_of
from curate.store.columns import SHARD, of_shard
from curate.store.raw_shard import RawShard, open_shard
from curate.store.store import Store


def phases(store: Store, shards: Sequence[str], scorers: Sequence[Scorer], needs: Resource) -> Iterator[Phase]:
    """One phase, with a job for each shard."""
    yield Phase("score", jobs_of(shards, scorers), OneByOne(store, Measurer(tuple(scorers))), needs)


def job_of(shard: str, scorers: Sequence[Scorer]) -> Job:
    """All tables of a shard, and what each is made from."""
    (job,) = jobs_of([shard], scorers)
    return job


def jobs_of(shards: Iterable[str], scorers: Sequence[Scorer]) -> list[Job]:
    """The job of each shard; what is the same for all of them is found out once."""
    tables = [(names_of(scorer, SHARD), reads_of(scorer, SHARD, scorers)) for scorer in scorers]

    def targets(shard: str) -> Iterator[Target]:
        for names, reads in tables:
            there = of_shard(reads, shard)
            yield from (Target(name, there) for name in of_shard(names, shard))

    return [Job(shard, tuple(targets(shard))) for shard in shards]


@dataclass
class Measurer:
    """Measures what a job asks for of a shard; holds each model from its first use on."""

    scorers: Sequence[Scorer]
    _calls: dict[str, Call] = field(default_factory=dict)
    _described: set[str] = field(default_factory=set)

    def __call__(self, job: Job, making: Making) -> Report:
        """Writes the job's targets, a scorer's as soon as they are measured; what an earlier try wrote stays."""
        report, targets = Report(job.name), {target.name for target in job.targets}
        with open_shard(making.files, job.name) as raw:
            segments, folders = Segments(raw), making.store.folders("scores") if targets else set[str]()
            for wave in waves(self.scorers):
                asked = ((scorer, targets.intersection(names_of(scorer, job.name))) for scorer in wave)
                due = [scorer for scorer, names in asked if names and not making.keeps(*names)]
                several = [owed(making.files, job.name, segments, each, self.scorers, folders) for each in due]
                for task, measured in self._measure(raw, several, report):
                    self._write(task, measured, job.name, making, targets)
                    report.counts["rows"] += len(task.rows)
                    report.counts["unmeasured"] += int((~measured.present).sum())
        return report

    def _measure(self, raw: RawShard, several: Sequence[Owed], report: Report) -> Iterator[tuple[Owed, Measured]]:
        """One after the other, so that it can be written; what looks at single pictures after the rest, in one pass.

        What owes nothing needs no model.
        """
        views = [(task, view_of(task, self._call(task.scorer)) if len(task.rows) else None) for task in several]
        pictured = [(task, view, view.viewer) for task, view in views if view and view.viewer]
        for task, view in views:
            if view is None or view.viewer is None:
                yield task, view.measured() if view else Measured([], task.rows)
        broken = show_pictures(raw, [viewer for *_, viewer in pictured]) if pictured else set()
        for task, view, viewer in pictured:
            report.counts["undecodable"] = max(report.counts["undecodable"], len(broken & viewer.wanted))
            yield task, view.measured()

    def _call(self, scorer: Scorer) -> Call:
        """A scorer's batch call; builds it, and so loads its model, at its first use."""
        if scorer.name not in self._calls:
            try:
                self._calls[scorer.name] = scorer.build()
            except Exception as error:
                raise StopRun(f"score {scorer.name!r} could not be built: {type(error).__name__}: {error}") from error
        return self._calls[scorer.name]

    def _write(self, task: Owed, measured: Measured, shard: str, making: Making, targets: set[str]) -> None:
        """Commits those of a scorer's tables that are asked for."""
        scorer, whole = task.scorer, merged(task, tabulated(task, measured))
        if not scorer.gates:
            came = int(task.segments.of_kind(*scorer.columns).sum())
            conserve(f"targets of {scorer.name}", shard, came, whole.num_rows)
        self._describe(scorer, making.store)
        for name, part in parts_of(scorer, shard, whole).items():
            if name in targets:
                making.write(name, part, rows_from=task.made_from)
        making.commit(early=True)

    def _describe(self, scorer: Scorer, store: Store) -> None:
        """Says beside the tables what measured them."""
        if scorer.name not in self._described:
            about = {"use": scorer.use, "parameters": dict(scorer.given), "view": scorer.view}
            store.put_json(f"{scorer.folder}/scorer.json", json.loads(json.dumps(about, default=str)))
            self._described.add(scorer.name)


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
