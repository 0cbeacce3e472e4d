import hashlib
import json
import os
import pickle
import shutil
import subprocess
import sys
import tarfile
from dataclasses import dataclass, replace
from pathlib import Path

import polars as pl
import pytest
import webdataset
import wids
from shards import Nobody, curated, page, picture, raw_shard, read, recipe_of

from curate import Image, Vector, scores
from curate.document import DOCUMENT
from curate.ledger import ledger
from curate.pack.index import job_of as index_job
from curate.pack.layout import phases as layout_phases
from curate.pack.output_folder import Output, made_by, output_name
from curate.pack.write import jobs_of
from curate.recipe.output import Pack, Place
from curate.recipe.recipe import Resource
from curate.run.executor import InProcess
from curate.store.chunks import shard_name
from curate.store.files import Expected
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


@scores("image", width=str)
def says(images):
    return [{"width": f"{image.width} wide"} for image in images]


@scores("image", place=Vector)
def places(images):
    """Vectors alone, of which no sample shows anything."""
    return [{"place": [image.width, 1]} for image in images]


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


def test_the_sums_are_of_all_files_of_a_tar(pairs):
    lines = [line.split("  ") for line in (pairs / "SHA256SUMS").read_text().splitlines()]
    assert [name for _, name in lines] == ["00000.tar", "00000.parquet", "00001.tar", "00001.parquet"]
    assert [hashlib.sha256((pairs / name).read_bytes()).hexdigest() for _, name in lines] == [each for each, _ in lines]


def test_a_table_of_pairs_checks_itself(pairs):
    assert read(Store(pairs), "00001.parquet")["caption"].to_list() == ["text 2"]


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
SECOND = {"00001.tar", "00001.parquet", "meta/000001.json"}
LAST = {"index.json", "SHA256SUMS", "README.md"}


def pairs_in(folder, executor=None, texts=("x0", "x1", "x2")):
    """Packs three pairs of each of two raw shards; the files, and the phases with what was done in them.

    ``texts``: of the pairs of the second.
    """
    folder.mkdir(exist_ok=True)
    for shard, several in zip(SHARDS, (("x0", "x1", "x2"), texts), strict=True):
        pages = [page(IMAGES[at], text, url=f"http://ex.org/{shard}/{at}") for at, text in enumerate(several)]
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
    ("lost", "again", "made"),
    [
        ("00001.tar", [("pack", 1), ("pack index", 1)], SECOND | LAST),
        ("00001.parquet", [("pack", 1), ("pack index", 1)], SECOND | LAST),
        ("meta/000001.json", [("pack", 1), ("pack index", 1)], SECOND | LAST),
        ("meta/layout.parquet", [("pack layout", 1), ("pack index", 1)], {"meta/layout.parquet"} | LAST),
        ("index.json", [("pack index", 1)], LAST),
        ("SHA256SUMS", [("pack index", 1)], LAST),
        ("README.md", [("pack index", 1)], LAST),
        ("funnel.json", [("pack index", 1)], {"funnel.json"}),
    ],
)
def test_a_lost_file_is_made_again_with_what_lies_beside_it(lost, again, made, tmp_path):
    before, _ = pairs_in(tmp_path)
    (tmp_path / "out/x" / lost).unlink()
    written = {name: (tmp_path / "out/x" / name).stat().st_mtime_ns for name in before if name != lost}
    after, done = pairs_in(tmp_path)
    assert (done, after) == (again, before)
    now = {name: (tmp_path / "out/x" / name).stat().st_mtime_ns for name in written}
    assert {name for name in written if written[name] != now[name]} == made - {lost}


def cut_to(length):
    return lambda data: data[:length]


def flipped(data):
    return data[:700] + bytes([data[700] ^ 16]) + data[701:]


def first_member(data):
    """Where the second member of a tar begins."""
    return 512 + -(-int(data[124:135], 8) // 512) * 512


@pytest.mark.parametrize(
    "lost",
    [
        "00001.tar",
        "00001.parquet",
        "meta/000001.json",
        "meta/layout.parquet",
        "SHA256SUMS",
        "index.json",
        "funnel.json",
    ],
)
@pytest.mark.parametrize(
    "damage",
    [
        lambda data: data[: first_member(data)] if data[257:262] == b"ustar" else data[:-1],
        cut_to(11),
        flipped,
        cut_to(0),
    ],
    ids=["at a boundary", "anywhere", "a bit", "empty"],
)
def test_a_changed_file_is_named_and_made_again_once_it_is_removed(lost, damage, tmp_path):
    before, _ = pairs_in(tmp_path)
    path = tmp_path / "out/x" / lost
    path.write_bytes(damage(before[lost].ljust(701)))
    with pytest.raises(AssertionError, match=rf"out/x/{lost} is damaged .*: `curate verify .* --repair` removes it"):
        pairs_in(tmp_path)
    path.unlink()
    after, done = pairs_in(tmp_path)
    assert (after, dict(done).get("pack", 0)) == (before, lost in SECOND)


def test_a_tar_of_another_number_is_not_believed(tmp_path):
    before, _ = pairs_in(tmp_path)
    (tmp_path / "out/x/00000.tar").write_bytes(before["00001.tar"])
    with pytest.raises(AssertionError, match=r"00000\.tar is damaged"):
        pairs_in(tmp_path)


def test_an_output_that_is_made_again_has_no_index_until_it_is_whole(tmp_path):
    before, _ = pairs_in(tmp_path)
    (tmp_path / "out/x/00001.tar").unlink()
    with pytest.raises(KeyboardInterrupt):
        pairs_in(tmp_path, Dies(0))
    left = files(tmp_path / "out/x")
    assert before.keys() - left.keys() == {"00001.tar", "index.json"}
    assert pairs_in(tmp_path) == (before, [("pack", 1), ("pack index", 1)])


def test_other_texts_make_the_tars_again_that_they_stand_in(tmp_path):
    """Of six pairs, two in a tar, the last three have others: as long as they were, so that the layout is the same."""
    pairs_in(tmp_path / "first")
    after, done = pairs_in(tmp_path / "first", texts=("x0", "x1", "y2"))
    assert done == [("pack", 2), ("pack index", 1)]
    assert after == pairs_in(tmp_path / "whole", texts=("x0", "x1", "y2"))[0]


def test_a_smaller_output_leaves_nothing_of_the_larger(tmp_path):
    out = tmp_path / "larger/out/x"
    pairs_in(tmp_path / "larger")
    others = ("00002.tar.bak", "2.tar", "000002.tar", "notes.parquet", "meta/2.json")
    for name in others:
        (out / name).write_text("mine")
    after, done = pairs_in(tmp_path / "larger", texts=("x0",))
    assert done == [("pack sizes", 1), ("pack layout", 1), ("pack", 1), ("pack index", 1)]
    assert {name: after.pop(name) for name in others} == dict.fromkeys(others, b"mine")
    assert after == pairs_in(tmp_path / "smaller", texts=("x0",))[0]


def test_a_job_that_reads_very_much_reads_just_what_it_names(tmp_path, monkeypatch):
    """Such a job gets one digest of all that it may read."""
    columns = {"document": {"quality": float}, "image": {"boxes": list[float]}}
    pages = [page("a", IMAGES[at], scores={DOCUMENT: {"quality": 0.5}, 1: {"boxes": [0, 0, 1, 1]}}) for at in range(3)]
    sections = {
        "score": {name: {"use": f"test_pack:{name}"} for name in ("facts", "alike", "says", "places")},
        "place": {"by": "alike.sims"},
        "add": [{"text": "says.width", "image": "facts.number", "min": 0}],
        "pack": {"shard_count": 2, "blur": "source.boxes"},
    }
    before = files(packed(tmp_path / "one", pages, columns=columns, **sections))
    monkeypatch.setattr(ledger, "MARKS", 0)
    assert files(packed(tmp_path / "two", pages, columns=columns, **sections)) == before


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
    with pytest.raises(AssertionError, match=r"reads raw/00000000\.parquet: .*raw/00000000\.tar is not there"):
        curated(tmp_path, recipe_of(score={"w": {"use": "text_stats"}}))


def handed(job):
    """A job as large as a worker gets it."""
    marks = Expected(bytes(4 * min(len([*ledger.files(job.reads)]), ledger.MARKS)))
    return replace(job, targets=tuple(replace(each, digest=bytes(16)) for each in job.targets), expected=marks)


def test_jobs_and_workers_are_small():
    shards = [shard_name(number) for number in range(64)]
    output = Output("out/laion-18fa9623", recipe_of(), "verdicts/18fa9623", {}, {})
    (layout,) = layout_phases(Store("s3://bucket/run"), output, shards, Resource())
    (sizes,) = layout.first()
    jobs = [
        *sizes.jobs,
        *layout.jobs,
        *jobs_of(output, [[(shard, 0, 1000) for shard in shards * 100]]),
        index_job(output, 100_000),
    ]
    assert [len(pickle.dumps(handed(job))) < 4096 for job in jobs] == [True] * 4
    assert all(len(pickle.dumps(phase.worker)) < 4096 for phase in (sizes, layout))


def test_a_tar_is_made_by_its_own_rows_of_the_layout():
    output = Output("out/x", recipe_of(), "verdicts/x", {}, {})
    rest = [[("00000001", 0, 1)], [("00000001", 0, 2)], [("00000002", 0, 1)]]
    several = [jobs_of(output, [[("00000000", 0, 2), ("00000001", 0, 1)], last]) for last in rest]
    first, second = ([job.targets[0] for job in jobs] for jobs in zip(*several, strict=True))
    assert first == first[:1] * 3
    assert len({target.by for target in second}) == 3
    assert [target.made_from for target in second[1:]] == [
        (f"raw/{shard}.parquet", f"verdicts/x/{shard}.parquet") for shard in ("00000001", "00000002")
    ]
    assert second[1].reads == ("out/x/meta/layout.parquet", *second[1].made_from)


def test_a_card_that_shows_another_recipe_is_stale():
    output = Output("out/x", recipe_of(), "verdicts/x", {}, {}, text="a: 1")
    others = [output, replace(output, text="a: 2"), replace(output, changes={"a": "2"})]
    targets = [index_job(each, 3).targets for each in others]
    assert [len({each[at].by for each in targets}) for at in (0, 1)] == [1, 3]


def test_code_of_others_makes_other_bytes(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    found = []
    for code in (
        "def hide(text):\n    return text\n",
        "def hide(text):\n    return text  # as it is\n",
        "hide = str.upper\n",
    ):
        (tmp_path / "hiding.py").write_text(code)
        found.append(made_by(Pack(mask="hiding:hide")))
    assert found[0] == found[1] != found[2]
    assert made_by(Pack()) == made_by(Pack(mask="pii")) == made_by(Pack(mask="builtins:str")) not in found


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
