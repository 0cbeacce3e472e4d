"""Writers: the output formats of pack, each a function from a curated document to tar members. Decides nothing.

A new format is one more ``Writer`` in ``WRITERS``.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from curate.document import Document, Image, Text


@dataclass(frozen=True)
class Entry:
    """A segment in output order, images with their data.

    ``scores`` maps "score.column" to a scalar. An image that was assigned to a text has that text's index among the
    entries and the similarity. ``made``: a scorer wrote this text for the image before it, and ``add`` put it here.
    """

    segment: Image | Text
    position: int
    scores: Mapping[str, Any]
    text: int | None = None
    similarity: float | None = None
    made: bool = False


@dataclass(frozen=True)
class Curated:
    """A document as it goes out: its surviving segments in order, and its own scores."""

    document: Document
    entries: Sequence[Entry]
    scores: Mapping[str, Any] = field(default_factory=dict)


Members = list[tuple[str, bytes]]
"""The files of one sample, in tar order: (name, content)."""


@dataclass(frozen=True)
class Writer:
    """An output format.

    ``split`` gives the samples that a document becomes; ``members`` the files of one, given the tar's number and the
    sample's index in it; ``tar`` the tar's name; ``row`` the sample's line in a parquet file beside the tar, if any;
    ``per_image`` says that a document becomes a sample for each image, not one.
    """

    split: Callable[[Curated], list[Curated]]
    members: Callable[[Curated, int, int], Members]
    tar: str
    row: Callable[[Curated, int, int], dict[str, Any]] | None = None
    per_image: bool = False


def plain(value: Any) -> Any:
    """A score as JSON: float32 in its shortest decimal form, null for infinities."""
    if isinstance(value, float):
        return float(str(np.float32(value))) if math.isfinite(value) else None
    return value


def dump(value: Any) -> bytes:
    """JSON with keys in the order given."""
    return json.dumps(value, ensure_ascii=False, allow_nan=False).encode("utf-8")


def images_of(sample: Curated) -> list[tuple[int, Image]]:
    """The images with their index among the entries."""
    return [(at, entry.segment) for at, entry in enumerate(sample.entries) if isinstance(entry.segment, Image)]


def interleaved(sample: Curated, _tar: int, _index: int) -> Members:
    """``{id}.000.jpg {id}.001.png ... {id}.json``: what webdataset, wids and Megatron-Energon read.

    The json has parallel nullable lists ``texts`` and ``images`` (exactly one non-null at each index; an image's value
    is its member's suffix), ``segments`` with what is known of each, ``scores`` and ``origin``.
    """
    images = images_of(sample)
    digits = max(3, len(str(len(images) - 1)))
    names = {at: f"{number:0{digits}d}.{image.format}" for number, (at, image) in enumerate(images)}
    content = {
        "id": sample.document.id,
        "texts": [entry.segment.text if isinstance(entry.segment, Text) else None for entry in sample.entries],
        "images": [names.get(at) for at in range(len(sample.entries))],
        "segments": [describe(entry) for entry in sample.entries],
        "scores": {name: plain(value) for name, value in sample.scores.items()},
        "origin": origin(sample.document),
    }
    key = sample.document.id
    return [*((f"{key}.{names[at]}", image.data or b"") for at, image in images), (f"{key}.json", dump(content))]


def describe(entry: Entry) -> dict[str, Any]:
    """A segment's line in the json."""
    scores = {name: plain(value) for name, value in entry.scores.items()}
    if isinstance(entry.segment, Text):
        return {"position": entry.position, "source": entry.segment.source, "scores": scores}
    image = entry.segment
    known = {"url": image.url, "alt": image.alt, "sha256": image.sha256, "width": image.width, "height": image.height}
    match = {} if entry.text is None else {"text": entry.text, "similarity": plain(entry.similarity)}
    return {"position": entry.position, **known, **match, "scores": scores}


def origin(document: Document) -> dict[str, Any]:
    """Where a document came from."""
    place = document.origin
    return {"corpus": place.corpus, "file": place.file, "row": place.row, "url": place.url}


def one_image_each(sample: Curated) -> list[Curated]:
    """A pair for each image and text of it: the one it was assigned to, else the next, else the last before it.

    A text that was made for the image, and added, gives a pair of its own. Without any text there is one pair.
    """
    images = images_of(sample)
    made = {at for at, each in enumerate(sample.entries) if each.made}
    texts = [at for at, each in enumerate(sample.entries) if isinstance(each.segment, Text) and at not in made]
    pairs = []
    for at, _ in images:
        image = sample.entries[at]
        nearest = next((text for text in texts if text > at), texts[-1] if texts else None)
        own = image.text if image.text is not None else nearest
        mine = [text for text in sorted(made) if sample.entries[text].position == image.position]
        several = [*([] if own is None else [own]), *mine]
        pairs += [Curated(sample.document, [image, sample.entries[text]], sample.scores) for text in several]
        if not several:
            pairs.append(Curated(sample.document, [image], sample.scores))
    return pairs


def pair_key(tar: int, index: int) -> str:
    """img2dataset's key: the tar's number, then the index in it."""
    return f"{tar:05d}{index:05d}"


def pair(sample: Curated, tar: int, index: int) -> Members:
    """``{key}.jpg {key}.json {key}.txt``: img2dataset's layout, which open_clip and clip-retrieval read."""
    key, row = pair_key(tar, index), pair_row(sample, tar, index)
    (_, image), *_ = images_of(sample)
    return [
        (f"{key}.{image.format}", image.data or b""),
        (f"{key}.json", dump(row)),
        (f"{key}.txt", (row["caption"] or "").encode("utf-8")),
    ]


def pair_row(sample: Curated, tar: int, index: int) -> dict[str, Any]:
    """A pair's json, and its line in the parquet file beside the tar."""
    (_, image), *_ = images_of(sample)
    caption = next((entry.segment.text for entry in sample.entries if isinstance(entry.segment, Text)), None)
    scores = dict(sample.scores)
    for entry in sample.entries:
        scores |= entry.scores
    return {
        "key": pair_key(tar, index), "url": image.url, "caption": caption, "status": "success",
        "width": image.width, "height": image.height, "sha256": image.sha256, "id": sample.document.id,
        **{name: plain(value) for name, value in sorted(scores.items())},
    }  # fmt: skip


WRITERS = {
    "interleaved": Writer(lambda sample: [sample], interleaved, "{:06d}.tar"),
    "pairs": Writer(one_image_each, pair, "{:05d}.tar", pair_row, per_image=True),
}
"""The formats a recipe can name in ``pack.format``."""
