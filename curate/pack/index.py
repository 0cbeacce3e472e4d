"""Index: what lies beside the output shards: sums, funnel, card and, last, the wids index. Reads no output shard."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from curate.ledger.job import Job, Target
from curate.pack.card import card
from curate.pack.output_folder import Output
from curate.pack.write import facts_file
from curate.report import Report
from curate.store.store import Store

LISTED = ("url", "nsamples", "filesize", "sha256", "md5sum")
"""What the index says of each output shard."""
READERS = 16
"""Threads that read what is known of output shards: on remote storage each waits."""


def job_of(output: Output, count: int) -> Job:
    """Writes what lies beside so many output shards, the index last."""
    facts, funnel = f"{output.folder}/meta/", f"{output.verdicts}/funnel.json"
    reads = {"SHA256SUMS": (facts,), "funnel.json": (funnel,), "README.md": (funnel,), "index.json": (facts,)}
    return Job("index", tuple(Target(f"{output.folder}/{name}", read) for name, read in reads.items()), count)


@dataclass(frozen=True)
class WriteIndex:
    """Writes what lies beside the output shards."""

    store: Store
    output: Output

    def __call__(self, job: Job) -> Report:
        """Writes what is missing of it, in the order of the job."""
        with ThreadPoolExecutor(READERS) as pool:
            names = (facts_file(self.output.folder, number) for number in range(job.args))
            facts: list[dict[str, Any]] = list(pool.map(self.store.get_json, names))
        funnel = self.store.get_json(f"{self.output.verdicts}/funnel.json")
        texts = {
            "SHA256SUMS": "".join(f"{fact['sha256']}  {fact['url']}\n" for fact in facts),
            "README.md": card(self.output, funnel),
        }
        tables = {"funnel.json": funnel, "index.json": index(self.output.name, facts)}
        for target in job.targets:
            name = target.name.rpartition("/")[2]
            if name in texts:
                self.store.put_text(target.name, texts[name])
            else:
                self.store.put_json(target.name, tables[name])
        return Report(job.name, Counter(tars=len(facts)))


def index(name: str, facts: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The wids index of output shards."""
    shards = [{key: fact[key] for key in LISTED} for fact in facts]
    return {"__kind__": "wids-shard-index-v1", "wids_version": 1, "name": name, "shardlist": shards}
