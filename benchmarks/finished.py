"""What it costs to find out, on object storage, that a finished run has nothing to do.

The store is a stand-in with a clock of its own: 50 ms a request, 80 MB/s a stream, 1,000 names a listing's page (see
``tests/counting.py``). The run is synthetic: its jobs are those of a real recipe with four scores, a group, verdicts
and an output; each file that they would make is there by name, size and ETag, and the summary knows what it says.
Prints requests, seconds by that clock, seconds of CPU, and memory.
"""

from __future__ import annotations

import argparse
import gc
import os
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

import pyarrow as pa
import pyarrow.parquet as pq

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from counting import CountingFileSystem

from curate.ledger.job import Job, Phase
from curate.ledger.ledger import Ledger
from curate.pack.layout import LAYOUT, layout_file
from curate.report import Beside, Entry, Report
from curate.run.executor import InProcess
from curate.run.run import Run
from curate.run.stages import Stages
from curate.store import digest, record, table
from curate.store.notes import spelled
from curate.store.store import Store

RECIPE = """source: {{reader: laion, path: {corpus}, shard: 1}}
score:
  size: {{use: image_size}}
  hash: {{use: phash}}
  words: {{use: text_stats}}
  url: {{use: url_words}}
group:
  near: {{by: hash.phash, within: 4, keep: largest}}
keep:
  - {{image: size.min_side, min: 64}}
  - {{text: words.words, min: 3}}
  - {{image: url.hits, max: 0}}
"""
DATA = b"as it was written"
PER_TAR = 50
"""Raw shards in an output tar."""


class Quiet:
    """Watches no progress; ``jobs`` counts what was to be done."""

    jobs = 0

    def start(self, phase: str, total: int, done: int) -> None:  # noqa: ARG002
        self.jobs += total - done

    def advance(self, report: Report) -> None: ...
    def end(self, phase: str, counts: Counter[str], seconds: float) -> None: ...


@dataclass
class Finished:
    """A run of so many shards that is there as if it had been done."""

    store: Store
    run: Run
    ledger: Ledger
    objects: dict[str, bytes] = field(default_factory=dict)

    def done(self, phases: Iterable[Phase]) -> None:
        """Has every file there that these phases make, but for the temporary ones; nothing is opened."""
        for phase in phases:
            for job in [self.ledger.handed(job) for job in self.ledger.unfinished(phase.jobs)]:
                self.make(job)

    def make(self, job: Job) -> None:
        report = Report(job.name)
        for target in job.targets:
            beside = tuple(Beside(name, len(DATA), digest.of_bytes(DATA), ETAG) for name in beside_of(target.name))
            content = digest.of_values(target.name)
            entry = Entry(target.name, len(DATA), ETAG, target.by, target.digest, content, beside)
            data = self.real(entry)
            if data is not None:
                CountingFileSystem.fill({f"bucket/run/{target.name}": data})
                entry = entry._replace(size=len(data), stamp=stamp_of(data))
            else:
                self.objects[target.name] = DATA
            self.objects |= dict.fromkeys((each.name for each in beside), DATA)
            report.made.append(entry)
        self.ledger.take(report)

    def real(self, entry: Entry) -> bytes | None:
        """The bytes of those files that the driver reads."""
        if entry.name.endswith("meta/layout.parquet"):
            shards = [part.shard for part in self.run.plan.slices]
            rows = [{"tar": at // PER_TAR, "shard": name, "first": 0, "count": 1} for at, name in enumerate(shards)]
            return table.encode(pa.Table.from_pylist(rows, LAYOUT), 8192, **spelled(entry))
        if entry.name.endswith(("funnel.json", "index.json", "ranges.json", "rules.json")):
            return record.encode({"funnel": [], "shardlist": [], "ranges": 1, "keep": [], "top": []}, **spelled(entry))
        return None


def beside_of(name: str) -> list[str]:
    """What lies beside a file."""
    folder, _, file = name.rpartition("/")
    stem = file.partition(".")[0]
    if folder == "raw":
        return [f"raw/{stem}.tar"]
    if folder.endswith("/meta") and stem != "layout":
        return [f"{folder.removesuffix('/meta')}/{stem}.tar"]
    return [f"{folder}/{each}" for each in ("README.md", "SHA256SUMS")] if file == "index.json" else []


def stamp_of(data: bytes) -> str:
    """The stamp of an object of these bytes."""
    CountingFileSystem.fill({"bucket/look": data})
    return Store("counting://bucket").listing("")["look"].stamp


def built(folder: Path, shards: int) -> Finished:
    """A finished run."""
    global ETAG
    CountingFileSystem.clear()
    ETAG = stamp_of(DATA)
    corpus = folder / "corpus.parquet"
    urls = [f"http://127.0.0.1/{at}.jpg" for at in range(shards)]
    pq.write_table(pa.table({"url": urls, "caption": ["a caption"] * shards}), corpus)
    (folder / "recipe.yaml").write_text(RECIPE.format(corpus=corpus))
    store = Store("counting://bucket/run")
    run = Run.open(folder / "recipe.yaml", store)
    made = Finished(store, run, run.ledger)
    made.done(run.fetching())
    made.done(run.scoring())
    from curate.group import steps
    from curate.pack import pack
    from curate.recipe.recipe import Resource
    from curate.select import verdicts

    for grouping in run.grouped:
        made.done(steps.phases(store, grouping, run.scored, Resource()))
    made.done(verdicts.phases(store, run.decision, run.scored, Resource()))
    made.done(pack.phases(store, run.output, run.scored, Resource()))
    run.ledger.inventory.save()
    CountingFileSystem.fill({f"bucket/run/{name}": data for name, data in made.objects.items()})
    assert layout_file(run.out)
    return made


def resident() -> int:
    """Bytes that this process has in memory now."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE")


@dataclass(frozen=True)
class Cost:
    """What it took. ``folders``: those that were listed, with how often."""

    requests: Counter[str]
    folders: Counter[str]
    clock: float
    cpu: float
    memory: int
    jobs: int


def cost(folder: Path, shards: int) -> Cost:
    """Builds a finished run, and asks what there is to do. Memory is that of a bare process, and what comes on top."""
    bare = resident()
    built(folder, shards)
    gc.collect()
    CountingFileSystem.bill.reset()
    held, quiet, began = resident(), Quiet(), time.process_time()
    with Peak() as peak:
        run = Run.open(folder / "recipe.yaml", Store("counting://bucket/run"))
        run.resolved.check()
        stages = Stages.of(run, InProcess(), quiet)
        for stage in ("fetch", "score", "group", "select", "pack"):
            getattr(stages, stage)()
        stages.finish("score")
    cpu, bill = time.process_time() - began, CountingFileSystem.bill
    return Cost(bill.counts, bill.paths("list"), bill.seconds, cpu, peak.bytes - held + bare, quiet.jobs)


class Peak:
    """The most bytes that this process has in memory, looked at every 20 ms."""

    def __enter__(self) -> Self:
        self.bytes, self._over = resident(), threading.Event()
        self._thread = threading.Thread(target=self._look)
        self._thread.start()
        return self

    def _look(self) -> None:
        while not self._over.wait(0.02):
            self.bytes = max(self.bytes, resident())

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shards", type=int, default=100_000)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        found = cost(Path(folder), given.shards)
    print(f"{given.shards:,} finished shards: {found.jobs} jobs to do")
    print(f"requests: {dict(found.requests)}; by the store's clock {found.clock:.1f} s")
    print(f"listed: {dict(found.folders)}")
    print(f"{found.cpu:.1f} s of CPU, {found.memory / 1e6:.0f} MB")


if __name__ == "__main__":
    main()
