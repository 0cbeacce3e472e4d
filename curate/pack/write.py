"""Write: an output shard in its format, and what is known of it afterwards. Decides neither contents nor layout.

``meta/NNNNNN.json`` stands for an output shard: it notes what the shard is made from, and the size and digest of each
of its files. So one that is gone is made again, and one that was changed is named.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.compute as pc

from curate.document import Image
from curate.ledger.job import Job, Target
from curate.ledger.making import Making
from curate.pack.assemble import documents
from curate.pack.layout import Run, layout_file
from curate.pack.output_folder import Output, made_by
from curate.pack.sample import Curated
from curate.pack.shard_tables import tables_of
from curate.pack.writer import Writer, writer
from curate.report import Report, conserve
from curate.store import digest
from curate.store.columns import SHARD, of_shard
from curate.store.raw_shard import RAW

FACTS = "meta/{:06d}.json"
"""What is known of an output shard: its counts, sizes and sums."""


def facts_file(out: str, number: int) -> str:
    """The facts of an output shard."""
    return f"{out}/{FACTS.format(number)}"


def jobs_of(output: Output, tars: Sequence[Sequence[Run]]) -> list[Job]:
    """A job for each output shard, of which the runs are given.

    It is made by its own rows of the layout, not from all of it: a document more does not change each tar.
    """
    by, names = made_by(output.recipe.pack), (f"{RAW}/{SHARD}.parquet", *tables_of(output, SHARD))

    def job(number: int, runs: Sequence[Run]) -> Job:
        shards = dict.fromkeys(shard for shard, *_ in runs)
        made_from = tuple(dict.fromkeys(name for shard in shards for name in of_shard(names, shard)))
        rows = digest.of_values(*(str(value) for run in runs for value in run)).hex()
        reads = (layout_file(output.folder), *made_from)
        return Job(f"{number:06d}", (Target(facts_file(output.folder, number), reads, f"{by} {rows}", made_from),))

    return [job(number, runs) for number, runs in enumerate(tars)]


@dataclass(frozen=True)
class WriteShard:
    """Writes output shards."""

    output: Output

    def __call__(self, job: Job, making: Making) -> Report:
        """Writes one, and then what is to be known of it."""
        out, number, form = self.output.folder, int(job.name), writer(self.output.recipe.pack.format)
        columns = ["shard", "first", "count"]
        runs = making.files.rows([layout_file(out)], pc.field("tar") == number, columns)
        facts = dict.fromkeys(("nsamples", "documents", "images", "texts"), 0)
        names = [file.format(number) for file in form.files]
        files = [f"{out}/{name}" for name in names]
        with ExitStack() as stack:
            paths = [stack.enter_context(making.writing(file)) for file in files]
            several = (each for run in runs.iter_rows() for each in documents(making.files, self.output, *run))
            form.write(paths, number, counted(several, form, facts), self.output.columns)
        conserve("documents", job.name, sum(runs["count"]), facts["documents"])
        first, *others = ({"url": name} | about(path) for name, path in zip(names, paths, strict=True))
        known: dict[str, Any] = facts | first | ({"beside": others} if others else {})
        making.write_json(facts_file(out, number), known, beside=files)
        return Report(job.name, Counter(samples=facts["nsamples"], images=facts["images"], texts=facts["texts"]))


def counted(several: Iterator[Curated], form: Writer, facts: dict[str, int]) -> Iterator[Curated]:
    """The samples that documents become, counted as they are written."""
    for document in several:
        facts["documents"] += 1
        for sample in form.split(document):
            images = sum(isinstance(entry.segment, Image) for entry in sample.entries)
            facts["nsamples"] += 1
            facts["images"] += images
            facts["texts"] += len(sample.entries) - images
            yield sample


def about(path: Path) -> dict[str, Any]:
    """The size of a file, its sha256, and its md5, which wids indexes name."""
    sha256, md5 = hashlib.sha256(), hashlib.md5(usedforsecurity=False)
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            sha256.update(block)
            md5.update(block)
    return {"filesize": path.stat().st_size, "sha256": sha256.hexdigest(), "md5sum": md5.hexdigest()}
