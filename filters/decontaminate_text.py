"""Decontaminate text: how much of any question of an evaluation set a text repeats word for word. Drops nothing.

Brown et al. 2020 (GPT-3, appendix C) took 13 words for a repetition, others 8 to 13. Words are compared in NFKC and
lower case without what stands between them, so that another punctuation hides nothing.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

import pyarrow.parquet as pq

from curate import Text, scores

WORD = re.compile(r"\w+")


@scores("text", overlap=float, which=str, batch=1024, version=1)
class DecontaminateText:
    """``overlap``: the greatest share, over all questions, of a question's distinct n-grams that the text has, 0 to 1.

    ``which`` names that question (the first, of equal ones) and is null where the overlap is 0. A text that holds a
    whole question has 1, however long it is. Questions of fewer than ``n`` words have no n-gram and are never found.

    Args:
        reference: the questions: a .txt with one on each line, a .jsonl or a .parquet.
        n: words in an n-gram.
        column: the questions' column, in a .jsonl or .parquet.
        names: the column that names them; none: the number of the line or row, from 0.
    """

    def __init__(self, reference: str, n: int = 13, column: str = "question", names: str = "") -> None:
        if n < 1:
            raise ValueError(f"decontaminate_text: n is at least 1, not {n}")
        self.n = n
        self.names: list[str] = []
        self.sizes: list[int] = []
        self.holders: dict[str, list[int]] = {}
        for name, question in questions(Path(reference), column, names):
            if grams := set(ngrams(question, n)):
                for gram in grams:
                    self.holders.setdefault(gram, []).append(len(self.names))
                self.names.append(name)
                self.sizes.append(len(grams))
        if not self.names:
            raise ValueError(f"decontaminate_text: {reference} has no question of {n} words or more")

    @staticmethod
    def weights(reference: str, n: int = 13, column: str = "question", names: str = "") -> list[Path]:  # noqa: ARG004
        """The file that the scores depend on."""
        if not Path(reference).is_file():
            raise FileNotFoundError(f"decontaminate_text: there is no file {reference}")
        if Path(reference).suffix not in {".txt", ".jsonl", ".parquet"}:
            raise ValueError(f"decontaminate_text: {reference} is neither .txt, .jsonl nor .parquet")
        return [Path(reference)]

    def __call__(self, texts: list[Text]) -> list[dict[str, float | str | None]]:
        """A row for each text."""
        return [self.row(text.text) for text in texts]

    def row(self, text: str) -> dict[str, float | str | None]:
        """The columns of one text."""
        found = Counter(at for gram in set(ngrams(text, self.n)) for at in self.holders.get(gram, ()))
        if not found:
            return {"overlap": 0.0, "which": None}
        best = max(found, key=lambda at: (found[at] / self.sizes[at], -at))
        return {"overlap": found[best] / self.sizes[best], "which": self.names[best]}


def ngrams(text: str, n: int) -> Iterable[str]:
    """The runs of n words."""
    words = WORD.findall(unicodedata.normalize("NFKC", text).lower())
    return (" ".join(words[at : at + n]) for at in range(len(words) - n + 1))


def questions(file: Path, column: str, names: str) -> Iterator[tuple[str, str]]:
    """The name and the text of each question; rows without one are left out."""
    rows: Iterable[dict[str, str | None]]
    if file.suffix == ".txt":
        rows = ({column: line} for line in file.read_text("utf-8").splitlines())
    elif file.suffix == ".jsonl":
        rows = (json.loads(line) for line in file.read_text("utf-8").splitlines() if line.strip())
    else:
        rows = pq.read_table(file, columns=[column, *([names] if names else [])]).to_pylist()
    for at, row in enumerate(rows):
        if column not in row:
            raise ValueError(f"{file}, row {at}: no {column}; it has {', '.join(row)}")
        if question := row[column]:
            yield str(row.get(names) if names else at), question
