"""Document: what a corpus is made of. Plain frozen data; reads no file and knows no format.

A document is an ordered list of text and image segments; a pair is a document with one of each. A segment's
position in that list never changes: scores and verdicts are keyed (document id, position), and position -1 is the
document itself. Renumbering happens once, when the survivors are packed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt

DOCUMENT = -1
"""The position that stands for the document itself in score and verdict tables."""

Pixels = npt.NDArray[np.uint8]
"""A decoded picture: (height, width, 3), RGB, 0-255, upright (the EXIF orientation is applied)."""

Row = Mapping[str, Any]
"""One measurement: column name -> value, None where it could not be measured."""


class BadRow(ValueError):  # noqa: N818 - a row is bad; the run is not in error
    """A source row that is no document. It becomes a counted reject with its file, row and this reason."""


@dataclass(frozen=True, slots=True)
class Text:
    """A text segment. ``source`` says who wrote it: "page", "alt", or the name of the scorer that made it."""

    text: str
    source: str = "page"


@dataclass(frozen=True, slots=True)
class Image:
    """An image segment: where it came from and, once fetched, what it is.

    ``error`` is a status of ``curate.status`` when there is no picture; a failed image is never a missing row.
    ``data`` (the stored bytes) and ``pixels`` are only there for scorers that look at them.
    ``width`` and ``height`` are those of the stored file, upright.
    """

    url: str
    alt: str = ""
    data: bytes | None = field(default=None, repr=False)
    format: str = ""
    width: int = 0
    height: int = 0
    sha256: str = ""
    error: str = ""
    pixels: Pixels | None = field(default=None, repr=False, compare=False)


Segment = Text | Image


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a document came from: corpus, file (relative to the source's folder), row in it, page or image URL."""

    corpus: str
    file: str
    row: int
    url: str


@dataclass(frozen=True, slots=True)
class Document:
    """Ordered segments, their origin, and what the corpus itself measured of them.

    ``scores`` maps a position (``DOCUMENT`` for the whole) to the reader's declared columns; they are stored as the
    score named ``source``, so that ``source.similarity`` is used like any other column.
    """

    id: str
    segments: tuple[Segment, ...]
    origin: Origin
    scores: Mapping[int, Row] = field(default_factory=dict)

    @property
    def images(self) -> dict[int, Image]:
        """The image segments by position, in order."""
        return {at: segment for at, segment in enumerate(self.segments) if isinstance(segment, Image)}

    @property
    def texts(self) -> dict[int, Text]:
        """The text segments by position, in order."""
        return {at: segment for at, segment in enumerate(self.segments) if isinstance(segment, Text)}

    def located(self, corpus: str, file: str, row: int) -> Document:
        """This document with its place in the corpus and the id that follows from it."""
        origin = Origin(corpus, file, row, self.origin.url)
        return replace(self, id=document_id(origin), origin=origin)


def document_id(origin: Origin) -> str:
    """32 hex digits that depend on corpus, URL, file and row: no dot, no slash, unique across shards, stable."""
    name = "\x00".join((origin.corpus, origin.url, origin.file, str(origin.row)))
    return hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()[:32]


def document(url: str, segments: list[Segment], scores: Mapping[int, Row] | None = None) -> Document:
    """What a corpus reader returns; the id and the place in the corpus are added by the caller."""
    return Document("", tuple(segments), Origin("", "", 0, url), scores or {})


def pair(url: str, text: str | None, scores: Row | None = None, alt: str = "") -> Document:
    """An image with its caption, as a document of one image and one text (no text segment for a null caption)."""
    segments: list[Segment] = [Image(url, alt)]
    if text is not None:
        segments.append(Text(text, "alt"))
    return document(url, segments, {DOCUMENT: scores} if scores else {})


@dataclass(frozen=True)
class Reader:
    """A corpus: how one row of its files becomes a document, and the columns it brings along.

    ``columns`` maps "document", "image" or "text" to the columns whose values the reader puts in ``Document.scores``;
    types are bool, int, float, str or list[float]. ``version``: see ``reader``.
    """

    read: Callable[[Mapping[str, Any]], Document]
    columns: Mapping[str, Mapping[str, Any]]
    corpus: str
    version: int | None = None

    def __call__(self, row: Mapping[str, Any]) -> Document:
        """Reads one row; raises BadRow where there is no document in it."""
        return self.read(row)


def reader(
    *,
    version: int | None = None,
    **columns: Mapping[str, Any],
) -> Callable[[Callable[[Mapping[str, Any]], Document]], Reader]:
    """Declares a corpus reader: ``@reader(document={"similarity": float})`` on a function of one row.

    The corpus is named after the module the function stands in. Readers of this package have a ``version``, which is
    counted up when they make other documents of the same rows; outside the package none is needed: the code is hashed.
    """

    def declare(read: Callable[[Mapping[str, Any]], Document]) -> Reader:
        return Reader(read, columns, read.__module__.rpartition(".")[2], version)

    return declare
