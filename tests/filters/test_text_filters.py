import numpy as np
import pytest
from shards import measure, page, raw_shard, scored, scorers_of

from curate import Image, Text
from curate.filters._words import SPECIAL, standardised, word_list, words
from curate.filters.c4 import c4
from curate.filters.coyo_text import CoyoText
from curate.filters.gopher import gopher
from curate.filters.omnicorpus_text import omnicorpus_text
from curate.filters.text_quality import TextQuality, repeated_share, top_share
from curate.recipe.compare import passes
from curate.recipe.rules import Rule
from curate.recipe.section import RecipeError
from curate.store.store import Store

# --- words


def test_words_are_lower_case_without_special_characters_at_their_ends():
    assert words('The "cat\'s"\tTOY, (2nd) -- 42\n\n***') == ["the", "cat's", "toy", "nd"]


@pytest.mark.parametrize("character", "a\u00e9\u0436\u6c34\u0939\u0940\u0e35")
def test_letters_and_their_marks_are_not_special(character):
    assert not SPECIAL[character]


@pytest.mark.parametrize("character", " \n7\u00bd.\u3002$\u2192\U0001f600\ufe0f_\u200b")
def test_spaces_digits_punctuation_symbols_and_emoji_are_special(character):
    assert SPECIAL[character]


def test_unusual_spaces_become_plain():
    assert standardised("a\u2009b\u200ac\u202fd\u2005e\u3000f\u2002g\u2008h\u2003i\ufffcj\u0084k\u00a0l") == " ".join(
        "abcdefghijkl"
    )


def test_our_lists_are_sorted_out():
    stop, flagged, spam = (word_list(name) for name in ("stopwords", "flagged", "spam"))
    assert {"the", "down", "of", "is", "don't", "don\u2019t"} <= stop
    assert not stop & flagged | stop & spam | flagged & spam
    assert all(words(word) == [word] for word in stop | flagged | spam)


# --- text_quality

PARAGRAPH = [
    {"min": 4, "max": 1000, "text": "q.words"},
    {"max": 0.1, "text": "q.char_repetition"},
    {"max": 0.1, "text": "q.word_repetition"},
    {"max": 0.3, "text": "q.special"},
    {"min": 0.3, "text": "q.stopwords"},
    {"max": 0.01, "text": "q.flagged"},
    {"min": 0.001, "text": "q.punctuation", "missing": "keep"},
    {"min": 0.8, "text": "q.common", "missing": "keep"},
]


def quality(text, **parameters):
    return TextQuality(**parameters)([page(text)])[0][0]


def failed(row):
    """The first of OBELICS' paragraph rules that a row does not pass."""
    for rule in (Rule(**rule) for rule in PARAGRAPH):
        column = rule.column.removeprefix("q.")
        value = row.get(column)
        kind = int if column == "words" else float
        good = rule.missing == "keep" if value is None else pl_true(passes(literal(value, kind), kind, rule))
        if not good:
            return column
    return None


def literal(value, kind):
    import polars as pl

    return pl.lit(value, pl.Int64 if kind is int else pl.Float32)


def pl_true(expression):
    import polars as pl

    return pl.select(expression).item()


@pytest.mark.parametrize(
    ("text", "count", "fails"),
    [
        ("Hello, world! 2023 --", 2, "words"),
        ("The cat sat down.", 4, None),
        ("Cat sat down.", 3, "words"),
        ("1 2 3 4 5 6 7 8", 0, "words"),
        ("ha " * 40, 40, "char_repetition"),
        ("Buy cheap replica watches online store best price discount luxury brand outlet sale now.", 14, "stopwords"),
    ],
)
def test_obelics_paragraphs(text, count, fails):
    row = quality(text)
    assert (row["words"], failed(row)) == (count, fails)


def test_the_shares_of_a_short_paragraph_by_hand():
    row = quality("The cat sat down.")
    assert (row["special"], row["stopwords"], row["char_repetition"]) == (4 / 17, 2 / 4, 0)
    assert quality("ha " * 40)["char_repetition"] == 37 / 111
    assert "punctuation" not in {name for name, value in row.items() if value is not None}


def test_punctuation_of_texts_of_twelve_tokens_and_more():
    assert quality("word " * 11)["punctuation"] is None
    assert quality("word " * 12)["punctuation"] == 0
    assert quality("word " * 11 + "!")["punctuation"] == 1 / 12
    assert quality("a b. c", short=4)["punctuation"] == 1 / 4


@pytest.mark.parametrize(("count", "share", "good"), [(100, 3 / 103, False), (97, 0.03, True)])
def test_obelics_document_punctuation(count, share, good):
    (rows,) = TextQuality()([page("word " * count + "...")])
    assert rows[-1]["page_punctuation"] == share
    rule = Rule(document="q.page_punctuation", min=0.03)
    assert pl_true(passes(literal(share, float), float, rule)) == good


def test_a_document_is_its_texts_joined():
    (rows,) = TextQuality()([page("The cat", Image("u"), "sat down.")])
    joined = quality("The cat\n\nsat down.")
    assert rows.keys() == {0, 2, -1}
    assert rows[-1] == {f"page_{name}": value for name, value in joined.items()} | {"page_punctuation": 1 / 5}


def test_the_most_frequent_grams_are_as_many_as_the_root_of_the_distinct_or_those_that_repeat():
    assert top_share("aaabbcdef") == 5 / 9  # six distinct: the two most frequent; two repeat
    assert top_share("aaaabbbccdd") == 7 / 11  # four distinct, four repeat: two
    assert top_share("abcdef") == 0
    assert top_share("") == 0


def test_unusual_spaces_part_words():
    assert quality("The\u00a0cat\u2009sat")["words"] == 3


def test_word_repetition():
    assert repeated_share([*"abcdeabcde"], 5) == 2 / 6
    assert repeated_share([*"abcd"], 5) == 0
    assert quality("one two three four five " * 2)["word_repetition"] == 2 / 6


def test_lists_of_ones_own(tmp_path):
    (tmp_path / "own.txt").write_text("# mine\nCat\n\nsat\n", encoding="utf-8")
    own = str(tmp_path / "own.txt")
    row = quality("The cat sat down.", stopwords=own, common=own, spam=own, flagged=own)
    assert {row[name] for name in ("stopwords", "common", "spam", "flagged")} == {0.5}
    assert quality("The cat sat down.").get("common") is None
    assert quality("Subscribe to our newsletter!")["spam"] == 2 / 4


def test_an_empty_text_has_no_words_and_no_shares():
    row = quality("")
    assert {value for name, value in row.items() if name != "punctuation"} == {0}


def test_the_bytes_of_a_list_are_part_of_the_identity(tmp_path):
    identities = set()
    for content in ("cat", "dog", "dog"):
        (tmp_path / "own.txt").write_text(content, encoding="utf-8")
        (scorer,) = scorers_of(tmp_path, {"q": {"use": "text_quality", "common": str(tmp_path / "own.txt")}})
        identities.add(scorer.identity)
    assert len(identities) == 2
    with pytest.raises(RecipeError, match=r"score\.q: no word list 'none': give a file, or one of flagged, spam, stop"):
        scorers_of(tmp_path, {"q": {"use": "text_quality", "common": "none"}})


@pytest.mark.parametrize("use", ["text_quality", "omnicorpus_text", "language", "gopher", "c4", "coyo_text"])
def test_a_shard_of_odd_texts_is_measured(tmp_path, use):
    store = Store(tmp_path)
    pages = [page("", " \n", "?!", "\u0000", "123", "\U0001f600"), page("The cat.", Image("u"), "x" * 5000), page()]
    raw_shard(store, pages, {})
    scorers = scorers_of(tmp_path, {"s": {"use": use}})
    measure(store, scorers)
    for column, kind in scorers[0].all_columns.items():
        values = [value for value in scored(store, scorers[0], column) if value is not None]
        assert kind is str or np.isfinite(values).all()


# --- gopher


def one(scorer, *texts):
    """The row of a document of these texts."""
    return scorer([page(*texts)])[0]


def test_gopher_words():
    row = one(gopher, "The # of 12 cats... have")
    assert (row["words"], row["stopwords"], row["word_length"]) == (6, 3, 19 / 6)
    assert (row["hashes"], row["ellipses"], row["alphabetic"]) == (1 / 6, 1 / 6, 4 / 6)


def test_gopher_lines():
    row = one(gopher, "- one\n\u2022 two\nthree...\nfour\u2026\nfive\n")
    assert (row["bullet_lines"], row["ellipsis_lines"], row["duplicate_lines"]) == (2 / 5, 2 / 5, 0)


def test_gopher_duplicates_count_from_the_second_on():
    row = one(gopher, "aaaa\nbb\n\naaaa\nbb\n\ncc")
    assert (row["duplicate_lines"], row["duplicate_line_chars"]) == (2 / 5, 6 / 14)
    assert (row["duplicate_paragraphs"], row["duplicate_paragraph_chars"]) == (1 / 3, 7 / 16)


def test_gopher_ngrams_count_no_character_twice():
    row = one(gopher, "a b a b a")
    assert (row["top_2grams"], row["top_3grams"], row["top_4grams"]) == (4 / 5, 1, 0)
    row = one(gopher, "v w x y z " * 2 + "end")
    assert (row["duplicate_5grams"], row["duplicate_6grams"]) == (10 / 13, 0)


def test_gopher_of_nothing():
    row = one(gopher, "")
    assert row.pop("word_length") is None
    assert set(row.values()) == {0}


def test_texts_are_paragraphs():
    assert one(gopher, "The cat.", Image("u"), "A dog.") == one(gopher, "The cat.\n\nA dog.")


# --- c4


@pytest.mark.parametrize(
    ("text", "words", "terminal"),
    [
        ("He left. ", 2, True),
        ('He said "Why?"', 3, True),
        ("He said \u201cNo.\u201d", 3, True),
        ("Nobody knew", 2, False),
        ("and so on...", 3, False),
        ("", 0, False),
    ],
)
def test_c4_lines(text, words, terminal):
    row = one(c4, text)[0]
    assert (row["words"], row["terminal"]) == (words, terminal)


@pytest.mark.parametrize(
    ("text", "javascript", "policy"),
    [("Please enable JavaScript.", True, False), ("Our Privacy Policy", False, True), ("A cookie", False, False)],
)
def test_c4_notices(text, javascript, policy):
    row = one(c4, text)[0]
    assert (row["javascript"], row["policy"]) == (javascript, policy)


@pytest.mark.parametrize(
    ("texts", "sentences", "lorem", "curly"),
    [
        (["Lorem Ipsum dolor", 'He left. "Why?" 3.5 m', "Go!"], 4, True, False),
        (["f() { }"], 1, False, True),
        ([], 0, False, False),
    ],
)
def test_c4_pages(texts, sentences, lorem, curly):
    assert one(c4, *texts)[-1] == {"sentences": sentences, "lorem_ipsum": lorem, "curly": curly}


# --- coyo_text


def coyo(text, **parameters):
    return CoyoText(**parameters)([Text(text)])[0]


@pytest.mark.parametrize(
    ("text", "chars", "count"),
    [("  a \t red\n car ", 9, 3), ("a b c", 5, 3), ("a b cd", 6, 3), ("red car", 7, 2), ("", 0, 0), ("\u3000x", 1, 1)],
)
def test_coyo_collapses_white_space(text, chars, count):
    row = coyo(text)
    assert (row["chars"], row["words"]) == (chars, count)


@pytest.mark.parametrize(("count", "good"), [(2, False), (3, True), (256, True), (257, False)])
def test_coyo_words(count, good):
    assert (3 <= coyo("ab " * count)["words"] <= 256) == good


@pytest.mark.parametrize(("count", "good"), [(5, False), (6, True), (1000, True), (1001, False)])
def test_coyo_characters(count, good):
    assert (6 <= coyo("x" * count)["chars"] <= 1000) == good


def test_coyo_nouns_come_from_a_list(tmp_path):
    (tmp_path / "nouns.txt").write_text("car\n", encoding="utf-8")
    nouns = str(tmp_path / "nouns.txt")
    assert [coyo(text, nouns=nouns)["has_noun"] for text in ("a red Car!", "carry on", "")] == [True, False, False]
    assert coyo("a red car")["has_noun"] is None


def test_coyo_flagged_words():
    assert [coyo(text)["flagged"] for text in ("hot PORN, xxx", "a red car")] == [2, 0]


# --- omnicorpus_text


def omni(*segments, **parameters):
    return omnicorpus_text([page(*segments)], **parameters)[0]


@pytest.mark.parametrize(
    ("text", "column", "value"),
    [
        ("BREAKING NEWS now", "upper", 12 / 15),
        ("12 34", "digits", 4 / 5),
        ("Sign in to comment on it", "sign_in", 6),
        ("2 items in cart", "sign_in", 4),
        ("A new design in red", "sign_in", None),
        ("1,204 Followers", "counter", True),
        ("3 likes", "counter", True),
        ("She likes it", "counter", False),
        ("(c) 2019 All rights reserved", "furniture", True),
        ("The cat sat down.", "furniture", False),
        ("Call (555) 123-4567 now", "phone", 4),
        ("Call 555-123-4567", "phone", 2),
        ("Model 1555-123-45678", "phone", None),
        ("Posted March 3, 2019", "time", 4),
        ("Posted 3 Mar 2019 at noon", "time", 6),
        ("At 12:30 sharp", "time", 3),
        ("Opens 9 am", "time", 3),
        ("A ratio of 4:3", "time", None),
        ("By Ann Other", "byline", 3),
        ("Sunset (Photo: Ann Other)", "byline", 4),
        ("Byzantine art", "byline", None),
    ],
)
def test_omnicorpus_paragraphs(text, column, value):
    assert omni(text)[0][column] == value


def test_texts_near_an_image_keep_their_capitals():
    rows = omni("NEAR", Image("u"), "NEAR", "FAR")
    assert [rows[at]["upper"] for at in (0, 2, 3)] == [None, None, 1]
    assert [omni("NEAR", Image("u"), spare=0)[0]["upper"], omni("x", "FAR", Image("u"), spare=2)[0]["upper"]] == [
        1,
        None,
    ]


def test_omnicorpus_documents_by_hand():
    row = omni("The cat sat on the mat, 42.", "It is of the one.")[-1]
    assert (row["page_words"], row["alphabetic"], row["word_length"]) == (15, 11 / 15, 34 / 15)
    assert (row["stopwords"], row["stopword_count"]) == (3, 4)
    assert (row["longest"], row["mean"], row["mean_if_short"]) == (7, 6, 6)


def test_rules_for_some_documents_are_null_for_others():
    images = [Image(f"{at}") for at in range(3)]
    assert omni("a b c", *images)[-1]["words_per_image"] == 1
    assert omni("a b c", *images[:2])[-1]["words_per_image"] is None
    assert omni("word " * 34)[-1]["mean_if_short"] == 34
    assert omni("word " * 35)[-1]["mean_if_short"] is None
    assert omni(*images)[-1]["mean"] is None
