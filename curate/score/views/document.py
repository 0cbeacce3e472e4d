"""Document: a scorer of documents gets those of which something is owed, and of each what its gates let be seen.

They come plain; with files, if it looks at pixels or bytes; with the values of a column that it reads; or, for two
towers, with a vector for each picture and text, which are encoded in full batches across documents.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from curate.document import DOCUMENT, Document, Image, Text
from curate.plugin import Encoded
from curate.report import StopRun
from curate.score.batch import BUDGET, Batcher, Viewer, checked, full, show_pictures, weight
from curate.score.view import Call, Measured, Owed, distinct
from curate.status import Status

TEXTS_AT_ONCE = 8192
"""Texts whose vectors are held at a time by a scorer that encodes."""


class DocumentView:
    """The documents in order, some at a time; a document is known by its number in the shard."""

    def __init__(self, owed: Owed, call: Call) -> None:
        self.owed, self.call = owed, call
        self.towers = Towers(owed, call) if hasattr(call, "encode_image") else None
        self.viewer = self.towers.viewer if self.towers else None

    def measured(self) -> Measured:
        """Measures the documents; a result is a row of one of them, and goes to where that stands in the shard."""
        scorer, size = self.owed.scorer, self.owed.scorer.spec.batch
        owners, positions, results = list[int](), list[int](), list[Any]()
        for some in self.batches():
            ready = self.ready(some)
            for start in range(0, len(some), size):
                found = checked(scorer.name, self.call, ready[start : start + size])
                for (number, document), result in zip(some[start : start + size], found, strict=True):
                    rows = rows_of(scorer.name, document, result) if scorer.spec.per_document else {DOCUMENT: result}
                    owners += [number] * len(rows)
                    positions += rows.keys()
                    results += rows.values()
        row = self.owed.segments.starts[np.array(owners, int)] + 1 + np.array(positions, int)
        place = self.owed.place[row]
        wanted = place >= 0
        index = np.full(len(self.owed.rows), -1)
        index[place[wanted]] = np.arange(wanted.sum())
        return Measured([result for result, keep in zip(results, wanted, strict=True) if keep], index)

    def batches(self) -> Iterator[list[tuple[int, Document]]]:
        """The documents of which something is owed, as many at a time as there is room for."""
        some, load, texts = list[tuple[int, Document]](), 0, 0
        scorer, segments = self.owed.scorer, self.owed.segments
        limit = TEXTS_AT_ONCE if self.towers else scorer.spec.batch
        wanted = set(segments.owner[self.owed.rows].tolist())
        for number, document in enumerate(segments.raw.documents()):
            if number not in wanted:
                continue
            seen = document if self.towers else self.hide(number, document)
            if not self.towers and (scorer.spec.pixels or scorer.spec.data):
                seen = with_files(self.owed, seen)
            some.append((number, seen))
            load += sum(weight(image) for image in seen.images.values())
            texts += len(seen.texts)
            if texts >= TEXTS_AT_ONCE or len(some) >= limit or load >= BUDGET:
                yield some
                some, load, texts = [], 0, 0
        if some:
            yield some

    def ready(self, some: list[tuple[int, Document]]) -> list[Any]:
        """The documents as the scorer takes them."""
        if self.towers:
            return self.towers.encoded(some)
        if self.owed.scorer.reads:
            return [self.with_values(number, document) for number, document in some]
        return [document for _, document in some]

    def hide(self, number: int, document: Document) -> Document:
        """The document as gates let it be seen: other texts empty, other images failed."""
        first = self.owed.segments.starts[number] + 1
        hidden = self.owed.hidden[first : first + len(document.segments)]
        if not hidden.any():
            return document
        segments = list(document.segments)
        for at in np.flatnonzero(hidden):
            segment = segments[at]
            gone = replace(segment, text="") if isinstance(segment, Text) else replace(segment, error="gated")
            segments[at] = gone
        return replace(document, segments=tuple(segments))

    def with_values(self, number: int, document: Document) -> Encoded:
        """The document with the values of the column that the scorer reads, at the segments that it may see."""
        assert self.owed.values is not None
        first, size = int(self.owed.segments.starts[number]) + 1, len(document.segments)
        hidden, values = self.owed.hidden[first : first + size], self.owed.values.slice(first, size).to_list()
        there = {
            at: np.asarray(value, np.float32) if isinstance(value, list) else value
            for at, value in enumerate(values)
            if value is not None and not hidden[at]
        }
        images = {at: value for at, value in there.items() if at in document.images}
        return Encoded(document, images, {at: value for at, value in there.items() if at in document.texts})


class Towers:
    """The vectors of a scorer with two towers: of pictures, encoded while they are shown, and of texts.

    Its pictures are the images that are owed, or, if it has no rows for images, those of all documents in question.
    """

    def __init__(self, owed: Owed, call: Any) -> None:
        self.scorer, self.segments, self.call = owed.scorer, owed.segments, call
        size, frame = owed.scorer.spec.batch, owed.segments.frame
        wanted = owed.place >= 0
        if "image" not in owed.scorer.columns:
            wanted = np.isin(owed.segments.owner, owed.segments.owner[owed.rows])
        good = (frame["status"] == Status.OK).fill_null(value=False).to_numpy() & owed.segments.of_kind("image")
        items, self.index = distinct(frame.select("sha256"), wanted & good)
        number = {sha256: at for at, sha256 in enumerate(items["sha256"])}
        self.batch = batch = Batcher(self.scorer.name, full(call.encode_image, size), size, items.height)

        def see(sha256: str, picture: Any) -> None:
            batch.add(number[sha256], picture)

        prepare = getattr(call, "prepare", None)
        self.viewer = Viewer(self.scorer.name, self.scorer.spec, frozenset(number), prepare, see)

    def encoded(self, some: list[tuple[int, Document]]) -> list[Encoded]:
        """Adds vectors; texts of documents in which nothing else could be measured are not encoded."""
        pictures, texts, number = self.batch.finished(), list[Text](), dict[str, int]()
        images = [self.images(each, document, pictures) for each, document in some]
        for (_, document), vectors in zip(some, images, strict=True):
            if vectors or set(self.scorer.columns) != {"image"}:
                for text in document.texts.values():
                    if number.setdefault(text.text, len(texts)) == len(texts):
                        texts.append(text)
        size = self.scorer.spec.batch
        batch = Batcher(self.scorer.name, full(self.call.encode_text, size), size, len(texts))
        for at, text in enumerate(texts):
            batch.add(at, text)
        of_texts = batch.finished()
        return [
            Encoded(
                document,
                vectors,
                {at: of_texts[number[text.text]] for at, text in document.texts.items() if text.text in number},
            )
            for (_, document), vectors in zip(some, images, strict=True)
        ]

    def images(self, number: int, document: Document, pictures: list[Any]) -> dict[int, Any]:
        """The vectors of a document's pictures by position."""
        first = self.segments.starts[number] + 1
        items = self.index[first : first + len(document.segments)].tolist()
        return {at: pictures[item] for at, item in enumerate(items) if item >= 0 and pictures[item] is not None}


def rows_of(name: str, document: Document, result: Any) -> Mapping[int, Any]:
    """What a scorer returned for a document: position -> row; nothing is no rows."""
    rows = result or {}
    if not isinstance(rows, Mapping):
        raise StopRun(f"score {name!r} returned {type(rows).__name__} {rows!r:.60} in place of position -> row")
    for position in rows:
        if not DOCUMENT <= position < len(document.segments):
            raise StopRun(f"score {name!r} gave a row to position {position} of {document.id}")
    return rows


def with_files(owed: Owed, document: Document) -> Document:
    """The document with data and pixels in its images, for scorers that look at whole documents."""
    loaded: dict[str, Image] = {}
    wanted = frozenset(image.sha256 for image in document.images.values() if not image.error)
    viewer = Viewer(owed.scorer.name, owed.scorer.spec, wanted, None, loaded.__setitem__)
    broken = show_pictures(owed.segments.raw, [viewer])

    def fill(image: Image) -> Image:
        if image.sha256 in broken:
            return replace(image, error=str(Status.DECODE_ERROR))
        seen = loaded.get(image.sha256)
        return replace(image, data=seen.data, pixels=seen.pixels) if seen else image

    return replace(
        document, segments=tuple(fill(each) if isinstance(each, Image) else each for each in document.segments)
    )


view = DocumentView
