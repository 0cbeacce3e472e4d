import gzip
import hashlib
import json
from itertools import combinations

import numpy as np
import polars as pl
import pytest
from shards import measure, page, picture, raw_shard, scored, scorers_of

from curate import Image, Text
from curate.filters.coherence import sequence as coherence
from curate.filters.image_text_ratio import image_text_ratio
from curate.filters.metaclip import MetaClip
from curate.filters.opt_out import OptOut
from curate.recipe.section import RecipeError
from curate.select.balance import counted, draw, keep_probability, probabilities
from curate.store.store import Store

# --- coherence


def at(*degrees):
    return [[np.cos(np.radians(each)), np.sin(np.radians(each))] for each in degrees]


def test_coherence_by_hand():
    half = np.cos(np.radians(60))  # neighbours 60 and 60, the others 120
    assert coherence(at(0, 60, 120)) == pytest.approx(half - np.cos(np.radians(120)))
    assert coherence(at(0, 120, 60)) == pytest.approx((-half + half) / 2 - half)


@pytest.mark.parametrize("count", [3, 4, 9])
def test_coherence_is_its_definition(count):
    rows = np.random.default_rng(count).normal(size=(count, 16))
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    pairs = {(i, j): rows[i] @ rows[j] for i, j in combinations(range(count), 2)}
    near = [value for (i, j), value in pairs.items() if j == i + 1]
    far = [value for (i, j), value in pairs.items() if j > i + 1]
    assert (len(near), len(far)) == (count - 1, (count - 1) * (count - 2) // 2)
    assert coherence((5 * rows).tolist()) == pytest.approx(np.mean(near) - np.mean(far))


@pytest.mark.parametrize("vectors", [[], at(0), at(0, 90), [*at(0, 90), [float("nan"), 1.0]], [*at(0, 90), [0.0, 0.0]]])
def test_few_pictures_or_a_nan_have_no_coherence(vectors):
    assert coherence(vectors) is None


# --- image_text_ratio


@pytest.mark.parametrize(
    ("segments", "row"),
    [
        (["one two", Image("a"), "three", Image("b", error="http_permanent"), Image("c")], (2, 2, 3, 1.5, 1.0)),
        (["one two", "  "], (0, 1, 2, None, 0.0)),
        ([Image("a")], (1, 0, 0, 0.0, None)),
        ([], (0, 0, 0, None, None)),
    ],
)
def test_image_text_ratio(segments, row):
    (found,) = image_text_ratio([page(*segments)])
    assert tuple(found[name] for name in ("images", "texts", "words", "words_per_image", "images_per_text")) == row


# --- opt_out

URL, OTHER = "https://a.ex.org/x.jpg?s=1", "https://ex.com/y.jpg"


def by(scorer, *images):
    (rows,) = scorer([page("t", *[Image(each) if isinstance(each, str) else each for each in images])])
    assert list(rows) == list(range(1, len(images) + 1))
    assert all(row["listed"] == (row["by"] is not None) for row in rows.values())
    return [row["by"] for row in rows.values()]


def test_an_address_is_listed_letter_by_letter(tmp_path):
    (tmp_path / "urls.txt").write_text(f"# opted out\n\n  {URL}\r\nhttps://ex.com/z.jpg")
    assert by(OptOut(urls=str(tmp_path / "urls.txt")), URL, OTHER, URL + "0", URL[:-1], "") == ["url", *[None] * 4]


@pytest.mark.parametrize(
    ("url", "listed"),
    [
        ("https://ex.org/a.jpg", True),
        ("https://A.B.EX.ORG:8080/a.jpg", True),
        ("https://me:pw@ex.org./a.jpg", True),
        ("https://bex.org/a.jpg", False),
        ("https://ex.org.uk/a.jpg", False),
        ("https://org/a.jpg", False),
        ("https://other.net/ex.org/a.jpg?ex.org", False),
        ("https://img.bücher.de/a.jpg", True),
        ("https://img.xn--bcher-kva.de/a.jpg", True),
        ("https://192.0.2.7/a.jpg", True),
        ("https://192.0.2.70/a.jpg", False),
        ("https://[::1/a.jpg", False),
        ("no address", False),
        ("", False),
    ],
)
def test_a_domain_stands_for_all_below_it(tmp_path, url, listed):
    (tmp_path / "domains.txt").write_text("Ex.org.\n*.bücher.de\n192.0.2.7\n")
    assert by(OptOut(domains=str(tmp_path / "domains.txt")), url) == ["domain" if listed else None]


def test_each_picture_has_its_own_domains(tmp_path):
    (tmp_path / "d.txt").write_text("a.b.ex.org\nl.com\n")
    scorer = OptOut(domains=str(tmp_path / "d.txt"))
    assert by(scorer, "http://a.b.ex.org/", "http://l.com/", "http://q.com/") == ["domain", "domain", None]


def test_pictures_are_listed_by_what_they_are(tmp_path):
    digest = hashlib.sha256(b"picture").hexdigest()
    (tmp_path / "s.txt").write_text(digest.upper())
    images = [Image("u", sha256=digest), Image("v", sha256="0" * 64), Image("w", error="http_permanent")]
    assert by(OptOut(sha256=str(tmp_path / "s.txt")), *images) == ["sha256", None, None]


def test_lists_may_be_gz_or_parquet(tmp_path):
    with gzip.open(tmp_path / "u.txt.gz", "wt") as file:
        file.write(URL)
    pl.DataFrame({"host": ["ex.com", None]}).write_parquet(tmp_path / "d.parquet")
    lists = {"urls": str(tmp_path / "u.txt.gz"), "domains": str(tmp_path / "d.parquet")}
    assert by(OptOut(**lists, columns={"domain": "host"}), URL, OTHER, "https://ex.net/") == ["url", "domain", None]
    with pytest.raises(ValueError, match=r"d\.parquet has no column domain; it has host"):
        OptOut(**lists)


def test_a_table_says_of_each_address_what_stands_beside_it(tmp_path):
    urls = [f"https://ex.org/{at}" for at in range(50)]
    pl.DataFrame({"url": urls, "decision": list(range(50))}).write_parquet(tmp_path / "t.parquet")
    (rows,) = OptOut(table=str(tmp_path / "t.parquet"))([page(*map(Image, urls))])
    assert [row["decision"] for row in rows.values()] == [str(at) for at in range(50)]


def test_what_a_table_says_is_a_column_of_its_own(tmp_path):
    pl.DataFrame({"url": [URL, OTHER, OTHER, "z"], "decision": ["no-ai", "ok", "no-ai", None]}).write_parquet(
        tmp_path / "t.parquet"
    )
    scorer = OptOut(table=str(tmp_path / "t.parquet"))
    pages = [page(Image(OTHER), "a", Image("https://ex.net/")), page("b"), page(Image(URL), Image("z"))]
    found = [{at: row["decision"] for at, row in rows.items()} for rows in scorer(pages)]
    assert found == [{0: "ok", 2: None}, {}, {0: "no-ai", 1: None}]
    assert not scorer(pages)[2][0]["listed"]


@pytest.mark.parametrize(
    ("name", "line", "said"),
    [("domains", "https://ex.org", "'https://ex.org' is no domain"), ("sha256", "abc", "'abc' is no sha256: 64 hex")],
)
def test_an_entry_that_could_never_match_is_refused(tmp_path, name, line, said):
    (tmp_path / "l.txt").write_text(f"# x\n{line}\n")
    with pytest.raises(ValueError, match=rf"l\.txt: {said}"):
        OptOut(**{name: str(tmp_path / "l.txt")})


def test_long_lists_are_read_in_parts(tmp_path):
    (tmp_path / "u.txt").write_text("".join(f"https://ex.org/{at}\n" for at in range(450_000)))
    scorer = OptOut(urls=str(tmp_path / "u.txt"))
    assert scorer.urls.nbytes == 450_000 * 8
    asked = [f"https://ex.org/{at}" for at in (0, 199_999, 200_000, 449_999, 450_000)]
    assert by(scorer, *asked) == ["url"] * 4 + [None]


def test_opt_out_in_a_recipe(tmp_path):
    store, data = Store(tmp_path), picture()
    raw_shard(store, [page("t", Image(URL), Image("https://lost.org/")), page(Image(OTHER))], {URL: data, OTHER: data})
    (tmp_path / "s.txt").write_text(hashlib.sha256(data).hexdigest())
    (tmp_path / "d.txt").write_text("lost.org")
    entry = {"use": "opt_out", "sha256": str(tmp_path / "s.txt"), "domains": str(tmp_path / "d.txt")}
    (scorer,) = scorers_of(tmp_path, {"opt_out": entry})
    measure(store, [scorer])
    assert scored(store, scorer, "by") == ["sha256", "domain", "sha256"]
    for wrong, said in (({}, "takes urls, domains"), ({"urls": "/no"}, "there is no list /no")):
        with pytest.raises(RecipeError, match=rf"score\.x: opt_out.*{said}"):
            scorers_of(tmp_path, {"x": {"use": "opt_out", **wrong}})


# --- metaclip

ENTRIES = ["red", "red car", "car", "New York", "new", "U . S", "!", "a b c d", "b c", "York new", ""]


def naive(text, entries=ENTRIES):
    """As MetaCLIP writes it."""
    spaced = f" {text} "
    for mark in [",", ".", ";", ":", "?", "!", "`"]:
        spaced = spaced.replace(mark, f" {mark} ")
    for mark in "\t\n\r":
        spaced = spaced.replace(mark, " ")
    return [at for at, entry in enumerate(entries) if f" {entry} " in spaced]


@pytest.fixture(scope="module")
def matcher(tmp_path_factory):
    file = tmp_path_factory.mktemp("metaclip") / "metadata.json"
    file.write_text(json.dumps(ENTRIES))
    return MetaClip(str(file))


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("a red car", ["red", "red car", "car"]),
        ("red", ["red"]),
        ("Red redcar cars", []),
        ("red\tcar!?", ["red", "red car", "car", "!", ""]),
        ("red, car", ["red", "car", ""]),
        ("New York new York new", ["New York", "new", "York new"]),
        ("the U.S.", ["U . S", ""]),
        ("a b c", ["b c"]),
        ("a b c d", ["a b c d", "b c"]),
        ("red  car", ["red", "car", ""]),
        ("", [""]),
    ],
)
def test_entries_are_found_between_spaces(matcher, text, found):
    assert [ENTRIES[at] for at in matcher.match(text)] == found
    assert matcher.match(text) == naive(text)


def test_matching_is_the_search_for_each_entry(tmp_path):
    rng = np.random.default_rng(0)
    words = ["a", "b", "ab", "B", ".", "", "é"]
    entries = list(dict.fromkeys(" ".join(rng.choice(words, size=rng.integers(1, 5))) for _ in range(300)))
    (tmp_path / "m.json").write_text(json.dumps(entries))
    matcher = MetaClip(str(tmp_path / "m.json"))
    texts = ["".join(rng.choice([*words, " ", " ", "\n", ", "], size=rng.integers(0, 20))) for _ in range(500)]
    assert [matcher.match(text) for text in texts] == [naive(text, entries) for text in texts]
    assert sum(map(len, map(matcher.match, texts))) > 2000


def test_entries_are_stored_as_four_bytes_each(matcher):
    red, nothing = matcher([Text("a red car"), Text("nothing")])
    assert red == {"entries": b"\0\0\0\0\1\0\0\0\2\0\0\0", "matches": 3}
    assert nothing == {"entries": b"", "matches": 0}


def test_metaclip_in_a_recipe(tmp_path):
    (tmp_path / "m.txt").write_text("red\ncar\n")
    raw_shard(store := Store(tmp_path), [page("a red car"), page("car", "red"), page("x")], {})
    (scorer,) = scorers_of(tmp_path, {"m": {"use": "metaclip", "metadata": str(tmp_path / "m.txt")}})
    measure(store, [scorer])
    assert counted(scored(store, scorer, "entries"), 3).tolist() == [2, 2, 0]
    with pytest.raises(RecipeError, match=r"score\.m: metaclip: there is no metadata /no"):
        scorers_of(tmp_path, {"m": {"use": "metaclip", "metadata": "/no"}})


def test_an_entry_that_stands_twice_is_refused(tmp_path):
    (tmp_path / "m.txt").write_text("red\ncar\nred\n")
    with pytest.raises(ValueError, match=r"m\.txt: 1 entries stand there twice"):
        MetaClip(str(tmp_path / "m.txt"))


def test_rare_entries_keep_all_their_texts_and_common_ones_t_of_them():
    assert probabilities(np.array([0, 1, 20, 21, 40, 200]), 20).tolist() == [1, 1, 1, 20 / 21, 0.5, 0.1]


def test_a_text_stays_if_any_entry_keeps_it():
    p = np.array([1, 0.5, 0.1])
    entries = [np.array(each, "<u4").tobytes() for each in ([1], [1, 2], [0, 2], [])]
    assert [keep_probability(each, p) for each in entries] == pytest.approx([0.5, 1 - 0.5 * 0.9, 1, 0])
    assert keep_probability(None, p) == 0


def test_draws_are_even_and_depend_on_document_position_and_seed_alone():
    draws = np.array([draw(f"{at:032x}", 0, 7) for at in range(20_000)])
    counts = np.histogram(draws, 10, (0, 1))[0]
    assert ((counts - 2000) ** 2 / 2000).sum() < 27.9  # chi-squared, 9 degrees of freedom: 0.1 %
    assert len({draw("a", 0), draw("a", 1), draw("b", 0), draw("a", 0, 1)}) == 4
    assert draw("a", 0) == draw("a", 0) == pytest.approx(0.0, abs=1)
    assert 0 <= draws.min() < draws.max() < 1


def test_balancing_leaves_about_t_texts_of_a_common_entry():
    column = [np.array([0], "<u4").tobytes()] * 10_000 + [np.array([1], "<u4").tobytes()] * 50
    p = probabilities(counted(column, 2), 500)
    kept = [draw("page", at) < keep_probability(entries, p) for at, entries in enumerate(column)]
    assert sum(kept[:10_000]) == pytest.approx(500, abs=5 * 22)
    assert sum(kept[10_000:]) == 50
    assert counted([b"", None], 2).tolist() == [0, 0]
