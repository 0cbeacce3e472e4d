"""Index: what lies beside the output shards: sums, funnel, card and, last, the wids index. Reads no output shard."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from curate.ledger.job import FileSet, Job, Target
from curate.ledger.making import Making
from curate.pack.card import card
from curate.pack.output_folder import Output, made_by
from curate.pack.write import FACTS, facts_file
from curate.pack.writer import writer
from curate.report import Report
from curate.store import digest
from curate.store.store import Store

LISTED = ("url", "nsamples", "filesize", "sha256", "md5sum")
"""What the index says of each output shard."""
READERS = 16
"""Threads that read what is known of output shards: on remote storage each waits."""


def job_of(output: Output, count: int) -> Job:
    """Writes what lies beside so many output shards: the funnel, and the index with the card and the sums beside it.

    The card shows the recipe as it was written, so that another text makes another index.
    """
    by, funnel = made_by(output.recipe.pack), f"{output.verdicts}/funnel.json"
    facts = FileSet("facts", tuple(facts_file(output.folder, number) for number in range(count)))
    recipe = digest.of_values(output.text, json.dumps(output.changes, sort_keys=True)).hex()
    index = Target(output.index, (facts, funnel), f"{by} {recipe}")
    return Job("index", (Target(f"{output.folder}/funnel.json", (funnel,), by), index), count)


@dataclass(frozen=True)
class WriteIndex:
    """Writes what lies beside the output shards."""

    output: Output

    def __call__(self, job: Job, making: Making) -> Report:
        """Writes what is missing of it, the index last."""
        out, wanted = self.output, {target.name for target in job.targets}
        funnel = making.files.json(f"{out.verdicts}/funnel.json")["funnel"]
        if (name := f"{out.folder}/funnel.json") in wanted:
            making.write_json(name, {"funnel": funnel})
        if out.index in wanted:
            for name in leftovers(making.store, out, job.args):
                making.store.remove(name)
            with ThreadPoolExecutor(READERS) as pool:
                names = (facts_file(out.folder, number) for number in range(job.args))
                facts: list[dict[str, Any]] = list(pool.map(making.files.json, names))
            beside = {f"{out.folder}/README.md": card(out, funnel), f"{out.folder}/SHA256SUMS": sums(facts)}
            for name, text in beside.items():
                with making.writing(name) as path:
                    path.write_text(text, encoding="utf-8")
            making.write_json(out.index, index(out.name, facts), beside=[*beside])
        return Report(job.name, Counter(tars=job.args))


def index(name: str, facts: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The wids index of output shards."""
    shards = [{key: fact[key] for key in LISTED} for fact in facts]
    return {"__kind__": "wids-shard-index-v1", "wids_version": 1, "name": name, "shardlist": shards}


def sums(facts: Iterable[Mapping[str, Any]]) -> str:
    """The sums of all files of output shards, as ``sha256sum -c`` reads them."""
    files = (file for fact in facts for file in (fact, *fact.get("beside", ())))
    return "".join(f"{file['sha256']}  {file['url']}\n" for file in files)


def leftovers(store: Store, output: Output, count: int) -> Iterator[str]:
    """The files of output shards from number ``count`` on: the output was larger before."""
    listed: dict[str, list[str]] = {}
    for pattern in (*writer(output.recipe.pack.format).files, FACTS):
        folder = f"{output.folder}/{pattern}".rpartition("/")[0]
        if folder not in listed:
            listed[folder] = sorted(store.listing(folder))
        numbered = re.compile(r"(\d+)".join(map(re.escape, re.split(r"\{[^}]*\}", f"{output.folder}/{pattern}"))))
        for name in (f"{folder}/{file}" for file in listed[folder]):
            found = numbered.fullmatch(name)
            if found and int(found[1]) >= count and name == f"{output.folder}/{pattern.format(int(found[1]))}":
                yield name
