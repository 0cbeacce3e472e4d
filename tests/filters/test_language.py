import hashlib
import sys
import types
from importlib.machinery import ModuleSpec
from pathlib import Path

import fsspec
import numpy as np
import pytest
from shards import measure, page, raw_shard, scored, scorers_of

from curate import Image
from curate.filters import language
from curate.filters.language import SMALL, Language, local
from curate.recipe.section import RecipeError
from curate.store.store import Store


@pytest.fixture(scope="module")
def lid():
    return Language()


def captions():
    lines = SMALL.with_name("captions.tsv").read_text(encoding="utf-8").splitlines()
    return [line.split("\t") for line in lines]


@pytest.mark.parametrize("code", sorted({code for code, _ in captions()}))
def test_the_small_model_knows_its_languages_in_short_captions(lid, code):
    texts = [text for own, text in captions() if own == code]
    assert np.mean([label == code for label, _ in lid.labels(texts)]) >= 0.85


def test_texts_and_documents_have_labels(lid):
    english, german = "The cat is asleep on the old sofa.", "Die Katze schläft auf dem alten Sofa."
    (rows,) = lid([page(english, Image("u"), german, "Das ist ein großes Haus am Fluss und es ist sehr alt.")])
    assert [rows[at]["label"] for at in (0, 2)] == ["en", "de"]
    assert rows[-1].keys() == {"page_label", "page_score"}
    assert rows[-1]["page_label"] == "de"
    assert all(0 < rows[at]["score"] <= 1 for at in (0, 2))


def test_newlines_are_spaces(lid):
    broken, whole = lid.labels(["a large\nred\r\ncircle\u2028on the wall", "a large red circle on the wall"])
    assert broken == whole
    assert broken[0] == "en"


@pytest.mark.parametrize("text", ["", "  \n\t "])
def test_an_empty_text_has_no_language(lid, text):
    assert lid.labels([text]) == [("", None)]
    assert lid([page()])[0] == {-1: {"page_label": "", "page_score": None}}


@pytest.mark.parametrize("text", ["42", "?!", "\U0001f600", "\u0000", "\udc80 broken", "x" * 100_000, "\u0561\u0562"])
def test_odd_texts_never_raise(lid, text):
    ((label, score),) = lid.labels([text])
    assert not label.startswith("__label__")
    assert score is None or 0 <= score <= 1


def test_labels_do_not_depend_on_the_batch(lid):
    texts = [text for _, text in captions()]
    assert lid.labels(texts) == [lid.labels([text])[0] for text in texts]


def test_scores_of_a_shard(tmp_path):
    store = Store(tmp_path)
    raw_shard(
        store, [page("The cat is asleep on the sofa.", ""), page("Le chat dort sur le canapé dans la cuisine.")], {}
    )
    (scorer,) = scorers_of(tmp_path, {"lid": {"use": "language"}})
    measure(store, [scorer])
    assert [label for label in scored(store, scorer, "label") if label is not None] == ["en", "", "fr"]
    assert [label for label in scored(store, scorer, "page_label") if label is not None] == ["en", "fr"]


# --- where the model comes from


def test_the_bytes_of_the_model_are_part_of_the_identity(tmp_path):
    identities = set()
    for content in (b"one", b"two", b"two"):
        (tmp_path / "lid.bin").write_bytes(content)
        (scorer,) = scorers_of(tmp_path, {"lid": {"use": "language", "model": str(tmp_path / "lid.bin")}})
        identities.add(scorer.identity)
    assert len(identities) == 2
    assert Language.weights() == [SMALL]


@pytest.fixture
def remote(tmp_path, monkeypatch):
    """A file behind a URL, its sha256, and an empty cache."""
    monkeypatch.setattr(language, "CACHE", tmp_path / "cache")
    content = SMALL.read_bytes()
    with fsspec.open("memory://models/lid.ftz", "wb") as file:
        file.write(content)
    return "memory://models/lid.ftz", hashlib.sha256(content).hexdigest()


def test_a_url_is_downloaded_once(remote):
    url, sha256 = remote
    path = local(url, sha256)
    assert path.name == f"{sha256}.ftz"
    fsspec.filesystem("memory").rm("/models/lid.ftz")
    assert local(url, sha256) == path
    assert Language(url, sha256).labels(["the cat is on the table"])[0][0] == "en"


def test_other_bytes_are_refused_and_not_kept(remote, tmp_path):
    with pytest.raises(ValueError, match=f"sha256: memory://models/lid.ftz has {remote[1]}, not 00"):
        local(remote[0], "00")
    assert list((tmp_path / "cache").iterdir()) == []
    with pytest.raises(ValueError, match=f"has {remote[1]}, not 00"):
        local(str(SMALL), "00")


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"model": "memory://lid.bin"}, "sha256: memory://lid.bin is downloaded; say what it must be"),
        ({"model": "/no/lid.bin"}, "model: no file /no/lid.bin"),
        ({"engine": "langid"}, "engine: 'langid' is neither fasttext nor cld3"),
        ({"engine": "cld3", "model": "x"}, "cld3"),
    ],
)
def test_what_cannot_work_is_refused_before_anything_runs(tmp_path, given, said):
    with pytest.raises(RecipeError, match=said):
        scorers_of(tmp_path, {"lid": {"use": "language", **given}})


def test_a_missing_package_is_named(monkeypatch):
    monkeypatch.setattr(language, "find_spec", lambda name: None)
    with pytest.raises(ImportError, match="engine: cld3 needs the package gcld3: pip install gcld3"):
        Language(engine="cld3")
    with pytest.raises(ImportError, match="engine: fasttext needs the package fasttext"):
        Language()


class Cld3:
    """What gcld3 answers: a text that begins with ? is not reliable."""

    def __init__(self, min_num_bytes, max_num_bytes):
        assert (min_num_bytes, max_num_bytes) == (0, 1000)

    def FindLanguage(self, text):  # noqa: N802
        return types.SimpleNamespace(language="zh-Latn", probability=0.5, is_reliable=not text.startswith("?"))


def test_cld3_says_nothing_where_it_is_not_reliable(monkeypatch):
    fake = types.ModuleType("gcld3")
    fake.__spec__, fake.NNetLanguageIdentifier = ModuleSpec("gcld3", None), Cld3
    monkeypatch.setitem(sys.modules, "gcld3", fake)
    assert Language.weights(engine="cld3") == []
    assert Language(engine="cld3").labels(["ni hao", "? hao", ""]) == [("zh", 0.5), ("", None), ("", None)]


def test_the_model_is_small():
    assert Path(SMALL).stat().st_size < 1_000_000
