"""Pack: copy survivors, in order, into tars that trainers read. Reads verdicts; decides only where images stand.

Which documents go into which tar follows from the verdicts alone, so the same input gives the same bytes, whatever
the number of workers. ``index.json`` comes last: where it is, the output is complete.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa

from curate import table
from curate.document import DOCUMENT, Document, Image
from curate.place import Spot, arrange
from curate.plugin import SCALARS
from curate.recipe import Pack, Place
from curate.report import Report, conserve
from curate.scorer import Catalogue
from curate.shard import RawShard, add_member, open_shard, open_tar
from curate.store import Store
from curate.writers import WRITERS, Curated, Entry

RECKONED = {"document": 2048, "image": 1536, "text": 256}
"""Bytes reckoned for tar headers, padding and the line in the json when tars are planned, besides the content."""
END = 10_240
"""Most bytes at the end of a tar."""


@dataclass(frozen=True)
class Tar:
    """A planned output tar: runs of kept documents, as (raw shard, first, how many) counted among the kept."""

    number: int
    parts: tuple[tuple[str, int, int], ...]

    @property
    def shard(self) -> str:
        """Its name in reports."""
        return f"{self.number:06d}"


def plan(store: Store, verdicts: str, shards: Sequence[str], pack: Pack) -> Iterator[Tar]:
    """Cuts the kept documents, in order, into tars of at most ``shard_bytes`` and ``shard_count``.

    A document that alone is larger gets a tar of its own. Reads the verdicts once, a shard at a time.
    """
    number, size, count = 0, END, 0
    parts: list[tuple[str, int, int]] = []
    for shard in shards:
        with store.local(f"{verdicts}/{shard}.parquet") as path:
            rows = table.read(path, ["document", "kind", "state", "bytes"]).filter(state="kept")
        extra = pl.col("kind").replace_strict(RECKONED, return_dtype=pl.Int64)
        extras = rows.group_by("document").agg(extra=extra.sum(), images=(pl.col("kind") == "image").sum())
        kept = rows.filter(kind="document").join(extras, on="document", how="left", maintain_order="left")
        start = 0
        several = kept["images"] if WRITERS[pack.format].per_image else [1] * kept.height
        for at, (needed, samples) in enumerate(zip(kept["bytes"] + kept["extra"], several, strict=True)):
            if count and (size + needed > pack.shard_bytes or count + samples > pack.shard_count):
                yield Tar(number, (*parts, (shard, start, at - start)) if at > start else tuple(parts))
                number, size, count, parts, start = number + 1, END, 0, [], at
            size, count = size + needed, count + samples
        if kept.height > start:
            parts.append((shard, start, kept.height - start))
    if parts:
        yield Tar(number, tuple(parts))


@dataclass(frozen=True)
class PackWorker:
    """Writes output tars."""

    store: Store
    verdicts: str
    folders: Mapping[str, str]
    known: Catalogue
    place: Place
    pack: Pack
    out: str

    def __call__(self, tar: Tar) -> Report:
        """Writes one tar, and then what is to be known of it, into ``meta/``."""
        began = time.monotonic()
        writer = WRITERS[self.pack.format]
        name = writer.tar.format(tar.number)
        facts = dict.fromkeys(("nsamples", "documents", "images", "texts"), 0)
        rows: list[dict[str, Any]] = []
        with self.store.writing(f"{self.out}/{name}") as path:
            with open_tar(path) as out:
                for document in self._documents(tar):
                    facts["documents"] += 1
                    for sample in writer.split(document):
                        for member, data in writer.members(sample, tar.number, facts["nsamples"]):
                            add_member(out, member, data)
                        if writer.row:
                            rows.append(writer.row(sample, tar.number, facts["nsamples"]))
                        facts["nsamples"] += 1
                        images = sum(isinstance(entry.segment, Image) for entry in sample.entries)
                        facts["images"] += images
                        facts["texts"] += len(sample.entries) - images
            conserve("documents", tar.shard, sum(count for *_, count in tar.parts), facts["documents"])
            file = {"url": name, "filesize": path.stat().st_size, **digests(path)}
        if rows:
            with self.store.writing(f"{self.out}/{Path(name).stem}.parquet") as path:
                table.write(path, pa.Table.from_pylist(rows, self._row_schema(rows)))
        self.store.put_json(f"{self.out}/meta/{tar.shard}.json", facts | file)
        report = Report(tar.shard, seconds=time.monotonic() - began)
        report.counts.update(samples=facts["nsamples"], images=facts["images"], texts=facts["texts"])
        return report

    def _row_schema(self, rows: list[dict[str, Any]]) -> pa.Schema:
        """The same columns in every tar: the writer's own, then every scalar score of the recipe."""
        own = pa.Table.from_pylist([{name: value for name, value in row.items() if "." not in name} for row in rows])
        scalars = {
            f"{score}.{name}": kind
            for score in self.folders
            for group in self.known[score].values()
            for name, kind in group.items()
            if kind in SCALARS
        }
        return pa.schema([*own.schema, *(pa.field(name, table.ARROW[kind]) for name, kind in sorted(scalars.items()))])

    def _documents(self, tar: Tar) -> Iterator[Curated]:
        """The tar's documents in order."""
        for shard, first, count in tar.parts:
            with open_shard(self.store, shard) as raw, self.store.local(f"{self.verdicts}/{shard}.parquet") as path:
                kept = table.read(path, ["document", "position", "state"]).filter(state="kept")
                chosen = kept.filter(position=DOCUMENT)["document"].slice(first, count)
                kept = kept.filter(pl.col("document").is_in(chosen.implode()))
                yield from self._curated(shard, raw, kept)

    def _curated(self, shard: str, raw: RawShard, kept: pl.DataFrame) -> Iterator[Curated]:
        scores, places = self._scores(shard, kept), self._places(shard, kept)
        positions = dict(kept.group_by("document").agg("position").iter_rows())
        for document in raw.documents():
            survivors = set(positions.get(document.id, ()))
            if DOCUMENT not in survivors:
                continue
            images = [at for at in document.images if at in survivors]
            texts = [at for at in document.texts if at in survivors]
            own = {at: places.get((document.id, at), {}) for at in images}
            spots = arrange(self.place, images, texts, list(document.texts), own)
            entries = [entry(document, spot, raw, scores.get((document.id, spot.position), {})) for spot in spots]
            index = {spot.position: at for at, spot in enumerate(spots)}
            entries = [replace(each, text=None if each.text is None else index[each.text]) for each in entries]
            conserve("segments", shard, len(images) + len(texts), len(spots))
            yield Curated(document, entries, scores.get((document.id, DOCUMENT), {}))

    def _scores(self, shard: str, kept: pl.DataFrame) -> dict[tuple[str, int], dict[str, Any]]:
        """Every scalar score of the kept segments, as "score.column" -> value."""
        found: dict[tuple[str, int], dict[str, Any]] = {}
        for score, folder in self.folders.items():
            types = {name: kind for group in self.known[score].values() for name, kind in group.items()}
            columns = [name for name, kind in types.items() if kind in SCALARS]
            if columns and self.store.exists(f"{folder}/{shard}.parquet"):
                for document, position, *values in self._read(folder, shard, columns, kept).iter_rows():
                    named = zip(columns, values, strict=True)
                    row = {f"{score}.{name}": value for name, value in named if value is not None}
                    found.setdefault((document, position), {}).update(row)
        return found

    def _places(self, shard: str, kept: pl.DataFrame) -> dict[tuple[str, int], dict[str, Any]]:
        """What the placement reads of each image: ``matched`` and ``matched_sim``, or ``sims``."""
        if self.place.by == "dom":
            return {}
        if self.place.by == "matched":
            folder, names = "scores/source", {"matched": "matched", "matched_sim": "matched_sim"}
        else:
            score, _, column = self.place.by.partition(".")
            folder, names = self.folders[score], {column: "sims"}
        frame = self._read(folder, shard, list(names), kept).rename(names)
        return {(row.pop("document"), row.pop("position")): row for row in frame.iter_rows(named=True)}

    def _read(self, folder: str, shard: str, columns: Sequence[str], kept: pl.DataFrame) -> pl.DataFrame:
        with self.store.local(f"{folder}/{shard}.parquet") as path:
            found = table.read(path, ["document", "position", *columns])
        return found.join(kept, on=["document", "position"], how="semi", maintain_order="left")


def entry(document: Document, spot: Spot, raw: RawShard, scores: Mapping[str, Any]) -> Entry:
    """A survivor with its data and scores; ``text`` is still a position in the source."""
    segment = document.segments[spot.position]
    if isinstance(segment, Image):
        segment = replace(segment, data=raw.bytes_of(segment.sha256))
    return Entry(segment, spot.position, scores, spot.text, spot.similarity)


def digests(path: Path) -> dict[str, str]:
    """sha256 and md5 (which wids indexes name) of a file."""
    sha256, md5 = hashlib.sha256(), hashlib.md5(usedforsecurity=False)
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            sha256.update(block)
            md5.update(block)
    return {"sha256": sha256.hexdigest(), "md5sum": md5.hexdigest()}


def output_name(pack: Pack, place: Place, verdicts: str, scores: Sequence[str], stem: str) -> str:
    """The folder below out/: a readable name, and a hash of what decides its bytes."""
    parts = json.dumps([verdicts, list(scores), place.model_dump(), pack.model_dump(exclude={"name"})], sort_keys=True)
    return f"{pack.name or stem}-{hashlib.sha256(parts.encode()).hexdigest()[:8]}"


def finish(store: Store, out: str, tars: int, card: str, funnel: list[dict[str, Any]]) -> dict[str, Any]:
    """Writes the sums, the funnel, the card, and last the wids index; returns the totals."""
    facts = [store.get_json(f"{out}/meta/{number:06d}.json") for number in range(tars)]
    names = ("url", "nsamples", "filesize", "sha256", "md5sum")
    shards = [{name: fact[name] for name in names} for fact in facts]
    total = {name: sum(fact[name] for fact in facts) for name in ("nsamples", "images", "texts", "filesize")}
    store.put_text(f"{out}/SHA256SUMS", "".join(f"{fact['sha256']}  {fact['url']}\n" for fact in facts))
    store.put_json(f"{out}/funnel.json", funnel)
    store.put_text(f"{out}/README.md", card)
    index = {"__kind__": "wids-shard-index-v1", "wids_version": 1, "name": out.rpartition("/")[2], "shardlist": shards}
    store.put_json(f"{out}/index.json", index)
    return {"tars": tars, **total}
