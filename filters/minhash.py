"""MinHash: a document's signature, from which the overlap of two documents' words can be estimated. Groups nothing.

Broder 1997: the share of equal values in two signatures estimates the Jaccard similarity J of two sets of n-grams, with
a standard error of sqrt(J (1 - J) / num_perm): 0.035 at J = 0.8 and 128 values. Computed by rensa, whose error is that
or smaller, and which hashes each n-gram a few times, not num_perm times (Dahlgaard et al. 2017, arXiv 1704.04370).
"""

import string
import unicodedata
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import numpy.typing as npt

from curate import scores
from curate.document import Document

Codes = npt.NDArray[np.uint64]

MARKS = string.punctuation + "¡¿«»" + "".join(map(chr, (*range(0x2010, 0x2028), 0x2039, 0x203A)))
"""Punctuation that is taken off the ends of words."""
ODD = np.uint64(0x9E3779B97F4A7C15)


@scores("document", signature=bytes, batch=256, requires=("rensa",), version=1)
def minhash(
    documents: list[Document], ngram: int = 5, num_perm: int = 128, seed: int = 1, unit: str = "word"
) -> list[dict[str, bytes] | None]:
    """The signature of a document's texts, joined in order: num_perm values, uint32, little-endian.

    Compared are n-grams after Unicode's NFC and casefold: of words, split at white space and without the punctuation at
    their ends (``unit: word``; OBELICS takes 5), or of characters, white space collapsed (``unit: char``), for scripts
    without spaces. Fewer than ``ngram`` of them make no n-gram: then it is null, and ``keys.words`` finds the equal
    ones. Only signatures of equal parameters can be compared.
    """
    joined = ["\n".join(text.text for text in document.texts.values()) for document in documents]
    return signatures(joined, ngram, num_perm, seed, unit)


def signatures(texts: Sequence[str], ngram: int, num_perm: int, seed: int, unit: str) -> list[dict[str, bytes] | None]:
    """A row for each text, None for one that is too short; ValueError for parameters that make no signature."""
    if unit not in UNITS or ngram < 1 or num_perm < 1:
        raise ValueError(
            f"minhash: unit is word or char, ngram and num_perm at least 1; got {unit}, {ngram}, {num_perm}"
        )
    grams, counts = ngrams(*UNITS[unit]([unicodedata.normalize("NFC", text).casefold() for text in texts]), ngram)
    ends = np.concatenate([[0], np.cumsum(counts)]).astype(np.uint64)
    from rensa import RMinHash

    rows = RMinHash.digest_matrix_from_flat_token_hashes(grams, ends, num_perm, seed).to_rows()
    return [
        {"signature": np.array(row, "<u4").tobytes()} if count else None
        for row, count in zip(rows, counts, strict=True)
    ]


def words(texts: Sequence[str]) -> tuple[Codes, npt.NDArray[np.int64]]:
    """The hashes of the words of all texts, one after the other, and how many each text has."""
    found = [[bare for word in text.split() if (bare := word.strip(MARKS))] for text in texts]
    from rensa import RMinHash

    hashes = RMinHash.hash_token_sets([[word for text in found for word in text]])[0]
    return np.array(hashes, np.uint64), np.array([len(text) for text in found], np.int64)


def characters(texts: Sequence[str]) -> tuple[Codes, npt.NDArray[np.int64]]:
    """The code points of all texts, white space collapsed, and how many each text has."""
    found = [" ".join(text.split()) for text in texts]
    codes = np.frombuffer("".join(found).encode("utf-32-le", "surrogatepass"), "<u4")
    return codes.astype(np.uint64), np.array([len(text) for text in found], np.int64)


UNITS: Mapping[str, Callable[[Sequence[str]], tuple[Codes, npt.NDArray[np.int64]]]] = {
    "word": words,
    "char": characters,
}


def ngrams(codes: Codes, lengths: npt.NDArray[np.int64], n: int) -> tuple[Codes, npt.NDArray[np.int64]]:
    """The hashes of the n-grams of all texts, none across two texts, and how many each text has."""
    starts = max(len(codes) - n + 1, 0)
    mixed = np.zeros(starts, np.uint64)
    for at in range(n):
        mixed = (mixed ^ codes[at : at + starts]) * ODD
        mixed ^= mixed >> np.uint64(29)
    ends = np.repeat(np.cumsum(lengths), lengths)[:starts]
    return mixed[np.arange(starts) + n <= ends], np.maximum(lengths - n + 1, 0)
