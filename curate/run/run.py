"""Run: the stages of a recipe in order, each over the shards that are not done yet. Measures nothing itself.

A stage reads names and writes names. Jobs run in this process or on Ray through the same ``Executor`` seam; what is
done is what exists, so a killed run goes on where it was.
"""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

import polars as pl

from curate.fetch.crawl import FetchWorker
from curate.group.grouping import Grouping
from curate.group.keys import chunks
from curate.group.near import steps
from curate.group.steps import Context, about
from curate.pack import pack
from curate.pack.card import card
from curate.plugin import KINDS
from curate.recipe.recipe import Resource
from curate.recipe.section import RecipeError
from curate.report import Report, StopRun
from curate.run.executor import Executor, Failure, Worker, name_of
from curate.run.plan import Planned
from curate.score.measure import ScoreWorker
from curate.score.scorer import Scorer
from curate.select.balance import Balancer, EntriesWorker
from curate.select.decide import Bound
from curate.select.representatives import CandidatesWorker, LosersWorker, LostWorker, Picker, loser_jobs
from curate.select.top import top_threshold
from curate.select.verdicts import SelectWorker, bind, bind_adds, funnel, verdict_hash
from curate.store.columns import Column, folders_of
from curate.store.raw_shard import RAW
from curate.store.store import Store

LISTED = 50
"""The most unfinished jobs that a message lists."""


class Incomplete(RuntimeError):  # noqa: N818
    """Some shards are not done; the message lists them with their causes."""


class Progress(Protocol):
    """What a stage tells whoever watches."""

    def start(self, stage: str, total: int, done: int) -> None:
        """A stage begins with so many jobs, of which some were done before."""

    def advance(self, report: Report) -> None:
        """A job is done."""

    def end(self, stage: str, counts: Counter[str], seconds: float) -> None:
        """A stage is over."""


@dataclass
class Run(Planned):
    """A recipe in a folder: its shards, scorers and names, and the stages that fill it."""

    path: Path
    store: Store
    executor: Executor
    progress: Progress
    limit: int | None = None
    changes: dict[str, str] = field(default_factory=dict)
    partial: bool = False
    failures: list[Failure] = field(default_factory=list)
    _counts: dict[str, Counter[str]] = field(default_factory=dict)
    _grouped: dict[tuple[str, ...], list[Grouping]] = field(default_factory=dict)

    def fetch(self) -> None:
        """Downloads the shards that are not there."""
        done = set(self.shards)
        todo = [part for part in self.slices if part.shard not in done]
        worker = FetchWorker(self.store, self.recipe.source, self.reader, self.recipe.fetch)
        self._stage("fetch", todo, worker, len(done), self._resource("fetch", []))
        counts = self._counts["fetch"]
        if counts["rejects"] and not counts["documents"] and not done:
            raise StopRun(f"none of {counts['rejects']:,} rows is a document: {self._first_reject()}")

    def _first_reject(self) -> str:
        with self.store.local(f"{RAW}/{self.shards[0]}.parquet") as path:
            row = pl.read_parquet(path, glob=False).filter(kind="reject").row(0, named=True)
        return f"{row['file']}, row {row['row']}: {row['text']}"

    def score(self) -> None:
        """Measures what has no score yet."""
        shards = self.shards
        missing = {scorer.name: self._missing(scorer, shards) for scorer in self.scorers}
        todo = [shard for shard in shards if any(shard in each for each in missing.values())]
        for scorer in self.scorers:
            about = {"use": self.recipe.score[scorer.name].use, "parameters": dict(scorer.given), "view": scorer.view}
            if missing[scorer.name]:
                self.store.put_json(f"{scorer.folder}/scorer.json", json.loads(json.dumps(about, default=str)))
        needed = [scorer for scorer in self.scorers if missing[scorer.name]]
        names = [scorer.name for scorer in needed]
        worker = ScoreWorker(self.store, self.scorers)
        self._stage("score", todo, worker, len(shards) - len(todo), self._resource("score", names))

    def _missing(self, scorer: Scorer, shards: Sequence[str]) -> set[str]:
        """The shards in which a scorer has something left to do."""
        names = self.store.names(scorer.folder)
        return {shard for shard in shards if f"{shard}.parquet" not in names}

    @property
    def grouped(self) -> list[Grouping]:
        """The recipe's groups over what has been scored."""
        shards = tuple(self.scored)
        if shards not in self._grouped:  # another run that is grouped against may lie far away
            self._grouped[shards] = self.groupings(shards)
        return self._grouped[shards]

    def group(self) -> None:
        """Finds what is a duplicate of what."""
        self._refuse_partial()
        shards = self.scored
        for grouping in self.grouped if shards else ():
            context = Context(self.store, grouping, tuple(shards))
            if context.done:
                continue
            self.store.put_json(f"{grouping.home}/group.json", about(context, done=False))
            for step in steps(context):
                self._stage("group", step.todo, step.worker, step.done, self._resource("group", []), grouping.name)
                if any(failure.stage == "group" for failure in self.failures):
                    self.finish("score")
            self.store.put_json(f"{grouping.home}/group.json", about(context, done=True))

    @property
    def folders(self) -> dict[str, str]:
        """The folder of each score and group, and of the corpus' own columns if it has any."""
        own = any(self.reader.columns.get(kind) for kind in KINDS)
        found = folders_of(self.scorers, self.grouped)
        return {name: folder for name, folder in found.items() if name != "raw" and (own or name != "source")}

    @property
    def bound(self) -> list[Bound]:
        """The rules with their columns; the thresholds of ``top`` rules are open."""
        return bind(self.recipe, self.scorers, self.known, self.grouped)

    @property
    def verdicts(self) -> str:
        """The folder of the verdicts that this recipe comes to."""
        return f"verdicts/{verdict_hash(self.recipe, self.bound, self.scored, self.grouped, self.scorers)}"

    @property
    def scored(self) -> list[str]:
        """The shards that have every score the rules may read."""
        missing = set[str]().union(*(self._missing(scorer, self.shards) for scorer in self.scorers))
        return [shard for shard in self.shards if shard not in missing]

    def select(self) -> None:
        """Decides every segment."""
        shards, folder = self.scored, self.verdicts
        self._refuse_partial()
        names = self.store.names(folder)
        todo = [shard for shard in shards if f"{shard}.parquet" not in names]
        bound = [self._with_threshold(each, shards) for each in self.bound] if todo else []
        rules = {"keep": [str(each.rule) for each in bound], "top": [each.threshold for each in bound]}
        if todo:
            self.store.put_json(f"{folder}/rules.json", rules)
        adds = bind_adds(self.recipe, self.scorers, self.known)
        worker = SelectWorker(self.store, bound, self.recipe.empty, folder, adds=adds)
        if todo:
            worker = self._pick(worker, shards)
        self._stage("select", todo, worker, len(shards) - len(todo), self._resource("select", []))
        if any(failure.stage == "select" for failure in self.failures):
            self.finish("score")
        if not self.store.exists(f"{folder}/funnel.json"):
            self._refuse_partial()
            self.store.put_json(f"{folder}/funnel.json", funnel(self.store, folder, shards))

    def _pick(self, worker: SelectWorker, shards: Sequence[str]) -> SelectWorker:
        """Finds the losers of each group among what the rules and the groups before it leave."""
        at = {shard: number for number, shard in enumerate(shards)}
        chunk_of = {shard: chunk.shard for chunk in chunks(shards) for shard in chunk.shards}
        for grouping in (each for each in self.grouped if each.picks):
            picker = Picker(grouping, at, chunk_of)
            if not picker.local:
                candidates = CandidatesWorker(self.store, picker, worker.left, worker.folder)
                self._pass(picker.folder(worker.folder, "candidates"), chunks(shards), candidates, grouping.name)
                jobs = loser_jobs(self.store, picker, worker.folder)
                losers = LosersWorker(self.store, picker, worker.folder, len(jobs))
                self._pass(picker.folder(worker.folder, "losers"), jobs, losers, grouping.name)
                lost = LostWorker(self.store, picker, worker.folder)
                self._pass(picker.folder(worker.folder, "lost"), chunks(shards), lost, grouping.name)
            worker = replace(worker, pickers=(*worker.pickers, picker))
        if self.balancer and shards:
            entries = EntriesWorker(self.store, self.balancer, worker.left, worker.folder)
            self._pass(f"{worker.folder}/balance", chunks(shards), entries, "balance")
            worker = replace(worker, pickers=(*worker.pickers, self.balancer))
        return worker

    @property
    def balancer(self) -> Balancer | None:
        """The recipe's ``balance`` with its column."""
        balance = self.recipe.balance
        if balance is None:
            return None
        score, _, column = balance.by.partition(".")
        return Balancer(balance, Column(folders_of(self.scorers)[score], column, "text", bytes))

    def _pass(self, folder: str, jobs: Sequence[Any], worker: Worker, name: str) -> None:
        """One of the passes that look at all shards before any is decided."""
        there = self.store.names(folder)
        todo = [job for job in jobs if f"{name_of(job)}.parquet" not in there]
        self._stage("select", todo, worker, len(jobs) - len(todo), self._resource("select", []), name)
        if any(failure.stage == "select" for failure in self.failures):
            self.finish("score")

    def _with_threshold(self, each: Bound, shards: Sequence[str]) -> Bound:
        if each.rule.top is None:
            return each
        return replace(each, threshold=top_threshold(self.store, each, shards))

    @property
    def funnel(self) -> list[dict[str, Any]]:
        """What ended how, and why."""
        name = f"{self.verdicts}/funnel.json"
        if not self.store.exists(name):
            raise RecipeError(f"{self.store.url} has no verdicts for {self.path} as it is: curate select {self.path}")
        rows: list[dict[str, Any]] = self.store.get_json(name)
        return rows

    @property
    def out(self) -> str:
        """The folder of the output."""
        scores = [*(each.folder for each in self.scorers), *(each.folder for each in self.grouped)]
        return f"out/{pack.output_name(self.recipe.pack, self.recipe.place, self.verdicts, scores, self.path.stem)}"

    def pack(self) -> None:
        """Writes the tars and, last, their index."""
        shards, out = self.scored, self.out
        self._refuse_partial()
        if self.store.exists(f"{out}/index.json"):
            self._stage("pack", [], lambda _: Report(""), len(self.store.names(f"{out}/meta")), Resource())
            return
        tars = list(pack.plan(self.store, self.verdicts, shards, self.recipe.pack))
        done = self.store.names(f"{out}/meta")
        folders, adds = self.folders, bind_adds(self.recipe, self.scorers, self.known)
        worker = pack.PackWorker(
            self.store, self.verdicts, folders, self.known, self.recipe.place, self.recipe.pack, out, adds
        )
        todo = [tar for tar in tars if f"{tar.shard}.json" not in done]
        self._stage("pack", todo, worker, len(tars) - len(todo), self._resource("pack", []))
        if not any(failure.stage == "pack" for failure in self.failures):
            text = self.path.read_text(encoding="utf-8")
            about = card(out.rpartition("/")[2], self.recipe, text, self.changes, self.verdicts, self.funnel)
            pack.finish(self.store, out, len(tars), about, self.funnel)

    def _stage(
        self, stage: str, todo: Sequence[Any], worker: Worker, done: int, resource: Resource, part: str = ""
    ) -> None:
        """Runs the jobs of a stage, or of a part of it, and adds up their reports."""
        counts: Counter[str] = Counter()
        began = time.monotonic()
        said = f"{stage} {part}".rstrip()
        self.progress.start(said, len(todo) + done, done)

        def advance(report: Report) -> None:
            counts.update(report.counts)
            self.progress.advance(report)

        if todo:
            self.store.sweep()
            self._fail(self.executor.run(stage, todo, worker, resource, advance))
        self._counts[stage] = counts
        self.progress.end(said, counts, time.monotonic() - began)

    def _resource(self, stage: str, scorers: Sequence[str]) -> Resource:
        """What a worker of a stage takes: the stage's own line, and what its scorers ask for, together."""
        lines = [self.recipe.resources[name] for name in (stage, *scorers) if name in self.recipe.resources]
        if not lines:
            return Resource()
        cpus = [line.cpus for line in lines if line.cpus is not None]
        memory = [line.memory for line in lines if line.memory is not None]
        workers = [line.workers for line in lines if line.workers is not None]
        return Resource(
            cpus=max(cpus, default=None),
            gpus=sum(line.gpus for line in lines),
            memory=max(memory, default=None),
            workers=workers[0] if workers else None,
        )

    def _fail(self, failures: Sequence[Failure]) -> None:
        self.failures.extend(failure for failure in failures if failure not in self.failures)

    def _refuse_partial(self) -> None:
        """Nothing is selected or packed from a corpus with holes, unless told to."""
        if not self.partial:
            self.finish("score")

    def finish(self, stage: str) -> None:
        """Raises Incomplete if anything up to a stage was left undone, and lists what."""
        failed = {failure.shard for failure in self.failures}
        fetched = set(self.shards)
        undone = list(self.failures)
        missing = [part.shard for part in self.slices if part.shard not in fetched | failed]
        undone += [Failure("fetch", shard, "not fetched yet") for shard in missing]
        if stage != "fetch":
            unscored = sorted(fetched - set(self.scored) - failed)
            undone += [Failure("score", shard, "not scored yet (curate score)") for shard in unscored]
        if undone:
            listed = "\n  ".join(str(failure) for failure in undone[:LISTED])
            more = f"\n  ... and {len(undone) - LISTED} more" if len(undone) > LISTED else ""
            raise Incomplete(
                f"{len(undone)} of the planned jobs are not done:\n  {listed}{more}\n"
                "Run the same command again to try them again, or add --partial to go on without them."
            )
