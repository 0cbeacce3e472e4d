"""A new threshold on a million documents: what `curate select` takes when everything is scored.

    python benchmarks/reselect.py [--quick] [--documents 1000000]

No peer is beside it: the others' filters run the model again. The tables of a run (raw, and the scores of three
scorers, with 128-dimensional embeddings) are written directly in its layout, 100 shards of 10,000 pairs, without
tars, which select never opens; then `Stages.select` decides under LAION-5B's five rules, again with another threshold,
with the same once more (nothing to do), and under `top: 0.3`, which has to look at all values first. Every call is
a process of its own through the command line, start-up included; the profile is of one in-process call.

The limit: reading the columns that rules name and writing a row for each of three million segments; measured here
as the time to read those columns with polars and write the same verdict tables, with nothing between.
"""

from __future__ import annotations

import cProfile
import pstats
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

import common
import numpy as np
import polars as pl
import pyarrow as pa
from clip_score import Quiet

from curate.ledger.job import Job
from curate.ledger.making import Making
from curate.report import Report
from curate.run.executor import InProcess
from curate.run.run import Run
from curate.run.stages import Stages
from curate.score.tables import parts_of
from curate.store import schema, table
from curate.store.store import Store

PER_SHARD = 10_000


def tables(run: Run) -> int:
    """Writes raw and score tables for every planned shard; returns their bytes."""
    rng = np.random.default_rng(0)
    (fetching,), (scoring,) = run.fetching(), run.scoring()
    types = {name: kind for group in run.resolved.reader.columns.values() for name, kind in group.items()}
    brought = schema.table([], schema.score_schema(types))  # the corpus says nothing of its pictures
    for part, fetched, measured in zip(run.plan.slices, fetching.jobs, scoring.jobs, strict=True):
        n = part.count
        ids = [f"{part.start + at:032x}" for at in range(n)]
        image, text, clip = (rng.random(n) for _ in range(3))
        failed = image < 0.1
        status = np.where(failed, "http_permanent", "ok")
        base = pl.DataFrame({"document": ids, "row": np.arange(part.start, part.start + n)})
        heads = base.with_columns(
            position=-1, kind=pl.lit("document"), corpus=pl.lit("laion"), file=pl.lit("pairs.parquet")
        )
        hashes = [f"{at:064x}" for at in range(part.start, part.start + n)]
        sizes = (image * 1000 + 50).astype(int)
        images = base.drop("row").with_columns(
            position=0,
            kind=pl.lit("image"),
            url=pl.Series([f"http://example.org/{each}.jpg" for each in ids]),
            status=pl.Series(status),
            sha256=pl.when(~pl.Series(failed)).then(pl.Series(hashes)),
            format=pl.when(~pl.Series(failed)).then(pl.lit("jpg")),
            width=pl.when(~pl.Series(failed)).then(pl.Series(sizes)),
            height=pl.when(~pl.Series(failed)).then(pl.Series(sizes)),
            bytes=pl.when(~pl.Series(failed)).then(pl.Series((image * 120_000).astype(int))),
        )
        texts = base.drop("row").with_columns(
            position=1,
            kind=pl.lit("text"),
            source=pl.lit("alt"),
            text=pl.Series([common.WORDS[int(each * 10)] * 5 for each in text]),
        )
        raw = pl.concat([heads, images, texts], how="diagonal").with_row_index("at")
        raw = raw.sort(pl.col("at") % n, "position").drop("at")
        raw = raw.with_columns(*(pl.lit(None).alias(name) for name in schema.RAW.names if name not in raw.columns))
        rows = raw.select(schema.RAW.names).to_arrow().cast(schema.RAW)
        own = {target.name: brought for target in fetched.targets}
        save(run, fetched, {**own, f"raw/{part.shard}.parquet": rows})
        scores = dict[str, pa.Table]()
        for scorer in run.resolved.scorers:
            kind = next(iter(scorer.columns))
            segments = texts if kind == "text" else images
            frame = segments.select("document", "position").to_dict(as_series=False)
            for column, type_ in scorer.all_columns.items():
                frame[column] = values(
                    column,
                    type_,
                    clip if scorer.name == "clip" else text,
                    sizes,
                    failed if kind == "image" else None,
                    rng,
                )
            form = schema.score_schema(scorer.all_columns)
            columns = [schema.column(frame[each.name], each.type) for each in form]
            scores |= parts_of(scorer, part.shard, pa.Table.from_arrays(columns, schema=form))
        save(run, measured, scores)
    run.forget()
    return sum(path.stat().st_size for path in Path(run.store.url).rglob("*.parquet"))


def values(column: str, kind: Any, floats: Any, sizes: Any, missing: Any, rng: Any) -> list[Any]:
    """A column of scores; null where the picture failed."""
    n = len(floats)
    if column == "embedding":
        found: list[Any] = list(rng.integers(-99, 99, (n, 128)).astype(np.float16))
    elif column == "sims":
        found = [[value] for value in floats * 0.4]
    elif kind is float:
        found = list(floats * 0.4)
    else:
        found = list(sizes)
    return found if missing is None else [None if gone else value for value, gone in zip(found, missing, strict=True)]


def save(run: Run, job: Job, tables: dict[str, pa.Table]) -> None:
    """Writes what a job of the run would have made."""
    report = Report(job.name)
    with Making(run.store, run.ledger.handed(job)) as making:
        for name, rows in tables.items():
            making.write(name, rows, says=schema.RAW_SAYS if rows.schema == schema.RAW else None)
        making.commit()
        report.made = making.made
    run.ledger.take(report)


def floor(run: Run) -> float:
    """Seconds to read the columns that the rules name and to write three verdict columns, and nothing else."""
    folder = Path(run.store.url)

    def work() -> None:
        for shard in run.shards:
            raw = pl.read_parquet(
                folder / f"raw/{shard}.parquet",
                columns=["document", "position", "kind", "status", "bytes", "format", "text"],
            )
            for scorer, column in zip(run.resolved.scorers, ("area", "chars", "sim"), strict=True):
                pl.read_parquet(folder / f"{scorer.folder}/{shard}.parquet", columns=["document", "position", column])
            with run.store.writing(f"floor/{shard}.parquet") as path:
                path.write_bytes(table.encode(raw.select("document", "position", "kind", "status", "bytes").to_arrow()))

    return common.seconds(work)


def main() -> None:
    parser = common.arguments(__doc__)
    parser.add_argument("--documents", type=int, default=1_000_000)
    parser.add_argument("--profile", action="store_true", help="print where the time goes, to stderr")
    given = parser.parse_args()
    documents = 50_000 if given.quick else given.documents
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        folder = Path(name)
        pl.DataFrame({"url": [str(at) for at in range(documents)], "caption": ""}).write_parquet(
            folder / "pairs.parquet"
        )
        recipe = common.recipe(
            folder / "laion.yaml",
            {
                "source": {"reader": "laion", "path": str(folder / "pairs.parquet"), "shard": PER_SHARD},
                "score": {
                    "size": {"use": "image_size"},
                    "text": {"use": "text_stats"},
                    "clip": {"use": "clip", "model": "demo"},
                },
                "keep": [
                    {"text": "text.chars", "min": 5},
                    {"image": "raw.bytes", "min": 5000},
                    {"image": "size.area", "max": 89478484},
                    {"image": "raw.format", "one_of": ["jpg", "png", "webp"]},
                    {"image": "clip.sim", "min": 0.28},
                ],
            },
        )
        out = folder / "run"
        began = Run.open(recipe, Store(out))
        size = tables(began)
        common.note(f"wrote {len(began.shards)} shards, {size / 1e6:.0f} MB")
        shown = common.Table(["call", "seconds, command", "documents/s"])
        base = [*common.CLI, "select", recipe, "--out", out]
        two = ["--ray", "local", "--workers", str(common.CORES)]
        calls = {
            "first threshold, min 0.28": base,
            "new threshold, min 0.30": [*base, "--set", "keep.4.min=0.3"],
            "the same again: nothing to do": [*base, "--set", "keep.4.min=0.3"],
            "the best 30 % (top: 0.3)": [*base, "--set", "keep.4={image: clip.sim, top: 0.3}"],
            f"new threshold, min 0.32, on Ray with {common.CORES} workers": [*base, "--set", "keep.4.min=0.32", *two],
        }
        for call, command in calls.items():
            ran = common.ran(command)
            if ran.code:
                raise RuntimeError(ran.output[-2000:])
            shown.add(call, f"{ran.seconds:.1f}", f"{documents / ran.seconds:,.0f}")
        run = Run.open(recipe, Store(out), changes={"keep.4.min": "0.33"})
        stages = Stages.of(run, InProcess(), Quiet())
        profile = cProfile.Profile()
        profile.enable()
        took = common.seconds(stages.select)
        profile.disable()
        (Path(run.store.path(run.verdicts)) / "funnel.json").unlink()
        shutil.rmtree(run.store.path(f"{run.verdicts}/counts"))
        run.ledger.forget()
        counting = common.seconds(stages.select)
        shown.add("of which select, in process, under the profiler", f"{took:.1f}", f"{documents / took:,.0f}")
        shown.add("of which the funnel", f"{counting:.1f}", f"{documents / counting:,.0f}")
        bare = floor(run)
        shown.add("floor: read those columns, write as many rows", f"{bare:.1f}", f"{documents / bare:,.0f}")
        shown.show(f"{documents:,} pair documents, {3 * documents:,} rows, {size / 1e6:,.0f} MB of tables")
        if given.profile:
            pstats.Stats(profile, stream=sys.stderr).sort_stats("tottime").print_stats(25)
            pstats.Stats(profile, stream=sys.stderr).sort_stats("cumtime").print_stats(40)


if __name__ == "__main__":
    main()
