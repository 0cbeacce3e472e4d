"""Interleaved: a sample for each document, what webdataset, wids and Megatron-Energon read. Decides nothing.

``{id}.000.jpg {id}.001.png ... {id}.json``. The json has parallel nullable lists ``texts`` and ``images`` (exactly one
non-null at each index; an image's value is its member's suffix), ``segments`` with what is known of each, ``scores``
and ``origin``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from curate.document import Document, Text
from curate.pack.sample import Curated, Entry, dump, images_of, plain
from curate.pack.writer import Writer, write_tar


def write(paths: Sequence[Path], _number: int, samples: Iterator[Curated], _columns: Mapping[str, Any]) -> None:
    """See ``Writer``."""
    (tar,) = paths
    write_tar(tar, (member for sample in samples for member in members(sample)))


def members(sample: Curated) -> list[tuple[str, bytes]]:
    """The files of a sample: its images, then the json."""
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


WRITER = Writer(("{:06d}.tar",), write)
