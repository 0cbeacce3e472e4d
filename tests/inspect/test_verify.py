"""Verify: an untouched run is good, and of a damage exactly the damaged file is named; repair, and the command."""

from __future__ import annotations

import hashlib
import shutil
import sys
from collections.abc import Iterator
from dataclasses import replace
from fnmatch import fnmatch
from pathlib import Path

import fsspec
import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))

from shards import Nobody, Shelf, page, picture, raw_shard, recipe_of
from web import Site
from world import World, copy, everything, flip

from curate import Image, Vector, scores
from curate.fetch.salvage import set_table_aside
from curate.inspect.condition import UNJUDGED, Finding, Verified
from curate.inspect.repair import repair
from curate.inspect.verify import verify
from curate.ledger.state import DAMAGED, FOREIGN, GOOD, MISSING, STALE
from curate.recipe.recipe import Recipe
from curate.store import digest, record
from curate.store.notes import files_of, files_text
from curate.store.store import Store

SHARDS = 3
COLUMNS = {"document": {"rank": float}}


@scores("image", light=float, pixels=16)
def light(images):
    return [{"light": float(each.pixels.mean())} for each in images]


@scores("image", vector=Vector, pixels=16)
def shape(images):
    return [{"vector": each.pixels.reshape(-1)[:8].astype("f4")} for each in images]


def recipe(least: float = 1.0) -> Recipe:
    return recipe_of(
        score={
            "size": {"use": "image_size"},
            "hash": {"use": "phash"},
            "light": {"use": "test_verify:light"},
            "shape": {"use": "test_verify:shape"},
        },
        group={
            "near": {"by": "hash.phash", "within": 4, "keep": "first"},
            "like": {"by": "shape.vector", "cosine": 0.999, "clusters": 2},
            "dense": {"by": "shape.vector", "eps": 0.01, "clusters": 2, "keep": "hard"},
        },
        keep=[{"image": "size.min_side", "min": least}, {"image": "light.light", "top": 0.9}],
        pack={"shard_bytes": "20KB"},
    )


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of three shards."""
    folder = tmp_path_factory.mktemp("verify") / "run"
    store = Store(folder)
    for shard in range(SHARDS):
        urls = [f"http://ex.org/{shard}/{at}.png" for at in range(6)]
        pages = [page(f"Text {at} of {shard}.", Image(url), scores={-1: {"rank": 0.5}}) for at, url in enumerate(urls)]
        pictures = {url: picture(10 * shard + at // 2, 40 + at) for at, url in enumerate(urls)}
        raw_shard(store, pages, pictures, COLUMNS, shard=f"{shard:08d}")
    store.put_json("plan.json", {"inputs": []})
    finish(folder)
    return folder


def shelf(folder: Path, least: float = 1.0) -> Shelf:
    """The run in a folder; the text of its recipe lies beside it."""
    run = Shelf(folder, recipe(least), COLUMNS)
    run.resolved.path = folder.parent / "r.yaml"
    run.resolved.path.touch()
    run.plan.__dict__["slices"] = [replace(run.plan.slices[0], shard=f"{shard:08d}") for shard in range(SHARDS)]
    return run


def finish(folder: Path, least: float = 1.0) -> None:
    """Does all that is to be done."""
    run = shelf(folder, least).do("score", "group", "select", "pack")
    assert run.stages.scheduler.failures == []


@pytest.fixture
def folder(made: Path, tmp_path: Path) -> Path:
    """A copy of it that may be damaged."""
    return Path(shutil.copytree(made, tmp_path / "run"))


def judged(folder: Path, least: float = 1.0) -> Verified:
    return verify(Store(folder), shelf(folder, least), Nobody())


def wrong(found: Verified) -> dict[str, str]:
    """What is not as it should be, or cannot be judged for that."""
    return {name: each.state for name, each in found.findings.items() if each.state not in (GOOD, UNJUDGED)}


def files(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def test_an_untouched_run_is_good(folder: Path) -> None:
    before = {name: (folder / name).stat().st_mtime_ns for name in files(folder)}
    found = judged(folder)
    assert found.sound
    assert found.counts == {GOOD: len(before)}
    assert {name: (folder / name).stat().st_mtime_ns for name in files(folder)} == before


KINDS = [
    "plan.json",
    "raw/00000001.parquet",
    "raw/00000001.tar",
    "scores/source/00000001.parquet",
    "scores/light-*/00000001.parquet",
    "scores/shape-*/00000001.vectors.parquet",
    "scores/size-*/scorer.json",
    "groups/near-*/keys/00000000.parquet",
    "groups/near-*/table/00000001.parquet",
    "groups/near-*/group.json",
    "groups/near-*/links/00000.parquet",
    "groups/like-*/ranges.json",
    "groups/dense-*/ranges.json",
    "groups/dense-*/groups/00000.parquet",
    "verdicts/*/rules.json",
    "verdicts/*/00000001.parquet",
    "verdicts/*/funnel.json",
    "out/*/meta/layout.parquet",
    "out/*/meta/000000.json",
    "out/*/000000.tar",
    "out/*/funnel.json",
    "out/*/README.md",
    "out/*/SHA256SUMS",
    "out/*/index.json",
    "ledger/*.parquet",
]
PASSING = ("groups/*/links/*", "groups/like-*/ranges.json")
"""What may be missing, as it was made only for what is there."""


def one(folder: Path, pattern: str) -> str:
    """The first file of a kind."""
    return next(name for name in files(folder) if fnmatch(name, pattern))


@pytest.mark.parametrize("kind", KINDS)
def test_of_a_damage_exactly_the_damaged_file_is_named(kind: str, folder: Path) -> None:
    name = one(folder, kind)
    path = folder / name
    whole = path.read_bytes()
    for at in (0, 4 * len(whole), 8 * len(whole) - 1):
        flip(path, at)
        assert wrong(judged(folder)) == {name: DAMAGED}, at
        path.write_bytes(whole)
    for length in (len(whole) - 1, len(whole) // 2, 0):
        path.write_bytes(whole[:length])
        assert wrong(judged(folder)) == {name: DAMAGED}, length
    path.write_bytes(whole)
    assert wrong(judged(folder)) == {}


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_missing_is_named_unless_nobody_needs_it(kind: str, folder: Path) -> None:
    name = one(folder, kind)
    (folder / name).unlink()
    harmless = kind in ("ledger/*.parquet", "scores/size-*/scorer.json") or any(fnmatch(name, each) for each in PASSING)
    assert wrong(judged(folder)) == ({} if harmless else {name: MISSING})


def test_all_that_is_made_only_for_others_may_be_missing(folder: Path) -> None:
    for pattern in (
        "groups/*/links",
        "groups/*/values",
        "groups/like-*/vectors",
        "verdicts/*/counts",
        "out/*/meta/layout",
    ):
        for path in folder.glob(pattern):
            shutil.rmtree(path)
    found = judged(folder)
    assert found.sound
    assert wrong(found) == {}


def test_files_without_notes_and_names_that_no_stage_owns_are_foreign(folder: Path) -> None:
    (folder / "notes.json").write_text("{}")
    (folder / "raw/page.html").write_text("<p>")
    (folder / "out/mine").mkdir()
    (folder / "out/mine/half.json").write_text("{")  # damaged, perhaps; but who would say that it is ours?
    score = one(folder, "scores/light-*/00000001.parquet")
    shutil.copyfile(folder / score, folder / score.replace("00000001", "00000099"))
    names = ["notes.json", "raw/page.html", "out/mine/half.json", score.replace("00000001", "00000099")]
    found = judged(folder)
    assert wrong(found) == dict.fromkeys(names, FOREIGN)
    repair(Store(folder), found.those(DAMAGED))
    assert set(names) < set(files(folder))


def test_what_another_recipe_made_is_unused_but_damage_is_seen_there_too(folder: Path) -> None:
    old = [name for name in files(folder) if name.startswith(("verdicts/", "out/"))]
    finish(folder, 43)
    found = judged(folder, 43)
    assert found.sound
    assert wrong(found) == dict.fromkeys(old, "unused")
    tar = next(name for name in old if name.endswith(".tar"))
    flip(folder / tar, 0)
    assert wrong(judged(folder, 43)) == {**dict.fromkeys(old, "unused"), tar: DAMAGED}


def test_what_is_made_from_something_else_is_stale_and_what_follows_waits(folder: Path) -> None:
    score, other = one(folder, "scores/light-*/00000001.parquet"), one(folder, "scores/light-*/00000002.parquet")
    shutil.copyfile(folder / other, folder / score)  # ours, whole, and made from another shard
    found = judged(folder)
    assert wrong(found) == {score: STALE}
    assert found.findings[one(folder, "verdicts/*/00000001.parquet")].state == UNJUDGED


def test_a_table_of_another_shard_does_not_speak_for_the_tar_of_that(folder: Path) -> None:
    raw = folder / "raw/00000000.parquet"
    shutil.copyfile(folder / "raw/00000001.parquet", raw)
    run = shelf(folder)
    run.plan.slices[0] = replace(run.plan.slices[0], by="another part")
    found = verify(run.store, run, Nobody())
    assert wrong(found) == {"raw/00000000.parquet": FOREIGN, "scores/source/00000000.parquet": STALE}
    assert found.findings["raw/00000001.tar"].state == GOOD


def test_it_says_which_pictures_of_a_tar_are_lost(folder: Path) -> None:
    path = folder / "raw/00000001.tar"
    picture_at = path.read_bytes().index(b"\x89PNG") + 100
    lost = hashlib.sha256(picture(10, 40)).hexdigest()
    flip(path, 8 * picture_at)
    found = judged(folder).findings["raw/00000001.tar"]
    assert found == Finding(
        "raw/00000001.tar", DAMAGED, "it is not what was written; 1 of its 6 pictures are lost", (lost,)
    )
    path.write_bytes(path.read_bytes()[:picture_at])
    assert "6 of its 6 pictures are lost" in judged(folder).findings["raw/00000001.tar"].why


def test_a_tar_that_strangers_would_refuse_is_damaged(folder: Path) -> None:
    sums, index = folder / one(folder, "out/*/SHA256SUMS"), folder / one(folder, "out/*/index.json")
    value, notes = record.decode(index.read_bytes())
    tar = sums.read_text().split()[1]
    sums.write_text(sums.read_text().replace(sums.read_text()[:8], "01234567", 1))
    beside = (
        each._replace(digest=digest.of_path(sums)) if each.name.endswith("SHA256SUMS") else each
        for each in files_of(notes["files"])
    )
    index.write_bytes(record.encode(value, **(notes | {"files": files_text(tuple(beside))})))
    assert wrong(judged(folder)) == {f"{sums.parent.relative_to(folder)}/{tar}": DAMAGED}


def test_on_remote_storage_it_finds_the_same(folder: Path) -> None:
    flip(folder / "raw/00000001.tar", 99)
    memory = fsspec.filesystem("memory")
    memory.put(f"{folder}/", "/verify/", recursive=True)
    here, there = (verify(store, None, Nobody()) for store in (Store(folder), Store("memory://verify")))
    assert there.findings == here.findings
    assert there.findings["raw/00000001.tar"].state == DAMAGED


def test_a_damaged_table_that_tells_what_else_there_is_is_named_as_such(folder: Path) -> None:
    layout = one(folder, "out/*/meta/layout.parquet")
    flip(folder / layout, 99)
    found = judged(folder)
    assert found.unknown == (layout,)
    assert found.findings[one(folder, "out/*/000000.tar")].state == UNJUDGED


def test_a_run_over_some_of_its_shards_is_judged_over_those(folder: Path) -> None:
    for path in [*folder.glob("*/*/00000002.*"), *folder.glob("raw/00000002.*")]:
        path.unlink()
    for name in ("groups", "verdicts", "out"):
        shutil.rmtree(folder / name)
    run = shelf(folder)
    run.stages.partial = True
    run.do("group", "select", "pack")
    found = wrong(judged(folder))
    assert {name.rpartition("/")[2][:8] for name in found} == {"00000002"}
    assert set(found.values()) == {MISSING}


@pytest.mark.parametrize("kind", [each for each in KINDS if not each.startswith(("raw", "plan", "scores/source"))])
def test_what_is_damaged_goes_and_is_made_again_with_the_same_bytes(kind: str, made: Path, folder: Path) -> None:
    name = one(folder, kind)
    flip(folder / name, 99)
    done = dict(repair(Store(folder), judged(folder).those(DAMAGED)))
    index = {one(made, "out/*/index.json")} if kind.startswith("out/") else set()
    assert done.keys() == {name} | index
    assert set(files(made)) - set(files(folder)) == {name} | index
    finish(folder)
    assert judged(folder).sound
    assert everything(folder).items() >= {each: data for each, data in everything(made).items() if each != name}.items()


def test_a_damaged_raw_tar_is_set_aside(folder: Path) -> None:
    flip(folder / "raw/00000001.tar", 99)
    ((name, what),) = repair(Store(folder), judged(folder).those(DAMAGED))
    assert name == "raw/00000001.tar"
    assert "keeps every picture" in what
    assert wrong(judged(folder)) == {"raw/00000001.tar": MISSING}


def test_what_a_kill_leaves_of_a_raw_shard_that_is_mended_is_missing(folder: Path) -> None:
    """The new tar is there, and the old table waits beside the old tar."""
    shutil.copyfile(folder / "raw/00000001.tar", folder / "raw/00000001.salvage.tar")
    set_table_aside(Store(folder), "00000001")
    found = judged(folder)
    assert wrong(found) == {"raw/00000001.parquet": MISSING}
    assert repair(Store(folder), found.those(DAMAGED)) == []


# --- the command


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """A world with a finished run."""
    with Site({}) as site:
        found = World.build(tmp_path_factory.mktemp("world"), site)
        status, said = found.run(found.folder / "run")
        assert status == 0, said
        yield found


def test_the_command_finds_nothing_in_an_untouched_run(world: World, tmp_path: Path) -> None:
    status, said = world.curate("verify", copy(world.folder / "run", tmp_path / "run"))
    assert status == 0, said
    assert [line.split()[0] for line in said.splitlines() if line.startswith("  ")] == ["good"]


def test_the_command_names_damage_mends_it_and_says_what_to_run(world: World, tmp_path: Path) -> None:
    run = copy(world.folder / "run", tmp_path / "run")
    for name in ("raw/00000001.tar", one(run, "verdicts/*/00000000.parquet"), one(run, "out/*/000000.tar")):
        flip(run / name, 4 * (run / name).stat().st_size)
    status, said = world.curate("verify", run)
    assert status == 3
    assert f"curate verify {run} --repair" in said
    assert all(len(line) <= 80 or str(tmp_path) in line for line in said.splitlines()), said
    status, said = world.curate("verify", run, "--repair")
    again = f"curate run {world.recipe} --out {run}"
    assert status == 3
    assert said.splitlines()[-1].strip() == again
    status, said = world.curate(*again.split()[1:])
    assert status == 0, said
    assert everything(run) == everything(world.folder / "run")
    assert world.curate("verify", run)[0] == 0


def test_the_command_is_judged_by_the_recipe_and_changes_that_are_given(world: World, tmp_path: Path) -> None:
    run = copy(world.folder / "run", tmp_path / "run")
    status, said = world.curate("verify", run, world.recipe, "--set", "keep.0.min=31")
    assert status == 3
    assert "unused" in said
    assert "--set keep.0.min=31" in said


@pytest.mark.parametrize("name", ["latest.json", "plan.json"])
def test_notes_of_the_run_itself_are_mended(name: str, world: World, tmp_path: Path) -> None:
    run = copy(world.folder / "run", tmp_path / "run")
    flip(run / name, 99)
    status, said = world.curate("verify", run, "--repair")
    assert status == 3
    assert f"  {name}\n" in said
    assert not (run / name).exists()
    status, said = world.run(run)
    assert status == 0, said
    assert everything(run) == everything(world.folder / "run")


def test_a_folder_without_notes_needs_a_recipe(world: World, tmp_path: Path) -> None:
    status, said = world.curate("verify", tmp_path)
    assert status == 2
    assert "name the recipe" in said
