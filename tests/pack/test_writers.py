import json
import math
import tarfile

import numpy as np
import polars as pl
import pytest
from shards import curated, page, picture, raw_shard, recipe_of

from curate import Document, Image, Origin, Text
from curate.pack.output_folder import made_by
from curate.pack.sample import Curated, Entry, plain
from curate.pack.writer import names, writer
from curate.pack.writers import interleaved
from curate.pack.writers.pairs import line, one_image_each
from curate.recipe.output import Pack
from curate.recipe.section import RecipeError
from curate.store.store import Store

ORIGIN = Origin("mmc4", "a.jsonl", 7, "http://ex.org")


def image(name, form="jpg"):
    return Image(f"http://ex.org/{name}", "", name.encode(), form, 20, 10, name)


def sample(*segments, scores=None, **fields):
    """Strings are texts; ``e2={...}`` are fields of the third entry."""
    entries = [
        Entry(Text(each) if isinstance(each, str) else each, at, **({"scores": {}} | fields.get(f"e{at}", {})))
        for at, each in enumerate(segments)
    ]
    return Curated(Document("d", tuple(entry.segment for entry in entries), ORIGIN), entries, scores or {})


def content(members):
    return json.loads(members[-1][1])


def test_interleaved_members_and_json():
    members = interleaved.members(sample("x", image("a"), image("b", "png"), "y"))
    assert [(name, data) for name, data in members[:-1]] == [("d.000.jpg", b"a"), ("d.001.png", b"b")]
    found = content(members)
    assert found["texts"] == ["x", None, None, "y"]
    assert found["images"] == [None, "000.jpg", "001.png", None]
    assert (found["id"], found["origin"]["row"]) == ("d", 7)


def test_a_document_without_images_is_its_json():
    assert [name for name, _ in interleaved.members(sample("x"))] == ["d.json"]


def test_text_is_utf8_and_readable():
    (_, data), *_ = interleaved.members(sample("é <image> \n"))
    assert "é <image> \\n".encode() in data


@pytest.mark.parametrize(
    ("value", "written"),
    [
        (float(np.float32(0.26)), 0.26),
        (1.0, 1.0),
        (3, 3),
        (True, True),
        ("x", "x"),
        (math.inf, None),
        (-math.inf, None),
        (None, None),
    ],
)
def test_scores_are_plain_json(value, written):
    found = content(interleaved.members(sample("x", scores={"a.b": value})))["scores"]["a.b"]
    assert (found, type(found)) == (written, type(written))
    assert plain(value) == written


def test_an_assigned_image_names_its_text():
    found = content(interleaved.members(sample(image("a"), "x", e0={"text": 1, "similarity": 0.5})))
    assert (found["segments"][0]["text"], found["segments"][0]["similarity"]) == (1, 0.5)
    assert "text" not in found["segments"][1]


@pytest.mark.parametrize(
    ("segments", "captions"),
    [
        ((image("a"), "x"), ["x"]),
        (("x", image("a")), ["x"]),
        (("x", image("a"), "y", image("b")), ["y", "y"]),
        ((image("a"),), [None]),
        (("x",), []),
    ],
)
def test_each_image_has_the_next_text_or_the_last_one(segments, captions):
    found = one_image_each(sample(*segments))
    assert [line(each, 0, 0)["caption"] for each in found] == captions


def test_an_assigned_text_comes_before_the_nearest():
    (found,) = one_image_each(sample("x", image("a"), "y", e1={"text": 0, "similarity": 0.5}))
    assert line(found, 0, 0)["caption"] == "x"


def test_a_pairs_row_has_img2datasets_columns_and_all_scores():
    each = sample(image("a"), "x", scores={"s.p": 1}, e0={"scores": {"clip.sim": 0.5}}, e1={"scores": {"t.n": 2}})
    row = line(each, 3, 41)
    assert (row["key"], row["status"], row["caption"], row["sha256"]) == ("0000300041", "success", "x", "a")
    assert {name: value for name, value in row.items() if "." in name} == {"clip.sim": 0.5, "s.p": 1, "t.n": 2}


def test_a_pair_without_caption_has_an_empty_text_file(tmp_path):
    writer("pairs").write([tmp_path / "tar", tmp_path / "table"], 0, iter([sample(image("a"))]), {})
    with tarfile.open(tmp_path / "tar") as tar:
        assert tar.extractfile("0000000000.txt").read() == b""
    assert pl.read_parquet(tmp_path / "table")["caption"].to_list() == [None]


def test_samples_are_written_as_they_come(tmp_path):
    """A picture is in the file, but for a buffer, before the next sample is asked for."""
    data, path = 100_000 * b"x", tmp_path / "tar"
    sizes = []

    def several():
        for _ in range(5):
            sizes.append(path.stat().st_size)
            yield sample(Image("http://ex.org/a", "", data, "jpg", 20, 10, "a"))

    writer("interleaved").write([path], 0, several(), {})
    assert all(size > at * len(data) - 20_000 for at, size in enumerate(sizes))


@pytest.mark.parametrize(
    ("name", "files"),
    [("interleaved", ["000007.tar"]), ("pairs", ["00007.tar", "00007.parquet"])],
)
def test_the_files_of_an_output_shard(name, files):
    assert [file.format(7) for file in writer(name).files] == files


# --- formats are found by name

JSONL = """
import json
import os

from curate.pack.writer import Writer
from curate.pack.sample import images_of


def write(paths, number, samples, columns):
    if os.environ.get("FULL") == str(number):
        raise OSError("no space left")
    with paths[0].open("w") as lines, paths[1].open("w") as names:
        names.write(",".join(columns))
        for index, sample in enumerate(samples):
            images = [image.sha256[:4] for _, image in images_of(sample)]
            lines.write(json.dumps([number, index, sample.document.origin.row, images]) + "\\n")


WRITER = Writer(("part-{:d}.jsonl", "part-{:d}.csv"), write)
"""


@pytest.fixture
def jsonl(tmp_path, monkeypatch):
    """A package with a format, as pip would install it."""
    (tmp_path / "lines-1.0.dist-info").mkdir()
    (tmp_path / "lines-1.0.dist-info/METADATA").write_text("Name: lines\nVersion: 1.0\n")
    (tmp_path / "lines-1.0.dist-info/entry_points.txt").write_text("[curate.writers]\njsonl = lines:WRITER\n")
    (tmp_path / "lines.py").write_text(JSONL)
    monkeypatch.syspath_prepend(tmp_path)


def test_a_format_without_tars(tmp_path, jsonl):
    url = "http://ex.org/a.png"
    raw_shard(Store(tmp_path), [page(Image(url), f"x{at}") for at in range(3)], {url: picture()})
    sections = {"score": {"w": {"use": "text_stats"}}, "pack": {"format": "jsonl", "shard_count": 2}}
    out = curated(tmp_path, recipe_of(**sections))
    lines = [[json.loads(each) for each in path.read_text().splitlines()] for path in sorted(out.glob("*.jsonl"))]
    assert [[each[:3] for each in part] for part in lines] == [[[0, 0, 0], [0, 1, 1]], [[1, 0, 2]]]
    assert "w.chars" in (out / "part-1.csv").read_text().split(",")
    listed = [(each["url"], each["nsamples"]) for each in json.loads((out / "index.json").read_text())["shardlist"]]
    assert listed == [("part-0.jsonl", 2), ("part-1.jsonl", 1)]
    (out / "part-0.csv").unlink()
    curated(tmp_path, recipe_of(**sections))
    assert (out / "part-0.csv").exists()


def test_a_writer_that_fails_leaves_no_index_and_nothing_half_written(tmp_path, jsonl, monkeypatch):
    url = "http://ex.org/a.png"
    raw_shard(Store(tmp_path), [page(Image(url), f"x{at}") for at in range(3)], {url: picture()})
    recipe = recipe_of(pack={"format": "jsonl", "shard_count": 2})
    out = curated(tmp_path, recipe)
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    for name in ("part-0.csv", "part-1.jsonl"):
        (out / name).unlink()
    monkeypatch.setenv("FULL", "1")
    with pytest.raises(AssertionError, match="no space left"):
        curated(tmp_path, recipe)
    assert before.keys() - {*out.rglob("*")} == {out / "part-1.jsonl", out / "index.json"}
    assert {path for path in out.rglob("*") if path.is_file()} < before.keys()
    monkeypatch.delenv("FULL")
    assert {path: path.read_bytes() for path in curated(tmp_path, recipe).rglob("*") if path.is_file()} == before


def test_another_version_of_a_format_is_another(tmp_path, jsonl):
    found = [made_by(Pack(format="jsonl"))]
    (tmp_path / "lines-1.0.dist-info/METADATA").write_text("Name: lines\nVersion: 1.1\n")
    assert len({*found, made_by(Pack(format="jsonl")), made_by(Pack())}) == 3


def test_a_format_is_known_by_the_name_of_its_file(jsonl):
    assert names() == ["interleaved", "pairs", "jsonl"]
    with pytest.raises(
        RecipeError, match=r"^r: no format 'pair'; did you mean 'pairs'\? \(known: interleaved, pairs, jsonl\)"
    ):
        writer("pair", "r")
