"""Crawl: the shards of a corpus into raw/NNNNNNNN.tar and .parquet. Judges nothing, changes no byte unless told.

Each distinct URL of the shard is asked for once and each distinct picture stored once; every place where it stands gets
its own row. The parquet file comes last: where it is, the shard is done.
"""

from __future__ import annotations

import hashlib
import json
import tempfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

from curate.document import DOCUMENT, Document, Image, Origin, Reader, Text, document_id
from curate.fetch.response import Fetched, Request
from curate.ledger.job import Job, Phase, Target
from curate.ledger.making import OneByOne
from curate.recipe.input import Fetch, Source
from curate.recipe.recipe import Resource
from curate.report import Report, conserve
from curate.source.corpus import Reject, documents
from curate.source.rows import Slice
from curate.status import Status
from curate.store import schema, table
from curate.store.columns import SOURCE
from curate.store.raw_shard import RAW, add_member, open_tar
from curate.store.store import Store

Place = tuple[int, int, int]
"""Where a picture lies in the tar: offset and length in bytes, and the CRC-32 of what should be there."""
MOST_FRAMES = 32_767
"""A picture may claim any number of frames."""


def phases(
    store: Store, slices: Sequence[Slice], reader: Reader, source: Source, settings: Fetch, needs: Resource
) -> Iterator[Phase]:
    """The stage: a job for each shard of the plan. Its target is the raw table, which comes after all it speaks of."""
    jobs = [Job(part.shard, (Target(f"{RAW}/{part.shard}.parquet"),), part) for part in slices]
    yield Phase("fetch", jobs, OneByOne(FetchShard(store, source, reader, settings)), needs)


@dataclass(frozen=True)
class FetchShard:
    """Fetches a shard."""

    store: Store
    source: Source
    reader: Reader
    settings: Fetch

    def __call__(self, job: Job) -> Report:
        """Writes one raw shard."""
        part: Slice = job.args
        entries = list(documents(part, self.reader, self.source))
        conserve("source rows", part.shard, part.count, len(entries))
        with self.spooled(entries) as (fetched, spool):
            offsets = self._write_tar(part.shard, entries, fetched, spool)
            rows = list(raw_rows(entries, fetched, offsets, self.reader.corpus))
        own = [
            {"document": entry.id, "position": position, **row}
            for entry in entries
            if isinstance(entry, Document)
            for position, row in sorted(entry.scores.items())
        ]
        if columns := {name: kind for group in self.reader.columns.values() for name, kind in group.items()}:
            with self.store.writing(f"{SOURCE}/{part.shard}.parquet") as path:
                table.write(path, schema.table(own, schema.score_schema(columns)))
        with self.store.writing(f"{RAW}/{part.shard}.parquet") as path:
            table.write(path, schema.table(rows, schema.RAW), content=content_of(rows))
        return count(part.shard, entries, fetched, rows)

    @contextmanager
    def spooled(self, entries: list[Document | Reject]) -> Iterator[tuple[dict[str, Fetched], Spool]]:
        """Every distinct URL of the shard, downloaded; the bytes wait on disk until the block ends."""
        requests = self._requests(entries)
        fetched: dict[str, Fetched] = {}
        with tempfile.TemporaryDirectory(prefix="curate-") as folder:
            spool = Spool(Path(folder) / "spool")

            def done(one: Fetched) -> None:
                fetched[one.url] = replace(one, data=None)
                if one.data is not None:
                    spool.put(one.sha256, one.data)

            # Imported here: most commands download nothing, and should not wait for what it takes.
            if self.settings.engine == "img2dataset":
                from curate.fetch.engine_img2dataset import download_with_img2dataset

                download_with_img2dataset(requests.values(), self.settings, done, Path(folder))
            else:
                from curate.fetch.download import download

                download(requests.values(), self.settings, done)
            conserve("URLs", "", len(requests), len(fetched))
            with spool:
                yield fetched, spool

    def _requests(self, entries: list[Document | Reject]) -> dict[str, Request]:
        """One request for each distinct URL, in order of first appearance."""
        requests: dict[str, Request] = {}
        for entry in entries:
            for position, image in entry.images.items() if isinstance(entry, Document) else ():
                if image.url not in requests:
                    requests[image.url] = Request(image.url, self._digest(entry, position))
        return requests

    def _digest(self, entry: Document | Reject, position: int) -> str | None:
        """The hash that the corpus gives for an image, if the recipe wants it checked."""
        if self.settings.verify is None or isinstance(entry, Reject):
            return None
        rows = (entry.scores.get(place, {}) for place in (position, DOCUMENT))
        return next((row[self.settings.verify] for row in rows if row.get(self.settings.verify)), None)

    def _write_tar(
        self, shard: str, entries: list[Document | Reject], fetched: Mapping[str, Fetched], spool: Spool
    ) -> dict[str, Place]:
        """Stores each distinct picture once, in order of first appearance; returns where, by sha256."""
        offsets: dict[str, Place] = {}
        with self.store.writing(f"{RAW}/{shard}.tar") as path, open_tar(path) as tar:
            for entry in entries:
                for image in entry.images.values() if isinstance(entry, Document) else ():
                    one = fetched[image.url]
                    if one.status == Status.OK and one.sha256 not in offsets:
                        data = spool.get(one.sha256)
                        offset = add_member(tar, f"{one.sha256}.{one.format}", data)
                        offsets[one.sha256] = offset, len(data), zlib.crc32(data)
        return offsets


class Spool:
    """Bytes on disk by name, while the order in which they belong is not yet known."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("w+b")
        self._places: dict[str, tuple[int, int]] = {}

    def put(self, name: str, data: bytes) -> None:
        """Keeps the bytes, unless the name has some."""
        if name not in self._places:
            self._places[name] = self._file.seek(0, 2), len(data)
            self._file.write(data)

    def get(self, name: str) -> bytes:
        """The bytes of a name."""
        offset, length = self._places[name]
        self._file.seek(offset)
        return self._file.read(length)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()


def raw_rows(
    entries: list[Document | Reject],
    fetched: Mapping[str, Fetched],
    offsets: Mapping[str, Place],
    corpus: str,
) -> Iterator[dict[str, Any]]:
    """The rows of raw/NNNNNNNN.parquet."""
    for entry in entries:
        if isinstance(entry, Reject):
            name = document_id(Origin(corpus, entry.file, entry.row, ""))
            place = {"corpus": corpus, "file": entry.file, "row": entry.row}
            yield {"document": name, "position": DOCUMENT, "kind": "reject", "text": entry.reason, **place}
            continue
        origin = entry.origin
        place = {"corpus": origin.corpus, "file": origin.file, "row": origin.row, "url": origin.url}
        yield {"document": entry.id, "position": DOCUMENT, "kind": "document", **place}
        for position, segment in enumerate(entry.segments):
            key = {"document": entry.id, "position": position}
            if isinstance(segment, Text):
                yield {**key, "kind": "text", "text": segment.text, "source": segment.source}
            else:
                yield {**key, "kind": "image", **image_row(segment, fetched[segment.url], offsets)}


def content_of(rows: list[dict[str, Any]]) -> str:
    """A hash of what a raw shard holds, by which scores know the shard that they were measured on."""
    names = ("document", "position", "text", "url", "alt", "status", "crc32")
    digest = hashlib.sha256()
    for row in rows:
        digest.update(json.dumps([row.get(name) for name in names]).encode())
    return digest.hexdigest()[:16]


def image_row(image: Image, one: Fetched, offsets: Mapping[str, Place]) -> dict[str, Any]:
    """What became of one image."""
    row: dict[str, Any] = {"url": image.url, "alt": image.alt, "status": str(one.status), "detail": one.detail or None}
    row |= {"http": one.http, "attempts": one.attempts, "final_url": one.final_url or None}
    if one.status != Status.OK:
        return row
    offset, length, crc32 = offsets[one.sha256]
    header = {name: getattr(one, name) for name in ("sha256", "format", "width", "height", "frames")}
    original = {name: getattr(one, name) for name in ("original_width", "original_height")}
    header["frames"] = min(header["frames"], MOST_FRAMES)
    return {**row, **header, **original, "bytes": length, "offset": offset, "crc32": crc32}


def count(
    shard: str,
    entries: list[Document | Reject],
    fetched: Mapping[str, Fetched],
    rows: list[dict[str, Any]],
) -> Report:
    """The report of a fetched shard; checks that every segment has its row."""
    kept = [entry for entry in entries if isinstance(entry, Document)]
    expected = len(entries) + sum(len(entry.segments) for entry in kept)
    conserve("segments", shard, expected, len(rows))
    report = Report(shard)
    good = sum(one.status == Status.OK for one in fetched.values())
    report.counts.update(documents=len(kept), rejects=len(entries) - len(kept), urls=len(fetched))
    report.counts.update(images=good, failed=len(fetched) - good)
    return report
