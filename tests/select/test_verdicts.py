import pickle
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow as pa
import pytest
from shards import Shelf, done, page, picture, raw_shard, read, recipe_of

from curate import Image, scores
from curate.ledger.inventory import Inventory
from curate.ledger.job import Job, Target
from curate.ledger.ledger import MARKS
from curate.ledger.making import Making
from curate.recipe.recipe import Resource
from curate.select import funnel
from curate.select.verdicts import judge_of, phases
from curate.store import digest, schema
from curate.store.files import Expected, Files
from curate.store.store import Store

SHARDS = ["00000000", "00000001", "00000063", "00000064", "00000200"]
TEMPORARY = ("top", "candidates", "duplicates", "removed", "balance", "counts")
PERMANENT = {*(f"{shard}.parquet" for shard in SHARDS), "rules.json", "funnel.json"}


@scores("text", entries=bytes, length=float)
def entries(texts):
    """A text's digits are its entries."""
    digits = [[int(letter) for letter in text.text if letter.isdigit()] for text in texts]
    return [
        {"entries": np.array(each, "<u4").tobytes(), "length": len(text.text)}
        for each, text in zip(digits, texts, strict=True)
    ]


SECTIONS = {
    "score": {"e": {"use": "test_verdicts:entries"}},
    "keep": [{"text": "e.length", "top": 0.9}, {"text": "e.length", "top": 0.8}, {"image": "raw.width", "min": 10}],
    "balance": {"by": "e.entries", "most": 5},
    "empty": "keep",
}


def shelf(folder: Path, shards=SHARDS, **sections) -> Shelf:
    """Shards of three pages, with a picture each."""
    images = {f"http://ex.org/{at}.png": picture(at) for at in range(3)}
    for shard in shards:
        pages = [
            page("x" * at + f"{at % 2} says {shard[-3 + at]}", Image(url), url=f"http://ex.org/{shard}/{at}")
            for at, url in enumerate(images)
        ]
        raw_shard(Store(folder), pages, dict(list(images.items())[:2]), shard=shard)
    return Shelf(folder, recipe_of(**SECTIONS | sections)).do("score")


def select(run: Shelf) -> dict[str, int]:
    """Selects; how many jobs were done, by phase."""
    return done(run.store, phases(run.store, run.decision, run.scored, Resource()))


def files(run: Shelf) -> dict[str, bytes]:
    folder = Path(run.store.path(run.verdicts))
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*.*")}


def forget(run: Shelf) -> None:
    """Deletes what is temporary."""
    for path in Path(run.store.path(run.verdicts)).rglob("*.*"):
        if path.relative_to(run.store.path(run.verdicts)).parts[0] in TEMPORARY:
            path.unlink()


def test_every_phase_has_a_job_for_each_shard_or_chunk_and_one_that_adds_up(tmp_path):
    assert select(shelf(tmp_path)) == {
        "select top": 3 + 1 + 3,
        "select rules": 1,
        "select balance": 3 + 1,
        "select": 5,
        "select counts": 3,
        "select funnel": 1,
    }


def test_only_what_is_needed_is_done(tmp_path):
    run = shelf(tmp_path, keep=[{"image": "raw.width", "min": 10}], balance=None)
    assert select(run) == {"select rules": 1, "select": 5, "select counts": 3, "select funnel": 1}
    assert run.store.get_json(f"{run.verdicts}/rules.json") == {"keep": ["image: raw.width min 10"], "top": [None]}


def test_another_shard_is_decided_anew_only_if_it_decides(tmp_path):
    """Without thresholds, groups or balance every shard stands for itself."""
    run = shelf(tmp_path, keep=[{"image": "raw.width", "min": 10}], balance=None)
    select(run)
    again(run, "00000064", bytes=pl.col("bytes") + 1)
    assert select(run) == {"select": 1, "select counts": 1, "select funnel": 1}
    again(run, "00000064", alt=pl.lit("another"))
    assert select(run) == {"select": 1}


def test_what_says_the_same_makes_nothing_stale(tmp_path):
    run = shelf(tmp_path)
    select(run)
    forget(run)
    again(run, "00000064", attempts=pl.lit(3))
    assert select(run) == {}


def test_a_threshold_that_stays_keeps_the_verdicts_of_other_shards(tmp_path):
    run = shelf(tmp_path, keep=[{"text": "e.length", "top": 0.9}], balance=None)
    select(run)
    before, column = run.store.get_json(f"{run.verdicts}/rules.json"), run.decision.tops[0]
    longest = again(run, "00000064", column.file("00000064"), length=pl.col("length") + (pl.col("length") > 9))
    assert longest["length"].max() > 10
    jobs = select(run)
    assert jobs["select rules"] == jobs["select"] == 1
    assert "select counts" not in jobs
    assert run.store.get_json(f"{run.verdicts}/rules.json") == before


def test_a_threshold_that_moves_has_all_decided_anew(tmp_path):
    run = shelf(tmp_path / "one")
    select(run)
    for each in SHARDS[2:]:
        again(run, each, run.decision.tops[0].file(each), length=pl.col("length") * 2)
    assert select(run)["select"] == len(SHARDS)
    other = shelf(tmp_path / "other")
    for each in SHARDS[2:]:
        again(other, each, other.decision.tops[0].file(each), length=pl.col("length") * 2)
    select(other)
    assert files(run) == files(other)


def test_jobs_read_what_they_declare_and_no_more(tmp_path, monkeypatch):
    expected = shelf(tmp_path / "expected")
    select(expected)
    run = shelf(tmp_path / "run")
    monkeypatch.setattr("curate.ledger.ledger.MARKS", 0)
    select(run)
    assert files(run) == files(expected)


def test_all_files_say_which_version_of_the_rules_made_them(tmp_path):
    run = shelf(tmp_path)
    select(run)
    inventory = Inventory(run.store)
    inventory.look(names := [f"{run.verdicts}/{name}" for name in files(run)])
    assert {inventory.find(name).by for name in names} == {"select 1"}


def test_each_table_is_read_once_for_all_its_columns(tmp_path, monkeypatch):
    run = shelf(
        tmp_path,
        SHARDS[:1],
        keep=[{"image": "raw.width", "min": 10}, {"text": "e.length", "min": 1}, {"image": "raw.height", "min": 1}],
        balance=None,
    )
    read, bytes_of = Counter(), Store.bytes_of
    monkeypatch.setattr(Store, "bytes_of", lambda store, name: (read.update([name]), bytes_of(store, name))[1])
    monkeypatch.setattr("curate.store.files.HELD", 0)
    judge = judge_of(run.decision)
    assert judge.verdicts(Files(run.store), SHARDS[0]).height == 9
    assert read == dict.fromkeys(judge.reads(SHARDS[:1]), 1)


def again(run: Shelf, shard: str, name: str = "", **columns) -> pl.DataFrame:
    """Writes a table of a shard, the raw one if none is named, with other columns."""
    name, says = name or f"raw/{shard}.parquet", None if name else schema.RAW_SAYS
    old, inventory = read(run.store, name), Inventory(run.store)
    inventory.look([name])
    entry = inventory.find(name)
    rows = old.with_columns(**columns)
    form = pa.parquet.read_schema(run.store.path(name)).remove_metadata()
    target = Target(name, by=entry.by, digest=entry.made_from)
    with Making(run.store, Job(shard, (target,))) as making:
        for each in entry.beside:
            with making.writing(each.name) as path:
                path.write_bytes(run.store.bytes_of(each.name))
        making.write(name, rows.to_arrow().cast(form), says=says, beside=[each.name for each in entry.beside])
        making.commit()
    return rows


def test_finished_verdicts_do_not_bring_back_what_was_temporary(tmp_path):
    run = shelf(tmp_path)
    select(run)
    before = files(run)
    forget(run)
    assert select(run) == {}
    after = files(run)
    assert after.keys() == PERMANENT
    assert {name: before[name] for name in after} == after


@pytest.mark.parametrize("forgetful", [True, False])
@pytest.mark.parametrize("name", ["00000064.parquet", "rules.json", "funnel.json"])
def test_a_deleted_file_is_made_again_with_the_same_bytes(name, forgetful, tmp_path):
    run = shelf(tmp_path)
    select(run)
    before = files(run)
    if forgetful:
        forget(run)
    (Path(run.store.path(run.verdicts)) / name).unlink()
    jobs = select(run)
    assert {each: before[each] for each in files(run)} == files(run)
    assert files(run).keys() >= PERMANENT
    if not forgetful:
        stage = {"00000064.parquet": "select", "rules.json": "select rules", "funnel.json": "select funnel"}[name]
        assert jobs == {stage: 1}
        assert files(run) == before


def test_it_does_not_matter_when_a_run_was_interrupted(tmp_path):
    whole = shelf(tmp_path / "whole")
    select(whole)
    expected = files(whole)
    for lost in range(0, len(expected), 3):
        run = shelf(tmp_path / str(lost))
        select(run)
        for name in sorted(expected)[lost::4]:
            (Path(run.store.path(run.verdicts)) / name).unlink()
        select(run)
        assert {name: expected[name] for name in files(run)} == files(run)
        assert files(run).keys() >= PERMANENT


def test_the_funnel_adds_up_over_chunks(tmp_path):
    run = shelf(tmp_path)
    select(run)
    rows = run.funnel
    ends = [(state, reason) for state, reason in run.states().values()]
    assert sum(row["count"] for row in rows) == len(ends) == 5 * 3 * 3
    found = Counter()
    for row in rows:
        found[row["state"], row["reason"]] += row["count"]
    assert found == Counter(ends)
    assert found["failed", "http_permanent"] == 5


def test_a_funnel_is_in_order():
    chunks = [
        [["image", "dropped", "b", 2], ["text", "kept", None, 1], ["reject", "rejected", "z", 1]],
        [["image", "kept", None, 1], ["image", "dropped", "a", 2], ["image", "dropped", "c", 2]],
        [["document", "kept", None, 1], ["image", "dropped", "c", 1]],
    ]
    assert [tuple(row.values()) for row in funnel.funnel(chunks)] == [
        ("document", "kept", None, 1),
        ("image", "kept", None, 1),
        ("image", "dropped", "c", 3),
        ("image", "dropped", "a", 2),
        ("image", "dropped", "b", 2),
        ("text", "kept", None, 1),
        ("reject", "rejected", "z", 1),
    ]


def test_jobs_are_small_and_workers_too(tmp_path):
    shards = [f"{at:08d}" for at in range(640)]
    run = shelf(tmp_path, SHARDS[:1])

    def handed(job: Job) -> Job:
        """As large as the ledger may make it."""
        targets = tuple(replace(each, digest=bytes(digest.SIZE)) for each in job.targets)
        return replace(job, targets=targets, expected=Expected(bytes(4 * MARKS)))

    def check(several) -> None:
        for phase in several:
            assert max(len(pickle.dumps(handed(job))) for job in phase.jobs) < 4096
            assert len(pickle.dumps(phase.worker)) < 8192
            check(phase.first() if phase.first else ())

    check(phases(run.store, run.decision, shards, Resource()))
