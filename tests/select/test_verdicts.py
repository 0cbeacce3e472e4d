import pickle
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from shards import Shelf, done, page, picture, raw_shard, recipe_of

from curate import Image, scores
from curate.recipe.recipe import Resource
from curate.select import funnel
from curate.select.verdicts import phases
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

    def check(several) -> None:
        for phase in several:
            assert max(len(pickle.dumps(job)) for job in phase.jobs) < 4096
            assert len(pickle.dumps(phase.worker)) < 8192
            check(phase.first() if phase.first else ())

    check(phases(run.store, run.decision, shards, Resource()))
