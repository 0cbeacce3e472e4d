"""Task: one scorer on one shard: which rows it owes, how items are gathered, and where results belong.

Items are distinct pictures, texts, pairs, values or documents; each result fans out to all rows it stands for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa

from curate.document import DOCUMENT, Document, Image, Row, Text
from curate.plugin import Encoded
from curate.report import StopRun
from curate.score.batch import BUDGET, Batcher, Viewer, checked, full, show_pictures, weight
from curate.score.scorer import Scorer
from curate.status import Status
from curate.store import table
from curate.store.raw_shard import RawShard

Key = tuple[str, int]
TEXTS_AT_ONCE = 8192
"""Texts whose vectors are held at a time by a scorer that encodes."""


@dataclass
class Task:
    """One scorer on one shard: the rows it owes, and how items and results are matched."""

    scorer: Scorer
    targets: pl.DataFrame
    open_keys: set[Key]
    before: pa.Table | None
    values: pl.DataFrame | None
    content: str = ""
    text_of: pl.DataFrame | None = None
    hidden: set[Key] = field(default_factory=set)
    rows: dict[Key, Row | None] = field(default_factory=dict)
    wanted: frozenset[str] = frozenset()
    broken: int = 0
    _pictures: Batcher | None = None

    def viewer(self, raw: RawShard, call: Callable[[list[Any]], Any]) -> Viewer | None:
        """The part that looks at single pictures, for scorers that have one."""
        view, spec = self.scorer.view, self.scorer.spec
        encode = getattr(call, "encode_image", None)
        if view not in {"image", "pair"} and not (view == "document" and encode):
            return None
        self.wanted = frozenset(row["sha256"] for row in self._images())
        one_call = full(encode, spec.batch) if encode else call
        pictures = self._pictures = Batcher(self.scorer.name, one_call, spec.batch)
        if view == "pair":
            captions = self._captions(raw)

        def see(sha256: str, item: Any) -> None:
            if view != "pair":
                pictures.add(sha256, item)
                return
            for caption in captions.get(sha256, ()):
                pictures.add((sha256, caption), (item, Text(caption)))

        return Viewer(self.scorer.name, spec, self.wanted, getattr(call, "prepare", None), see)

    def finish(self, raw: RawShard, call: Callable[[list[Any]], Any]) -> None:
        """Completes the last batches and gives every row its result."""
        if self._pictures:
            self._pictures.flush()
        if self.values is not None and not self.scorer.reads:
            self._finish_column(call)
        elif self.scorer.view == "text":
            self._finish_texts(call)
        elif self.scorer.view == "document":
            self._finish_documents(raw, call)
        elif self._pictures:
            if self.scorer.view == "pair":
                self._finish_pairs(raw)
                return
            for row in self._images():
                self.rows[row["document"], row["position"]] = self._pictures.results.get(row["sha256"])

    def _finish_pairs(self, raw: RawShard) -> None:
        """Gives a pair's result to its image, and its text columns to the text; of several pictures, the greatest."""
        assert self._pictures
        captions, texts = self._caption_of(raw), self._text_of(raw)
        own, of_text = self.scorer.columns.get("image", {}), self.scorer.columns.get("text", {})
        for row in self._images():
            key = (row["document"], row["position"])
            found = self._pictures.results.get((row["sha256"], captions.get(key)))
            mine = {name: value for name, value in (found or {}).items() if name not in of_text}
            self.rows[key] = mine if own and found is not None else None
            if found and key in texts and of_text:
                place = (key[0], texts[key])
                before = self.rows.get(place) or {}
                for name in of_text.keys() & found.keys():
                    value = found[name]
                    if value is not None and value == value and (before.get(name) is None or value > before[name]):
                        before = {**before, name: found[name]}
                self.rows[place] = before or None

    def _images(self) -> Iterator[dict[str, Any]]:
        """The rows of the good images that are still to be measured."""
        rows = self.targets.filter((pl.col("kind") == "image") & (pl.col("status") == Status.OK))
        names = ["document", "position", "sha256", "alt"]
        gated_documents = self.scorer.view == "document" and "image" not in self.scorer.columns
        for row in rows.select(names).iter_rows(named=True):
            if gated_documents or (row["document"], row["position"]) in self.open_keys:
                yield row

    def _caption_of(self, raw: RawShard) -> dict[Key, str]:
        """The caption of each image: the text it goes with, else its alt text where it has one."""
        rows = raw.segments.filter(pl.col("kind") == "text").select("document", "position", "text")
        texts, places = {(row[0], row[1]): row[2] for row in rows.iter_rows()}, self._text_of(raw)
        found = {}
        for row in self._images():
            key = (row["document"], row["position"])
            place = (key[0], places[key]) if key in places else None
            if place not in self.hidden:
                found[key] = texts[place] if place else row["alt"]
        return {key: caption for key, caption in found.items() if caption}

    def _text_of(self, raw: RawShard) -> dict[Key, int]:
        """The position of the text that each image goes with: as ``text_of`` says, or the document's only text."""
        rows = raw.segments.filter(pl.col("kind") == "text").group_by("document", maintain_order=True).agg("position")
        several: dict[str, list[int]] = dict(rows.iter_rows())
        if self.text_of is None:
            only = {document: places[0] for document, places in several.items() if len(places) == 1}
            keys = ((row["document"], row["position"]) for row in self._images())
            return {key: only[key[0]] for key in keys if key[0] in only}
        chosen = self.text_of.iter_rows()
        return {
            (document, position): several[document][at]
            for document, position, at in chosen
            if 0 <= at < len(several.get(document, ()))
        }

    def _captions(self, raw: RawShard) -> dict[str, list[str]]:
        """The distinct captions of each distinct picture."""
        caption_of, captions = self._caption_of(raw), dict[str, dict[str, None]]()
        for row in self._images():
            if caption := caption_of.get((row["document"], row["position"])):
                captions.setdefault(row["sha256"], {})[caption] = None
        return {sha256: list(several) for sha256, several in captions.items()}

    def _finish_column(self, call: Callable[[list[Any]], Any]) -> None:
        batcher = Batcher(self.scorer.name, call, self.scorer.spec.batch)
        assert self.values is not None
        for document, position, value in self.values.iter_rows():
            batcher.add((document, position), value)
        batcher.flush()
        self.rows.update(batcher.results)  # type: ignore[arg-type]

    def _finish_texts(self, call: Callable[[list[Any]], Any]) -> None:
        batcher = Batcher(self.scorer.name, call, self.scorer.spec.batch)
        texts = self.targets.select("document", "position", "text", "source")
        for document, position, text, source in texts.iter_rows():
            if (document, position) in self.open_keys:
                batcher.add((text, source), Text(text, source))
        batcher.flush()
        for document, position, *text in texts.iter_rows():
            if (document, position) in self.open_keys:
                self.rows[document, position] = batcher.results[tuple(text)]

    def _finish_documents(self, raw: RawShard, call: Callable[[list[Any]], Any]) -> None:
        vectors = self._pictures.results if self._pictures else None
        values = self._values()
        for documents in self._batches(raw, vectors):
            ready: list[Any] = documents
            if vectors is not None:
                ready = self._encode(documents, call, vectors)
            elif self.scorer.reads:
                ready = [with_values(document, values.get(document.id, {})) for document in documents]
            size = self.scorer.spec.batch
            for start in range(0, len(ready), size):
                batch = ready[start : start + size]
                for item, result in zip(batch, checked(self.scorer.name, call, batch), strict=True):
                    self._take(item, (result or {}) if self.scorer.spec.per_document else {DOCUMENT: result})

    def _take(self, item: Document | Encoded, rows: Mapping[int, Row | None]) -> None:
        """Accepts what a document scorer returned for one document."""
        document = item.document if isinstance(item, Encoded) else item
        for position, row in rows.items():
            if not DOCUMENT <= position < len(document.segments):
                raise StopRun(f"score {self.scorer.name!r} gave a row to position {position} of {document.id}")
            if (document.id, position) in self.open_keys:
                self.rows[document.id, position] = row

    def _batches(self, raw: RawShard, vectors: Mapping[Any, Any] | None) -> Iterator[list[Document]]:
        """The documents that have anything to measure, some at a time, with the images that the gate lets through."""
        some: list[Document] = []
        load = texts = 0
        wanted = {document for document, _ in self.open_keys}
        needs_files = vectors is None and (self.scorer.spec.pixels or self.scorer.spec.data)
        for document in raw.documents():
            if document.id not in wanted:
                continue
            seen = document if vectors is not None else self._hide(document)
            ready = self._with_files(seen, raw) if needs_files else seen
            some.append(ready)
            load += sum(weight(image) for image in ready.images.values())
            texts += len(document.texts)
            limit = TEXTS_AT_ONCE if vectors is not None else self.scorer.spec.batch
            if texts >= TEXTS_AT_ONCE or len(some) >= limit or load >= BUDGET:
                yield some
                some, load, texts = [], 0, 0
        if some:
            yield some

    def _values(self) -> dict[str, dict[int, Any]]:
        """The column that a document scorer reads, by document and position."""
        found: dict[str, dict[int, Any]] = {}
        if self.scorer.reads and self.values is not None:
            values = self.values.select("document", "position", "value").iter_rows()
            for document, position, value in (row for row in values if row[:2] not in self.hidden):
                found.setdefault(document, {})[position] = (
                    np.asarray(value, np.float32) if isinstance(value, list) else value
                )
        return found

    def _hide(self, document: Document) -> Document:
        """The document as a gate lets it be seen: other texts empty, other images failed."""
        shut = [at for at in range(len(document.segments)) if (document.id, at) in self.hidden]
        if not shut:
            return document
        segments = list(document.segments)
        for at in shut:
            segment = segments[at]
            gone = replace(segment, text="") if isinstance(segment, Text) else replace(segment, error="gated")
            segments[at] = gone
        return replace(document, segments=tuple(segments))

    def _with_files(self, document: Document, raw: RawShard) -> Document:
        """The document with data and pixels in its images, for scorers that look at whole documents."""
        loaded: dict[str, Image] = {}
        viewer = Viewer(
            self.scorer.name,
            self.scorer.spec,
            frozenset(image.sha256 for image in document.images.values() if not image.error),
            None,
            loaded.__setitem__,
        )
        broken = show_pictures(raw, [viewer])

        def fill(image: Image) -> Image:
            if image.sha256 in broken:
                return replace(image, error=str(Status.DECODE_ERROR))
            seen = loaded.get(image.sha256)
            return replace(image, data=seen.data, pixels=seen.pixels) if seen else image

        return replace(
            document, segments=tuple(fill(each) if isinstance(each, Image) else each for each in document.segments)
        )

    def _encode(self, documents: Sequence[Document], call: Any, vectors: Mapping[Any, Any]) -> list[Encoded]:
        """Adds vectors; texts of documents in which nothing else could be measured are not encoded."""
        size = self.scorer.spec.batch
        texts = Batcher(self.scorer.name, full(call.encode_text, size), size)
        images_of = {}
        for document in documents:
            images_of[document.id] = {
                at: vectors[image.sha256]
                for at, image in document.images.items()
                if vectors.get(image.sha256) is not None and self._lets_through(document.id, at)
            }
            if images_of[document.id] or set(self.scorer.columns) != {"image"}:
                for text in document.texts.values():
                    texts.add(text.text, text)
        texts.flush()
        return [
            Encoded(
                document,
                images_of[document.id],
                {at: texts.results[text.text] for at, text in document.texts.items() if text.text in texts.results},
            )
            for document in documents
        ]

    def _lets_through(self, document: str, position: int) -> bool:
        return "image" not in self.scorer.columns or (document, position) in self.open_keys

    def table(self) -> pa.Table:
        """The scorer's rows of the shard in the order of the segments."""
        columns = self.scorer.all_columns
        for row in self.rows.values():
            if row is not None and not isinstance(row, Mapping):
                raise StopRun(f"score {self.scorer.name!r} returned {type(row).__name__} {row!r:.60} in place of a row")
            if row is not None and not row.keys() <= columns.keys():
                unknown = ", ".join(sorted(row.keys() - columns.keys()))
                raise StopRun(f"score {self.scorer.name!r} returned columns it did not declare: {unknown}")
        schema = table.score_schema(columns)
        owed = [key for key in self.targets.select("document", "position").iter_rows() if key in self.open_keys]
        rows = [{"document": key[0], "position": key[1], **(self.rows.get(key) or {})} for key in owed]
        try:
            fresh = table.table(rows, schema)
        except (TypeError, ValueError, OverflowError) as error:
            raise StopRun(f"score {self.scorer.name!r} returned a value that is not as declared: {error}") from error
        if self.before is None:
            return fresh
        both = pa.concat_tables([self.before, fresh])
        order = {key: at for at, key in enumerate(self.targets.select("document", "position").iter_rows())}
        keys = zip(both["document"].to_pylist(), both["position"].to_pylist(), strict=True)
        places = [order[key] for key in keys]
        return both.take(pa.array(sorted(range(len(places)), key=places.__getitem__), pa.int64())).combine_chunks()


def with_values(document: Document, values: Mapping[int, Any]) -> Encoded:
    """A document with the values of a column at its segments."""
    images = {at: value for at, value in values.items() if at in document.images}
    return Encoded(document, images, {at: value for at, value in values.items() if at in document.texts})
