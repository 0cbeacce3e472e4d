"""Inputs that change between two commands: refused with the difference, or no row is lost and none doubled."""

from __future__ import annotations

import gzip
import json
import os
import shutil
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from web import Site
from world import World, copy, everything, flip

from curate.fetch import salvage
from curate.fetch.crawl import FetchShard, job_of
from curate.ledger.ledger import Ledger
from curate.ledger.making import done
from curate.recipe.section import RecipeError
from curate.run import plan
from curate.run.bind import Resolved
from curate.run.plan import PLAN, Plan
from curate.source.rows import BadFile
from curate.store.digest import DamagedFile, ForeignFile
from curate.store.files import Files
from curate.store.store import Store

ROWS, SHARD = 40, 5


@dataclass
class Corpus:
    """A folder with inputs, and a recipe that asks a site for them."""

    folder: Path
    site: Site
    pattern: str = "in/*"
    limit: int | None = None
    changes: tuple[tuple[str, str], ...] = ()

    def rows(self, first: int = 0, count: int = ROWS) -> list[dict[str, str]]:
        return [{"url": self.site.url(f"/{at:03}.jpg"), "text": f"row {at:03}"} for at in range(first, first + count)]

    def write(self, name: str, rows: list[dict[str, str]]) -> Path:
        path = self.folder / "in" / name
        path.parent.mkdir(exist_ok=True)
        if path.suffix == ".parquet":
            pq.write_table(pa.Table.from_pylist(rows), path, row_group_size=7)
        else:
            path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        return path

    @property
    def store(self) -> Store:
        return Store(self.folder / "run")

    def plan(self) -> Plan:
        (self.folder / "r.yaml").write_text(
            f"source: {{reader: laion, path: '{self.pattern}', shard: {SHARD}}}\n"
            "fetch: {allow_loopback: true, retries: 0}\n"
        )
        return Plan(Resolved(self.folder / "r.yaml", dict(self.changes)), self.store, self.limit)

    def fetch(self, most: int | None = None) -> Plan:
        """What the stage does, for so many shards: plans, checks, and fetches what is not there."""
        made, ledger = self.plan(), Ledger(self.store)
        recipe, reader = made.resolved.recipe, made.resolved.reader
        made.check_inputs(lambda: {path.stem for path in (self.folder / "run/raw").glob("*.parquet")})
        jobs = ledger.unfinished(job_of(part, reader) for part in made.slices)
        assert ledger.blocked(jobs) == {}
        for job in jobs[:most]:
            done(self.store, ledger.handed(job), FetchShard(recipe.source, reader, recipe.fetch))
        return made

    def texts(self) -> Counter[str]:
        """How often each row was fetched."""
        files, names = Files(self.store), sorted((self.folder / "run/raw").glob("*.parquet"))
        tables = [files.read(f"raw/{path.name}") for path in names]
        return Counter(text for table in tables for text in table.filter(kind="text")["text"])

    def refused(self) -> str:
        """What is said when the run is gone on with; nothing is asked for."""
        self.site.hits.clear()
        with pytest.raises(RecipeError) as raised:
            self.fetch()
        assert not self.site.hits
        said = str(raised.value)
        assert "Put the old files back, or give this run another folder (--out)." in said
        return said


@pytest.fixture
def corpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Corpus]:
    monkeypatch.chdir(tmp_path)
    with Site({}) as site:
        yield Corpus(tmp_path, site)


def all_once(corpus: Corpus, *rows: dict[str, str]) -> bool:
    return corpus.texts() == {row["text"]: 1 for row in rows or corpus.rows()}


@pytest.mark.parametrize("fetched", [4, None])
def test_a_parquet_file_with_its_rows_reversed_is_refused(fetched: int | None, corpus: Corpus) -> None:
    path = corpus.write("a.parquet", corpus.rows())
    kept = path.read_bytes()
    corpus.fetch(fetched)
    corpus.write("a.parquet", corpus.rows()[::-1])
    assert "a.parquet: changed (other content, 40 rows as before)" in corpus.refused()
    path.write_bytes(kept)
    corpus.fetch()
    assert all_once(corpus)


@pytest.mark.parametrize("fetched", [4, None])
@pytest.mark.parametrize("how", ["grown", "shrunk", "changed"])
def test_lines_that_were_added_lost_or_edited_are_refused(how: str, fetched: int | None, corpus: Corpus) -> None:
    path = corpus.write("a.jsonl", corpus.rows())
    kept = path.read_bytes()
    corpus.fetch(fetched)
    if how == "grown":
        corpus.write("a.jsonl", corpus.rows(count=ROWS + 1))
    elif how == "shrunk":
        corpus.write("a.jsonl", corpus.rows(1, ROWS - 1))
    else:
        path.write_bytes(kept.replace(b"row 007", b"row 700"))
    assert f"a.jsonl: {how} (" in corpus.refused()
    path.write_bytes(kept)
    corpus.fetch()
    assert all_once(corpus)


def test_every_difference_is_named(corpus: Corpus) -> None:
    for at, name in enumerate(("a.jsonl", "b.jsonl", "c.jsonl")):
        corpus.write(name, corpus.rows(at * 10, 10))
    corpus.fetch(3)
    corpus.write("a.jsonl", corpus.rows(0, 9))
    (corpus.folder / "in/b.jsonl").unlink()
    (corpus.folder / "in/c.jsonl").unlink()
    corpus.write("d.jsonl", corpus.rows(30, 10))
    size = len(json.dumps(corpus.rows()[0])) + 1
    assert [line.strip() for line in corpus.refused().splitlines()[1:-1]] == [
        f"a.jsonl: shrunk ({10 * size:,} bytes -> {9 * size:,})",
        "b.jsonl: gone; shards that need it: 1",
        "c.jsonl: gone; shards that need it: 2",
        "d.jsonl: new",
    ]


def test_a_second_file_that_matches_is_refused_but_not_where_only_the_first_rows_are_wanted(corpus: Corpus) -> None:
    corpus.write("b.jsonl", corpus.rows())
    corpus.fetch()
    added = corpus.write("a.jsonl", corpus.rows(100))
    assert "a.jsonl: new" in corpus.refused()
    added.unlink()
    assert len(corpus.fetch().slices) == 8
    shutil.rmtree(corpus.folder / "run")
    corpus.limit = 7
    corpus.fetch()
    corpus.write("a.jsonl", corpus.rows(100))
    corpus.fetch()
    assert all_once(corpus, *corpus.rows(0, 7))


def test_a_touched_file_is_the_same_and_noted_so(corpus: Corpus) -> None:
    for name in ("a.jsonl", "b.parquet"):
        path = corpus.write(name, corpus.rows(0 if name == "a.jsonl" else ROWS))
    corpus.fetch(4)
    before = corpus.store.bytes_of(PLAN)
    for name in ("a.jsonl", "b.parquet"):
        os.utime(corpus.folder / "in" / name, (1, 1))
    corpus.fetch(4)
    assert corpus.store.get_json(PLAN)["inputs"][0]["stamp"] == "1.0"
    assert corpus.store.bytes_of(PLAN) != before
    corpus.fetch()
    assert all_once(corpus, *corpus.rows(0, 2 * ROWS))
    assert path.exists()


def test_a_moved_folder_goes_on_where_it_was(corpus: Corpus, monkeypatch: pytest.MonkeyPatch) -> None:
    corpus.write("a.jsonl", corpus.rows())
    corpus.fetch(4)
    new = corpus.folder.with_name(corpus.folder.name + "-moved")
    corpus.folder.rename(new)
    monkeypatch.chdir(new)
    corpus.folder = new
    corpus.fetch()
    assert all_once(corpus)


def test_a_file_that_is_gone_is_missed_only_while_it_is_needed(corpus: Corpus) -> None:
    path = corpus.write("a.jsonl", corpus.rows())
    corpus.fetch(4)
    kept = path.read_bytes()
    path.unlink()
    assert "a.jsonl: gone; shards that need it: 4" in corpus.refused()
    assert len(corpus.plan().slices) == 8  # as questions ask
    path.write_bytes(kept)
    corpus.fetch()
    path.unlink()
    corpus.fetch()
    assert all_once(corpus)


def test_a_file_that_could_not_be_read_and_can_be_now_is_named(corpus: Corpus) -> None:
    corpus.write("a.jsonl", corpus.rows())
    bad = corpus.write("b.jsonl.gz", [])
    bad.write_bytes(b"no gzip")
    failures = corpus.fetch().failures
    assert ["b.jsonl.gz" in str(each) for each in failures] == [True]
    os.utime(bad, (1, 1))
    assert len(corpus.fetch().failures) == 1
    bad.write_bytes(b"no gzip either")
    assert "b.jsonl.gz: grown (7 bytes -> 14; it could not be read when shards were planned)" in corpus.refused()


def test_a_file_that_changes_after_it_was_looked_at_is_not_read(corpus: Corpus) -> None:
    path = corpus.write("a.jsonl", corpus.rows())
    made = corpus.plan()
    made.check_inputs(set)
    part = made.slices[1]
    path.write_bytes(path.read_bytes() + b"{}\n")
    recipe, reader, ledger = made.resolved.recipe, made.resolved.reader, Ledger(corpus.store)
    with pytest.raises(BadFile, match="changed while this run went on"):
        done(corpus.store, ledger.handed(job_of(part, reader)), FetchShard(recipe.source, reader, recipe.fetch))


# --- the plan itself


@pytest.mark.parametrize("name", ["a.jsonl", "a.jsonl.gz", "a.parquet"])
@pytest.mark.parametrize("limit", [None, 17])
def test_the_shards_follow_from_the_plan_without_the_inputs(name: str, limit: int | None, corpus: Corpus) -> None:
    corpus.limit = limit
    path = corpus.write(name, corpus.rows())
    if name.endswith(".gz"):
        path.write_bytes(gzip.compress(path.read_bytes()))
    corpus.write("b.jsonl", corpus.rows(ROWS, 12))
    corpus.write("c.jsonl", [])
    made = corpus.plan()
    slices = made.slices
    assert [part.offset > 0 for part in slices[:3]] == [False, *2 * [not name.endswith("parquet")]]
    assert sum(part.count for part in slices) == (limit or ROWS + 12)
    made.check_inputs(set)
    shutil.rmtree(corpus.folder / "in")
    again = corpus.plan()
    assert again.slices == slices
    again.check_inputs(lambda: {part.shard for part in slices})
    assert again.slices == slices


def test_a_lost_plan_is_made_again_and_shards_of_the_same_rows_are_kept(corpus: Corpus) -> None:
    path = corpus.write("a.jsonl", corpus.rows())
    corpus.fetch(4)
    before = corpus.store.bytes_of(PLAN)
    corpus.store.remove(PLAN)
    corpus.site.hits.clear()
    corpus.fetch()
    assert corpus.store.bytes_of(PLAN) == before
    assert sorted(corpus.site.hits) == [f"/{at:03}.jpg" for at in range(20, 40)]
    assert all_once(corpus)
    corpus.store.remove(PLAN)
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(reversed(lines)))
    with pytest.raises(RecipeError, match=r"has no plan\.json, and raw/00000000\.parquet was made by another plan"):
        corpus.fetch()
    assert not corpus.store.exists(PLAN)
    path.write_bytes(b"".join(lines))
    corpus.fetch()
    assert all_once(corpus)


def test_a_damaged_plan_is_named_with_what_mends_it(corpus: Corpus) -> None:
    corpus.write("a.jsonl", corpus.rows())
    corpus.fetch()
    path = Path(corpus.store.path(PLAN))
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with pytest.raises(DamagedFile, match=r"plan\.json is damaged .*curate verify .* --repair"):
        corpus.fetch()
    path.unlink()  # as that does
    corpus.site.hits.clear()
    corpus.fetch()
    assert not corpus.site.hits


def test_a_plan_without_our_notes_is_foreign(corpus: Corpus) -> None:
    corpus.write("a.jsonl", corpus.rows())
    corpus.fetch(0)
    found = corpus.store.get_json(PLAN)
    Path(corpus.store.path(PLAN)).write_text(json.dumps(found))
    with pytest.raises(ForeignFile, match=r"plan\.json is foreign"):
        corpus.fetch()


def test_another_file_of_ours_in_the_place_of_the_plan_is_foreign(corpus: Corpus) -> None:
    corpus.write("a.jsonl", corpus.rows())
    corpus.fetch(0)
    corpus.store.put_json(PLAN, {"recipe": "r.yaml", "limit": None, "set": {}})
    with pytest.raises(ForeignFile, match=r"plan\.json is foreign \(it is no plan\)"):
        corpus.fetch()


def test_settings_that_came_later_are_no_difference_while_they_are_what_was_done(
    corpus: Corpus, monkeypatch: pytest.MonkeyPatch
) -> None:
    corpus.write("a.jsonl", corpus.rows())
    with monkeypatch.context() as older:
        older.setattr(plan, "FETCH", plan.FETCH - {"max_pixels"})
        corpus.fetch()
    before = corpus.store.bytes_of(PLAN)
    corpus.site.hits.clear()
    corpus.fetch()
    assert corpus.store.bytes_of(PLAN) == before
    assert not corpus.site.hits
    corpus.changes = (("fetch.max_pixels", "99"),)
    with pytest.raises(RecipeError, match=r"fetch\.max_pixels: 178956970 -> 99"):
        corpus.fetch()


def test_parts_of_resize_that_came_later_are_no_difference_either(
    corpus: Corpus, monkeypatch: pytest.MonkeyPatch
) -> None:
    corpus.write("a.jsonl", corpus.rows())
    corpus.changes = (("fetch.resize", "{size: 64}"),)
    now = plan.fingerprint

    def then(*given: Any) -> dict[str, Any]:
        noted = now(*given)
        del noted["fetch.resize"]["decode"], noted["fetch.resize"]["max_area"]
        return noted

    with monkeypatch.context() as older:
        older.setattr(plan, "fingerprint", then)
        corpus.fetch()
    assert "decode" not in corpus.store.get_json(PLAN)["fingerprint"]["fetch.resize"]
    assert len(corpus.fetch().slices) == 8
    corpus.changes = ()
    with pytest.raises(RecipeError, match=r"fetch\.resize"):
        corpus.fetch()


def test_what_a_shard_is_made_by_follows_from_its_rows_and_settings(corpus: Corpus) -> None:
    corpus.write("a.jsonl", corpus.rows())
    corpus.write("b.jsonl", corpus.rows())
    first = [part.by for part in corpus.fetch(0).slices]
    assert len(set(first)) == len(first) == 16
    shutil.rmtree(corpus.folder / "run")
    assert [part.by for part in corpus.fetch(0).slices] == first
    for changes in ((("source.max_text", "77"),), (("fetch.max_bytes", "77"),)):
        shutil.rmtree(corpus.folder / "run")
        corpus.changes = changes
        assert not {part.by for part in corpus.fetch(0).slices} & {*first}


# --- as commands


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[World, Path]]:
    folder = tmp_path_factory.mktemp("world")
    with Site({}) as site:
        built = World.build(folder, site)
        status, said = built.run(folder / "run")
        assert status == 0, said
        yield built, folder / "run"


def test_a_command_refuses_changed_inputs_with_2_and_goes_on_once_they_are_back(world: tuple[World, Path]) -> None:
    built, run = world
    pages, before = built.folder / "pages.jsonl", everything(run)
    kept = pages.read_bytes()
    pages.write_bytes(b"".join(reversed(kept.splitlines(keepends=True))))
    for command in ("run", "fetch"):
        status, said = built.run(run, command=command)
        assert status == 2
        assert "pages.jsonl: changed (other content" in " ".join(said.split())
    for command in ("score", "select"):  # these read what was fetched
        status, said = built.run(run, command=command)
        assert status == 0, said
    pages.write_bytes(kept)
    status, said = built.run(run)
    assert (status, built.jobs) == (0, {}), said
    after = everything(run)
    for name in ("plan.json", "latest.json"):  # times of files; which command was last
        del before[name], after[name]
    assert after == before


def test_questions_do_not_need_the_source(world: tuple[World, Path]) -> None:
    built, run = world
    pages = built.folder / "pages.jsonl"
    away = pages.rename(pages.with_suffix(".away"))
    try:
        for question in (["show", str(run)], ["hist", "size.min_side", "--run", str(run)]):
            status, said = built.curate(*question)
            assert status == 0, said
        status, said = built.run(run)
        assert (status, built.jobs) == (0, {}), said
    finally:
        away.rename(pages)


def test_a_damaged_tar_costs_one_request_of_a_run(world: tuple[World, Path], tmp_path: Path) -> None:
    built, whole = world
    run = copy(whole, tmp_path / "run")
    shard = sorted((run / "raw").glob("*.tar"))[1].stem
    places = Files(Store(run)).read(f"raw/{shard}.parquet").filter(kind="image", status="ok")
    flip(run / f"raw/{shard}.tar", 8 * (places["offset"][-1] + 20))
    salvage.set_aside(Store(run), shard)
    built.site.hits.clear()
    status, said = built.run(run)
    assert status == 0, said
    assert sum(built.site.hits.values()) == 1
    assert set(built.jobs) == {"fetch"}  # the pictures are what they were, so nothing else is stale
    assert everything(run) == everything(whole)
