"""Batch: full batches of distinct items for a scorer, and pictures decoded ahead of it. Writes nothing."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from curate.document import Image, Pixels
from curate.image.codec import DecodeError, decode
from curate.plugin import Spec
from curate.report import StopRun
from curate.store.raw_shard import RawShard, Stored

BUDGET = 256 << 20
"""Bytes of decoded pictures that may wait for a model, and again that may be ahead in the decoding threads."""

PASSING = (OSError, MemoryError, RuntimeError)
"""What a scorer may raise for reasons that another worker might not meet (a full GPU, a lost disk)."""


BROKEN = object()
"""Stands for a picture that cannot be decoded."""


class Batcher:
    """Collects numbered items, and calls a scorer on full batches; what is never added has no result."""

    def __init__(self, name: str, call: Callable[[list[Any]], Any], size: int, items: int) -> None:
        self._results: list[Any] = [None] * items
        self._name, self._call, self._size = name, call, size
        self._numbers: list[int] = []
        self._items: list[Any] = []
        self._bytes = 0

    def add(self, number: int, item: Any) -> None:
        """Takes an item; may call the scorer."""
        self._numbers.append(number)
        self._items.append(item)
        self._bytes += weight(item)
        if len(self._items) >= self._size or self._bytes >= BUDGET:
            self._flush()

    def finished(self) -> list[Any]:
        """The results by number, those of the last batch included."""
        self._flush()
        return self._results

    def _flush(self) -> None:
        if self._items:
            results = checked(self._name, self._call, self._items)
            for number, result in zip(self._numbers, results, strict=True):
                self._results[number] = result
        self._numbers, self._items, self._bytes = [], [], 0


def checked(name: str, call: Callable[[list[Any]], Any], items: list[Any]) -> Any:
    """One call of a scorer: as many results as items, or the run ends with the cause.

    Raises:
        StopRun: the scorer is wrong. Errors in ``PASSING`` go through as they are, to be tried on another worker.
    """
    try:
        results = halving(call)(items)
        results = None if results is None else list(results)
    except Exception as error:
        if isinstance(error, PASSING) and not isinstance(error, NotImplementedError | RecursionError):
            error.add_note(f"raised by score {name!r}")
            raise
        raise StopRun(f"score {name!r} raised {type(error).__name__}: {error}") from error
    if results is None or len(results) != len(items):
        count = "nothing" if results is None else f"{len(results)} results"
        raise StopRun(f"score {name!r} returned {count} for {len(items)} items")
    return results


def halving(call: Callable[[list[Any]], Any]) -> Callable[[list[Any]], Any]:
    """A call that is made on halves, and halves of those, where a GPU has no memory for all items at once."""

    def safe(items: list[Any]) -> Any:
        try:
            return call(items)
        except RuntimeError as error:
            if type(error).__name__ != "OutOfMemoryError" or len(items) == 1:  # torch's, which is not imported here
                raise
        half = len(items) // 2
        return [*safe(items[:half]), *safe(items[half:])]

    return safe


def weight(item: Any) -> int:
    """Roughly how many bytes of memory an item holds."""
    if isinstance(item, tuple):
        return sum(weight(part) for part in item)
    if isinstance(item, Image):
        return (item.pixels.nbytes if item.pixels is not None else 0) + len(item.data or b"")
    return int(getattr(item, "nbytes", 0))


@dataclass(frozen=True)
class Viewer:
    """Something that wants to see the pictures of a shard: which ones, in which form, and where they go."""

    name: str
    spec: Spec
    wanted: frozenset[str]
    prepare: Callable[[Image], Any] | None
    see: Callable[[str, Any], None]


def show_pictures(shard: RawShard, viewers: Iterable[Viewer]) -> set[str]:
    """Shows each distinct picture to those who want it, in the tar's order; returns the sha256 of the undecodable.

    One that cannot be decoded is still shown to those who look at no pixels.

    Reading, decoding and ``prepare`` run in threads, ahead of the viewers by at most ``BUDGET`` bytes.
    """
    viewers = list(viewers)
    broken: set[str] = set()
    stored = [shard.stored[sha256] for sha256 in frozenset().union(*(viewer.wanted for viewer in viewers))]
    stored.sort(key=lambda each: each.offset)
    wanted = ((each, [viewer for viewer in viewers if each.image.sha256 in viewer.wanted]) for each in stored)
    jobs = ((each, those, decoded_bytes(each, those)) for each, those in wanted)
    for (each, those), items in ahead(lambda each, those: load(shard, each, those), jobs):
        for viewer, item in zip(those, items, strict=True):
            if item is BROKEN:
                broken.add(each.image.sha256)
            else:
                viewer.see(each.image.sha256, item)
    return broken


def load(shard: RawShard, stored: Stored, viewers: list[Viewer]) -> list[Any]:
    """A picture in the form that each viewer wants, decoded once per scale; BROKEN where it cannot be decoded."""
    needed = any(viewer.spec.data or viewer.spec.pixels for viewer in viewers)
    data = shard.bytes_of(stored.image.sha256) if needed else b""
    by_scale: dict[int | None, Pixels | None] = {}
    items = []
    for viewer in viewers:
        pixels = None
        if viewer.spec.pixels is not None:
            least = None if viewer.spec.pixels == "full" else viewer.spec.pixels
            if least not in by_scale:
                by_scale[least] = decoded(data, least)
            pixels = by_scale[least]
            if pixels is None:
                items.append(BROKEN)
                continue
        image = replace(stored.image, data=data if viewer.spec.data else None, pixels=pixels)
        items.append(image if viewer.prepare is None else prepared(viewer.name, viewer.prepare, image))
    return items


def decoded(data: bytes, least: int | None) -> Pixels | None:
    """The picture; None if it cannot be decoded."""
    try:
        return decode(data, least)
    except DecodeError:
        return None


def prepared(name: str, prepare: Callable[[Image], Any], image: Image) -> Any:
    """What a scorer makes of a picture in the decoding threads."""
    return checked(name, lambda images: [prepare(image) for image in images], [image])[0]


def decoded_bytes(stored: Stored, viewers: list[Viewer]) -> int:
    """How much memory a picture takes while it waits, from its header."""
    full = stored.image.width * stored.image.height * 3
    scales = {viewer.spec.pixels for viewer in viewers if viewer.spec.pixels}
    reduced = all(isinstance(scale, int) for scale in scales) and stored.image.format == "jpg"
    if not reduced:
        return full * max(1, len(scales))
    side = min(stored.image.width, stored.image.height) or 1
    return sum(int(full * min(1.0, 2 * int(scale) / side) ** 2) for scale in scales)


def ahead(
    work: Callable[[Stored, list[Viewer]], Any], jobs: Iterable[tuple[Stored, list[Viewer], int]]
) -> Iterator[tuple[tuple[Stored, list[Viewer]], Any]]:
    """Results of ``work`` in order, computed in threads while the consumer is busy, within the byte budget."""
    waiting: deque[tuple[tuple[Stored, list[Viewer]], int, Future[Any]]] = deque()
    held = 0
    with ThreadPoolExecutor(os.cpu_count() or 1, "decode") as pool:
        try:
            for stored, viewers, size in jobs:
                while waiting and (held + size > BUDGET or len(waiting) >= 1024):
                    subject, freed, future = waiting.popleft()
                    held -= freed
                    yield subject, future.result()
                waiting.append(((stored, viewers), size, pool.submit(work, stored, viewers)))
                held += size
            while waiting:
                subject, _, future = waiting.popleft()
                yield subject, future.result()
        finally:
            for _, _, future in waiting:
                future.cancel()


def full(call: Callable[[list[Any]], Any], size: int) -> Callable[[list[Any]], Any]:
    """A call that always gets ``size`` items: the last one again and again where there are fewer.

    The bits of a matrix product depend on its shape. So a vector is the same whoever stands beside it.
    """
    safe = halving(call)
    return lambda items: stack(safe([*items, *[items[-1]] * (size - len(items))]))[: len(items)]


def stack(vectors: Any) -> list[np.ndarray[Any, np.dtype[np.float32]]]:
    """A batch of vectors (n, d) as n float32 rows."""
    return list(np.asarray(vectors, np.float32))
