"""Pack: copy survivors, in order, into tars that trainers read. Reads verdicts; decides only where images stand.

Which documents go into which tar follows from the verdicts alone, so the same input gives the same bytes, whatever
the number of workers. ``index.json`` comes last: where it is, the output is complete.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa

from curate.document import DOCUMENT, Document, Image, Text
from curate.pack.place import Spot, arrange
from curate.pack.writers import WRITERS, Curated, Entry
from curate.plugin import SCALARS
from curate.recipe.output import Pack, Place
from curate.report import Report, StopRun, conserve
from curate.score.catalogue import Catalogue
from curate.score.plugins import masker
from curate.select.decide import Addition
from curate.store import table
from curate.store.columns import KEY
from curate.store.raw_shard import RawShard, add_member, open_shard, open_tar
from curate.store.store import Store

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
            rows = table.read(path, ["document", "kind", "state", "bytes", "added"]).filter(state="kept")
        more = pl.col("added").bitwise_count_ones().cast(pl.Int64)
        extra = pl.col("kind").replace_strict(RECKONED, return_dtype=pl.Int64) + more * RECKONED["text"]
        own = (pl.col("kind") == "text").any().cast(pl.Int64)
        pairs = pl.when(kind="image").then(pl.max_horizontal(own + more, 1)).otherwise(0)
        if WRITERS[pack.format].per_image:  # an image with several texts is written with each
            extra = extra + (pairs - 1).clip(0) * (pl.col("bytes") + RECKONED["image"])
        extras = rows.group_by("document").agg(extra=extra.sum(), images=pairs.sum())
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
    adds: Sequence[Addition] = ()

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
                kept = table.read(path, ["document", "position", "state", "added"]).filter(state="kept")
                chosen = kept.filter(position=DOCUMENT)["document"].slice(first, count)
                kept = kept.filter(pl.col("document").is_in(chosen.implode()))
                yield from self._curated(shard, raw, kept)

    def _curated(self, shard: str, raw: RawShard, kept: pl.DataFrame) -> Iterator[Curated]:
        scores, places = self._scores(shard, kept), self._places(shard, kept)
        added, boxes = self._added(shard, kept), self._boxes(shard, kept)
        hide = masker(self.pack.mask, "pack.mask") if self.pack.mask else str
        positions = dict(kept.group_by("document").agg("position").iter_rows())
        for document in raw.documents():
            survivors = set(positions.get(document.id, ()))
            if DOCUMENT not in survivors:
                continue
            images = [at for at in document.images if at in survivors]
            texts = [at for at in document.texts if at in survivors]
            own = {at: places.get((document.id, at), {}) for at in images}
            spots = arrange(self.place, images, texts, list(document.texts), own)
            conserve("segments", shard, len(images) + len(texts), len(spots))
            entries = []
            for spot in spots:
                key = (document.id, spot.position)
                if self.pack.blur and isinstance(document.segments[spot.position], Image) and key not in boxes:
                    raise StopRun(
                        f"pack.blur: image {key[1]} of {key[0]} has no {self.pack.blur}: "
                        f"drop what could not be measured by a rule on {self.pack.blur.partition('.')[0]}"
                    )
                entries.append(entry(document, spot, raw, scores.get(key, {}), boxes.get(key, ()), hide))
                entries += [
                    Entry(replace(text, text=hide(text.text)), spot.position, {}, made=True)
                    for text in added.get(key, ())
                ]
            entries = numbered(entries if self.pack.join is None else joined(entries, self.pack.join))
            yield Curated(document, entries, scores.get((document.id, DOCUMENT), {}))

    def _added(self, shard: str, kept: pl.DataFrame) -> dict[tuple[str, int], list[Text]]:
        """The texts that are put after images."""
        found: dict[tuple[str, int], list[Text]] = {}
        for number, each in enumerate(self.adds):
            here = kept.filter(pl.col("added").cast(pl.Int64) // (1 << number) % 2 == 1)
            texts = here.select(*KEY).join(each.text.read(self.store, shard), on=KEY, how="left", maintain_order="left")
            for document, position, text in texts.iter_rows():
                found.setdefault((document, position), []).append(Text(text, each.add.text.partition(".")[0]))
        return found

    def _boxes(self, shard: str, kept: pl.DataFrame) -> dict[tuple[str, int], Sequence[float]]:
        """The parts of images that are blurred."""
        if self.pack.blur is None:
            return {}
        score, _, column = self.pack.blur.partition(".")
        rows = self._read(self.folders[score], shard, [column], kept).drop_nulls(column).iter_rows()
        return {(document, position): boxes for document, position, boxes in rows}

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


def entry(
    document: Document,
    spot: Spot,
    raw: RawShard,
    scores: Mapping[str, Any],
    boxes: Sequence[float],
    hide: Callable[[str], str],
) -> Entry:
    """A survivor with its data and scores, boxes blurred and texts masked; ``text`` is still a source position."""
    segment = document.segments[spot.position]
    if isinstance(segment, Text):
        segment = replace(segment, text=hide(segment.text))
    else:
        segment = replace(segment, data=raw.bytes_of(segment.sha256), alt=hide(segment.alt))
        if boxes:
            segment = hidden(segment, boxes)
    shown = {name: hide(value) if isinstance(value, str) else value for name, value in scores.items()}
    return Entry(segment, spot.position, shown, spot.text, spot.similarity)


def hidden(image: Image, boxes: Sequence[float]) -> Image:
    """The image with boxes blurred; what is neither jpg, png nor webp becomes png."""
    from curate.image.blur import blurred
    from curate.image.codec import decode, encode  # codecs, which no other command should wait for

    data, form = image.data or b"", image.format
    if form not in ("jpg", "png", "webp"):
        data, form = encode(decode(data), "png"), "png"
    data = blurred(data, boxes)
    return replace(image, data=data, format=form, sha256=hashlib.sha256(data).hexdigest())


def joined(entries: Sequence[Entry], between: str) -> list[Entry]:
    """Neighbouring texts as one, empty ones left out; it bears the position of the first."""
    found: list[Entry] = []
    stands_for: dict[int, int] = {}
    for each in entries:
        last = found[-1] if found else None
        if isinstance(each.segment, Text) and not each.segment.text.strip():
            continue
        if isinstance(each.segment, Text) and last and isinstance(last.segment, Text) and not (each.made or last.made):
            text = f"{last.segment.text}{between}{each.segment.text}"
            found[-1] = replace(last, segment=replace(last.segment, text=text))
            stands_for[each.position] = last.position
        else:
            found.append(each)
    return [
        replace(each, text=stands_for.get(each.text, each.text) if each.text is not None else None) for each in found
    ]


def numbered(entries: Sequence[Entry]) -> list[Entry]:
    """Entries whose ``text`` is an index among them, no longer a position in the source."""
    index: dict[int, int] = {}
    for at, each in enumerate(entries):
        index.setdefault(each.position, at)
    return [replace(each, text=None if each.text is None else index.get(each.text)) for each in entries]


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
