"""Every recipe in pipelines/ without network or weights: demo models and tiny lists stand in for what it names."""

from __future__ import annotations

import json
import tarfile
from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import polars as pl
import pytest
import yaml
from shards import Shelf, curated, measure, page, picture, raw_shard, recipe_of, scored, scorers_of
from test_select import KEPT, column, ended, raw

import curate
from curate import Document, Encoded, Image, Text, scores
from curate.document import Row
from curate.filters.alignment import alignment
from curate.filters.centroids import Centroids
from curate.filters.coyo_text import CoyoText
from curate.filters.image_size import image_size
from curate.filters.text_stats import text_stats
from curate.pipelines import coyo, laion, mmc4, obelics
from curate.recipe.recipe import Recipe
from curate.recipe.recipe_file import load, parse
from curate.run.bind import Resolved
from curate.store.store import Store

HERE = Path(curate.__file__).parents[1] / "pipelines"
RECIPES = sorted(path.stem for path in HERE.glob("*.yaml"))
READERS = {"coyo": coyo.read, "laion": laion.read, "mmc4": mmc4.read, "obelics": obelics.read}
MODELS = {"clip", "nsfw", "aesthetic", "watermark", "faces", "capfilt", "caption", "tags"}
"""Scorers that have a model called demo."""


def small(name: str, folder: Path) -> dict[str, Any]:
    """A recipe with demo models for real ones and tiny lists for those that have to be downloaded."""
    content = parse((HERE / f"{name}.yaml").read_text())
    files = {
        "lists/common_words.txt": "the\ncat\nsat\ndown\n",
        "lists/nouns.txt": "car\nbike\n",
        "lists/profanity.txt": "damn\n",
        "lists/opt_out.txt": "http://ex.org/mine.jpg\n",
        "lists/laion_categories.txt": "".join(f"a picture of {at}\n" for at in range(24)),
        "models/centroids-imagenet.txt": "1\n",
    }
    for file, text in files.items():
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        (folder / file).write_text(text)
    np.save(folder / "models/centroids-l14.npy", np.eye(3, 128, dtype=np.float32))
    for entry in content["score"].values():
        for key, value in entry.items():
            if isinstance(value, str) and (folder / value).is_file():
                entry[key] = str(folder / value)
        if entry["use"] in MODELS:
            for key in entry.keys() & {"model", "weights", "captioner", "filter"}:
                demo_is_the_model = key != "weights" or "model" not in entry
                entry[key] = "demo" if demo_is_the_model else ""
            if "rank" in entry:
                entry["rank"] = [["demo", "", keep] for *_, keep in entry["rank"]]
        if entry["use"] == "language":  # lid.176.bin and cld3 are not here
            for key in entry.keys() & {"model", "engine"}:
                del entry[key]
    return content


def written(name: str, folder: Path, **changes: Any) -> Path:
    """The small recipe as a file; ``changes`` replace whole sections."""
    path = folder / f"{name}.yaml"
    path.write_text(yaml.safe_dump(small(name, folder) | changes))
    return path


@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_checks(name, tmp_path):
    Resolved(written(name, tmp_path)).check()


ABOUT = [{"original_width": 160, "original_height": 160, "format": "png"}, None]
ROWS = {
    "coyo": {"url": "http://ex.org/a.png", "text": "a red car on the road"},
    "laion": {"url": "http://ex.org/a.png", "text": "a red car on the road"},
    "mmc4": {"text_list": ["A red car."] * 4, "image_info": [{"raw_url": "http://ex.org/a.png"}] * 2},
    "obelics": {
        "images": ["http://ex.org/a.png", None],
        "texts": [None, "One.\n\nTwo."],
        "metadata": json.dumps(ABOUT),
    },
}


@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_measures_groups_and_decides(name, tmp_path):
    content = small(name, tmp_path)
    reader = READERS[content["source"]["reader"]]
    rows = [reader(ROWS[content["source"]["reader"]])] * 2
    raw_shard(Store(tmp_path), rows, {"http://ex.org/a.png": picture(1, 160, 160)}, reader.columns)
    content["score"].get("caption", {}).pop("n", None)
    run = Shelf(tmp_path, Recipe.model_validate(content), reader.columns).do()
    assert {state for state, _ in run.states().values()} <= {"kept", "dropped"}
    assert len(run.states()) == 2 * (len(rows[0].segments) + 1)


@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_says_what_it_is_and_how_to_run_it(name):
    lines = (HERE / f"{name}.yaml").read_text().splitlines()
    assert lines[0].startswith("# ")
    assert any(line.startswith(f"#   curate run pipelines/{name}.yaml") for line in lines[:8])
    assert max(map(len, lines)) <= 120


def test_the_models_of_the_recipes_are_named_in_their_first_lines():
    for name in RECIPES:
        head, _, body = (HERE / f"{name}.yaml").read_text().partition("\nsource:")
        for file in {word.strip("{},") for word in body.split() if word.startswith(("models/", "lists/"))}:
            assert file.partition("/")[0] + "/" in head, f"{name}: {file}"


# --- rules alone: values of a column by kind, and whether all of it stays


def stays(recipe: Recipe, types: dict[str, Any], values: dict[str, Any]) -> bool:
    """Whether a document of an image and a text passes the rules whose columns are given."""
    rules: list[Any] = []
    for rule in recipe.keep:
        if rule.column in values:
            at = {"document": -1, "image": 0, "text": 1}[rule.kind]
            kind = types.get(rule.column, type(values[rule.column]))
            rules.append((rule, kind, column(kind, d0={at: values[rule.column]})))
    assert {each.column for each, *_ in rules} == values.keys()
    return bool(ended(raw("it"), *rules, empty="drop")[0] == KEPT)


def recipe(name: str) -> Recipe:
    return load(HERE / f"{name}.yaml")


def basic(text: str, width: int, height: int, language: str) -> bool:
    """DataComp's basic filter on measured values."""
    (said,), (size,) = text_stats([Text(text)]), image_size([Image("u", width=width, height=height)])
    sizes = {f"size.{key}": (size or {}).get(key) for key in ("min_side", "elongation")}
    values = {"language.label": language, "text.words": said["words"], "text.chars": said["chars"], **sizes}
    return stays(recipe("datacomp-basic"), {"size.min_side": int, "size.elongation": float}, values)


@pytest.mark.parametrize(
    ("row", "kept"),
    [
        (("a red car", 200, 200, "en"), True),
        (("a red car", 199, 400, "en"), False),
        (("a red car", 600, 200, "en"), True),
        (("a red car", 601, 200, "en"), False),
        (("red car", 300, 300, "en"), False),
        (("a b c", 300, 300, "en"), False),
        (("a b cd", 300, 300, "en"), True),
        (("une voiture rouge", 300, 300, "fr"), False),
        (("a red\ncar", 300, 300, "en"), True),
        (("a red car", 0, 0, "en"), False),
    ],
)
def test_datacomp_basic(row, kept):
    assert basic(*row) is kept


def test_datacomp_looks_for_the_language_of_one_line():
    from curate.filters.language import Language

    (rows,) = Language()([page(Image("u"), "a red\ncar on the\nroad")])
    assert rows[1]["label"] == "en"


@pytest.mark.parametrize(
    ("name", "column", "value", "kept"),
    [
        ("laion400m", "clip.sim", 0.3, True),
        ("laion400m", "clip.sim", 0.2999, False),
        ("laion400m", "clip.sim", float("nan"), False),
        ("laion400m", "text.chars", 5, True),
        ("laion400m", "text.chars", 4, False),
        ("laion400m", "raw.bytes", 5000, True),
        ("laion400m", "raw.bytes", 4999, False),
        ("laion-en", "clip.sim", 0.28, True),
        ("laion-en", "clip.sim", 0.2799, False),
        ("laion-en", "size.area", 9459 * 9459, True),
        ("laion-en", "size.area", 9460 * 9459, False),
        ("laion-en", "language.label", "", False),
        ("laion-en", "nsfw.unsafe", 0.5, True),
        ("laion-en", "nsfw.unsafe", 0.5001, False),
        ("laion-en", "mark.watermark", 0.8, True),
        ("laion-art", "aesthetic.score", 8.0, False),
        ("laion-art", "mark.watermark", 0.8, False),
        ("coyo", "source.nsfw_score_opennsfw2", 0.5, True),
        ("coyo", "source.nsfw_score_opennsfw2", 0.5001, False),
        ("coyo", "said.size", 10, True),
        ("coyo", "said.size", 11, False),
        ("mmc4", "nsfw.unsafe", 0.1, True),
        ("mmc4", "nsfw.unsafe", 0.11, False),
        ("mmc4", "clip.sim", 0.15, True),
        ("mmc4", "clip.sim", 0.14, False),
        ("mmc4", "everywhere.size", 11, True),
        ("mmc4", "everywhere.size", 12, False),
        ("mmc4-ff", "faces.count", 1, False),
        ("mmc4-core", "core.aligned", 0.75, True),
        ("mmc4-core", "core.aligned", 2 / 3, False),
        ("datacomp-image-clip", "centre.listed", False, False),
        ("capfilt-bootstrap", "capfilt.text_itm", 0.5, True),
        ("capfilt-bootstrap", "capfilt.text_itm", 0.4975, False),
        ("omnicorpus-cc", "aesthetic.score", 3.7, True),
        ("omnicorpus-cc", "omni.sign_in", 10, False),
        ("omnicorpus-cc", "omni.sign_in", 11, True),
        ("obelics", "seen.size", 10, True),
        ("obelics", "seen.size", 11, False),
        ("obelics", "boilerplate.size", 2, True),
        ("obelics", "boilerplate.size", 3, False),
        ("obelics", "paragraph.spam", 0.12, False),
    ],
)
def test_edges(name, column, value, kept):
    assert stays(recipe(name), {}, {column: value}) is kept


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("a car", False),
        ("a b car", True),
        ("a b c d", False),  # no noun
        (" ".join(["car"] * 256), False),  # more than 1000 characters with spaces
        ("car " + " ".join(["b"] * 255), True),
        ("car " + " ".join(["b"] * 256), False),
        ("a b car" + "x" * 993, False),  # carxxx is no noun
        ("a car " + "x" * 994, True),
        ("a car " + "x" * 995, False),
        ("  a \t red\n car ", True),
        ("damn a car", False),
    ],
)
def test_coyo_texts(text, kept, tmp_path):
    given = small("coyo", tmp_path)["score"]["text"]
    (row,) = CoyoText(given["nouns"], given["flagged"])([Text(text)])
    assert stays(recipe("coyo"), {}, {f"text.{key}": value for key, value in row.items()}) is kept


def test_coyo_refuses_small_and_long_pictures_while_downloading():
    resize = recipe("coyo").fetch.resize
    assert resize is not None
    assert (resize.min_side, resize.max_aspect) == (200, 3)


def test_coyo_drops_pairs_of_equal_hash_and_text_and_texts_that_stand_eleven_times(tmp_path):
    content = small("coyo", tmp_path)
    pictures = {name: picture(seed, 64, 64) for name, seed in (("a", 1), ("b", 1), ("c", 2))}
    texts = [("a", "one"), ("b", " one\n"), ("b", "two"), ("c", "one"), *[("c", "often")] * 11]
    rows = [coyo.read({"url": f"http://ex.org/{name}.png", "text": text}) for name, text in texts]
    raw_shard(Store(tmp_path), rows, {f"http://ex.org/{name}.png": data for name, data in pictures.items()})
    keep = [rule for rule in content["keep"] if rule.get("text") == "said.size"]
    score = {name: content["score"][name] for name in ("keys", "hash")}
    run = Shelf(tmp_path, recipe_of(score=score, group=content["group"], keep=keep)).do()
    ended = Counter(reason for (_, at), (_, reason) in run.states().items() if at == -1)
    assert ended == {None: 3, "document: no image left": 1, "document: no text left": 11}


def test_datacomp_keeps_the_best_of_the_whole_pool():
    assert [str(rule) for rule in recipe("datacomp-clip").keep] == ["image: clip.sim top 0.3"]
    assert "image: clip.sim top 0.3" in map(str, recipe("datacomp-image-clip").keep)


# --- MMC4's core set


def sims(*rows: list[float], hidden: tuple[int, ...] = ()) -> Encoded:
    """A document whose images, before all texts, have these similarities; a gate holds some back."""
    images = [Image(f"u{at}", error="gated" if at in hidden else "") for at in range(len(rows))]
    document = page(*images, *("a sentence" for _ in rows[0]))
    return Encoded(document, {at: np.array(row, np.float32) for at, row in enumerate(rows)}, {})


def aligned(*best: float, **parameters: float) -> Any:
    """The share for images whose own text has this similarity, all others 0.1."""
    rows = [[best[at] if at == text else 0.1 for text in range(len(best))] for at in range(len(best))]
    return alignment([sims(*rows)], **parameters)[0]["aligned"]


def test_alignment_is_the_share_of_images_assigned_above_a_quarter():
    assert aligned(0.26, 0.26, 0.26, 0.20) == 0.75
    assert aligned(0.26, 0.26, 0.20) == pytest.approx(2 / 3)
    assert aligned(0.25, 0.26) == 0.5  # equal does not count
    assert aligned(0.25, 0.26, above=0.2) == 1


def test_alignment_leaves_out_images_that_go_with_nothing():
    assert alignment([sims([0.26, 0.1], [0.1, 0.14])]) == [{"aligned": 1, "assigned": 1}]
    assert alignment([sims([0.26, 0.1], [0.1, 0.15])]) == [{"aligned": 0.5, "assigned": 2}]
    assert alignment([sims([0.1])]) == [{"aligned": None, "assigned": 0}]


def test_alignment_is_of_assigned_texts_not_of_best_ones():
    rows = [[0.24363446, 0.31758785, 0.27694184], [0.22331068, 0.32349196, 0.26118797]]
    assert alignment([sims(*rows)], above=0.3) == [{"aligned": 0.5, "assigned": 2}]
    assert alignment([sims([0.3], [0.27])], above=0.28) == [{"aligned": 0.5, "assigned": 2}]  # left over: its best text


def test_alignment_sees_what_gates_let_through():
    assert alignment([sims([0.3, 0.1], [0.1, 0.2], hidden=(1,))]) == [{"aligned": 1, "assigned": 1}]
    document = sims([0.3, 0.1], [0.1, 0.3])
    shut = page(*(each if isinstance(each, Image) else "" for each in document.document.segments))
    assert alignment([Encoded(shut, document.images, {})]) == [{"aligned": None, "assigned": 0}]
    nothing = Encoded(page("a"), {}, {})
    assert alignment([nothing]) == [{"aligned": None, "assigned": 0}]


# --- centres


def test_centroids_name_the_nearest_and_whether_it_is_listed(tmp_path):
    np.save(tmp_path / "c.npy", np.array([[1, 0], [0, 1], [0.9, 0.1], [1, 0]], np.float64))
    np.save(tmp_path / "l.npy", np.array([1, 2]))
    (tmp_path / "l.txt").write_text("1\n2\n")
    vectors = [[1, 0], [0, 2], [3, 40], [float("nan"), 1]]
    rows = [{"nearest": 0, "listed": False}, {"nearest": 1, "listed": True}, {"nearest": 1, "listed": True}, None]
    for listed in ("l.npy", "l.txt"):
        assert Centroids(str(tmp_path / "c.npy"), str(tmp_path / listed))(vectors) == rows
    assert Centroids(str(tmp_path / "c.npy"))([[1, 0]]) == [{"nearest": 0, "listed": None}]


def test_centroids_are_looked_at_in_parts(tmp_path, monkeypatch):
    monkeypatch.setattr("curate.filters.centroids.AT_ONCE", 3)
    rng = np.random.default_rng(0)
    centres, queries = rng.normal(size=(10, 4)).astype(np.float32), rng.normal(size=(20, 4)).astype(np.float32)
    np.save(tmp_path / "c.npy", centres)
    found = [row["nearest"] for row in Centroids(str(tmp_path / "c.npy"))(list(queries))]
    assert found == (queries @ centres.T).argmax(axis=1).tolist()


def test_centroids_say_what_does_not_fit(tmp_path):
    np.save(tmp_path / "c.npy", np.eye(2))
    np.save(tmp_path / "flat.npy", np.ones(3))
    np.save(tmp_path / "half.npy", np.array([0.5]))
    (tmp_path / "l.txt").write_text("2\n")
    file = str(tmp_path / "c.npy")
    for arguments, said in (
        ((file, str(tmp_path / "l.txt")), "lists 2; there are 2 centres"),
        ((file, str(tmp_path / "half.npy")), "holds float64"),
        ((str(tmp_path / "flat.npy"), ""), r"has the shape \(3,\)"),
    ):
        with pytest.raises(ValueError, match=said):
            Centroids(*arguments)
    with pytest.raises(ValueError, match="has 2-d centres; the column that it reads has 3"):
        Centroids(file)([[1, 0, 0]])
    with pytest.raises(FileNotFoundError, match=r"there is no file .*none\.npy"):
        Centroids.weights(str(tmp_path / "none.npy"))


# --- OBELICS, step by step, on pages of its own format


COLUMNS = obelics.read.columns
SENTENCES = [
    "The photograph that was taken of the harbour before sunrise shows the fishermen in their boats, and nobody else.",
    "When they had come to the end of the road, there was a house that none of them had seen before.",
    "It is what we have been told by those who were there, and we have no reason not to believe it.",
    "All of these instruments were built by the students themselves, and they were tested where they had been made.",
]
"""English, with enough stopwords and punctuation for OBELICS."""
LISTED = ("opted", "clip", "nsfw", "unsafe")
"""Scores of the recipe that need a list or a model."""


def web(*segments: str | Image, url: str = "http://ex.org/a", warc: str = "a", sizes: dict | None = None) -> Document:
    """A page; images are original_width x original_height as its metadata says, if it says."""
    found: dict[int, Row] = {-1: {"warc_filename": warc}}
    return page(*segments, url=url, scores=found | {at: {**size} for at, size in (sizes or {}).items()})


def steps(folder: Path, pages: list[Document], pictures: dict[str, bytes], **changes: Any) -> Any:
    """The recipe without models and lists on pages: state and reason by page and position; and the run."""
    content = small("obelics", folder)
    content["score"]["paragraph"].pop("common")
    content["score"]["page"].pop("common")
    gates = [gate for gate in content["score"]["page"]["after"] if "common" not in gate["score"]]
    for name in ("page", "language"):
        content["score"][name]["after"] = gates
    for name in LISTED:
        content["score"].pop(name, None)
    content["score"] |= changes.pop("score", {})
    known, keep = {*content["score"], *content["group"], "raw", "source"}, content["keep"]
    names = {id(rule): next(rule[kind] for kind in ("image", "text", "document") if kind in rule) for rule in keep}
    content["keep"] = [
        rule for rule in keep if names[id(rule)].split(".")[0] in known and not names[id(rule)].endswith("common")
    ]
    sections = {key: content[key] for key in ("score", "group", "keep", "empty", "place", "pack")} | changes
    folder.mkdir(exist_ok=True)
    ids = raw_shard(Store(folder), pages, pictures, COLUMNS)
    run = Shelf(folder, recipe_of(**sections), COLUMNS).do()
    states = run.states()
    return SimpleNamespace(
        of=lambda at: [states[key] for key in sorted(states) if key[0] == ids[at]], run=run, sections=sections
    )


def image(name: str) -> Image:
    return Image(f"http://ex.org/{name}.png")


def shown(*names: str, width: int = 200, height: int = 200) -> dict[str, bytes]:
    return {image(name).url: picture(at, width, height) for at, name in enumerate(names)}


def test_obelics_keeps_a_plain_page(tmp_path):
    found = steps(tmp_path, [web(SENTENCES[0], image("a"), SENTENCES[1])], shown("a"))
    assert found.of(0) == [KEPT] * 4


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("Hello, world! 2023 --", "text: paragraph.words min 4 max 1000"),
        ("The cat sat down.", None),
        ("Cat sat down.", "text: paragraph.words min 4 max 1000"),
        ("1 2 3 4 5 6 7 8", "text: paragraph.words min 4 max 1000"),
        ("ha " * 39 + "ha", "text: paragraph.char_repetition max 0.1"),
        (
            "Buy cheap replica watches online store best price discount luxury brand outlet sale now.",
            "text: paragraph.stopwords min 0.3",
        ),
    ],
)
def test_obelics_paragraphs(text, reason, tmp_path):
    found = steps(tmp_path, [web(text, *SENTENCES, image("a"))], shown("a"))
    assert found.of(0)[1] == (KEPT if reason is None else ("dropped", reason))
    assert found.of(0)[0] == KEPT


def test_obelics_documents_are_measured_on_the_paragraphs_that_are_left(tmp_path):
    junk = "cheap replica watches online store best price discount luxury brand outlet sale now shipping " * 2
    pages = [web(*SENTENCES[:2], junk, junk.upper(), image("a"))]
    assert steps(tmp_path, pages, shown("a")).of(0)[:3] == [KEPT] * 3
    found = steps(tmp_path / "whole", pages, shown("a"), score={"page": {"use": "text_quality"}})
    assert found.of(0)[0] == ("dropped", "document: page.page_word_repetition max 0.2")


@pytest.mark.parametrize(
    ("width", "height", "kept"),
    [
        (150, 150, True),
        (149, 300, False),
        (300, 150, True),
        (301, 150, False),
        (150, 301, False),
    ],
)
def test_obelics_images(width, height, kept, tmp_path):
    pages = [web(*SENTENCES[:2], image("a"), image("b"))]
    found = steps(tmp_path, pages, {**shown("a"), image("b").url: picture(9, width, height)})
    assert (found.of(0)[4] == KEPT) is kept


@pytest.mark.parametrize(
    ("rendered", "kept"), [("50%", True), ("30%", False), ("150", True), (None, True), ("auto", True)]
)
def test_obelics_rendered_sizes(rendered, kept, tmp_path):
    about = [{"original_width": 400, "original_height": 400, "rendered_width": rendered}, None]
    rows = {"images": ["u", None], "texts": [None, "a"], "metadata": json.dumps(about)}
    width = obelics.read(rows).scores[0]["rendered_width"]
    (rule,) = (each for each in recipe("obelics").keep if each.column == "source.rendered_width")
    values = column(int, d0={0: width})
    assert (ended(raw("it"), (rule, int, values))[1] == KEPT) is kept


@pytest.mark.parametrize(("times", "kept"), [((6, 5), False), ((5, 5), True)])
def test_obelics_drops_every_image_that_stands_eleven_times(times, kept, tmp_path):
    pages = [
        web(*SENTENCES[:2], image(f"own{at}"), *[image("often")] * count, url=f"http://ex{at}.org/")
        for at, count in enumerate(times)
    ]
    found = steps(tmp_path, pages, shown("own0", "own1", "often"))
    for at, count in enumerate(times):
        first, *others = found.of(at)[4:]
        assert first == (KEPT if kept else ("dropped", "image: seen.size max 10"))
        again = ("dropped", "image: duplicate (again)") if kept else ("dropped", "image: seen.size max 10")
        assert others == [again] * (count - 1)


@pytest.mark.parametrize(
    ("hosts", "kept"), [(("ex.org", "ex.org", "ex.org"), False), (("ex.org", "ex.org", "www.ex.org"), True)]
)
def test_obelics_drops_paragraphs_that_stand_three_times_on_a_domain(hosts, kept, tmp_path):
    pages = [
        web(SENTENCES[0], f"{SENTENCES[1]} This one is number {at}.", image(f"i{at}"), url=f"http://{host}/{at}")
        for at, host in enumerate(hosts)
    ]
    found = steps(tmp_path, pages, shown("i0", "i1", "i2"))
    for at in range(3):
        assert found.of(at)[1] == (KEPT if kept else ("dropped", "text: boilerplate.size max 2"))
        assert found.of(at)[0] == KEPT


def test_obelics_keeps_the_last_crawl_of_a_url_and_of_a_set_of_images(tmp_path):
    def one(name, url, warc, text):
        return web(
            f"{SENTENCES[text]} This is the one of {warc}.", SENTENCES[text - 1], image(name), url=url, warc=warc
        )

    pages = [
        one("a", "http://ex.org/a", "january", 0),
        one("b", "http://ex.org/a", "march", 1),
        one("c", "http://ex.org/c", "april", 2),
        one("c", "http://ex.com/c", "august", 3),
    ]
    found = steps(tmp_path, pages, shown("a", "b", "c"))
    assert [found.of(at)[0] for at in range(4)] == [
        ("dropped", "document: duplicate (crawl)"), KEPT, ("dropped", "document: duplicate (set)"), KEPT,
    ]  # fmt: skip


@scores("image", unsafe=float)
def brightness(images):
    """How unsafe a picture is said to be: its width in thousandths."""
    return [{"unsafe": each.width / 1000} for each in images]


def test_obelics_one_unsafe_image_drops_the_document(tmp_path):
    score = {
        "nsfw": {"use": "test_recipes:brightness"},
        "unsafe": {"use": "image_text_ratio", "after": {"score": "nsfw.unsafe", "above": 0.9}},
    }
    pages = [
        web(*SENTENCES[:2], image("fine"), image("bad"), url="http://a.org/"),
        web(*SENTENCES[2:], image("fine"), image("edge"), url="http://b.org/"),
    ]
    pictures = {image(name).url: picture(at, width, 800) for at, (name, width) in enumerate(
        {"fine": 500, "bad": 901, "edge": 900}.items())}  # fmt: skip
    found = steps(tmp_path, pages, pictures, score=score)
    assert found.of(0) == [("dropped", "document: unsafe.images max 0")] * 5
    assert found.of(1) == [KEPT] * 5


def test_obelics_counts_the_images_that_its_nodes_leave(tmp_path):
    def many(count, url):
        return web(
            *SENTENCES[:2], *[image(f"{url}{at}") for at in range(count)], image("logo"), url=f"http://{url}.org/"
        )

    names = [f"{url}{at}" for url, count in (("a", 30), ("b", 31)) for at in range(count)]
    found = steps(tmp_path, [many(30, "a"), many(31, "b")], shown(*names, "logo", width=150, height=150))
    assert found.of(0)[0] == KEPT
    assert found.of(0)[-1] == ("dropped", "image: url.hits max 0")
    assert found.of(1)[0] == ("dropped", "document: pictures.images min 1 max 30")


def test_obelics_merges_texts_and_drops_what_has_no_image_or_no_text(tmp_path):
    repeated = [*SENTENCES[:2], image("a"), image("a"), SENTENCES[2]]
    pages = [
        web(*repeated),
        web(image("b"), "Cat.", url="http://b.org/"),
        web(SENTENCES[3], SENTENCES[0], url="http://c.org/"),
    ]
    found = steps(tmp_path, pages, shown("a", "b"))
    assert [found.of(at)[0][0] for at in range(3)] == ["kept", "dropped", "dropped"]
    (tmp_path / "r.yaml").touch()  # for the card
    found.run.do("pack")
    with tarfile.open(next((tmp_path / "out").glob("*/*.tar"))) as tar:
        (sample,) = (json.load(tar.extractfile(name)) for name in tar.getnames() if name.endswith(".json"))
    assert sample["texts"] == ["\n\n".join(SENTENCES[:2]), None, SENTENCES[2]]
    assert sample["images"] == [None, "000.png", None]


@pytest.mark.parametrize(("words", "kept"), [(100, False), (97, True)])
def test_obelics_punctuation_of_documents(words, kept):
    from curate.filters.text_quality import TextQuality

    said = " ".join(["word"] * words).split()
    text = " ".join(word + ("." if at < 3 else "") for at, word in enumerate(said))
    (row,) = TextQuality()([page(text)])
    assert stays(recipe("obelics"), {}, {"page.page_punctuation": row[-1]["page_punctuation"]}) is kept


# --- recipes that add texts


def pairs(out: Path) -> list[tuple[str, str]]:
    frame = pl.concat([pl.read_parquet(file) for file in sorted(out.glob("*.parquet"))])
    return sorted(frame.select("url", "caption").iter_rows())


def test_laion_coco_puts_the_caption_in_place_of_the_alt_text(tmp_path):
    content = small("laion-coco", tmp_path)
    content["score"]["caption"]["n"] = 4
    pages = [laion.read({"url": f"http://ex.org/{at}.png", "text": f"alt {at}"}) for at in range(2)]
    raw_shard(Store(tmp_path), pages, {f"http://ex.org/{at}.png": picture(at, 64, 64) for at in range(2)})
    sections = {key: content[key] for key in ("score", "keep", "add", "pack")}
    store, found = Store(tmp_path), pairs(curated(tmp_path, recipe_of(**sections, fetch={})))
    (scorer,) = scorers_of(tmp_path, sections["score"])
    captions = [each for each in scored(store, scorer, "caption") if each]
    assert [caption for _, caption in found] == captions
    assert len(captions) == 2


def test_alignment_and_centroids_read_what_clip_measured(tmp_path):
    np.save(tmp_path / "c.npy", np.eye(2, 128, dtype=np.float32))
    store = Store(tmp_path)
    raw_shard(store, [page("a red circle", image("a"), "a blue star")], shown("a"))
    score = {
        "clip": {"use": "clip", "model": "demo"},
        "core": {"use": "alignment", "above": -1, "least": -1},
        "centre": {"use": "centroids", "centroids": str(tmp_path / "c.npy")},
    }
    scorers = scorers_of(tmp_path, score)
    measure(store, scorers)
    assert scored(store, scorers[1], "aligned") == [1]
    assert scored(store, scorers[2], "nearest")[0] in (0, 1)
