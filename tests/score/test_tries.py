"""Scores and the ledger: what tables are made from, what another try measures, and pictures that are damaged."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from shards import Nobody, measure, page, picture, raw_shard, read, scored, scorers_of

from curate import Image, Vector, scores
from curate.ledger.ledger import Ledger
from curate.ledger.making import done
from curate.recipe.recipe import Resource
from curate.run.executor import InProcess
from curate.run.scheduler import Scheduler
from curate.score.measure import Measurer, job_of, phases
from curate.score.scorer import Scorer
from curate.score.tables import names_of
from curate.store.files import ChangedFile, Files
from curate.store.raw_shard import open_shard
from curate.store.store import Store

A, B = (Image(f"http://ex.org/{name}.png") for name in "ab")
PICTURES = {A.url: picture(1, 40, 30), B.url: picture(2, 50, 20)}
SHARD = "00000000"
CALLS: Counter[str] = Counter()
FAULTS: list[Exception] = []
"""What ``moody`` raises next."""


@scores("document", n=int)
def words(documents):
    CALLS["words"] += 1
    return [{"n": sum(len(text.text.split()) for text in each.texts.values())} for each in documents]


@scores("image", side=int)
def sides(images):
    CALLS["sides"] += 1
    return [{"side": min(image.width, image.height)} for image in images]


@scores("image", mean=float, pixels="full")
def means(images):
    CALLS["means"] += 1
    return [{"mean": float(image.pixels.mean())} for image in images]


@scores("image", length=int, data=True)
def lengths(images):
    return [{"length": len(image.data)} for image in images]


@scores("image", size=float, vector=Vector)
def sizes(images):
    CALLS["sizes"] += 1
    return [{"size": image.width, "vector": [image.width, image.height]} for image in images]


@scores("sizes.vector", width=float)
def widths(vectors):
    CALLS["widths"] += 1
    return [{"width": vector[0]} for vector in vectors]


@scores("document", image={"mean": float}, pixels="full")
def pages(documents):
    return [{at: {"mean": image.pixels.mean()} for at, image in each.images.items()} for each in documents]


@scores("image", n=int)
def moody(images):
    CALLS["moody"] += 1
    if FAULTS:
        raise FAULTS.pop()
    return [{"n": 1} for _ in images]


@pytest.fixture(autouse=True)
def _nothing_called():
    CALLS.clear()
    FAULTS.clear()


@pytest.fixture
def store(tmp_path: Path) -> Store:
    raw_shard(Store(tmp_path), [page("x y", A, B), page("x", B)], PICTURES)
    return Store(tmp_path)


ALL: dict[str, Any] = {
    "words": {"use": "words"},
    "sides": {"use": "sides", "after": [{"score": "words.n", "min": 2}]},
    "sizes": {"use": "sizes", "after": [{"score": "sides.side", "min": 1}, {"score": "words.n", "min": 1}]},
    "widths": {"use": "widths", "after": [{"score": "words.n", "min": 1}]},
}
"""Each but the first reads what others wrote; ``widths`` two of them, one through the other."""
LAST = {"use": "moody", "after": [{"score": "widths.width", "min": 0}, {"score": "words.n", "min": 0}]}


def scorers(store: Store, *names: str) -> list[Scorer]:
    entries = {name: (ALL | {"last": LAST}).get(name, {"use": name}) for name in names or ALL}
    entries = {name: entry | {"use": f"test_tries:{entry['use']}"} for name, entry in entries.items()}
    return scorers_of(Path(store.url), entries)


def notes(store: Store, those: list[Scorer]) -> dict[str, dict[str, str]]:
    return {name: dict(Files(store).notes(name)) for each in those for name in names_of(each, SHARD)}


def left(store: Store, those: list[Scorer]) -> list[str]:
    """The targets that the ledger says are not good."""
    return [target.name for job in Ledger(store).unfinished([job_of(SHARD, those)]) for target in job.targets]


# --- what a table is made from


@pytest.mark.parametrize("marks", [512, 0])
def test_a_table_is_made_from_the_same_whether_its_gate_was_made_before_or_by_the_same_job(store, monkeypatch, marks):
    monkeypatch.setattr("curate.ledger.ledger.MARKS", marks)
    measure(store, scorers(store))
    at_once = notes(store, scorers(store))
    assert left(store, scorers(store)) == []
    for name in at_once:
        store.remove(name)
    for count in range(len(ALL)):
        measure(store, scorers(store, *list(ALL)[: count + 1]))
    assert notes(store, scorers(store)) == at_once
    assert all(len(each["made_from"]) == 32 for each in at_once.values())
    assert left(store, scorers(store)) == []


@pytest.mark.parametrize("marks", [512, 0])
def test_what_the_corpus_says_is_read_like_the_rest(tmp_path, monkeypatch, marks):
    monkeypatch.setattr("curate.ledger.ledger.MARKS", marks)
    store, columns = Store(tmp_path), {"document": {"length": int}}
    gate = {"use": "test_tries:words", "after": {"score": "source.length", "min": 2}}
    those = scorers_of(tmp_path, {"words": gate}, columns)
    for lengths_, expected in (([1, 3], [2]), ([2, 3], [1, 2]), ([4, 5], [1, 2])):
        several = [page("x" + " x" * at, scores={-1: {"length": length}}) for at, length in enumerate(lengths_)]
        raw_shard(store, several, {}, columns)
        assert left(store, those) == names_of(those[0], SHARD)
        measure(store, those)
        assert (scored(store, those[0], "n"), left(store, those)) == (expected, [])
    assert CALLS["words"] == 2  # rows do not depend on gates: the third time all are known


def test_a_gate_that_is_made_again_and_says_the_same_makes_nothing_stale(store):
    words_, *_ = those = scorers(store)
    measure(store, those)
    store.remove(names_of(words_, SHARD)[0])
    CALLS.clear()
    measure(store, those)
    assert (CALLS, left(store, those)) == ({"words": 1}, [])


def test_what_reads_another_column_is_made_again_if_that_says_something_else(store):
    those = scorers(store)
    measure(store, those)
    raw_shard(store, [page("x y", A, B), page("x y", B)], PICTURES)
    CALLS.clear()
    measure(store, those)
    assert (sorted(CALLS), left(store, those)) == (["sides", "sizes", "widths", "words"], [])
    assert scored(store, those[3], "width") == [40, 50, 50]


# --- another try


@pytest.mark.parametrize("known", [(), ("words",), ("words", "sides")])
def test_another_try_measures_only_what_is_not_there(store, known):
    """``known``: what is good before the first try."""
    if known:
        measure(store, scorers(store, *known))
    those = scorers(store, *ALL, "last")
    ledger, measurer = Ledger(store), Measurer(those)
    (job,) = ledger.unfinished([job_of(SHARD, those)])
    job = ledger.handed(job)
    FAULTS.append(OSError("passing"))
    with pytest.raises(OSError, match="passing"):
        done(store, job, measurer)
    again, there = Counter(CALLS), {each: each.stat() for each in Path(store.url).rglob("*.parquet")}
    report = done(store, job, measurer)
    assert there == {each: each.stat() for each in there}  # not even written again
    assert again + Counter(moody=1) == CALLS == Counter(words=1, sides=1, sizes=1, widths=1, moody=2)
    assert {entry.name for entry in report.made} == {target.name for target in job.targets}
    ledger.take(report)
    assert ledger.unfinished([job_of(SHARD, those)]) == []
    assert left(store, those) == []


def test_the_scheduler_tries_again_what_may_pass(store):
    those = scorers(store, "words", "moody")
    FAULTS.extend([OSError("passing"), RuntimeError("a full GPU")])
    assert run(store, those).failures == []
    assert CALLS == {"words": 1, "moody": 3}


def test_another_try_makes_again_what_is_damaged_or_of_another_raw_shard(store):
    those = scorers(store, "words", "sides", "moody")
    (table,), path = names_of(those[0], SHARD), Path(store.path(names_of(those[0], SHARD)[0]))
    ledger = Ledger(store)
    job = ledger.handed(ledger.unfinished([job_of(SHARD, those)])[0])
    FAULTS.append(OSError("passing"))
    with pytest.raises(OSError, match="passing"):
        done(store, job, Measurer(those))
    data = path.read_bytes()
    path.write_bytes(data[:-9] + bytes([data[-9] ^ 1]) + data[-8:])
    done(store, job, Measurer(those))
    assert (CALLS["words"], path.read_bytes()) == (2, data)
    raw_shard(store, [page("changed")], {})
    with pytest.raises(ChangedFile, match=r"raw/00000000.parquet changed while this run went on"):
        done(store, job, Measurer(those))
    assert read(store, table)["n"].to_list() == [2, 1]


def test_a_killed_job_leaves_what_it_finished(store):
    """Nothing of it was reported: the ledger finds out by itself."""
    those = scorers(store, "words", "moody")
    FAULTS.append(KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        measure(store, those)
    assert left(store, those) == names_of(those[1], SHARD)


# --- damaged pictures


def run(store: Store, those: list[Scorer], *shards: str) -> Scheduler:
    scheduler = Scheduler(store, Ledger(store), InProcess(), Nobody())
    scheduler.run(phases(store, shards or (SHARD,), those, Resource()))
    return scheduler


def spoil(store: Store, shard: str, image: Image) -> None:
    """Changes a bit of a picture: neither the size nor the time of the tar tells."""
    tar = Path(store.path(f"raw/{shard}.tar"))
    with open_shard(Files(store), shard) as raw:
        (stored,) = (each for each in raw.stored.values() if raw.bytes_of(each.image.sha256) == PICTURES[image.url])
    before, data = tar.stat(), bytearray(tar.read_bytes())
    data[stored.offset + stored.length // 2] ^= 1
    tar.write_bytes(data)
    os.utime(tar, ns=(before.st_atime_ns, before.st_mtime_ns))


@pytest.mark.parametrize("use", ["means", "lengths", "pages"])
def test_a_damaged_picture_fails_its_shard_at_once_and_no_other(tmp_path, use):
    store, shards = Store(tmp_path), ("00000000", "00000001")
    for shard in shards:
        raw_shard(store, [page("x", A, B)], PICTURES, shard=shard)
    spoil(store, "00000000", B)
    those = scorers(store, "words", use)
    scheduler = run(store, those, *shards)
    (failure,) = scheduler.failures
    assert (failure.stage, failure.job, failure.lasting) == ("score", "00000000", True)
    assert failure.cause.startswith(f"DamagedFile: {store.path('raw/00000000.tar')} is damaged (picture ")
    assert f"`curate verify {store.url} --repair`" in failure.cause
    assert CALLS["words"] == 2
    assert scheduler.counts["score"]["undecodable"] == 0
    assert store.exists(names_of(those[1], "00000001")[0])
    assert not store.exists(names_of(those[1], "00000000")[0])


def test_damaged_pictures_stop_no_run(tmp_path):
    store, shards = Store(tmp_path), [f"{at:08d}" for at in range(7)]
    for shard in shards:
        raw_shard(store, [page("x", A)], PICTURES, shard=shard)
    for shard in shards[:6]:
        spoil(store, shard, A)
    scheduler = run(store, scorers(store, "means"), *shards)
    assert [failure.job for failure in scheduler.failures] == shards[:6]
    assert CALLS["means"] == 1


def test_a_damaged_picture_is_no_matter_to_who_reads_none(store):
    spoil(store, SHARD, B)
    assert run(store, scorers(store, "words", "sides")).failures == []
