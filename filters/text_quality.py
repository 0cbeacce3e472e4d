"""Text quality: what OBELICS measures on paragraphs and on whole documents. Compares with nothing, changes no text.

Laurencon et al. 2023, appendix A.3, after Laurencon et al. 2022 (ROOTS). Texts get a row each, documents one over their
texts joined by two newlines, all texts of the document, also those that a rule drops. The columns of documents begin
with ``page_``. OBELICS' thresholds, paragraph and document (min and max pass):

==================  ==================  ===================
column              paragraph           document
==================  ==================  ===================
words               4 to 1000           10 to 2000
char_repetition     at most 0.1         at most 0.1
word_repetition     at most 0.1         at most 0.2
special             at most 0.3         at most 0.275
stopwords           at least 0.3        at least 0.35
flagged             at most 0.01        at most 0.01
punctuation         at least 0.001 (*)  at least 0.03
common              at least 0.8        at least 0.9
spam                below 0.12 (**)
==================  ==================  ===================

(*) only for texts of 12 tokens or more: shorter ones are null here, so the rule says ``missing: keep``.
(**) in the published code; the paper removes what is above 0.12.
"""

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from math import isqrt
from pathlib import Path
from typing import Any

from curate import Document, Text, scores
from curate.filters._words import SPECIAL, joined, list_files, share, share_in, standardised, word_list, words

TOKEN = re.compile(r"[\w']+|[,;:?!.]")
PUNCTUATION = frozenset(",;:?!.")
MEASURES = ("char_repetition", "word_repetition", "special", "stopwords", "flagged", "punctuation", "common", "spam")
TEXT: dict[str, Any] = {"words": int, **dict.fromkeys(MEASURES, float)}
PAGE: dict[str, Any] = {f"page_{name}": type_ for name, type_ in TEXT.items()}

Row = dict[str, float | None]


@scores("document", text=TEXT, batch=256, version=1, **PAGE)
class TextQuality:
    """Number of words, and shares (0-1).

    ``char_repetition``: of the characters' 10-grams, those that are one of the most frequent ones. ``word_repetition``:
    of the words' 5-grams, those that stand more than once. ``special``: of the characters, those that are no letters,
    white space included. ``stopwords``, ``flagged``, ``common``, ``spam``: of the words, those in the list.
    ``punctuation``: of words and ``, ; : ? ! .``, the latter.

    Args:
        stopwords: a word list: a file, or the name of one of ours (filters/word_lists; written for this project, so
            shares differ a little from those of OBELICS' lists, which can be given here as files).
        flagged: likewise.
        spam: likewise.
        common: likewise; we have none, and without one the column is null. OBELICS' is common_words.json, as lines.
        short: the fewest tokens for which the punctuation of a text is measured.
    """

    def __init__(
        self,
        stopwords: str = "stopwords",
        flagged: str = "flagged",
        spam: str = "spam",
        common: str = "",
        short: int = 12,
    ) -> None:
        lists = {"stopwords": stopwords, "flagged": flagged, "spam": spam, "common": common}
        self.lists = {column: word_list(name) for column, name in lists.items() if name}
        self.short = short

    @staticmethod
    def weights(
        stopwords: str = "stopwords",
        flagged: str = "flagged",
        spam: str = "spam",
        common: str = "",
        short: int = 12,  # noqa: ARG004
    ) -> list[Path]:
        """The word lists."""
        return list_files([stopwords, flagged, spam, common])

    def __call__(self, documents: list[Document]) -> list[dict[int, Row]]:
        """The rows of each document's texts, and its own."""
        return [self.rows(document) for document in documents]

    def rows(self, document: Document) -> dict[int, Row]:
        """Position -> measurements; -1 is the document."""
        page = {f"page_{name}": value for name, value in self.measure(joined(document), 0).items()}
        return {**{at: self.text(text) for at, text in document.texts.items()}, -1: page}

    def text(self, text: Text) -> Row:
        """One paragraph."""
        return self.measure(text.text, self.short)

    def measure(self, raw: str, short: int) -> Row:
        """All columns; punctuation is null below ``short`` tokens."""
        text = standardised(raw)
        said, tokens = words(text), TOKEN.findall(text)
        found: Row = {"words": len(said)}
        found["char_repetition"] = top_share(text[at : at + 10] for at in range(len(text) - 9))
        found["word_repetition"] = repeated_share(said, 5)
        found["special"] = share(sum(map(SPECIAL.__getitem__, text)), len(text))
        marks = share(sum(token in PUNCTUATION for token in tokens), len(tokens))
        found["punctuation"] = marks if len(tokens) >= short else None
        return found | {column: share_in(said, known) for column, known in self.lists.items()}


def top_share(grams: Iterable[str]) -> float:
    """The share of the k most frequent n-grams; k = min(root of the distinct ones, those that stand more than once)."""
    counts = Counter(grams)
    several = [count for count in counts.values() if count > 1]
    top = sorted(several, reverse=True)[: min(isqrt(len(counts)), len(several))]
    return share(sum(top), counts.total())


def repeated_share(said: Sequence[str], size: int) -> float:
    """The share of n-grams of words that stand more than once."""
    counts = Counter(tuple(said[at : at + size]) for at in range(len(said) - size + 1))
    return share(sum(count for count in counts.values() if count > 1), counts.total())
