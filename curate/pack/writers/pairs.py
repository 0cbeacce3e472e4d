"""Pairs: a sample for each image and its text: img2dataset's layout, for open_clip and clip-retrieval. Decides nothing.

``{key}.jpg {key}.json {key}.txt``, and a parquet file beside the tar with the line of each json.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from curate.document import Text
from curate.pack.sample import Curated, dump, images_of, plain
from curate.pack.writer import Writer, write_tar
from curate.store import schema, table

COLUMNS = [
    *(pa.field(name, pa.string()) for name in ("key", "url", "caption", "status")),
    *(pa.field(name, pa.int64()) for name in ("width", "height")),
    *(pa.field(name, pa.string()) for name in ("sha256", "id")),
]
"""The columns that every table has; after them come the scores."""
BATCH = 1000
"""Lines that are held as Python objects."""


def write(paths: Sequence[Path], number: int, samples: Iterator[Curated], columns: Mapping[str, Any]) -> None:
    """See ``Writer``. The lines of the table are held in memory, pictures are not."""
    tar, beside = paths
    types = pa.schema([*COLUMNS, *(pa.field(name, schema.ARROW[kind]) for name, kind in columns.items())])
    rows: list[dict[str, Any]] = []
    batches: list[pa.RecordBatch] = []

    def flush() -> None:
        batches.append(pa.RecordBatch.from_pylist(rows, types))
        rows.clear()

    def pairs() -> Iterator[tuple[str, bytes]]:
        for index, sample in enumerate(samples):
            row = line(sample, number, index)
            rows.append(row)
            if len(rows) == BATCH:
                flush()
            yield from members(sample, row)

    write_tar(tar, pairs())
    flush()
    beside.write_bytes(table.encode(pa.Table.from_batches(batches, types).combine_chunks()))


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


def line(sample: Curated, number: int, index: int) -> dict[str, Any]:
    """A pair's json, and its line in the table. The key is img2dataset's: the tar's number, then the index in it."""
    (_, image), *_ = images_of(sample)
    caption = next((entry.segment.text for entry in sample.entries if isinstance(entry.segment, Text)), None)
    scores = dict(sample.scores)
    for entry in sample.entries:
        scores |= entry.scores
    return {
        "key": f"{number:05d}{index:05d}", "url": image.url, "caption": caption, "status": "success",
        "width": image.width, "height": image.height, "sha256": image.sha256, "id": sample.document.id,
        **{name: plain(value) for name, value in sorted(scores.items())},
    }  # fmt: skip


def members(sample: Curated, row: Mapping[str, Any]) -> list[tuple[str, bytes]]:
    """The files of a pair whose line this is."""
    (_, image), *_ = images_of(sample)
    key, caption = row["key"], row["caption"] or ""
    return [
        (f"{key}.{image.format}", image.data or b""),
        (f"{key}.json", dump(row)),
        (f"{key}.txt", caption.encode("utf-8")),
    ]


WRITER = Writer(("{:05d}.tar", "{:05d}.parquet"), write, one_image_each, per_image=True)
