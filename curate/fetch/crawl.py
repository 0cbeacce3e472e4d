"""Crawl: the shards of a corpus into raw/NNNNNNNN.tar and .parquet. Judges nothing, changes no byte unless told.

Each distinct URL of the shard is asked for once and each distinct picture stored once; every place where it stands gets
its own row. The parquet file comes last: where it is, the shard is done.
"""

from __future__ import annotations

import tempfile
import zlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

import pyarrow as pa

from curate.document import DOCUMENT, Document, Image, Origin, Reader, Text, document_id
from curate.fetch import salvage
from curate.fetch.response import Fetched, Request
from curate.ledger.job import Job, Phase, Target
from curate.ledger.making import Making, OneByOne
from curate.recipe.input import Fetch, Source
from curate.recipe.recipe import Resource
from curate.report import Report, conserve
from curate.source.corpus import Reject, documents
from curate.source.rows import Slice
from curate.status import Status
from curate.store import schema
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
    """The stage: a job for each shard of the plan."""
    jobs = [job_of(part, reader) for part in slices]
    yield Phase("fetch", jobs, OneByOne(store, FetchShard(source, reader, settings)), needs)


def job_of(part: Slice, reader: Reader) -> Job:
    """The job of a shard: the raw table, which comes after all it speaks of; and what the corpus brings along."""
    raw = Target(f"{RAW}/{part.shard}.parquet", by=part.by, fixed=True)
    own = [Target(f"{SOURCE}/{part.shard}.parquet", by=part.by)] if any(reader.columns.values()) else []
    return Job(part.shard, (*own, raw), part)


@dataclass(frozen=True)
class FetchShard:
    """Fetches a shard. The web is asked for what there is nowhere else: see ``curate.fetch.salvage``."""

    source: Source
    reader: Reader
    settings: Fetch

    def __call__(self, job: Job, making: Making) -> Report:
        """Writes what is missing of one shard."""
        part: Slice = job.args
        raw, own, tar = (f"{RAW}/{part.shard}.parquet", f"{SOURCE}/{part.shard}.parquet", f"{RAW}/{part.shard}.tar")
        targets = {target.name: target for target in job.targets}
        entries = list(documents(part, self.reader, self.source))
        conserve("source rows", part.shard, part.count, len(entries))
        if own in targets:
            making.write(own, self._columns(entries))
        if raw not in targets:
            return Report(part.shard, Counter(_counts(entries)))
        with tempfile.TemporaryDirectory(prefix="curate-") as folder, Spool(Path(folder) / "spool") as spool:
            fetched = self._fetched(entries, part, making.store, spool, Path(folder))
            with making.writing(tar) as path:
                offsets = write_tar(path, entries, fetched, spool)
        rows = list(raw_rows(entries, fetched, offsets, self.reader.corpus))
        making.write(raw, schema.table(rows, schema.RAW), says=schema.RAW_SAYS, beside=[tar])
        report = count(part.shard, entries, fetched, rows)
        salvage.set_table_aside(making.store, part.shard)
        making.commit()
        salvage.remove(making.store, part.shard)
        return report

    def _columns(self, entries: list[Document | Reject]) -> pa.Table:
        """What the corpus brings along."""
        own = [
            {"document": entry.id, "position": position, **row}
            for entry in entries
            if isinstance(entry, Document)
            for position, row in sorted(entry.scores.items())
        ]
        columns = {name: kind for group in self.reader.columns.values() for name, kind in group.items()}
        return schema.table(own, schema.score_schema(columns))

    def _fetched(
        self, entries: list[Document | Reject], part: Slice, store: Store, spool: Spool, folder: Path
    ) -> dict[str, Fetched]:
        """How every distinct URL of the shard ended: before, or now. The bytes wait in the spool."""
        images = salvage.known(store, part.shard, part.by)
        salvage.rescue(store, part.shard, images, spool.put, self.settings.resize is None)
        before = salvage.ended(images)
        fetched, lost = dict[str, Fetched](), dict[str, list[Request]]()
        requests = self._requests(entries)
        for url, request in requests.items():
            one = before.get(url)
            if one is not None and (one.status != Status.OK or one.sha256 in spool):
                fetched[url] = one
            else:
                lost.setdefault(one.sha256 if one else url, []).append(request)
        self._download([first for first, *_ in lost.values()], fetched, spool, folder / "first")
        for sha256, (_, *others) in lost.items():  # of a lost picture, one URL is enough if it still gives it
            fetched |= {each.url: before[each.url] for each in others if sha256 in spool}
        rest = [each for _, *others in lost.values() for each in others if each.url not in fetched]
        self._download(rest, fetched, spool, folder / "others")
        conserve("URLs", part.shard, len(requests), len(fetched))
        return fetched

    def _download(self, requests: list[Request], fetched: dict[str, Fetched], spool: Spool, scratch: Path) -> None:
        """Asks for pictures; notes how each URL ended, and keeps the bytes."""

        def done(one: Fetched) -> None:
            fetched[one.url] = replace(one, data=None)
            if one.data is not None:
                spool.put(one.sha256, one.data)

        if not requests:
            return
        # Imported here: most commands download nothing, and should not wait for what it takes.
        if self.settings.engine == "img2dataset":
            from curate.fetch.engine_img2dataset import download_with_img2dataset

            download_with_img2dataset(requests, self.settings, done, scratch)
        else:
            from curate.fetch.download import download

            download(requests, self.settings, done)

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


def write_tar(
    path: Path, entries: list[Document | Reject], fetched: Mapping[str, Fetched], spool: Spool
) -> dict[str, Place]:
    """Stores each distinct picture once, in order of first appearance; returns where, by sha256."""
    offsets: dict[str, Place] = {}
    with open_tar(path) as tar:
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

    def __contains__(self, name: str) -> bool:
        return name in self._places

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
    segments = sum(len(entry.segments) for entry in entries if isinstance(entry, Document))
    conserve("segments", shard, len(entries) + segments, len(rows))
    good = sum(one.status == Status.OK for one in fetched.values())
    report = Report(shard, Counter(_counts(entries)))
    report.counts.update(urls=len(fetched), images=good, failed=len(fetched) - good)
    return report


def _counts(entries: list[Document | Reject]) -> dict[str, int]:
    documents = sum(isinstance(entry, Document) for entry in entries)
    return {"documents": documents, "rejects": len(entries) - documents}
