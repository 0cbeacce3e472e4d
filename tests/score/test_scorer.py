import inspect
import pickle
import pkgutil
import sys
from dataclasses import replace

import numpy as np
import pytest
from shards import scorers_of

import curate.filters
from curate import Vector, scores
from curate.filters.aesthetic import Aesthetic
from curate.plugin import spec_of
from curate.recipe.section import RecipeError
from curate.score.identity import code_hash, identity
from curate.score.plugins import find

WORDS = """
from curate import scores

@scores("text", words=int)
def words(texts, least=0):
    return [{"words": max(least, len(text.text.split()))} for text in texts]
"""


@scores("image", n=int, pixels=64)
def counted(images, step=1, *, names=()):
    return [{"n": step} for _ in images]


@scores("image", p=float)
class Head:
    def __init__(self, weights: str, scale: float = 1.0) -> None:
        self.scale = scale

    @staticmethod
    def weights(weights: str, scale: float = 1.0) -> list[str]:
        return [weights]


@scores("document", image={"embedding": Vector, "sims": list[float]}, length=int)
def embed(documents):
    return [{} for _ in documents]


@scores("embed.embedding", p=float)
def head(vectors):
    return [{"p": sum(vector)} for vector in vectors]


COUNTED, EMBED, HEAD = "test_scorer:counted", "test_scorer:embed", "test_scorer:head"


def one(folder, entry, **sections):
    return scorers_of(folder, {"a": entry}, **sections)[0]


def fault(folder, score, **sections):
    with pytest.raises(RecipeError) as error:
        scorers_of(folder, score, **sections)
    return str(error.value)


# --- finding


def test_a_built_in_scorer_is_found_by_its_name(tmp_path):
    assert one(tmp_path, {"use": "image_size"}).plugin.__module__ == "curate.filters.image_size"


def test_a_file_beside_the_recipe_is_found_by_its_name(tmp_path):
    (tmp_path / "mine.py").write_text(WORDS)
    scorer = one(tmp_path, {"use": "mine", "least": 2})
    assert (scorer.view, scorer.given, scorer.columns) == ("text", {"least": 2}, {"text": {"words": int}})


def test_module_and_attribute(tmp_path):
    assert one(tmp_path, {"use": COUNTED}).plugin is counted


def test_module_and_attribute_beside_the_recipe(tmp_path):
    (tmp_path / "beside_the_recipe.py").write_text(WORDS)
    assert one(tmp_path, {"use": "beside_the_recipe:words"}).columns == {"text": {"words": int}}


@pytest.mark.parametrize(
    ("use", "said"),
    [
        ("imagesize", "r.yaml: score.a.use: no scorer named 'imagesize'; did you mean 'image_size'? (known: "),
        ("no_module:x", "r.yaml: score.a.use: 'no_module:x': No module named 'no_module'"),
        ("test_scorer:nothing", "r.yaml: score.a.use: 'test_scorer:nothing': module 'test_scorer' has no attribute"),
        ("test_scorer:one", "r.yaml: score.a.use: 'one' is no scorer: decorate it"),
    ],
)
def test_what_is_not_found_says_where_and_what_is_near(tmp_path, use, said):
    assert fault(tmp_path, {"a": {"use": use}}).startswith(said)


def test_a_file_named_like_a_built_in_is_ambiguous(tmp_path):
    (tmp_path / "phash.py").write_text(WORDS)
    assert f"'phash' is found twice: rename {tmp_path / 'phash.py'}" in fault(tmp_path, {"a": {"use": "phash"}})


def test_a_file_with_two_scorers_must_be_told_which(tmp_path):
    (tmp_path / "two.py").write_text(WORDS + WORDS.replace("def words", "def more"))
    assert "two.py defines 2 scorers; name one as module:attribute" in fault(tmp_path, {"a": {"use": "two"}})


# --- parameters and columns


def test_an_unknown_parameter_is_told_from_those_there_are(tmp_path):
    said = fault(tmp_path, {"a": {"use": COUNTED, "stepp": 1}})
    assert said == f"r.yaml: score.a: got an unexpected keyword argument 'stepp'; {COUNTED} takes step, names"


def test_a_missing_parameter_is_named(tmp_path):
    assert "missing a required argument: 'weights'" in fault(tmp_path, {"a": {"use": "test_scorer:Head"}})


@pytest.mark.parametrize(
    ("score", "said"),
    [
        (
            {"embed": {"use": EMBED}, "a": {"use": HEAD, "on": "embed.embeding"}},
            "score.a.on: 'embed.embeding' is no column",
        ),
        ({"embed": {"use": EMBED}, "a": {"use": HEAD, "on": "embed.embeding"}}, "did you mean 'embed.embedding'?"),
        ({"a": {"use": HEAD}}, "score.a: no score named 'embed' (known: a, raw, source)"),
        ({"a": {"use": COUNTED, "after": {"score": "size.area", "min": 1}}}, "score.a: no score named 'size'"),
        ({"a": {"use": COUNTED, "after": {"score": "raw.with", "min": 1}}}, "did you mean 'raw.width'?"),
        ({"a": {"use": COUNTED, "after": {"score": "raw.text", "equals": "x"}}}, "raw.text is a column of texts"),
        ({"a": {"use": COUNTED, "after": {"score": "raw.format", "min": 1}}}, "raw.format holds str values: min needs"),
        ({"a": {"use": HEAD, "on": "b.p"}, "b": {"use": HEAD, "on": "a.p"}}, "score: a, b wait for each other"),
    ],
)
def test_a_wrong_column_names_the_nearest(tmp_path, score, said):
    assert said in fault(tmp_path, score)


def test_scorers_come_after_what_they_read(tmp_path):
    score = {"p": {"use": HEAD}, "q": {"use": COUNTED, "after": {"score": "p.p", "min": 0}}, "embed": {"use": EMBED}}
    assert [scorer.name for scorer in scorers_of(tmp_path, score)] == ["embed", "p", "q"]


def test_a_column_scorer_fills_rows_of_the_columns_kind(tmp_path):
    on_texts = one(tmp_path, {"use": HEAD, "on": "raw.text"})
    assert (on_texts.view, on_texts.columns, on_texts.upstream) == ("raw.text", {"text": {"p": float}}, {"raw"})


# --- identity


def test_the_folder_bears_name_and_identity(tmp_path):
    scorer = one(tmp_path, {"use": COUNTED})
    assert scorer.folder == f"scores/a-{scorer.identity}"
    assert len(scorer.identity) == 8


def test_identity_survives_thresholds_resources_batch_and_other_lines(tmp_path):
    score = {"a": {"use": COUNTED}}
    sections = {"keep": [{"image": "a.n", "min": 3}], "resources": {"a": {"batch": 7}}, "pack": {"shard_count": 5}}
    other = {"b": {"use": "image_size"}}
    assert scorers_of(tmp_path, score)[0].identity == scorers_of(tmp_path, score | other, **sections)[0].identity
    assert scorers_of(tmp_path, score, **sections)[0].spec.batch == 7


def test_identity_survives_a_default_that_is_spelled_out(tmp_path):
    assert one(tmp_path, {"use": COUNTED}).identity == one(tmp_path, {"use": COUNTED, "step": 1}).identity


@pytest.mark.parametrize("change", [{"step": 2}, {"step": "1"}, {"names": ["x"]}])
def test_identity_changes_with_parameters(tmp_path, change):
    assert one(tmp_path, {"use": COUNTED}).identity != one(tmp_path, {"use": COUNTED, **change}).identity


@pytest.mark.parametrize(
    ("old", "new", "same"),
    [
        ("least=0", "least = 0", True),
        ("\n\n", "\n\n# a comment\n\n", True),
        ("split()", "split(' ')", False),
        ("words=int", "words=int, n=int", False),
    ],
)
def test_identity_follows_the_code_and_not_its_comments(tmp_path, old, new, same):
    identities = []
    for text in (WORDS, WORDS.replace(old, new)):
        (tmp_path / "mine.py").write_text(text)
        identities.append(one(tmp_path, {"use": "mine"}).identity)
    assert (identities[0] == identities[1]) is same


@pytest.mark.parametrize("line", ["import {0}", "from {0} import LIMIT", "from {0} import *"])
@pytest.mark.parametrize("lazy", [False, True])
def test_identity_changes_with_a_helper_beside_it(tmp_path, line, lazy):
    helper = f"helper_{tmp_path.name}".replace("-", "_")
    line = line.format(helper)
    mine = f"{WORDS}\ndef later():\n    {line}\n" if lazy and "*" not in line else f"{line}\n{WORDS}"
    (tmp_path / "mine.py").write_text(mine)
    identities = set()
    for limit in (1, 2):
        (tmp_path / f"{helper}.py").write_text(f"LIMIT = {limit}\n")
        identities.add(one(tmp_path, {"use": "mine"}).identity)
    assert len(identities) == 2
    sys.modules.pop(helper, None)


def test_identity_changes_with_the_helper_of_a_helper_and_not_with_a_stranger(tmp_path):
    (tmp_path / "mine.py").write_text(f"import near_{tmp_path.name[-1]} as near\n{WORDS}")
    (tmp_path / f"near_{tmp_path.name[-1]}.py").write_text("import far\n")
    identities = []
    for name, text in (("far", "X = 1"), ("far", "X = 2"), ("stranger", "X = 3")):
        (tmp_path / f"{name}.py").write_text(text)
        identities.append(one(tmp_path, {"use": "mine"}).identity)
    assert identities[0] != identities[1] == identities[2]


def test_identity_changes_with_the_weights_content(tmp_path):
    file, identities = tmp_path / "head.bin", []
    for content in (b"1", b"2", b"1"):
        file.write_bytes(content)
        identities.append(one(tmp_path, {"use": "test_scorer:Head", "weights": str(file)}).identity)
    assert identities[0] == identities[2] != identities[1]


def test_identity_changes_with_exact_decoding_where_pixels_matter(tmp_path):
    for use, matters in ((COUNTED, True), ("text_stats", False)):
        scaled, exact = one(tmp_path, {"use": use}), one(tmp_path, {"use": use}, decode="exact")
        assert (scaled.identity != exact.identity) is matters
    assert one(tmp_path, {"use": COUNTED}, decode="exact").spec.pixels == "full"


def test_identity_changes_with_the_column_it_reads_and_that_columns_gate(tmp_path):
    gate = {"after": {"score": "raw.width", "min": 10}}
    uses = [{"use": EMBED}, {"use": EMBED, **gate}, {"use": EMBED, "after": {"score": "raw.width", "min": 20}}]
    (tmp_path / "embed2.py").write_text(
        "from curate import *\n@scores('document', image={'embedding': Vector})\ndef e(d): pass"
    )
    uses.append({"use": "embed2"})
    heads = [scorers_of(tmp_path, {"embed": use, "p": {"use": HEAD}})[1].identity for use in uses]
    assert len(set(heads)) == 4


def test_a_gate_changes_the_folder_and_not_the_identity(tmp_path):
    free, low, high = (
        one(tmp_path, {"use": COUNTED, **gate})
        for gate in ({}, {"after": {"score": "raw.width", "min": 1}}, {"after": {"score": "raw.width", "min": 2}})
    )
    assert free.identity == low.identity == high.identity
    assert len({free.folder, low.folder, high.folder}) == 3


def test_a_gate_differs_when_the_gate_of_its_column_does(tmp_path):
    folders = set()
    for least in (1, 2):
        b = {"use": COUNTED, "after": {"score": "raw.width", "min": least}}
        folders.add(
            scorers_of(tmp_path, {"b": b, "a": {"use": COUNTED, "after": {"score": "b.n", "min": 1}}})[1].folder
        )
    assert len(folders) == 2


def test_a_scorer_travels_to_workers(tmp_path):
    scorer = pickle.loads(pickle.dumps(one(tmp_path, {"use": COUNTED, "step": 4})))
    assert scorer.build()([np.nan]) == [{"n": 4}]


def test_the_hash_of_code_is_blind_to_layout(tmp_path):
    (tmp_path / "a.py").write_text("x = 1\n")
    (tmp_path / "b.py").write_text("# x\nx  =  1\n")
    assert code_hash(tmp_path / "a.py") == code_hash(tmp_path / "b.py")


# --- identity of what is built in


def named(plugin, *, version=1, given=None, pixels=None, decoder=1, view="clip.embedding", columns=None):
    return identity(
        plugin,
        replace(spec_of(plugin), version=version, pixels=pixels),
        given or {"weights": "demo", "sha256": ""},
        view=view,
        columns=columns or {"image": {"score": float}},
        inputs=[],
        decoder=decoder,
        where="here",
    )


def elsewhere(module, **changes):
    """The built-in scorer as if it stood in another file, whose code nobody can read."""
    return type("Aesthetic", (Aesthetic,), {"__module__": module, **changes})


def test_a_built_in_scorer_can_be_moved_and_tidied():
    assert named(elsewhere("curate.filters.images.aesthetic", __call__=lambda self, vectors: [])) == named(Aesthetic)
    assert named(elsewhere("curate.filters.beauty")) != named(Aesthetic)


def test_a_built_in_scorers_identity_changes_with_whatever_its_numbers_depend_on(tmp_path):
    (tmp_path / "model.safetensors").write_bytes(Aesthetic.weights()[0].read_bytes() + b" ")
    weights = [tmp_path / "model.safetensors"]
    identities = [
        named(Aesthetic),
        named(Aesthetic, version=2),
        named(Aesthetic, given={"weights": str(Aesthetic.weights()[0]), "sha256": ""}),
        named(elsewhere("curate.filters.aesthetic", weights=staticmethod(lambda **_: weights))),
        named(Aesthetic, pixels=64),
        named(Aesthetic, pixels=64, decoder=2),
        named(Aesthetic, view="image"),
        named(Aesthetic, view="text"),
        named(Aesthetic, columns={"image": {"score": int}}),
        named(Aesthetic, columns={"image": {"score": Vector}}),
    ]
    assert len(set(identities)) == len(identities)
    assert named(Aesthetic, decoder=2) == named(Aesthetic)  # it sees no picture


def test_the_version_of_a_view_is_part_of_the_identity(monkeypatch):
    before = named(Aesthetic), named(Aesthetic, view="image")
    monkeypatch.setitem(curate.plugin.VIEWS, "column", 2)
    assert (named(Aesthetic) != before[0], named(Aesthetic, view="image") == before[1]) == (True, True)


@pytest.mark.parametrize(
    ("use", "expected"),
    [("image_size", "4ddf80f1"), ("text_stats", "d3587fbd"), ("keys", "d0814b85"), ("url_words", "cd9a7fdc")],
)
def test_identities_stay_what_they_were(tmp_path, use, expected):
    """Another one here means that the scores of every run are computed again."""
    assert one(tmp_path, {"use": use}).identity == expected


def test_every_built_in_scorer_has_a_version_and_parameters_without_addresses(tmp_path):
    names = [each.name for each in pkgutil.iter_modules(curate.filters.__path__) if not each.ispkg]
    for name in (name for name in names if not name.startswith("_")):
        plugin = find(name, tmp_path)
        assert spec_of(plugin).version >= 1
        defaults = [each.default for each in inspect.signature(plugin).parameters.values()]
        assert not [each for each in map(repr, defaults) if "curate" in each or " at 0x" in each]


@scores("text", n=int)
def unversioned(texts): ...


unversioned.__module__ = "curate.filters.unversioned"


def test_a_built_in_scorer_without_a_version_is_refused(tmp_path):
    said = fault(tmp_path, {"a": {"use": "test_scorer:unversioned"}})
    assert said == "r.yaml: score.a.use: 'unversioned' is built in: give it a version, as in @scores(..., version=1)"


def test_an_outside_scorer_needs_no_version_and_may_inherit_one(tmp_path):
    assert (spec_of(counted).version, spec_of(elsewhere("test_scorer")).version) == (None, 1)
    assert named(elsewhere("test_scorer"), version=2) != named(elsewhere("test_scorer")) != named(Aesthetic)


def test_parameters_that_are_set_apart_do_not_change_the_identity(tmp_path):
    def folder(**given):
        return one(tmp_path, {"use": "test_scorer:Asking", **given}).folder

    assert folder(server="a", model="m") == folder(server="b", model="m")
    assert folder(server="a", model="m") != folder(server="a", model="n")


@scores("text", n=int)
class Asking:
    apart = ("server",)

    def __init__(self, server: str, model: str) -> None: ...
