"""Words: what the text scorers have in common. Splits texts, reads word lists; is no scorer and knows no threshold."""

import unicodedata
from collections.abc import Iterable, Sequence
from functools import lru_cache
from pathlib import Path

from curate import Document

LISTS = Path(__file__).resolve().parent / "word_lists"
"""Word lists of our own, in English: stopwords, flagged, spam."""

SPACES = dict.fromkeys(
    map(ord, "\u2009\u200a\u202f\u2005\u3000\u2002\u2008\u2003\ufffc\u0084\u00a0"),
    " ",
)
"""Characters that OBELICS standardises to a space."""


class Special(dict[str, bool]):
    """Character -> whether it is special: white space, digits, punctuation, symbols, emoji, controls.

    OBELICS lists 189 symbols and an emoji table by hand; here Unicode says it, for every script: special is what is
    neither a letter nor a combining mark.
    """

    def __missing__(self, character: str) -> bool:
        self[character] = special = unicodedata.category(character)[0] not in "LM" or character in "\ufe0e\ufe0f\u20e3"
        return special


SPECIAL = Special()


def joined(document: Document) -> str:
    r"""The texts of a document, with ``\n\n`` between them: each is a paragraph. Those that a gate hides are empty."""
    return "\n\n".join(text.text for text in document.texts.values() if text.text)


def standardised(text: str) -> str:
    """The text with the unusual spaces as plain ones."""
    return text.translate(SPACES)


def words(text: str) -> list[str]:
    """Split at space, newline and tab; lower case; special characters cut off both ends; what is then empty goes."""
    pieces = text.lower().replace("\n", " ").replace("\t", " ").split(" ")
    return [word for word in map(stripped, pieces) if word]


def stripped(word: str) -> str:
    """Without special characters at both ends."""
    start, end = 0, len(word)
    while start < end and SPECIAL[word[start]]:
        start += 1
    while end > start and SPECIAL[word[end - 1]]:
        end -= 1
    return word[start:end]


def share(part: float, whole: float) -> float:
    """Part of whole, 0 of nothing."""
    return part / whole if whole else 0.0


def share_in(words: Sequence[str], known: frozenset[str]) -> float:
    """The share of words that are in a list."""
    return share(sum(word in known for word in words), len(words))


def list_file(name: str) -> Path:
    """A word list: one of ours by its name, or a file.

    Raises:
        FileNotFoundError: there is neither.
    """
    own = LISTS / f"{name}.txt"
    file = own if own.is_file() else Path(name)
    if not file.is_file():
        ours = ", ".join(sorted(path.stem for path in LISTS.glob("*.txt")))
        raise FileNotFoundError(f"no word list {name!r}: give a file, or one of {ours}")
    return file


def list_files(names: Iterable[str]) -> list[Path]:
    """The files of several lists; an empty name is no list."""
    return [list_file(name) for name in names if name]


@lru_cache(16)
def word_list(name: str) -> frozenset[str]:
    """One word a line, UTF-8; lines that begin with # are comments. An apostrophe may be typographic."""
    lines = (line.strip().lower() for line in list_file(name).read_text(encoding="utf-8").splitlines())
    listed = [line for line in lines if line and not line.startswith("#")]
    return frozenset([*listed, *(word.replace("'", "\u2019") for word in listed)])
