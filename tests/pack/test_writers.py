import json
import math

import numpy as np
import pytest

from curate import Document, Image, Origin, Text
from curate.pack.writers import WRITERS, Curated, Entry, interleaved, one_image_each, pair_row, plain

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
    members = interleaved(sample("x", image("a"), image("b", "png"), "y"), 0, 0)
    assert [(name, data) for name, data in members[:-1]] == [("d.000.jpg", b"a"), ("d.001.png", b"b")]
    found = content(members)
    assert found["texts"] == ["x", None, None, "y"]
    assert found["images"] == [None, "000.jpg", "001.png", None]
    assert (found["id"], found["origin"]["row"]) == ("d", 7)


def test_a_document_without_images_is_its_json():
    assert [name for name, _ in interleaved(sample("x"), 0, 0)] == ["d.json"]


def test_text_is_utf8_and_readable():
    (_, data), *_ = interleaved(sample("é <image> \n"), 0, 0)
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
    found = content(interleaved(sample("x", scores={"a.b": value}), 0, 0))["scores"]["a.b"]
    assert (found, type(found)) == (written, type(written))
    assert plain(value) == written


def test_an_assigned_image_names_its_text():
    found = content(interleaved(sample(image("a"), "x", e0={"text": 1, "similarity": 0.5}), 0, 0))
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
    assert [pair_row(each, 0, 0)["caption"] for each in found] == captions


def test_an_assigned_text_comes_before_the_nearest():
    (found,) = one_image_each(sample("x", image("a"), "y", e1={"text": 0, "similarity": 0.5}))
    assert pair_row(found, 0, 0)["caption"] == "x"


def test_a_pairs_row_has_img2datasets_columns_and_all_scores():
    each = sample(image("a"), "x", scores={"s.p": 1}, e0={"scores": {"clip.sim": 0.5}}, e1={"scores": {"t.n": 2}})
    row = pair_row(each, 3, 41)
    assert (row["key"], row["status"], row["caption"], row["sha256"]) == ("0000300041", "success", "x", "a")
    assert {name: value for name, value in row.items() if "." in name} == {"clip.sim": 0.5, "s.p": 1, "t.n": 2}


def test_a_pair_without_caption_has_an_empty_text_file():
    writer = WRITERS["pairs"]
    assert dict(writer.members(sample(image("a")), 0, 0))["0000000000.txt"] == b""


@pytest.mark.parametrize(("name", "tar"), [("interleaved", "000007.tar"), ("pairs", "00007.tar")])
def test_tar_names(name, tar):
    assert WRITERS[name].tar.format(7) == tar
