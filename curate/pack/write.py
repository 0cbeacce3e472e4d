"""Write: an output shard in its format, and what is known of it afterwards. Decides neither contents nor layout."""

from __future__ import annotations

import hashlib
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from curate.document import Image
from curate.ledger.job import Job, Target
from curate.pack.assemble import documents
from curate.pack.layout import layout_file
from curate.pack.output_folder import Output
from curate.pack.sample import Curated
from curate.pack.writer import Writer, writer
from curate.report import Report, conserve
from curate.store import table
from curate.store.raw_shard import RAW
from curate.store.store import Store


def facts_file(out: str, number: int) -> str:
    """What is known of an output shard: its counts, size and sums."""
    return f"{out}/meta/{number:06d}.json"


def jobs_of(output: Output, rows: Sequence[tuple[int, Sequence[str]]]) -> list[Job]:
    """A job for each output shard; ``rows``: its first row of the layout, and the raw shards of its rows.

    Of the layout it gets the first row, and how many.
    """
    form, tables = writer(output.recipe.pack.format), (RAW, output.verdicts, *output.scores.values())

    def job(number: int, first: int, shards: Sequence[str]) -> Job:
        files = [f"{output.folder}/{file.format(number)}" for file in form.files]
        reads = [f"{folder}/{shard}.parquet" for shard in shards for folder in tables]
        reads += [f"{RAW}/{shard}.tar" for shard in shards]
        made_from = (layout_file(output.folder), *dict.fromkeys(reads))
        targets = (Target(file, made_from) for file in [*files, facts_file(output.folder, number)])
        return Job(f"{number:06d}", tuple(targets), (first, len(shards)))

    return [job(number, *run) for number, run in enumerate(rows)]


@dataclass(frozen=True)
class WriteShard:
    """Writes output shards."""

    store: Store
    output: Output

    def __call__(self, job: Job) -> Report:
        """Writes one, and then what is to be known of it; of files that are there already the same is written aside."""
        number, form = int(job.name), writer(self.output.recipe.pack.format)
        wanted = {target.name for target in job.targets}
        facts = dict.fromkeys(("nsamples", "documents", "images", "texts"), 0)
        names = [file.format(number) for file in form.files]
        with self.store.local(layout_file(self.output.folder)) as path:
            runs = table.read(path).slice(*job.args)
        with ExitStack() as stack:
            files = [f"{self.output.folder}/{name}" for name in names]
            paths = [stack.enter_context(self.store.writing(file) if file in wanted else aside()) for file in files]
            several = (each for _, *run in runs.iter_rows() for each in documents(self.store, self.output, *run))
            form.write(paths, number, counted(several, form, facts), self.output.columns)
            conserve("documents", job.name, sum(runs["count"]), facts["documents"])
            first: dict[str, Any] = {"url": names[0], "filesize": paths[0].stat().st_size, **digests(paths[0])}
        if (file := facts_file(self.output.folder, number)) in wanted:
            self.store.put_json(file, facts | first)
        return Report(job.name, Counter(samples=facts["nsamples"], images=facts["images"], texts=facts["texts"]))


@contextmanager
def aside() -> Iterator[Path]:
    """A path for a file that is there already."""
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder) / "file"


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


def digests(path: Path) -> dict[str, str]:
    """sha256 and md5 (which wids indexes name) of a file."""
    sha256, md5 = hashlib.sha256(), hashlib.md5(usedforsecurity=False)
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            sha256.update(block)
            md5.update(block)
    return {"sha256": sha256.hexdigest(), "md5sum": md5.hexdigest()}
