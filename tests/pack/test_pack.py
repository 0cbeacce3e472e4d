import hashlib
import json
import os
import pickle
import shutil
import subprocess
import sys
import tarfile
from dataclasses import dataclass
from pathlib import Path

import polars as pl
import pytest
import webdataset
import wids
from shards import Nobody, curated, page, picture, raw_shard, recipe_of

from curate import Image, scores
from curate.document import DOCUMENT
from curate.pack.index import job_of as index_job
from curate.pack.layout import phases as layout_phases
from curate.pack.output_folder import Output, output_name
from curate.pack.write import jobs_of
from curate.recipe.output import Pack, Place
from curate.recipe.recipe import Resource
from curate.run.executor import InProcess
from curate.store.chunks import shard_name
from curate.store.store import Store

URLS = [f"http://ex.org/{at}.png" for at in range(20)]
PICTURES = {url: picture(at, 40 + at, 30, "jpg" if at % 2 else "png") for at, url in enumerate(URLS)}
IMAGES = [Image(url) for url in URLS]
WEBDATASET1 = Path(os.environ.get("CURATE_WEBDATASET1", f"{sys.prefix}/webdataset1"))
REMEDY = (
    f"{WEBDATASET1} is missing: run `make test`, or `pip install --no-deps --target {WEBDATASET1} 'webdataset>=1.0,<2'`"
)
READ = """
import json, sys, webdataset
assert webdataset.__version__.startswith("1."), webdataset.__version__
for sample in webdataset.WebDataset(sys.argv[1], shardshuffle=False):
    print(json.dumps([sample["__key__"], {name: len(data) for name, data in sample.items() if name[:2] != "__"}]))
"""


@scores("image", number=int, ratio=float)
def facts(images):
    return [{"number": image.width, "ratio": image.width / 30} if image.width != 41 else None for image in images]


@scores("document", image={"sims": list[float]})
def alike(documents):
    """Each image is most like the text at the mirrored place."""
    found = []
    for document in documents:
        count = len(document.texts)
        rows = {at: [0.1] * count for at in document.images}
        for number, row in enumerate(rows.values()):
            row[count - 1 - number % count] = 0.9
        found.append({at: {"sims": row} for at, row in rows.items()})
    return found


def packed(folder, pages, pictures=PICTURES, columns=None, **sections):
    """The folder of the tars that these pages come to."""
    folder.mkdir(exist_ok=True)
    raw_shard(Store(folder), pages, pictures, columns)
    return curated(folder, recipe_of(**sections), columns)


def samples(tar):
    return list(webdataset.WebDataset(str(tar), shardshuffle=False))


def only(folder):
    (sample,) = samples(folder / "000000.tar")
    return sample, json.loads(sample["json"])


def members(folder):
    found = []
    for path in sorted(folder.glob("*.tar")):
        with tarfile.open(path) as tar:
            found += tar.getmembers()
    return found


def suffix(name):
    return name.partition(".")[2]


@pytest.fixture
def twelve(tmp_path):
    """A page of twelve images, each followed by its text."""
    segments = [each for at in range(12) for each in (IMAGES[at], f"text {at}")]
    return packed(tmp_path, [page(*segments)])


def test_twelve_images_come_back_in_order_with_their_texts(twelve):
    sample, content = only(twelve)
    names = [name for name in content["images"] if name]
    assert [sample[name] for name in names] == [PICTURES[url] for url in URLS[:12]]
    assert content["texts"] == [None if at % 2 == 0 else f"text {at // 2}" for at in range(24)]
    assert names == [f"{at:03d}.{'jpg' if at % 2 else 'png'}" for at in range(12)]


def test_webdataset_1_reads_the_same(twelve):
    assert (WEBDATASET1 / "webdataset").is_dir(), REMEDY
    environment = os.environ | {"PYTHONPATH": str(WEBDATASET1)}
    command = [sys.executable, "-c", READ, str(twelve / "000000.tar")]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    sample = samples(twelve / "000000.tar")[0]
    sizes = {name: len(data) for name, data in sample.items() if not name.startswith("__")}
    assert [json.loads(line) for line in done.stdout.splitlines()] == [[sample["__key__"], sizes]]


def test_wids_reads_by_index(tmp_path):
    out = packed(tmp_path, [page(IMAGES[at], f"text {at}") for at in range(5)], pack={"shard_count": 2})
    found = wids.ShardListDataset(str(out / "index.json"), cache_dir=str(tmp_path / "cache"), transformations=[])
    assert len(found) == 5
    texts = [json.load(found[at][".json"])["texts"] for at in range(5)]
    assert texts == [[None, f"text {at}"] for at in range(5)]


# --- the layout that Megatron-Energon reads


def test_exactly_one_of_text_and_image_stands_at_each_index_and_no_name_dangles(tmp_path):
    pages = [
        page("a b", IMAGES[0], Image("http://ex.org/dead.png"), "c", IMAGES[1]),
        page(IMAGES[2], "d", IMAGES[0], "e f"),
    ]
    keep = [{"text": "w.words", "min": 2}, {"image": "raw.width", "max": 41}]
    out = packed(tmp_path, pages, score={"w": {"use": "text_stats"}}, keep=keep)
    for sample in samples(out / "000000.tar"):
        content = json.loads(sample["json"])
        assert len(content["texts"]) == len(content["images"]) == len(content["segments"])
        assert all(
            (text is None) != (image is None) for text, image in zip(content["texts"], content["images"], strict=True)
        )
        assert {name for name in content["images"] if name} | {"json"} == {name for name in sample if name[:2] != "__"}
    assert [json.loads(sample["json"])["texts"] for sample in samples(out / "000000.tar")] == [
        ["a b", None, None],
        [None, "e f"],
    ]


def test_names_have_one_key_without_dots_and_lower_case_suffixes(twelve):
    names = [member.name for member in members(twelve)]
    (key,) = {name.partition(".")[0] for name in names}
    assert len(key) == 32
    assert set(key) <= set("0123456789abcdef")
    assert [suffix(name) for name in names] == sorted(map(suffix, names))
    assert names[-1] == f"{key}.json"


def test_two_pages_of_one_host_never_merge(tmp_path):
    pages = [page(IMAGES[at], "x", url=f"http://ex.org/a.{form}") for at, form in enumerate(("pdf", "html"))]
    out = packed(tmp_path, pages)
    found = samples(out / "000000.tar")
    assert len({sample["__key__"] for sample in found}) == 2
    assert [json.loads(sample["json"])["origin"]["url"] for sample in found] == [
        "http://ex.org/a.pdf",
        "http://ex.org/a.html",
    ]


def test_a_thousand_images_stay_in_order(tmp_path):
    out = packed(tmp_path, [page("x", *[IMAGES[0]] * 1001)])
    names = [suffix(member.name) for member in members(out)]
    assert names[0] == "0000.png"
    assert names[:-1] == sorted(names[:-1])
    assert len(names) == 1002


def test_members_are_adjacent_and_the_json_is_last(tmp_path):
    out = packed(tmp_path, [page("x", IMAGES[at], IMAGES[at + 1]) for at in range(3)])
    names = [member.name.partition(".") for member in members(out)]
    assert [name[2] for name in names[:6]] == ["000.png", "001.jpg", "json", "000.jpg", "001.png", "json"]
    assert len({names[at][0] for at in (0, 1, 2)}) == 1


# --- the same bytes


def files(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_owner_mode_and_time_are_fixed(twelve):
    assert {
        (member.mtime, member.uid, member.gid, member.uname, member.gname, member.mode) for member in members(twelve)
    } == {(0, 0, 0, "", "", 0o644)}


def test_the_same_input_is_packed_into_the_same_bytes(tmp_path):
    sections = {"score": {"f": {"use": "test_pack:facts"}}, "pack": {"shard_count": 2}}
    for name in ("one", "two"):
        packed(tmp_path / name, [page(IMAGES[at], "x") for at in range(5)], **sections)
    one, two = (files(tmp_path / name / "out") for name in ("one", "two"))
    assert one == two
    assert len([name for name in one if name.endswith(".tar")]) == 3


def test_the_sums_are_true(twelve):
    lines = [line.split("  ") for line in (twelve / "SHA256SUMS").read_text().splitlines()]
    assert lines == [[hashlib.sha256((twelve / "000000.tar").read_bytes()).hexdigest(), "000000.tar"]]
    (shard,) = json.loads((twelve / "index.json").read_text())["shardlist"]
    assert shard["filesize"] == (twelve / "000000.tar").stat().st_size
    assert shard["md5sum"] == hashlib.md5((twelve / "000000.tar").read_bytes()).hexdigest()


# --- cutting


def counts(out):
    return [shard["nsamples"] for shard in json.loads((out / "index.json").read_text())["shardlist"]]


def test_tars_are_cut_by_count(tmp_path):
    assert counts(packed(tmp_path, [page(IMAGES[0], f"x{at}") for at in range(7)], pack={"shard_count": 3})) == [
        3,
        3,
        1,
    ]


def test_tars_are_cut_by_bytes_and_stay_within_them(tmp_path):
    out = packed(tmp_path, [page(IMAGES[at], f"x{at}") for at in range(20)], pack={"shard_bytes": "40KB"})
    assert sum(counts(out)) == 20
    assert len(counts(out)) > 3
    assert max(path.stat().st_size for path in out.glob("*.tar")) <= 40_000


def test_a_document_that_is_too_large_has_a_tar_of_its_own(tmp_path):
    pages = [page(IMAGES[0], "x"), page(*IMAGES, "huge"), page(IMAGES[1], "y")]
    assert counts(packed(tmp_path, pages, pack={"shard_bytes": "20KB"})) == [1, 1, 1]


def test_a_tar_reaches_over_shards(tmp_path):
    shards = ("00000000", "00000063", "00000064")
    for shard in shards:
        pages = [page(IMAGES[at], f"{shard} {at}") for at in range(2 if shard != "00000063" else 0)] or ["reject"]
        raw_shard(Store(tmp_path), pages, PICTURES, shard=shard)
    out = curated(tmp_path, recipe_of(pack={"shard_count": 3}), shards=shards)
    texts = [json.loads(sample["json"])["texts"][1] for tar in sorted(out.glob("*.tar")) for sample in samples(tar)]
    assert texts == ["00000000 0", "00000000 1", "00000064 0", "00000064 1"]
    assert counts(out) == [3, 1]


def test_nothing_kept_is_an_index_without_tars(tmp_path):
    out = packed(tmp_path, [page("no image")])
    assert counts(out) == []
    assert list(out.glob("*.tar")) == []


# --- what is lost is made again, and nothing else


class Watching(Nobody):
    """Remembers the phases, and the jobs that were done in each."""

    def __init__(self):
        self.done = []

    def start(self, phase, total, done):
        self.done += [(phase, total - done)] if total > done else []


SHARDS = ("00000000", "00000064")
EVERYTHING = [("pack sizes", 2), ("pack layout", 1), ("pack", 3), ("pack index", 1)]


def pairs_in(folder, executor=None):
    """Packs six pairs of two raw shards; the files, and the phases with what was done in them."""
    folder.mkdir(exist_ok=True)
    for shard in SHARDS:
        pages = [page(IMAGES[at], f"x{at}", url=f"http://ex.org/{shard}/{at}") for at in range(3)]
        raw_shard(Store(folder), pages, PICTURES, shard=shard)
    recipe, watching = recipe_of(pack={"format": "pairs", "shard_count": 2}), Watching()
    return files(curated(folder, recipe, None, SHARDS, executor, watching)), watching.done


def test_a_finished_output_needs_none_of_its_temporary_files(tmp_path):
    before, done = pairs_in(tmp_path)
    assert done == EVERYTHING
    shutil.rmtree(tmp_path / "out/x/meta/layout")
    after, done = pairs_in(tmp_path)
    assert done == []
    assert after.keys() == before.keys() - {f"meta/layout/{shard}.parquet" for shard in SHARDS}


@pytest.mark.parametrize(
    ("lost", "again"),
    [
        ("00001.tar", [("pack", 1)]),
        ("00001.parquet", [("pack", 1)]),
        ("meta/000001.json", [("pack", 1)]),
        ("meta/layout.parquet", [("pack layout", 1)]),
        ("index.json", [("pack index", 1)]),
        ("SHA256SUMS", [("pack index", 1)]),
        ("README.md", [("pack index", 1)]),
    ],
)
def test_a_lost_file_is_made_again_and_no_other(lost, again, tmp_path):
    before, _ = pairs_in(tmp_path)
    (tmp_path / "out/x" / lost).unlink()
    written = {path: path.stat().st_mtime_ns for path in (tmp_path / "out/x").rglob("*") if path.is_file()}
    after, done = pairs_in(tmp_path)
    assert (done, after) == (again, before)
    assert {path: path.stat().st_mtime_ns for path in written} == written


@dataclass
class Dies:
    """Does a few jobs of the tars, and no more."""

    left: int

    def run(self, phase, jobs, done):
        if phase.name == "pack":
            InProcess().run(phase, jobs[: self.left], done)
            raise KeyboardInterrupt
        return InProcess().run(phase, jobs, done)


def test_a_run_that_was_killed_between_tars_goes_on(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        pairs_in(tmp_path / "killed", Dies(1))
    assert not (tmp_path / "killed/out/x/index.json").exists()
    after, done = pairs_in(tmp_path / "killed")
    assert done == [("pack", 2), ("pack index", 1)]
    assert after == pairs_in(tmp_path / "whole")[0]


def test_a_tar_names_all_that_it_is_made_from(tmp_path):
    pages = [page(IMAGES[0], "a")]
    out = packed(tmp_path, pages, score={"w": {"use": "text_stats"}})
    (out / "000000.tar").unlink()
    (tmp_path / "raw/00000000.tar").unlink()
    with pytest.raises(AssertionError, match=r"reads raw/00000000\.tar, which is not there"):
        curated(tmp_path, recipe_of(score={"w": {"use": "text_stats"}}))


def test_jobs_and_workers_are_small():
    shards = [shard_name(number) for number in range(64)]
    output = Output("out/laion-18fa9623", recipe_of(), "verdicts/18fa9623", {}, {})
    (layout,) = layout_phases(Store("s3://bucket/run"), output, shards, Resource())
    (sizes,) = layout.first()
    jobs = [*sizes.jobs, *layout.jobs, *jobs_of(output, [(0, shards * 100)]), index_job(output, 100_000)]
    assert [len(pickle.dumps(job)) < 4096 for job in jobs] == [True] * 4
    assert all(len(pickle.dumps(phase.worker)) < 4096 for phase in (sizes, layout))


# --- what the json says


def test_scores_and_origin_travel_along(tmp_path):
    columns = {"document": {"quality": float}, "image": {"faces": int}}
    pages = [page(IMAGES[0], "x", IMAGES[1], scores={DOCUMENT: {"quality": 0.26}, 0: {"faces": 2}})]
    _, content = only(packed(tmp_path, pages, columns=columns, score={"f": {"use": "test_pack:facts"}}))
    assert content["scores"] == {"source.quality": 0.26}
    first, text, second = content["segments"]
    assert first["scores"] == {"f.number": 40, "f.ratio": 1.3333334, "source.faces": 2}
    assert (text["scores"], second["scores"]) == ({}, {})
    assert content["origin"] == {"corpus": "test", "file": "t.jsonl", "row": 0, "url": "http://ex.org/page"}
    assert (first["position"], first["url"], first["width"]) == (0, URLS[0], 40)


def test_images_stand_at_the_texts_they_were_assigned_to(tmp_path):
    pages = [page(IMAGES[0], IMAGES[1], "x", "y")]
    out = packed(tmp_path, pages, score={"a": {"use": "test_pack:alike"}}, place={"by": "a.sims"})
    sample, content = only(out)
    assert content["texts"] == [None, "x", None, "y"]
    assert [sample[name] for name in content["images"] if name] == [PICTURES[URLS[1]], PICTURES[URLS[0]]]
    assert [(each.get("text"), each.get("similarity")) for each in content["segments"]] == [
        (1, 0.9),
        (None, None),
        (3, 0.9),
        (None, None),
    ]


def test_images_stand_at_the_corpus_own_match(tmp_path):
    columns = {"image": {"matched": int, "matched_sim": float}}
    pages = [page(IMAGES[0], "x", "y", scores={0: {"matched": 1, "matched_sim": 0.5}})]
    _, content = only(packed(tmp_path, pages, columns=columns, place="matched"))
    assert content["texts"] == ["x", None, "y"]


def test_the_output_has_a_folder_for_all_that_decides_its_bytes():
    names = [
        output_name(pack, place, verdicts, folders, "laion")
        for pack, place, verdicts, folders in [
            (Pack(), Place(), "verdicts/a", ["scores/f-1"]),
            (Pack(format="pairs"), Place(), "verdicts/a", ["scores/f-1"]),
            (Pack(), Place(by="matched"), "verdicts/a", ["scores/f-1"]),
            (Pack(), Place(), "verdicts/b", ["scores/f-1"]),
            (Pack(), Place(), "verdicts/a", ["scores/f-2"]),
        ]
    ]
    assert len(set(names)) == 5
    assert names[0].startswith("laion-")
    assert output_name(Pack(name="mine"), Place(), "verdicts/a", ["scores/f-1"], "laion") == names[0].replace(
        "laion", "mine"
    )


# --- pairs


@pytest.fixture
def pairs(tmp_path):
    columns = {"document": {"similarity": float}}
    pages = [
        page(IMAGES[at], f"text {at}", scores={DOCUMENT: {"similarity": at / 4}} if at else None) for at in (0, 1, 2)
    ]
    return packed(
        tmp_path,
        pages,
        columns=columns,
        score={"f": {"use": "test_pack:facts"}},
        pack={"format": "pairs", "shard_count": 2},
    )


def test_pairs_lie_as_img2dataset_writes_them(pairs):
    assert [member.name for member in members(pairs)] == [
        *("0000000000.png", "0000000000.json", "0000000000.txt"),
        *("0000000001.jpg", "0000000001.json", "0000000001.txt"),
        *("0000100000.png", "0000100000.json", "0000100000.txt"),
    ]
    first, second = samples(pairs / "00000.tar")
    assert (first["png"], first["txt"]) == (PICTURES[URLS[0]], b"text 0")
    assert json.loads(second["json"])["caption"] == "text 1"


def test_pairs_have_a_table_beside_each_tar_even_where_nothing_is_in_it(tmp_path):
    sections = {"score": {"f": {"use": "test_pack:facts"}}, "pack": {"format": "pairs"}, "empty": "keep"}
    (empty, full) = (
        pl.read_parquet(packed(tmp_path / name, [page(*segments)], **sections) / "00000.parquet")
        for name, segments in (("empty", ["no image"]), ("full", [IMAGES[0]]))
    )
    assert empty.schema == full.schema
    assert (empty.height, full["caption"].to_list()) == (0, [None])
    assert list(full.schema.items()) == [
        *((name, pl.String) for name in ("key", "url", "caption", "status")),
        *(("width", pl.Int64), ("height", pl.Int64), ("sha256", pl.String), ("id", pl.String)),
        *(("f.number", pl.Int64), ("f.ratio", pl.Float32)),
    ]


def test_pairs_have_a_table_beside_each_tar_with_every_column(pairs):
    first, second = (pl.read_parquet(pairs / f"0000{at}.parquet") for at in (0, 1))
    assert first.schema == second.schema
    assert first["key"].to_list() == ["0000000000", "0000000001"]
    assert first["source.similarity"].to_list() == [None, 0.25]
    assert first["f.number"].to_list() == [40, None]
    assert second["caption"].to_list() == ["text 2"]


def test_a_page_becomes_a_pair_for_each_image(tmp_path):
    out = packed(tmp_path, [page(IMAGES[0], "x", IMAGES[1], IMAGES[2], "y", IMAGES[3])], pack={"format": "pairs"})
    assert [sample["txt"].decode() for sample in samples(out / "00000.tar")] == ["x", "y", "y", "y"]
