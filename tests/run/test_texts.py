"""Texts that are judged, made, added, masked, joined and thinned out."""

from __future__ import annotations

import json
import tarfile
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from shards import Shelf, curated, measure, page, picture, raw_shard, recipe_of, scored, scorers_of

from curate import Encoded, Image, scores
from curate.recipe.section import RecipeError
from curate.report import StopRun
from curate.store.store import Store

A, B = Image("http://ex.org/i.png", "alt of i"), Image("http://ex.org/j.png")
PICTURES = {A.url: picture(1), B.url: picture(2, 50)}


@scores("pair", caption=str, caption_itm=float, itm=float, text={"text_itm": float})
def judge(pairs):
    """Believes a text of the form ``true ...``; its own caption is as good as the text's last word says."""
    return [
        {
            "caption": f"made for {image.sha256[:4]}",
            "caption_itm": float("good" in text.text),
            "itm": float(text.text.startswith("true")),
            "text_itm": float(text.text.startswith("true")),
        }
        for image, text in pairs
    ]


@scores("image", best=int)
def last(images):
    """Every picture goes with the second text."""
    return [{"best": 1} for _ in images]


@scores("text", words=int)
def words(texts):
    return [{"words": len(text.text.split())} for text in texts]


@scores("document", chars=int, seen=int)
def whole(documents):
    return [
        {
            "chars": sum(len(text.text) for text in each.texts.values()),
            "seen": sum(not i.error for i in each.images.values()),
        }
        for each in documents
    ]


@scores("document", total=float, reads="w.words")
def total(documents):
    assert all(isinstance(each, Encoded) for each in documents)
    return [{"total": float(sum(each.texts.values()))} for each in documents]


@scores("text", entries=bytes)
def entries(texts):
    return [
        {"entries": np.array([int(digit) for digit in text.text if digit.isdigit()], "<u4").tobytes()} for text in texts
    ]


CAPFILT = {
    "score": {"cap": {"use": "test_texts:judge"}},
    "keep": [{"text": "cap.text_itm", "min": 0.5, "missing": "keep"}],
    "add": [{"text": "cap.caption", "image": "cap.caption_itm", "min": 0.5}],
}


def samples(out: Path) -> list[dict]:
    with tarfile.open(next(out.glob("*.tar"))) as tar:
        return [json.load(tar.extractfile(name)) for name in tar.getnames() if name.endswith(".json")]


@pytest.mark.parametrize(
    ("text", "captions"),
    [
        ("true good", ["true good", "made"]),
        ("true", ["true"]),
        ("false good", ["made"]),
        ("false", []),
    ],
)
def test_capfilt_keeps_both_either_or_none(text, captions, tmp_path):
    store = Store(tmp_path)
    raw_shard(store, [page(A, text), page(B, "true")], PICTURES)
    pairs = samples(curated(tmp_path, recipe_of(**CAPFILT, pack={"format": "pairs"})))
    found = [pair["caption"].split(" for ")[0] for pair in pairs if pair["url"] == A.url]
    assert found == captions


def test_an_added_text_stands_right_after_its_image_and_says_who_made_it(tmp_path):
    raw_shard(Store(tmp_path), [page("one", A, "true good")], {A.url: PICTURES[A.url]})
    sections = {
        **CAPFILT,
        "score": {"last": {"use": "test_texts:last"}, "cap": {"use": "test_texts:judge", "text_of": "last.best"}},
    }
    (sample,) = samples(curated(tmp_path, recipe_of(**sections)))
    assert [text and text.split(" for ")[0] for text in sample["texts"]] == ["one", None, "made", "true good"]
    assert [segment.get("source") for segment in sample["segments"]] == ["page", None, "cap", "page"]
    assert sample["images"] == [None, "000.png", None, None]


def test_a_pair_scorer_judges_the_text_that_a_column_points_to(tmp_path):
    store = Store(tmp_path)
    raw_shard(store, [page(A, "false", "true good", B)], PICTURES)
    score = {"last": {"use": "test_texts:last"}, "cap": {"use": "test_texts:judge", "text_of": "last.best"}}
    scorers = scorers_of(tmp_path, score)
    measure(store, scorers)
    assert scored(store, scorers[1], "itm") == [1, None, None, 1]
    assert scored(store, scorers[1], "text_itm") == [None, None, 1, None]


def test_a_caption_is_the_alt_text_where_there_are_several_texts(tmp_path):
    store = Store(tmp_path)
    raw_shard(store, [page(A, "a", "b", B)], PICTURES)
    (scorer,) = scorers_of(tmp_path, {"cap": {"use": "test_texts:judge"}})
    measure(store, [scorer])
    assert scored(store, scorer, "itm") == [0, None, None, None]
    assert scored(store, scorer, "text_itm") == [None] * 4


def test_several_gates_and_a_document_seen_through_them(tmp_path):
    store = Store(tmp_path)
    raw_shard(store, [page("a b", A, "a b c", "a"), page("a", B)], PICTURES)
    gates = [{"score": "w.words", "min": 2}, {"score": "w.words", "max": 2}]
    score = {"w": {"use": "test_texts:words"}, "doc": {"use": "test_texts:whole", "after": gates}}
    scorers = scorers_of(tmp_path, score)
    measure(store, scorers)
    assert scored(store, scorers[1], "chars") == [3]  # only "a b" was seen; the second page has nothing to see
    assert scored(store, scorers[1], "seen") == [1]


def test_a_gate_may_let_missing_values_pass(tmp_path):
    store = Store(tmp_path)
    raw_shard(store, [page(A, "false", "true good", B)], PICTURES)
    gate = {"score": "cap.text_itm", "min": 0.5, "missing": "keep"}
    score = {
        "last": {"use": "test_texts:last"},
        "cap": {"use": "test_texts:judge", "text_of": "last.best"},
        "w": {"use": "test_texts:words", "after": gate},
        "doc": {"use": "test_texts:whole", "after": [gate]},
    }
    scorers = {each.name: each for each in scorers_of(tmp_path, score)}
    measure(store, list(scorers.values()))
    assert scored(store, scorers["w"], "words") == [1, 2]
    assert scored(store, scorers["doc"], "chars") == [14]


def test_a_gate_on_one_kind_leaves_the_other_kind_of_a_pair_alone(tmp_path):
    store = Store(tmp_path)
    raw_shard(store, [page(A, "true good")], PICTURES)
    for gate in ({"score": "w.words", "min": 1}, {"score": "last.best", "min": 1}):
        score = {
            "last": {"use": "test_texts:last"},
            "w": {"use": "test_texts:words"},
            "cap": {"use": "test_texts:judge", "after": gate},
        }
        scorers = {each.name: each for each in scorers_of(tmp_path, score)}
        measure(store, list(scorers.values()))
        assert scored(store, scorers["cap"], "itm") == [1, None]
        assert scored(store, scorers["cap"], "text_itm") == [None, 1]


def test_a_text_of_several_pictures_does_not_depend_on_what_was_measured_before(tmp_path):
    store = Store(tmp_path)
    raw_shard(store, [page(A, "text", B)], PICTURES)

    def itm(**gate):
        (_, cap) = scorers = scorers_of(
            tmp_path, {"size": {"use": "image_size"}, "cap": {"use": "test_texts:by_width", **gate}}
        )
        measure(store, scorers)
        return scored(store, cap, "best")

    assert itm(after={"score": "size.width", "above": 40}) == [50, None]
    assert itm() == [None, 50, None]


@scores("pair", own=float, text={"best": float})
def by_width(pairs):
    """As good as the picture is wide; nothing can be said of one of 60."""
    return [{"own": 1.0, "best": float("nan") if image.width == 60 else image.width} for image, _ in pairs]


def test_nothing_measured_is_never_the_greatest(tmp_path):
    store = Store(tmp_path)
    raw_shard(
        store, [page(Image("http://ex.org/c.png"), "text", B)], {"http://ex.org/c.png": picture(3, 60), **PICTURES}
    )
    (scorer,) = scorers_of(tmp_path, {"cap": {"use": "test_texts:by_width"}})
    measure(store, [scorer])
    assert scored(store, scorer, "best") == [None, 50, None]


def test_a_missing_value_of_a_gated_column_is_missing(tmp_path):
    store = Store(tmp_path)
    raw_shard(store, [page("a b", "a")], {})
    score = {
        "w": {"use": "test_texts:words"},
        "v": {"use": "test_texts:words", "after": {"score": "w.words", "min": 2}},
        "x": {"use": "text_stats", "after": {"score": "v.words", "min": 9, "missing": "keep"}},
    }
    scorers = {each.name: each for each in scorers_of(tmp_path, score)}
    measure(store, list(scorers.values()))
    assert scored(store, scorers["x"], "chars") == [1]


def test_an_added_text_is_not_joined_with_another(tmp_path):
    raw_shard(Store(tmp_path), [page(A, "true good", "true")], PICTURES)
    sections = {
        **CAPFILT,
        "score": {"cap": CAPFILT["score"]["cap"] | {"text_of": "last.best"}, "last": {"use": "test_texts:first"}},
    }
    (sample,) = samples(curated(tmp_path, recipe_of(**sections, pack={"join": " | "})))
    assert [text and text.split(" for ")[0] for text in sample["texts"]] == [None, "made", "true good | true"]


@scores("image", best=int)
def first(images):
    return [{"best": 0} for _ in images]


def test_what_was_seen_through_one_gate_is_not_taken_for_another(tmp_path):
    store = Store(tmp_path)
    raw_shard(store, [page("a b", A, "a b c")], PICTURES)

    def chars(*gates):
        score = {"w": {"use": "test_texts:words"}, "doc": {"use": "test_texts:whole", "after": list(gates)}}
        scorers = scorers_of(tmp_path, score)
        measure(store, scorers)
        return scored(store, scorers[1], "chars")

    assert chars({"score": "w.words", "min": 3}) == [5]
    assert chars() == [8]
    assert chars({"score": "w.words", "max": 2}) == [3]


def test_a_document_scorer_reads_another_column(tmp_path):
    store = Store(tmp_path)
    raw_shard(store, [page("a b", A, "a b c"), page(B)], PICTURES)
    scorers = scorers_of(tmp_path, {"t": {"use": "test_texts:total"}, "w": {"use": "test_texts:words"}})
    assert [scorer.name for scorer in scorers] == ["w", "t"]
    measure(store, scorers)
    assert scored(store, scorers[1], "total") == [5, 0]


def test_balance_thins_out_what_is_common_and_drops_what_has_no_entry(tmp_path):
    store = Store(tmp_path)
    pages = [page("0 says" if at < 180 else "1 says", url=f"http://ex.org/{at}") for at in range(200)] + [
        page("nothing")
    ]
    raw_shard(store, pages[:100], {})
    raw_shard(store, pages[100:], {}, shard="00000001")
    sections = {
        "score": {"e": {"use": "test_texts:entries"}},
        "balance": {"by": "e.entries", "most": 30},
        "empty": "keep",
    }
    run = Shelf(tmp_path, recipe_of(**sections)).do()
    ended = {key: state for key, (state, _) in run.states().items() if key[1] >= 0}
    texts = pl.read_parquet(f"{tmp_path}/raw/*.parquet").filter(kind="text")
    text_of = {
        (document, position): text
        for document, position, text in texts.select("document", "position", "text").iter_rows()
    }
    kept = [text_of[key][0] for key, state in ended.items() if state == "kept"]
    assert kept.count("1") == 20
    assert 14 <= kept.count("0") <= 50
    assert kept.count("n") == 0
    again = Shelf(tmp_path / "again", run.resolved.recipe)
    for name in ("raw", "scores"):
        (tmp_path / "again").mkdir(exist_ok=True)
        (tmp_path / "again" / name).symlink_to(tmp_path / name)
    assert Shelf(tmp_path / "again", again.resolved.recipe).do().states() == run.states()


def hushed(text: str) -> str:
    return text.replace("secret", "<hidden>")


def test_texts_are_masked_and_joined_at_pack(tmp_path):
    raw_shard(Store(tmp_path), [page("a secret", "", "b", A, "c")], PICTURES)
    pack = {"mask": "test_texts:hushed", "join": "\n\n"}
    (sample,) = samples(curated(tmp_path, recipe_of(pack=pack)))
    assert sample["texts"] == ["a <hidden>\n\nb", None, "c"]
    assert sample["images"] == [None, "000.png", None]


@pytest.mark.parametrize(
    ("sections", "said"),
    [
        (
            {"add": [{"text": "cap.itm", "image": "cap.caption_itm", "min": 1}]},
            r"add\.0\.text: cap\.itm holds no texts",
        ),
        ({"add": [{"text": "cap.caption", "image": "cap.captions", "min": 1}]}, r"did you mean 'cap\.caption'"),
        ({"balance": {"by": "cap.text_itm", "most": 3}}, "holds no entries"),
        ({"pack": {"blur": "cap.itm"}}, "is no list of boxes"),
        ({"pack": {"mask": "pij"}}, r"pack\.mask: 'pij'"),
    ],
)
def test_what_is_wrong_is_said_before_anything_runs(sections, said, tmp_path):
    raw_shard(Store(tmp_path), [page("a")], {})
    with pytest.raises(RecipeError, match=said):
        Shelf(tmp_path, recipe_of(score=CAPFILT["score"], **sections)).resolved.check()


@scores("image", boxes=list[float])
def nothing_seen(images):
    return [None for _ in images]


def test_an_image_whose_boxes_are_missing_is_not_written_unblurred(tmp_path):
    raw_shard(Store(tmp_path), [page("a", A)], PICTURES)
    score = {"faces": {"use": "test_texts:nothing_seen"}}
    with pytest.raises(StopRun, match=r"pack\.blur: image 1 .* has no faces\.boxes"):
        curated(tmp_path, recipe_of(score=score, pack={"blur": "faces.boxes"}))
