"""Gopher's measures of a document: its words, its lines, and how much of it repeats. Decides nothing.

Rae et al. 2021, appendix A.1.1 (MassiveText); the thresholds there, on whole documents in English:

=======================================  ==========================================================
``words``                                50 to 100,000
``word_length``                          3 to 10
``hashes``, ``ellipses``                 at most 0.1
``bullet_lines``, ``ellipsis_lines``     at most 0.9, at most 0.3
``alphabetic``                           at least 0.8
``stopwords``                            at least 2
``duplicate_lines``, ``_paragraphs``     at most 0.3; by characters 0.2
``top_2grams`` ... ``top_4grams``        at most 0.20, 0.18, 0.16
``duplicate_5grams`` ... ``_10grams``    at most 0.15, 0.14, 0.13, 0.12, 0.11, 0.10
=======================================  ==========================================================
"""

import re
from collections import Counter
from collections.abc import Sequence
from typing import Any

from curate import Document, scores
from curate.filters._words import joined, share

STOPWORDS = frozenset(("the", "be", "to", "of", "and", "that", "have", "with"))
BULLETS = ("\u2022", "\u2023", "\u25b6", "\u25c0", "\u25e6", "\u25a0", "\u25a1", "\u25aa", "\u25ab", "\u2013", "*", "-")
ELLIPSIS = ("...", "\u2026")
SHARES: dict[str, Any] = dict.fromkeys((
    "word_length", "hashes", "ellipses", "bullet_lines", "ellipsis_lines", "alphabetic", "duplicate_lines",
    "duplicate_paragraphs", "duplicate_line_chars", "duplicate_paragraph_chars",
    *(f"top_{size}grams" for size in range(2, 5)), *(f"duplicate_{size}grams" for size in range(5, 11)),
), float)  # fmt: skip

Row = dict[str, float | None]


@scores("document", batch=64, words=int, stopwords=int, version=1, **SHARES)
def gopher(documents: list[Document]) -> list[Row]:
    """Words are split at white space; a line or n-gram repeats if it stands a second time, letter for letter.

    ``word_length``: mean characters of a word; null without words. ``hashes``, ``ellipses``: # and ... for each word.
    ``bullet_lines``, ``ellipsis_lines``: share of lines that begin with a bullet, that end with an ellipsis.
    ``alphabetic``: share of words with a letter. ``stopwords``: how many of eight English words it has.
    ``duplicate_lines``, ``duplicate_paragraphs``: share that stood before; ``_chars``: share of their characters.
    ``top_Ngrams``: share of the words' characters within the most frequent n-gram (0 if none repeats);
    ``duplicate_Ngrams``: within all n-grams that repeat, no character counted twice.
    """
    return [measured(joined(document)) for document in documents]


def measured(text: str) -> Row:
    """All columns of one text."""
    words = text.split()
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    paragraphs = [paragraph.strip() for paragraph in re.split(r"\n\s*\n", text) if paragraph.strip()]
    row: Row = {
        "words": len(words),
        "word_length": sum(map(len, words)) / len(words) if words else None,
        "hashes": share(text.count("#"), len(words)),
        "ellipses": share(sum(map(text.count, ELLIPSIS)), len(words)),
        "bullet_lines": share(sum(line.startswith(BULLETS) for line in lines), len(lines)),
        "ellipsis_lines": share(sum(line.endswith(ELLIPSIS) for line in lines), len(lines)),
        "alphabetic": share(sum(any(map(str.isalpha, word)) for word in words), len(words)),
        "stopwords": len(STOPWORDS & {word.strip(".,;:!?\"'()").lower() for word in words}),
    }
    for name, parts in {"line": lines, "paragraph": paragraphs}.items():
        again = repeats(parts)
        row[f"duplicate_{name}s"] = share(len(again), len(parts))
        row[f"duplicate_{name}_chars"] = share(sum(map(len, again)), sum(map(len, parts)))
    row |= {f"top_{size}grams": within(words, size, top=True) for size in range(2, 5)}
    return row | {f"duplicate_{size}grams": within(words, size, top=False) for size in range(5, 11)}


def repeats(parts: Sequence[str]) -> list[str]:
    """The parts that stood before."""
    seen: set[str] = set()
    again = []
    for part in parts:
        if part in seen:
            again.append(part)
        seen.add(part)
    return again


def within(words: Sequence[str], size: int, top: bool) -> float:
    """The share of the words' characters inside repeated n-grams: all of them, or the most frequent (longest) one."""
    grams = [tuple(words[at : at + size]) for at in range(len(words) - size + 1)]
    several = {gram: count for gram, count in Counter(grams).items() if count > 1}
    if top and several:
        several = dict([max(several.items(), key=lambda each: (each[1], sum(map(len, each[0]))))])
    inside = {at + step for at, gram in enumerate(grams) if gram in several for step in range(size)}
    return share(sum(len(words[at]) for at in inside), sum(map(len, words)))
