"""Questions tell only what is as it would be made now; else they say which command makes it."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))

from shards import Shelf, page, raw_shard, recipe_of
from web import Site
from world import World, copy, picture

from curate import scores
from curate.inspect import explain
from curate.inspect.fresh import states_of
from curate.inspect.reading import Reading
from curate.ledger.job import FileSet, Target
from curate.ledger.state import FOREIGN, GOOD, STALE
from curate.recipe.section import RecipeError
from curate.report import Entry
from curate.store import digest
from curate.store.store import Stat, Store

ADDED = {"words": 0}


@scores("text", words=int)
def words(texts):
    return [{"words": len(text.text.split()) + ADDED["words"]} for text in texts]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with Site({}) as site:
        built = World.build(tmp_path_factory.mktemp("world"), site)
        status, said = built.run(built.folder / "run")
        assert status == 0, said
        yield built


def asked(world: World, run: Path, *question: str) -> tuple[int, str]:
    status, said = world.curate(*question)
    return status, " ".join(said.split()).replace(str(run), "RUN").replace(str(world.recipe), "RECIPE")


@pytest.mark.parametrize("how", ["score", "fetch"])
def test_what_was_decided_before_is_not_told_after_something_changed(how: str, world: World, tmp_path: Path) -> None:
    run = copy(world.folder / "run", tmp_path / "run")
    questions = (
        ["show", str(run)],
        ["why", "http://ex.org/5", "--run", str(run)],
        ["hist", "near.size", "--run", str(run)],
    )
    for each in questions:
        assert asked(world, run, *each)[0] == 0
    pages = dict(world.site.pages)
    try:
        if how == "score":
            (world.folder / "tilt.txt").write_text("1")
            for path in run.glob("scores/light-*/00000001.*"):
                path.unlink()
        else:
            world.site.pages = {**pages, "/5b.png": picture(4711, 50)}
            (run / "raw/00000001.parquet").unlink()
            assert world.run(run, command="fetch")[0] == 0
            status, said = asked(world, run, "hist", "light.light", "--run", str(run))
            assert status == 2
            assert said.endswith("is stale: curate score RECIPE"), said
        assert world.run(run, command="score")[0] == 0
        for each in questions[:2]:
            status, said = asked(world, run, *each)
            assert status == 2
            assert "RUN: the verdicts for RECIPE are stale: curate select RECIPE" in said
        if how == "fetch":  # another picture has another hash
            status, said = asked(world, run, *questions[2])
            assert status == 2
            assert said.endswith("is stale: curate group RECIPE"), said
        assert world.run(run, command="select")[0] == 0
        for each in questions:
            assert asked(world, run, *each)[0] == 0
    finally:
        world.site.pages = pages
        (world.folder / "tilt.txt").write_text("0")


def test_of_one_shard_only_its_own_verdicts_have_to_be_good(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store(tmp_path)
    for shard in ("00000000", "00000001"):
        raw_shard(store, [page(f"Text of {shard}.")], {}, shard=shard)
    recipe = recipe_of(score={"w": {"use": "test_stale:words"}}, keep=[{"text": "w.words", "min": 1}], empty="keep")
    run = Shelf(tmp_path, recipe).do("score", "select")
    funnel = run.funnel
    documents = dict(explain.find(run, ""))
    for path in tmp_path.glob("scores/*/00000001.parquet"):
        path.unlink()
    monkeypatch.setitem(ADDED, "words", 3)
    run.do("score")
    assert explain.why(run, "00000000", documents["00000000"])[1].state == "kept"
    with pytest.raises(RecipeError, match="are stale: curate select"):
        explain.why(run, "00000001", documents["00000001"])
    with pytest.raises(RecipeError, match="are stale: curate select"):
        _ = run.funnel
    run.do("select")
    assert run.funnel == funnel
    assert explain.why(run, "00000001", documents["00000001"])[1].scores == {"w.words": 6}


def test_a_set_with_a_foreign_file_vouches_for_nothing() -> None:
    store, whole = Store("memory://nothing"), digest.of_bytes(b"x")
    contents = {"raw/a.parquet": digest.of_bytes(b"a"), "raw/b.parquet": digest.of_bytes(b"b")}
    everything = FileSet("all", tuple(contents))
    origin = digest.of_origin("t.parquet", digest.of_files({"all": digest.of_files(contents)}))
    entries = [Entry(name, 1, "", "another plan", b"", content) for name, content in contents.items()]
    entries.append(Entry("t.parquet", 1, "", "", origin, whole))
    readings = {each.name: Reading(Stat(1, ""), whole, "", each) for each in entries}
    of_set = Target("t.parquet", (everything,))
    assert states_of(store, readings, [of_set])["t.parquet"][0] == GOOD
    raw = Target("raw/a.parquet", by="this plan", fixed=True)
    states = states_of(store, readings, [raw, of_set])
    assert [states[name][0] for name in ("raw/a.parquet", "t.parquet")] == [FOREIGN, STALE]
