from pathlib import Path

import pytest
import yaml

import curate
from curate.recipe.recipe_file import load
from curate.recipe.rules import Gate, Rule
from curate.recipe.section import RecipeError, nearest, spell
from curate.run.bind import Resolved

ROOT = Path(curate.__file__).parents[1]
SCORES = {"clip": {"use": "clip", "after": {"score": "size.area", "min": 5}}, "size": {"use": "image_size"}}
WHOLE = {
    "source": {"reader": "mmc4", "path": "*.jsonl"},
    "fetch": {"timeout": 10, "resize": {"size": 256}},
    "score": SCORES,
    "keep": [{"image": "clip.sim", "min": 0.2}],
    "place": {"by": "dom"},
    "pack": {"format": "interleaved"},
    "resources": {"clip": {"gpus": 1}},
}


@pytest.fixture
def recipe(tmp_path):
    path = tmp_path / "r.yaml"
    path.write_text(yaml.safe_dump(WHOLE))
    return path


def fault(path, key, value):
    """What is said of a recipe with this change, without the file's name, which must lead."""
    with pytest.raises(RecipeError) as error:
        load(path, {key: yaml.safe_dump(value)})
    start, _, said = str(error.value).partition(": ")
    assert start == str(path)
    return said


@pytest.mark.parametrize(
    ("key", "right"),
    [
        ("sorce", "source"),
        ("keeep", "keep"),
        ("source.reeder", "reader"),
        ("fetch.time_out", "timeout"),
        ("fetch.resize.min_sides", "min_side"),
        ("score.clip.after.maxx", "max"),
        ("keep.0.mni", "min"),
        ("keep.0.imagee", "image"),
        ("place.per_texts", "per_text"),
        ("pack.formt", "format"),
        ("resources.clip.gpu", "gpus"),
    ],
)
def test_an_unknown_key_names_itself_and_the_nearest(recipe, key, right):
    assert fault(recipe, key, 1).startswith(f"{key}: unknown key; did you mean {right!r}? (known: ")


def test_an_unknown_key_without_a_neighbour_lists_what_there_is(recipe):
    assert (
        fault(recipe, "pack.zzz", 1)
        == "pack.zzz: unknown key (known: format, name, shard_bytes, shard_count, blur, mask, join)"
    )


def test_every_fault_has_its_line(recipe):
    with pytest.raises(RecipeError) as error:
        load(recipe, {"fetch.timeout": "soon", "place.bye": "1", "pack.shard_count": "0"})
    assert [line.split(": ")[1] for line in str(error.value).splitlines()] == [
        "fetch.timeout",
        "place.bye",
        "pack.shard_count",
    ]


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("source", None, "source: "),
        ("source", {"reader": "mmc4"}, "source.path: Field required"),
        ("score.clip", {}, "score.clip.use: Field required"),
        ("score.clip.on", "embedding", "score.clip.on: 'embedding' is no column"),
        ("score.raw", {"use": "clip"}, "score: 'raw' cannot name a score"),
        ("score.a/b", {"use": "clip"}, "score: 'a/b' cannot name a score"),
        ("score.clip.after", {"score": "size.area"}, "score.clip.after: no comparison: give one of min, max"),
        ("keep.0", {"image": "clip.sim"}, "keep.0: no comparison: give one of min, max, above, below"),
        ("keep.0", {"min": 1}, "keep.0: a rule names one column"),
        ("keep.0.text", "words.words", "keep.0: a rule names one column, as one of image:, text: or document:"),
        ("keep.0.min", float("nan"), "keep.0: a threshold is a number, not NaN"),
        ("score.clip.after.max", float("nan"), "score.clip.after: a threshold is a number, not NaN"),
        ("keep.0.top", 0, "keep.0.top: "),
        ("keep.0.top", 1.01, "keep.0.top: "),
        ("keep.0.missing", "ignore", "keep.0.missing: "),
        ("place", "clip", "place.by: 'clip' is none of dom, matched or a column"),
        ("pack.name", "a/b", "pack.name: "),
        ("pack.shard_bytes", "many", "pack.shard_bytes: "),
        ("resources.clap", {"gpus": 1}, "resources.clap: no such stage or score; did you mean 'clip'?"),
    ],
)
def test_a_bad_value_names_its_place(recipe, key, value, said):
    assert fault(recipe, key, value).startswith(said)


def test_changes_reach_into_sections_lists_and_what_is_not_there_yet(recipe):
    changes = {"keep.0.min": "0.3", "keep.0.missing": "keep", "pack.shard_bytes": "5MB", "resources.fetch.cpus": "2"}
    found = load(recipe, changes)
    assert (found.keep[0].min, found.keep[0].missing, int(found.pack.shard_bytes)) == (0.3, "keep", 5_000_000)
    assert found.resources["fetch"].cpus == 2


def test_changes_may_be_any_yaml(recipe):
    found = load(
        recipe, {"keep": "[{image: size.area, one_of: [1, 2]}, {document: images, min: 1}]", "place": "matched"}
    )
    assert [rule.column for rule in found.keep] == ["size.area", "images"]
    assert found.place.by == "matched"


@pytest.mark.parametrize("key", ["keep.1.min", "keep.first.min", "source.reader.name", "keep.0.min.deep.er"])
def test_a_change_to_no_place_says_so(recipe, key):
    assert fault(recipe, key, 1) == f"--set {key}: there is no such place in the recipe"


def test_a_change_that_is_no_yaml_says_so(recipe):
    with pytest.raises(RecipeError, match=r"--set keep=\[: the value is not YAML"):
        load(recipe, {"keep": "["})


@pytest.mark.parametrize(
    ("text", "said"), [("a: [", "not YAML"), ("", "a recipe is a mapping"), ("- a", "a recipe is a mapping")]
)
def test_what_is_no_recipe_at_all(tmp_path, text, said):
    (tmp_path / "r.yaml").write_text(text)
    with pytest.raises(RecipeError, match=said):
        load(tmp_path / "r.yaml")


def test_no_file(tmp_path):
    with pytest.raises(RecipeError, match=r"no\.yaml: no such file"):
        load(tmp_path / "no.yaml")


@pytest.mark.parametrize(
    "path", sorted([*ROOT.glob("pipelines/*.yaml"), *ROOT.glob("curate/demo/*.yaml")]), ids=lambda path: str(path)
)
def test_the_recipes_that_come_with_curate_load(path):
    assert load(path).score


def test_other_keys_of_a_score_are_its_parameters(recipe):
    assert load(recipe, {"score.clip.model": "demo"}).score["clip"].parameters == {"model": "demo"}


@pytest.mark.parametrize(
    ("rule", "said"),
    [
        ({"image": "clip.sim", "min": 0.28}, "image: clip.sim min 0.28"),
        ({"image": "size.area", "max": 89478484}, "image: size.area max 89478484"),
        ({"text": "t.n", "above": 1, "below": 0.123456789}, "text: t.n above 1 below 0.123456789"),
        ({"image": "raw.format", "one_of": ["jpg", "png"]}, "image: raw.format one_of [jpg, png]"),
        ({"document": "images", "max": float("inf")}, "document: images max inf"),
        ({"image": "clip.sim", "top": 0.3}, "image: clip.sim top 0.3"),
    ],
)
def test_a_rule_reads_like_its_line(rule, said):
    assert str(Rule(**rule)) == said


def test_thresholds_that_differ_are_spelled_differently():
    assert spell(0.1234567) != spell(0.1234568)


def test_a_gate_and_a_rule_know_what_they_compare():
    assert Gate(score="clip.sim", min=0.2).comparisons() == {"min": 0.2}
    assert (Rule(text="a.b", min=1).kind, Rule(document="images", min=1).kind) == ("text", "document")


def test_nearest_says_what_is_close_and_what_is_known():
    assert nearest("cilp", ["clip", "size"]) == "; did you mean 'clip'? (known: clip, size)"
    assert nearest("x", []) == " (known: none)"


# --- what a run checks before it begins


def refused(tmp_path, **sections):
    path = tmp_path / "r.yaml"
    path.write_text(yaml.safe_dump(WHOLE | {"score": {"size": {"use": "image_size"}}, "resources": {}} | sections))
    with pytest.raises(RecipeError) as error:
        Resolved(path).check()
    assert not (tmp_path / "run").exists()
    return str(error.value).removeprefix(f"{path}: ")


@pytest.mark.parametrize(
    ("rule", "said"),
    [
        (
            {"image": "size.min_sid", "min": 1},
            "keep.0.image: 'size.min_sid' is no column; did you mean 'size.min_side'?",
        ),
        ({"text": "size.width", "min": 1}, "keep.0.text: 'size.width' is a column of images, not of texts"),
        (
            {"document": "image", "min": 1},
            "keep.0.document: 'image' is no column; did you mean 'images'? (known: images, texts, raw.url",
        ),
        ({"image": "images", "min": 1}, "keep.0.image: 'images' is no column"),
        ({"document": "images", "top": 0.5}, "keep.0.document: top needs a measured column"),
        ({"image": "raw.format", "min": 1}, "keep.0.image: raw.format holds str values: min needs numbers"),
        ({"image": "source.sims", "min": 1}, "keep.0.image: source.sims is a list"),
        ({"image": "raw.format", "top": 0.5}, "keep.0.image: raw.format holds no numbers, which top needs"),
    ],
)
def test_a_rule_that_cannot_be_applied_is_refused(tmp_path, rule, said):
    assert refused(tmp_path, keep=[rule]).startswith(said)


@pytest.mark.parametrize(
    ("sections", "said"),
    [
        ({"place": "size.widht"}, "place.by: 'size.widht' is no column; did you mean 'size.width'?"),
        ({"place": "size.width"}, "place.by: size.width is no list of similarities"),
        ({"pack": {"format": "pair"}}, "pack.format: no format 'pair'; did you mean 'pairs'?"),
        ({"source": {"reader": "mcm4", "path": "x"}}, "source.reader: no reader 'mcm4'; did you mean 'mmc4'?"),
        ({"source": {"reader": "coyo", "path": "x"}, "place": "matched"}, "place.by: 'source.matched' is no column"),
    ],
)
def test_a_place_or_format_that_is_not_there_is_refused(tmp_path, sections, said):
    assert refused(tmp_path, **({"keep": []} | sections)).startswith(said)


def test_on_is_a_key_like_any_other(tmp_path):
    path = tmp_path / "r.yaml"
    path.write_text("source: {reader: mmc4, path: a}\nscore: {a: {use: b, on: c.d}}\n")
    assert load(path).score["a"].on == "c.d"


def test_a_key_that_stands_twice_is_an_error(tmp_path):
    path = tmp_path / "r.yaml"
    path.write_text("source: {reader: mmc4, path: a}\nscore: {}\nscore: {a: {use: b}}\n")
    with pytest.raises(RecipeError, match="'score' stands here twice"):
        load(path)
