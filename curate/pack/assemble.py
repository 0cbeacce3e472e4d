"""Assemble: kept documents as they go out: images at their texts, boxes blurred, texts masked, joined and added.

Decides nothing but where images stand; writes nothing.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from curate.document import DOCUMENT, Document, Image, Text
from curate.pack.output_folder import Output
from curate.pack.place import Spot, arrange
from curate.pack.sample import Curated, Entry
from curate.pack.shard_tables import Key, ShardTables
from curate.recipe.output import Pack
from curate.report import StopRun, conserve
from curate.score.plugins import masker
from curate.store.files import Files
from curate.store.raw_shard import RawShard, open_shard


def documents(files: Files, output: Output, shard: str, first: int, count: int) -> Iterator[Curated]:
    """``count`` of the kept documents of a raw shard, from the ``first`` on, one at a time."""
    with open_shard(files, shard) as raw:
        tables = ShardTables.of(files, output, shard, first, count)
        hide = masker(mask, "pack.mask") if (mask := output.recipe.pack.mask) else str
        assembler = Assembler(output.recipe.pack, raw, tables.scores(), tables.boxes(), tables.added(), hide)
        positions, matches = tables.positions(), tables.matches()
        for document in raw.documents():
            if document.id in positions:
                kept = positions[document.id]
                images = [at for at in document.images if at in kept]
                texts = [at for at in document.texts if at in kept]
                own = {at: matches.get((document.id, at), {}) for at in images}
                spots = arrange(output.recipe.place, images, texts, list(document.texts), own)
                conserve("segments", shard, len(images) + len(texts), len(spots))
                yield assembler.document(document, spots)


@dataclass(frozen=True)
class Assembler:
    """Makes documents of a raw shard ready, with all that is known of their kept segments."""

    pack: Pack
    raw: RawShard
    scores: Mapping[Key, Mapping[str, Any]]
    boxes: Mapping[Key, Sequence[float]]
    added: Mapping[Key, Sequence[Text]]
    hide: Callable[[str], str]

    def document(self, document: Document, spots: Sequence[Spot]) -> Curated:
        """A document with the survivors at their places."""
        entries = []
        for spot in spots:
            entries.append(self.entry(document, spot))
            entries += [
                Entry(replace(text, text=self.hide(text.text)), spot.position, {}, made=True)
                for text in self.added.get((document.id, spot.position), ())
            ]
        entries = numbered(entries if self.pack.join is None else joined(entries, self.pack.join))
        return Curated(document, entries, self.scores.get((document.id, DOCUMENT), {}))

    def entry(self, document: Document, spot: Spot) -> Entry:
        """A survivor with its data and scores, boxes blurred and texts masked; ``text`` is still a source position.

        Raises:
            StopRun: it is not known what of an image is to be blurred.
        """
        key, segment = (document.id, spot.position), document.segments[spot.position]
        if isinstance(segment, Text):
            segment = replace(segment, text=self.hide(segment.text))
        else:
            blur = self.pack.blur
            if blur and key not in self.boxes:
                raise StopRun(
                    f"pack.blur: image {spot.position} of {document.id} has no {blur}: "
                    f"drop what could not be measured by a rule on {blur.partition('.')[0]}"
                )
            segment = replace(segment, data=self.raw.bytes_of(segment.sha256), alt=self.hide(segment.alt))
            if boxes := self.boxes.get(key):
                segment = hidden(segment, boxes)
        scores = self.scores.get(key, {})
        shown = {name: self.hide(value) if isinstance(value, str) else value for name, value in scores.items()}
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
