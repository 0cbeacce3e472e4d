"""Language: which language a text is in, by fastText or cld3. Translates nothing and drops nothing.

Joulin et al. 2017. Without ``model`` it is the small model that comes with curate (``demo_models/language``): en, de,
fr, es, it, pt, nl, pl, ru, ja, zh; a text in any other language gets one of these. The usual model is lid.176 of 176
languages, CC-BY-SA 3.0, 126 MB as .bin and 917 kB as .ftz; OBELICS' 0.8 and DataComp's "en" are lid.176.bin's.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from shutil import copyfileobj
from typing import Any

from curate import Document, scores
from curate.filters._words import joined

SMALL = Path(__file__).resolve().parent / "demo_models" / "language" / "lid.ftz"
"""The model that comes with curate: small, of eleven languages, trained on manuals."""
CACHE = Path("~/.cache/curate")
CLD3_BYTES = 1000

Guess = tuple[str, float | None]


@scores("document", text={"label": str, "score": float}, page_label=str, page_score=float, batch=256, version=1)
class Language:
    """The most likely language of each text (``label``: en, de, ...; ``score``: its probability) and of each document.

    ``page_label`` and ``page_score`` are those of the document's texts joined by two newlines. An empty text has the
    label "" and no score.

    Args:
        model: a fastText file (.bin, .ftz), a path or a URL that fsspec reads; none: the small model of curate.
        sha256: of that file; required for a URL, which is kept in ~/.cache/curate. Checked wherever it is given.
        engine: ``fasttext``, or ``cld3`` (package gcld3), whose label is "" where it is not reliable, as in LAION-5B.
    """

    def __init__(self, model: str = "", sha256: str = "", engine: str = "fasttext") -> None:
        files = self.weights(model, sha256, engine)
        self.guess = cld3() if engine == "cld3" else fasttext(files[0])

    @staticmethod
    def weights(model: str = "", sha256: str = "", engine: str = "fasttext") -> list[Path]:
        """The model's file, downloaded if it is a URL."""
        if engine not in {"fasttext", "cld3"}:
            raise ValueError(f"engine: {engine!r} is neither fasttext nor cld3")
        package = "gcld3" if engine == "cld3" else "fasttext"
        if find_spec(package) is None:
            raise ImportError(f"engine: {engine} needs the package {package}: pip install {package}")
        if engine == "cld3":
            if model:
                raise ValueError("engine: cld3 has its own model; leave model: out")
            return []
        return [local(model, sha256) if model else SMALL]

    def __call__(self, documents: list[Document]) -> list[dict[int, dict[str, Any]]]:
        """The rows of each document's texts, and its own; all texts of the batch in one call."""
        keys = [(each, at) for each, document in enumerate(documents) for at in (*document.texts, -1)]
        texts = [joined(documents[each]) if at == -1 else documents[each].texts[at].text for each, at in keys]
        found: list[dict[int, dict[str, Any]]] = [{} for _ in documents]
        for (each, at), (label, score) in zip(keys, self.labels(texts), strict=True):
            found[each][at] = (
                {"page_label": label, "page_score": score} if at == -1 else {"label": label, "score": score}
            )
        return found

    def labels(self, texts: Sequence[str]) -> list[Guess]:
        """Label and probability of each text; each distinct text is looked at once."""
        lines = [" ".join(text.encode("utf-8", "ignore").decode().split()) for text in texts]
        spoken = [line for line in dict.fromkeys(lines) if line]
        known = dict(zip(spoken, self.guess(spoken), strict=True))
        return [known.get(line, ("", None)) for line in lines]


def fasttext(file: Path) -> Callable[[Sequence[str]], list[Guess]]:
    """A guesser by fastText. Only lists are predicted: fasttext 0.9.3 fails on a str under numpy 2."""
    import fasttext as library

    model = library.load_model(str(file))

    def guess(lines: Sequence[str]) -> list[Guess]:
        if not lines:
            return []
        labels, scores = model.predict(list(lines))
        return [
            (label[0].removeprefix("__label__"), min(float(score[0]), 1.0)) if label else ("", None)
            for label, score in zip(labels, scores, strict=True)
        ]

    return guess


def cld3() -> Callable[[Sequence[str]], list[Guess]]:
    """A guesser by cld3: of zh-Latn the zh; "" where it is not reliable."""
    import gcld3

    model = gcld3.NNetLanguageIdentifier(min_num_bytes=0, max_num_bytes=CLD3_BYTES)

    def guess(lines: Sequence[str]) -> list[Guess]:
        found = [model.FindLanguage(text=line) for line in lines]
        return [
            (each.language.partition("-")[0], each.probability) if each.is_reliable else ("", None) for each in found
        ]

    return guess


def local(model: str, sha256: str) -> Path:
    """The model's file here: a path as it is, a URL from the cache.

    Raises:
        ValueError: a URL without sha256, or a file that has another one.
        FileNotFoundError: no such file.
    """
    path = Path(model)
    if "://" in model:
        if not sha256:
            raise ValueError(f"sha256: {model} is downloaded; say what it must be")
        path = CACHE.expanduser() / f"{sha256}{path.suffix}"
        if not path.is_file():
            download(model, path, sha256)
    elif not path.is_file():
        raise FileNotFoundError(f"model: no file {model}")
    elif sha256:
        check(path, sha256, model)
    return path


def download(url: str, path: Path, sha256: str) -> None:
    """Fetches a file; it has its name only when it is complete and has this sha256."""
    import fsspec

    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(f".{os.getpid()}.part")
    try:
        with fsspec.open(url, "rb") as source, part.open("wb") as target:
            copyfileobj(source, target)
        check(part, sha256, url)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def check(path: Path, sha256: str, name: str) -> None:
    """ValueError if a file has another sha256."""
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != sha256.lower():
        raise ValueError(f"sha256: {name} has {found}, not {sha256}")
