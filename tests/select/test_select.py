import math
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow as pa
import pytest
from shards import curated, page, picture, raw_shard, read, recipe_of

import curate
from curate import Image
from curate.recipe.compare import fault
from curate.recipe.recipe_file import load
from curate.recipe.rules import Condition, Rule
from curate.select.binding import verdict_hash
from curate.select.decide import BoundRule, decide, ruled
from curate.store import schema
from curate.store.store import Store

LAION = Path(curate.__file__).parents[1] / "pipelines/laion.yaml"
TYPES = {"text.chars": int, "raw.bytes": int, "size.area": int, "raw.format": str, "clip.sim": float}
KEPT = ("kept", None)


def raw(*documents):
    """Documents as letters: t a text of 10 bytes, i an image of 1000, x an image that failed, r alone a reject."""
    rows = []
    for at, letters in enumerate(documents):
        name = f"d{at}"
        if letters == "r":
            rows.append((name, -1, "reject", None, None, 3))
            continue
        rows.append((name, -1, "document", None, None, 0))
        for position, letter in enumerate(letters):
            image = ("image", "ok" if letter == "i" else "timeout_total", 1000 if letter == "i" else None, 0)
            rows.append((name, position, *(("text", None, None, 10) if letter == "t" else image)))
    return pl.DataFrame(rows, ["document", "position", "kind", "status", "bytes", "length"], orient="row").cast(
        {"status": pl.String, "bytes": pl.Int64, "length": pl.UInt32}
    )


def column(kind, **values):
    """``d0=[...]``: values by position; a mapping gives position -> value."""
    rows = [
        {"document": document, "position": position, "value": value}
        for document, several in values.items()
        for position, value in (several.items() if isinstance(several, dict) else enumerate(several))
    ]
    return pl.DataFrame(pl.from_arrow(schema.table(rows, schema.score_schema({"value": kind}))))


def ended(frame, *rules, empty="keep"):
    """(state, reason) of each row; a rule is (Rule, type, column) or a Rule that counts."""
    bound = [BoundRule(rule, "", int) if isinstance(rule, Rule) else BoundRule(rule[0], "x", rule[1]) for rule in rules]
    values = [None if isinstance(rule, Rule) else rule[2] for rule in rules]
    found = decide(ruled(frame, bound, values, empty))
    assert found.select("document", "position", "kind").equals(frame.select("document", "position", "kind"))
    return list(found.select("state", "reason").iter_rows())


def image_states(kind, values, **comparison):
    missing = comparison.pop("missing", "drop")
    rule = Rule(image="a.b", missing=missing, **comparison)
    found = ended(raw("i" * len(values)), (rule, kind, column(kind, d0=values)))
    return [state == "kept" for state, _ in found[1:]]


# --- comparators


@pytest.mark.parametrize(
    ("comparison", "kept"),
    [
        ({"min": 2}, [False, True, True]),
        ({"max": 2}, [True, True, False]),
        ({"above": 2}, [False, False, True]),
        ({"below": 2}, [True, False, False]),
        ({"equals": 2}, [False, True, False]),
        ({"one_of": [1, 3]}, [True, False, True]),
        ({"none_of": [1, 3]}, [False, True, False]),
        ({"min": 2, "max": 2}, [False, True, False]),
        ({"above": 1.5, "below": 2.5}, [False, True, False]),
        ({"one_of": [1, 2.0]}, [True, True, False]),
    ],
)
@pytest.mark.parametrize("kind", [int, float])
def test_comparators_at_equality(kind, comparison, kept):
    assert image_states(kind, [1, 2, 3], **comparison) == kept


@pytest.mark.parametrize("value", [0.26, 0.28, 0.3, 0.1, -0.7])
def test_a_float_equals_the_threshold_it_was_written_as(value):
    for comparison in ({"min": value}, {"max": value}, {"equals": value}, {"one_of": [value, 5]}):
        assert image_states(float, [np.float32(value)], **comparison) == [True]
    for comparison in ({"above": value}, {"below": value}, {"none_of": [value]}):
        assert image_states(float, [np.float32(value)], **comparison) == [False]


def test_the_float32_trap_is_real():
    assert not float(np.float32(0.26)) >= 0.26


def test_words_and_switches_compare():
    assert image_states(str, ["jpg", "gif"], one_of=["jpg", "png"]) == [True, False]
    assert image_states(str, ["jpg", "gif"], equals="gif") == [False, True]
    assert image_states(bool, [True, False], equals=True) == [True, False]
    assert image_states(int, [2**60, 2**60 + 1], equals=2**60) == [True, False]


@pytest.mark.parametrize(
    ("kind", "condition", "said"),
    [
        (str, {"min": 1}, "holds str values: min needs numbers"),
        (bool, {"above": 0}, "holds bool values: above needs numbers"),
        (list[float], {"min": 1}, "is a list"),
        (int, {"equals": "1"}, "holds int values: equals compares it with '1'"),
        (float, {"one_of": [1, True]}, "holds float values: one_of compares it with True"),
        (str, {"one_of": ["jpg", 7]}, "holds str values: one_of compares it with 7"),
        (bool, {"equals": 1}, "holds bool values"),
    ],
)
def test_what_cannot_be_compared_is_said(kind, condition, said):
    assert fault(kind, Condition(**condition)).startswith(said)


def test_what_can_be_compared_is_no_fault():
    for kind, condition in (
        (int, {"min": 1}),
        (float, {"equals": 1}),
        (str, {"none_of": ["a"]}),
        (bool, {"equals": True}),
    ):
        assert fault(kind, Condition(**condition)) is None
    assert fault(str, Condition(), top=True) == "holds no numbers, which top needs"


@pytest.mark.parametrize("comparison", [{"min": 0}, {"equals": 1}, {"none_of": [7]}])
@pytest.mark.parametrize("nothing", [None, math.nan])
def test_what_could_not_be_measured_is_dropped_unless_the_rule_keeps_it(comparison, nothing):
    assert image_states(float, [nothing, 1.0], **comparison) == [False, True]
    assert image_states(float, [nothing, 1.0], missing="keep", **comparison) == [True, True]


# --- LAION's rules, from the recipe that comes with curate


def laion(changes=None, **values):
    """Whether a pair stays under pipelines/laion.yaml."""
    values = {"text.chars": 5, "raw.bytes": 5000, "size.area": 1, "raw.format": "jpg", "clip.sim": 0.5} | values
    rules = []
    for rule in load(LAION, changes).keep:
        at = 1 if rule.kind == "text" else 0
        rules.append((rule, TYPES[rule.column], column(TYPES[rule.column], d0={at: values[rule.column]})))
    return ended(raw("it"), *rules, empty="drop") == [KEPT] * 3


@pytest.mark.parametrize(
    ("name", "value", "stays"),
    [
        ("clip.sim", 0.28, True),
        ("clip.sim", 0.2799, False),
        ("clip.sim", math.nan, False),
        ("clip.sim", None, False),
        ("text.chars", 5, True),
        ("text.chars", 4, False),
        ("raw.bytes", 5000, True),
        ("raw.bytes", 4999, False),
        ("size.area", 9459 * 9459, True),
        ("size.area", 9460 * 9459, False),
        ("raw.format", "webp", True),
        ("raw.format", "gif", False),
    ],
)
def test_laion_thresholds(name, value, stays):
    assert laion(**{name: value}) is stays


@pytest.mark.parametrize(("least", "below"), [(0.26, 0.2599), (0.30, 0.2999)])
def test_laion_thresholds_of_its_other_sets(least, below):
    assert laion({"keep.4.min": str(least)}, **{"clip.sim": least})
    assert not laion({"keep.4.min": str(least)}, **{"clip.sim": below})


# --- reasons and documents


def test_the_first_rule_that_fails_is_the_reason():
    small, ugly = Rule(image="a.b", min=5), Rule(image="c.d", max=1)
    found = ended(raw("iiii"), (small, int, column(int, d0=[9, 1, 9, 1])), (ugly, int, column(int, d0=[0, 0, 7, 7])))
    assert [reason for _, reason in found[1:]] == [None, str(small), str(ugly), str(small)]


def test_a_missing_value_is_told_from_a_bad_one():
    found = ended(raw("ii"), (Rule(image="a.b", min=5), int, column(int, d0=[None, 1])))
    assert [reason for _, reason in found[1:]] == ["image: a.b min 5 (missing)", "image: a.b min 5"]


def test_failed_images_and_rejects_keep_their_own_reason():
    rule = (Rule(image="a.b", min=5), int, column(int, d0={1: 9}))
    found = ended(raw("xi", "r"), rule, (Rule(document="s.n", min=1), int, column(int, d0={-1: 0})))
    assert [state for state, _ in found] == ["dropped", "failed", "dropped", "rejected"]
    assert [reason for _, reason in found] == ["document: s.n min 1", "timeout_total", "document: s.n min 1", None]


def test_a_rule_on_texts_leaves_images_alone():
    assert ended(raw("ti"), (Rule(text="a.b", min=5), int, column(int, d0={0: 1})))[1:] == [
        ("dropped", "text: a.b min 5"),
        KEPT,
    ]


def test_a_document_that_fails_takes_its_segments_along():
    rule = Rule(document="s.score", min=0.5)
    found = ended(raw("ti", "ti"), (rule, float, column(float, d0={-1: 0.5}, d1={-1: 0.4})))
    assert found == [KEPT] * 3 + [("dropped", str(rule))] * 3


def test_survivors_are_counted_after_all_other_rules():
    count, small = Rule(document="images", min=2), Rule(image="a.b", min=5)
    frame, sizes = raw("tiii", "tiix"), column(int, d0=[0, 9, 9, 1], d1=[0, 9, 1, 9])
    found = ended(frame, count, (small, int, sizes))
    assert found[:5] == [KEPT, KEPT, KEPT, KEPT, ("dropped", str(small))]
    assert found[5:] == [
        ("dropped", str(count)),
        ("dropped", str(count)),
        ("dropped", str(count)),
        ("dropped", str(small)),
        ("failed", "timeout_total"),
    ]


@pytest.mark.parametrize(("images", "stays"), [(1, False), (2, True), (15, True), (16, False)])
def test_mmc4_core_counts_images(images, stays):
    found = ended(raw("t" + "i" * images), Rule(document="images", min=2, max=15))
    assert (found[0] == KEPT) is stays


@pytest.mark.parametrize(("texts", "stays"), [(3, False), (4, True), (40, True), (41, False)])
def test_mmc4_core_counts_sentences(texts, stays):
    found = ended(raw("i" + "t" * texts), Rule(document="texts", min=4, max=40))
    assert (found[0] == KEPT) is stays


@pytest.mark.parametrize(
    ("letters", "reason"),
    [("t", "no image left"), ("tx", "no image left"), ("i", "no text left"), ("x", "no image left"), ("ti", None)],
)
def test_no_document_leaves_without_image_or_text(letters, reason):
    found = ended(raw(letters), empty="drop")
    assert found[0] == (KEPT if reason is None else ("dropped", f"document: {reason}"))
    assert ended(raw(letters), empty="keep")[0] == KEPT


def test_a_document_whose_last_image_a_rule_removed_goes_too():
    rule = Rule(image="a.b", min=5)
    found = ended(raw("ti"), (rule, int, column(int, d0={1: 1})), empty="drop")
    assert found == [("dropped", "document: no image left")] * 2 + [("dropped", str(rule))]


def test_bytes_are_those_of_what_is_kept():
    rule = Rule(image="a.b", min=5)
    bound = [BoundRule(rule, "x", int)]
    found = decide(ruled(raw("tiix", "r", "t"), bound, [column(int, d0=[0, 9, 1, 0])], "drop"))
    assert found["bytes"].to_list() == [1010, 10, 1000, 0, 0, 0, 0, 0]


# --- what follows from a recipe


def test_verdicts_have_a_folder_for_all_that_decides():
    recipe, rule = recipe_of(), Rule(image="a.b", min=0.1234567)
    same = verdict_hash(recipe, [BoundRule(rule, "scores/a-1", float)], ["00000000"])
    assert same == verdict_hash(
        recipe_of(pack={"shard_count": 3}), [BoundRule(rule, "scores/a-1", float)], ["00000000"]
    )
    others = {
        verdict_hash(recipe, [], ["00000000"]),
        verdict_hash(recipe, [BoundRule(rule, "scores/a-2", float)], ["00000000"]),
        verdict_hash(recipe, [BoundRule(rule, "scores/a-1", float)], ["00000000", "00000001"]),
        verdict_hash(recipe, [BoundRule(Rule(image="a.b", min=0.1234568), "scores/a-1", float)], ["00000000"]),
        verdict_hash(
            recipe, [BoundRule(Rule(image="a.b", min=0.1234567, missing="keep"), "scores/a-1", float)], ["00000000"]
        ),
        verdict_hash(recipe_of(empty="keep"), [BoundRule(rule, "scores/a-1", float)], ["00000000"]),
    }
    assert len(others) == 6
    assert same not in others


def test_every_row_has_a_verdict_and_the_funnel_adds_up(tmp_path):
    store = Store(tmp_path)
    good, dead = Image("http://ex.org/a.png"), Image("http://ex.org/b.png")
    pages = [page("a b c", good), page("a", good), page("a b c", dead), "no row", page("a b c", good, dead)]
    for shard in ("00000000", "00000001"):
        raw_shard(store, pages, {good.url: picture()}, shard=shard)
    keep = [{"text": "w.words", "min": 2}, {"image": "raw.width", "min": 40}]
    curated(tmp_path, recipe_of(score={"w": {"use": "text_stats"}}, keep=keep), shards=("00000000", "00000001"))
    for shard in ("00000000", "00000001"):
        rows, found = (read(store, f"{folder}/{shard}.parquet") for folder in ("raw", "verdicts/x"))
        assert found.select("document", "position", "kind").equals(rows.select("document", "position", "kind"))
    assert [tuple(row.values()) for row in store.get_json("verdicts/x/funnel.json")["funnel"]] == [
        ("document", "kept", None, 4),
        ("document", "dropped", "document: no image left", 2),
        ("document", "dropped", "document: no text left", 2),
        ("image", "kept", None, 4),
        ("image", "failed", "http_permanent", 4),
        ("image", "dropped", "document: no text left", 2),
        ("text", "kept", None, 4),
        ("text", "dropped", "document: no image left", 2),
        ("text", "dropped", "text: w.words min 2", 2),
        ("reject", "rejected", "no row", 2),
    ]


def test_verdict_tables_have_the_fixed_schema(tmp_path):
    raw_shard(Store(tmp_path), [page("a", Image("http://ex.org/a.png"))], {"http://ex.org/a.png": picture()})
    curated(tmp_path, recipe_of())
    assert pa.parquet.read_schema(tmp_path / "verdicts/x/00000000.parquet") == schema.VERDICT
