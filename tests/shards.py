"""Raw shards without a network: documents and pictures in, the files of a fetched shard out, and what follows."""

from __future__ import annotations

import hashlib
import zlib
from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow as pa

from curate.document import Document, Image, Reader, Text, document
from curate.fetch.crawl import raw_rows
from curate.fetch.response import Fetched
from curate.image.codec import encode, sniff
from curate.ledger.job import Job, Phase, Target
from curate.ledger.ledger import Ledger
from curate.ledger.making import Making
from curate.ledger.making import done as done_job
from curate.pack.output_folder import Output
from curate.pack.pack import phases as packing
from curate.recipe.recipe import Recipe, Resource
from curate.report import Report
from curate.run.bind import Resolved
from curate.run.executor import Executor, InProcess
from curate.run.plan import Plan
from curate.run.run import Run
from curate.run.scheduler import Progress, Scheduler
from curate.run.stages import Stages
from curate.score.catalogue import catalogue
from curate.score.measure import Measurer, job_of
from curate.score.scorer import Scorer, resolve
from curate.select import verdicts as deciding
from curate.select.binding import decision
from curate.source.corpus import Reject
from curate.source.rows import Slice
from curate.status import Status
from curate.store import schema
from curate.store.columns import table_name
from curate.store.files import Files
from curate.store.raw_shard import add_member, open_tar
from curate.store.store import Store

SHARD = "00000000"
SOURCE = {"reader": "mmc4", "path": "none.jsonl"}


def picture(seed: int = 0, width: int = 40, height: int = 30, form: str = "png") -> bytes:
    """Noise as an encoded picture."""
    return encode(np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8), form)


def page(*segments: str | Image, scores=None, url: str = "http://ex.org/page") -> Document:
    """Strings are texts."""
    return document(url, [Text(each) if isinstance(each, str) else each for each in segments], scores)


def raw_shard(store: Store, pages: list, pictures: dict[str, bytes], columns=None, shard: str = SHARD) -> list[str]:
    """Writes a raw shard and the corpus' own scores; images not in ``pictures`` failed. Returns the documents' ids."""
    entries = [
        each.located("test", "t.jsonl", at) if isinstance(each, Document) else Reject("t.jsonl", at, each)
        for at, each in enumerate(pages)
    ]
    fetched, offsets = {}, {}
    source, raw, pictures_of = f"scores/source/{shard}.parquet", f"raw/{shard}.parquet", f"raw/{shard}.tar"
    job = Job(shard, (Target(raw, fixed=True), *([Target(source)] if columns else [])))
    with Making(store, job) as making:
        with making.writing(pictures_of) as path, open_tar(path) as tar:
            for url in dict.fromkeys(
                image.url for each in entries if isinstance(each, Document) for image in each.images.values()
            ):
                fetched[url] = got(url, pictures.get(url))
                if (sha256 := fetched[url].sha256) and sha256 not in offsets:
                    data = pictures[url]
                    offset = add_member(tar, f"{sha256}.{fetched[url].format}", data)
                    offsets[sha256] = offset, len(data), zlib.crc32(data)
        if columns:
            own = [
                {"document": each.id, "position": position, **row}
                for each in entries
                if isinstance(each, Document)
                for position, row in each.scores.items()
            ]
            types = {name: kind for group in columns.values() for name, kind in group.items()}
            making.write(source, schema.table(own, schema.score_schema(types)))
        rows = schema.table(raw_rows(entries, fetched, offsets, "test"), schema.RAW)
        making.write(raw, rows, says=schema.RAW_SAYS, beside=[pictures_of])
        making.commit()
    return [each.id for each in entries if isinstance(each, Document)]


def got(url: str, data: bytes | None) -> Fetched:
    """What a download of these bytes would have come to."""
    header = sniff(data) if data is not None else None
    if data is None or header is None:
        return Fetched(url, Status.HTTP_PERMANENT, "404", 404, 1)
    size = (header.width, header.height)
    return Fetched(
        url, Status.OK, "", 200, 1, url, hashlib.sha256(data).hexdigest(), header.format, *size, *size, frames=1
    )


def recipe_of(**sections) -> Recipe:
    return Recipe.model_validate({"source": SOURCE, **sections})


def scorers_of(folder: Path, score: dict, columns=None, **sections) -> list[Scorer]:
    """The scorers of a recipe whose ``score:`` is this; a fake is named ``test_module:function``."""
    return resolve(recipe_of(score=score, **sections), folder, Reader(page, columns or {}, "test"), "r.yaml")


def measure(store: Store, scorers: list[Scorer], shard: str = SHARD, measurer: Measurer | None = None) -> Report:
    """Measures what the ledger says is to be measured of a shard; raises what a scorer raises."""
    ledger = Ledger(store)
    todo = ledger.unfinished([job_of(shard, scorers)])
    return done_job(store, ledger.handed(todo[0]), measurer or Measurer(scorers)) if todo else Report(shard)


def put(store: Store, name: str, rows: pl.DataFrame | pa.Table) -> None:
    """Writes a table that is made from nothing."""
    with Making(store, Job(name, (Target(name),))) as making:
        making.write(name, rows.to_arrow() if isinstance(rows, pl.DataFrame) else rows)
        making.commit()


def read(store: Store, name: str) -> pl.DataFrame:
    """A table, checked."""
    return Files(store).read(name)


def scored(store: Store, scorer: Scorer, column: str, shard: str = SHARD) -> list:
    """A column in the order of the segments it has rows for."""
    return read(store, table_name(scorer.folder, shard, scorer.all_columns.get(column)))[column].to_list()


def curated(
    folder: Path,
    recipe: Recipe,
    columns=None,
    shards: tuple[str, ...] = (SHARD,),
    executor: Executor | None = None,
    progress: Progress | None = None,
) -> Path:
    """Scores, selects and packs the raw shards of a folder; the folder with the tars."""
    store, reader = Store(folder), Reader(page, columns or {}, "test")
    scorers = resolve(recipe, folder, reader, "r.yaml")
    for shard in shards:
        measure(store, scorers, shard)
    known = catalogue(scorers, reader)
    decided = replace(decision(recipe, scorers, known, (), shards), folder="verdicts/x")
    done(store, deciding.phases(store, decided, shards, Resource()))
    folders = {each.name: each.folder for each in scorers} | ({"source": "scores/source"} if columns else {})
    output = Output("out/x", recipe, "verdicts/x", folders, known, decided.adds)
    scheduler = Scheduler(store, Ledger(store), executor or InProcess(), progress or Nobody())
    assert scheduler.run(packing(store, output, shards, Resource())), scheduler.failures
    return folder / "out/x"


def verdicts(frame: pl.DataFrame) -> list[tuple[str, str | None]]:
    return list(frame.select("state", "reason").iter_rows())


class Nobody:
    """Watches no progress."""

    def start(self, stage: str, total: int, done: int) -> None: ...
    def advance(self, report: Report) -> None: ...
    def end(self, stage: str, counts: Counter[str], seconds: float) -> None: ...


def done(store: Store, phases: Iterable[Phase]) -> dict[str, int]:
    """Runs phases in this process; how many jobs were done, by the name of the phase."""
    counts = Counts()
    scheduler = Scheduler(store, Ledger(store), InProcess(), counts)
    assert scheduler.run(phases), scheduler.failures
    return counts.done


class Counts:
    """Counts the jobs that were done, by the name of the phase."""

    def __init__(self) -> None:
        self.done: dict[str, int] = {}

    def start(self, stage: str, total: int, done: int) -> None:
        if total > done:
            self.done[stage] = self.done.get(stage, 0) + total - done

    def advance(self, report: Report) -> None: ...
    def end(self, stage: str, counts: Counter[str], seconds: float) -> None: ...


class Shelf(Run):
    """A run over raw shards that lie in its folder already: no corpus, no network."""

    def __init__(self, folder: Path, recipe: Recipe, columns=None, executor: Executor | None = None) -> None:
        resolved, store = Resolved(folder / "r.yaml"), Store(folder)
        resolved.__dict__["recipe"] = recipe
        resolved.__dict__["reader"] = Reader(page, columns or {}, "test")
        plan = Plan(resolved, store)
        names = sorted(path.stem for path in (folder / "raw").glob("*.parquet"))
        plan.__dict__["slices"] = [Slice(name, "t.jsonl", "t.jsonl", 0, 0, 0) for name in names]
        super().__init__(resolved, plan, Ledger(store))
        self.stages = Stages.of(self, executor or InProcess(), Nobody())

    def do(self, *stages: str) -> Shelf:
        """Runs these stages."""
        self.ledger.forget()
        self.forget()
        for stage in stages or ("score", "group", "select"):
            getattr(self.stages, stage)()
        return self

    def column(self, name: str) -> dict[tuple[str, int], object]:
        """A group's column of every segment that was looked at."""
        group, _, column = name.partition(".")
        (grouping,) = (each for each in self.grouped if each.name == group)
        frame = pl.concat(read(self.store, f"{grouping.folder}/{shard}.parquet") for shard in self.shards)
        return {
            (document, position): value
            for document, position, value in frame.select("document", "position", column).iter_rows()
        }

    def states(self) -> dict[tuple[str, int], tuple[str, str | None]]:
        """How every segment ended."""
        frames = [read(self.store, f"{self.verdicts}/{shard}.parquet") for shard in self.shards]
        rows = pl.concat(frames).select("document", "position", "state", "reason").iter_rows()
        return {(document, position): (state, reason) for document, position, state, reason in rows}
