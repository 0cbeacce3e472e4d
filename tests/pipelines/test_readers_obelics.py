import json

import pytest

from curate.document import DOCUMENT, BadRow, Image
from curate.pipelines import obelics

END = "END_OF_DOCUMENT_TOKEN_TO_BE_REPLACED"
BUS = "https://ex.org/a.jpg"
ABOUT = {
    "document_url": "https://ex.org/", "unformatted_src": "/a.jpg", "src": BUS, "formatted_filename": "a",
    "alt_text": "a bus", "rendered_width": "50%", "rendered_height": "120px", "original_width": 640,
    "original_height": 480, "format": "jpeg",
}  # fmt: skip
PAGE = {"url": "https://ex.org/", "warc_filename": "crawl/x.warc.gz", "warc_record_offset": 12, "warc_record_length": 3}


def row(images=(BUS, None), texts=(None, "First.\n\nSecond."), about=(ABOUT, None), **changes):
    return {
        "images": list(images),
        "texts": list(texts),
        "metadata": json.dumps(about),
        "general_metadata": json.dumps(PAGE),
    } | changes


def order(document):
    return [item.url if isinstance(item, Image) else item.text for item in document.segments]


def test_each_paragraph_is_a_text_and_the_metadata_are_columns():
    found = obelics.read(row())
    assert order(found) == [BUS, "First.", "Second."]
    assert (found.segments[0].alt, found.segments[1].source, found.origin.url) == ("a bus", "page", "https://ex.org/")
    assert found.scores == {
        DOCUMENT: {"warc_filename": "crawl/x.warc.gz", "warc_record_offset": 12, "warc_record_length": 3},
        0: {
            "format": "jpeg", "original_width": 640, "original_height": 480, "rendered_width": 320,
            "rendered_height": 120, "part": 0,
        },
        1: {"part": 0},
        2: {"part": 0},
    }  # fmt: skip
    columns = obelics.read.columns
    assert found.scores[0].keys() == columns["image"].keys()
    assert found.scores[DOCUMENT].keys() == columns["document"].keys()


@pytest.mark.parametrize(
    ("text", "paragraphs"),
    [
        ("a\n\nb", ["a", "b"]),
        ("a\nb", ["a\nb"]),
        ("a\n \t\n\n\nb\n\n", ["a", "b"]),
        ("\n\n", []),
        ("", []),
    ],
)
def test_texts_are_cut_at_blank_lines(text, paragraphs):
    assert order(obelics.read(row(texts=[None, text]))) == [BUS, *paragraphs]


def test_a_boundary_is_no_text_and_is_counted():
    texts = [f"one\n\n{END}\n\ntwo", None, f"{END}", "three END_OF_DOCUMENT"]
    found = obelics.read(row([None, BUS, None, None], texts, [None, ABOUT, None, None]))
    assert order(found) == ["one", "two", BUS, "three END_OF_DOCUMENT"]
    assert [found.scores[at]["part"] for at in range(4)] == [0, 1, 1, 2]


@pytest.mark.parametrize(
    ("rendered", "pixels"),
    [
        ("150", 150), (150, 150), (150.4, 150), ("150px", 150), (" 30 % ", 192), ("37.5%", 240), ("auto", None),
        ("", None), (None, None), ("1e3", None), ("-5", None), (["9"], None), ("\u0663", None), ("9" * 400, None),
        (True, None),
    ],
)  # fmt: skip
def test_rendered_sizes(rendered, pixels):
    about = ABOUT | {"rendered_width": rendered}
    assert obelics.read(row(about=[about, None])).scores[0]["rendered_width"] == pixels


def test_a_percentage_of_an_unknown_size_is_unknown():
    about = {"src": BUS, "rendered_width": "50%"}
    scores = obelics.read(row(about=[about, None])).scores[0]
    assert (scores["rendered_width"], scores["original_width"], scores["format"]) == (None, None, None)


@pytest.mark.parametrize("given", [None, "null"])
def test_metadata_may_be_missing(given):
    found = obelics.read(row(metadata=given, general_metadata=given))
    assert order(found) == [BUS, "First.", "Second."]
    assert (found.origin.url, found.scores[DOCUMENT]["warc_filename"], found.scores[0]["format"]) == ("", None, None)


def test_metadata_may_be_structs_as_in_omnicorpus():
    page = {"url": "https://ex.org/p", "domain": ["ex.org"], "fluency_prob": 0.98}
    image = {"width": 640, "height": 480, "p_hash": "ab", "aesthetic_prob": 4.9}
    found = obelics.read(row([None, BUS], ["Some text.", None], metadata=[None, image], general_metadata=page))
    assert (order(found), found.origin.url) == (["Some text.", BUS], "https://ex.org/p")


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"texts": None}, "texts is missing"),
        ({"images": "u"}, "images is str, not list"),
        ({"texts": [None]}, "texts has 1 items, images has 2"),
        ({"texts": ["a", "b"]}, "texts[0] and images[0] are both given"),
        ({"images": [BUS, None], "texts": [None, None]}, "texts[1] and images[1] are both null"),
        ({"texts": [None, 7]}, "texts[1] is int, not str"),
        ({"images": [7, None]}, "images[0] is int, not str"),
        ({"metadata": "{"}, "metadata is not JSON"),
        ({"metadata": "[" * 100_000}, "metadata is not JSON"),
        ({"metadata": "{}"}, "metadata is dict, not list"),
        ({"metadata": "[null]"}, "metadata has 1 items, images has 2"),
        ({"metadata": '["a", null]'}, "metadata[0] is str, not an object"),
        ({"metadata": '[{"original_width": "640"}, null]'}, "metadata[0].original_width is str, not int"),
        ({"metadata": '[{"alt_text": 7}, null]'}, "metadata[0].alt_text is int, not str"),
        ({"general_metadata": "[]"}, "general_metadata is list, not dict"),
        ({"general_metadata": '{"url": 7}'}, "url is int, not str"),
        ({"general_metadata": '{"warc_filename": 7}'}, "warc_filename is int, not str"),
        ({"images": [], "texts": [], "metadata": "[]"}, "no text and no image"),
        ({"images": [None], "texts": [END], "metadata": "[null]"}, "no text and no image"),
    ],
)
def test_bad_rows_say_what_is_wrong(changes, reason):
    with pytest.raises(BadRow) as raised:
        obelics.read(row() | changes)
    assert str(raised.value) == reason
