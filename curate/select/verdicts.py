"""Verdicts: what stays of each shard, and why not the rest. Reads no pixels and loads no model.

Every row of a raw shard gets one verdict: kept, or why not. What has to look at all shards before is small: the
thresholds of ``top`` rules, who of a group of duplicates goes, and how often there is what ``balance`` thins out.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import polars as pl

from curate.ledger.job import Job, Phase, Target
from curate.ledger.making import Making, OneByOne
from curate.recipe.recipe import Resource
from curate.report import Report
from curate.select import funnel, top
from curate.select.balance import Balancer
from curate.select.binding import BY, Decision
from curate.select.judge import Judge, Remover
from curate.select.representatives import Representatives
from curate.store import schema
from curate.store.chunks import chunks
from curate.store.store import Store


def phases(store: Store, decision: Decision, shards: Sequence[str], needs: Resource) -> Iterator[Phase]:
    """Writes ``rules.json``, the verdicts on every shard, and last ``funnel.json``."""
    several, folder, judge = chunks(shards), decision.folder, judge_of(decision)
    yield from top.phases(store, decision, several, needs)
    beyond = judge.beyond(store, shards)

    def target(shard: str) -> Target:
        name, permanent = f"{folder}/{shard}.parquet", judge.permanent(shard)
        return Target(name, (*permanent, *judge.made(shard)), BY, (*permanent, *beyond))

    jobs = [Job(shard, (target(shard),)) for shard in shards]
    worker = OneByOne(store, WriteVerdicts(judge))
    yield Phase("select", jobs, worker, needs, lambda: judge.phases(store, several, needs))
    yield from funnel.phases(store, folder, shards, needs)


def judge_of(decision: Decision) -> Judge:
    """Who decides a shard: the rules, then the groups in their order, then the balance."""
    removers: list[Remover] = [Representatives(each, decision.folder) for each in decision.groups]
    if decision.balance:
        removers.append(Balancer(decision.balance, decision.folder))
    return Judge(decision, tuple(removers))


@dataclass(frozen=True)
class WriteVerdicts:
    """Decides shards."""

    judge: Judge

    def __call__(self, job: Job, making: Making) -> Report:
        """Writes the verdicts of one shard."""
        verdicts = self.judge.verdicts(making.files, job.name)
        making.write(job.targets[0].name, verdicts.to_arrow().cast(schema.VERDICT))
        report = Report(job.name)
        kept = verdicts.filter(pl.col("state") == "kept")["kind"].value_counts()
        report.counts.update({f"{kind}s kept": count for kind, count in kept.iter_rows()})
        return report
