"""Who stays of each group, in whole selections: over chunks, one group after the other, and without temporary files."""

from __future__ import annotations

import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from shards import Shelf, page, raw_shard, recipe_of
from test_verdicts import again, files, forget, select

from curate import Vector, scores
from curate.recipe.recipe import Resource
from curate.run.executor import InProcess
from curate.run.scheduler import Scheduler
from curate.select.representatives import duplicates, semantic_duplicates
from curate.select.verdicts import phases
from curate.store.store import Store

NEAR, FAR = ("00000000", "00000001", "00000002"), ("00000001", "00000064", "00000200")
DOCUMENTS = [["a 0", "a 0", "b 30"], ["c 31", "a 0"], ["d 700", "b 30"], ["d 700"], ["e 900", "c 31", "f 60"], ["a 0"]]


@scores("text", vector=Vector, word=str, last=int)
def directions(texts):
    """``word degrees``, in five hundredths."""
    found = []
    for text in texts:
        word, number = text.text.split()
        angle = int(number) / 500
        found.append({"vector": [np.cos(angle), np.sin(angle)], "word": word, "last": int(number)})
    return found


SECTIONS = {
    "empty": "keep",
    "score": {"h": {"use": "test_representatives:directions"}},
    "keep": [{"text": "h.last", "max": 800}],
    "group": {
        "again": {"by": "raw.text", "scope": "document", "keep": "first"},
        "word": {"by": "h.word", "keep": "first"},
        "sem": {"by": "h.vector", "eps": 0.01, "clusters": 2, "keep": "hard"},
    },
}


def shelf(folder: Path, shards=NEAR, **sections) -> Shelf:
    """Two documents a shard, scored and grouped."""
    for at, shard in enumerate(shards):
        pages = [page(*DOCUMENTS[each], url=f"http://ex.org/{each}") for each in (2 * at, 2 * at + 1)]
        raw_shard(Store(folder), pages, {}, shard=shard)
    return Shelf(folder, recipe_of(**SECTIONS | sections)).do("score", "group")


def ends(run: Shelf) -> list[tuple[str, str | None]]:
    """How each text ended, in order."""
    return [end for (_, position), end in run.states().items() if position >= 0]


def by_hand() -> list[tuple[str, str | None]]:
    """Within documents, then the first of each word, then whatever resembles none that is left and comes before it."""
    found, seen = [], set()
    for document in DOCUMENTS:
        for at, text in enumerate(document):
            word, number = text.split()
            if int(number) > 800:
                found.append(("dropped", "text: h.last max 800"))
            elif text in document[:at]:
                found.append(("dropped", "text: duplicate (again)"))
            elif word in seen:
                found.append(("dropped", "text: duplicate (word)"))
            else:
                found.append(("kept", None))
                seen.add(word)
    return found


def test_groups_are_picked_one_after_the_other(tmp_path):
    group = {name: SECTIONS["group"][name] for name in ("again", "word")}
    run = shelf(tmp_path, group=group)
    jobs = select(run)
    assert ends(run) == by_hand()
    assert jobs == {"select rules": 1, "select word": 3, "select": 3, "select counts": 1, "select funnel": 1}


def test_in_which_chunk_a_shard_lies_does_not_matter(tmp_path):
    near, far = shelf(tmp_path / "near"), shelf(tmp_path / "far", FAR)
    select(near)
    jobs = select(far)
    assert jobs["select word"] == 3 + 1 + 3
    assert ends(near) == ends(far)
    assert ("dropped", "text: duplicate (sem)") in ends(near)
    assert near.funnel == far.funnel


def test_finished_verdicts_bring_back_neither_candidates_nor_groups(tmp_path):
    run = shelf(tmp_path, FAR)
    select(run)
    before = files(run)
    forget(run)
    assert select(run) == {}
    shutil.rmtree(tmp_path / run.verdicts)
    select(run)
    assert files(run) == before


@pytest.mark.parametrize("what", ["candidates/word", "duplicates/sem", "removed/word", "removed/sem"])
def test_what_was_lost_on_the_way_is_made_again(what, tmp_path):
    run = shelf(tmp_path, FAR)
    select(run)
    before = files(run)
    shutil.rmtree(tmp_path / run.verdicts / what)
    (tmp_path / run.verdicts / "00000064.parquet").unlink()
    jobs = select(run)
    assert files(run) == before
    assert jobs.pop("select") == 1
    assert set(jobs) == {f"select {what.partition('/')[2]}"}


@pytest.mark.parametrize("forgetful", [True, False])
def test_a_shard_that_was_fetched_anew_is_decided_anew_with_all_that_it_decides(forgetful, tmp_path):
    run, fresh = shelf(tmp_path / "run", FAR), shelf(tmp_path / "fresh", FAR)
    select(run)
    assert ends(run)[-1] == ("dropped", "text: duplicate (word)")  # in another shard than what it repeats
    if forgetful:
        forget(run)
    for each in (run, fresh):
        raw_shard(each.store, [page("b 30", "g 400", url="http://ex.org/new")], {}, shard="00000001")
        each.do("score", "group")
    jobs = select(run)
    select(fresh)
    assert ends(run)[-1] != ("dropped", "text: duplicate (word)")
    assert {name: files(fresh)[name] for name in files(run)} == files(run)
    assert jobs["select"] == 3
    assert jobs["select counts"] == (3 if forgetful else 2)


def test_a_group_that_comes_out_the_same_leaves_verdicts_alone(tmp_path):
    run = shelf(tmp_path, FAR)
    select(run)
    forget(run)
    again(run, "00000001", attempts=pl.lit(3))
    run.do("score", "group")
    assert select(run) == {}


def test_a_local_group_concerns_its_shard_only(tmp_path):
    run = shelf(tmp_path, FAR, group={"again": SECTIONS["group"]["again"]})
    select(run)
    raw_shard(run.store, [page("a 0", "a 0", url="http://ex.org/new")], {}, shard="00000064")
    run.do("score", "group")
    assert select(run) == {"select": 1, "select counts": 1, "select funnel": 1}


def test_jobs_read_what_they_declare_and_no_more(tmp_path, monkeypatch):
    expected, run = shelf(tmp_path / "expected", FAR), shelf(tmp_path / "run", FAR)
    select(expected)
    monkeypatch.setattr("curate.ledger.ledger.MARKS", 0)
    select(run)
    assert files(run) == files(expected)


def test_nobody_is_the_duplicate_of_what_is_not_there():
    members = pl.DataFrame(
        {"group": ["g", "g", "h"], "rank": [1, 2, 1], "more": 0, "owned": False, "document": "d", "position": [0, 1, 2]}
    )
    assert duplicates(members)["position"].to_list() == [0]
    assert duplicates(members.with_columns(owned=True)).height == 3
    witnesses = pl.DataFrame({"group": ["g", "h"], "rank": [2, 1], "witnesses": [[1], [0]]})
    assert semantic_duplicates(members, witnesses)["position"].to_list() == [1]


def test_it_is_said_how_many_go(tmp_path):
    run = shelf(tmp_path)
    told = Told()
    Scheduler(run.store, run.ledger, InProcess(), told).run(phases(run.store, run.decision, run.scored, Resource()))
    assert told.duplicates["select word"] == ends(run).count(("dropped", "text: duplicate (word)")) == 5


class Told:
    """Adds up the duplicates, by the name of the phase."""

    def __init__(self) -> None:
        self.duplicates = Counter()

    def start(self, stage, total, done): ...
    def advance(self, report): ...
    def end(self, stage, counts, seconds):
        self.duplicates[stage] += counts["duplicates"]
