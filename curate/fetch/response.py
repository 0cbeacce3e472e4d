"""Response: what is asked for, within which limits, and what came of it. Touches no network.

``examine`` turns a downloaded body into a result; every downloader ends there, so that all check alike.
"""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import AsyncIterable
from dataclasses import dataclass, replace
from typing import Any

from curate.image.codec import DecodeError, sniff
from curate.image.header import Header
from curate.image.resize import SizeRejected, resize
from curate.recipe.input import Fetch
from curate.status import Status


@dataclass(frozen=True, slots=True)
class Request:
    """A picture to ask for; ``digest`` is its expected hash in hex, of the kind ``Fetch.verify`` names."""

    url: str
    digest: str | None = None


@dataclass(frozen=True, slots=True)
class Fetched:
    """How a request ended. ``data`` is there only with status OK; ``detail`` says why otherwise.

    ``http`` is the last HTTP code, ``sha256`` that of the original bytes, ``width`` and ``height`` are those of
    ``data``; the original ones are upright too.
    """

    url: str
    status: Status
    detail: str = ""
    http: int | None = None
    attempts: int = 0
    final_url: str = ""
    sha256: str = ""
    format: str = ""
    width: int = 0
    height: int = 0
    original_width: int = 0
    original_height: int = 0
    frames: int = 0
    data: bytes | None = None


class Refused(Exception):  # noqa: N818 - it is we who refuse
    """An answer, or a URL, that we do not take; ``wait`` is what the server asks us to wait, in seconds."""

    def __init__(self, status: Status, detail: str, wait: float = 0.0) -> None:
        super().__init__(detail)
        self.status, self.wait = status, wait


class Inflater:
    """Undoes a Content-Encoding chunk by chunk, never making more than ``limit`` bytes and one.

    ``deflate`` is read with and without its zlib wrapper, as servers send both.
    """

    def __init__(self, encoding: str, limit: int) -> None:
        self._room = limit + 1
        self._raw = encoding == "deflate"
        self._undo = zlib.decompressobj(31 if encoding.endswith("gzip") else 15)

    def feed(self, chunk: bytes) -> bytes:
        """The bytes a chunk holds; raises Refused where it is not compressed as was said."""
        if self._undo.eof:
            return b""  # what follows the end is not kept
        try:
            piece = self._inflate(chunk)
        except zlib.error as error:
            raise Refused(Status.DECODE_ERROR, f"Content-Encoding: {error}") from None
        self._room -= len(piece)
        return piece

    def _inflate(self, chunk: bytes) -> bytes:
        raw, self._raw = self._raw, False
        try:
            return self._undo.decompress(chunk, self._room)
        except zlib.error:
            if not raw:
                raise
            self._undo = zlib.decompressobj(-15)
            return self._undo.decompress(chunk, self._room)

    def finish(self) -> None:
        """Raises Refused where the end is missing."""
        if not self._undo.eof:
            raise Refused(Status.TRUNCATED_BODY, "compressed body ends early")


async def read_body(chunks: AsyncIterable[bytes], length: int | None, encoding: str, limit: int) -> bytes:
    """The body, inflated if need be, never holding more than ``limit`` bytes and a chunk; ``length`` is the announced.

    Raises:
        Refused: too_large, or what the compression has to say.
    """
    if (length or 0) > limit:
        raise Refused(Status.TOO_LARGE, f"Content-Length {length} > {limit}")
    inflater = Inflater(encoding, limit) if encoding in ("gzip", "x-gzip", "deflate") else None
    pieces, size = [], 0
    async for chunk in chunks:
        pieces.append(inflater.feed(chunk) if inflater else chunk)
        size += len(pieces[-1])
        if size > limit:
            raise Refused(Status.TOO_LARGE, f"body > {limit} bytes")
    if inflater:
        inflater.finish()
    return b"".join(pieces)


def examine(answer: Fetched, body: bytes, digest: str | None, settings: Fetch) -> Fetched:
    """What a body is: its hash, format and size, and the picture to store, or the status that refuses it.

    The header alone decides about pixels; nothing is decoded unless it is resized, so a picture that is stored
    untouched may still turn out to be corrupt inside. One that ends early is refused.
    """
    sha256 = hashlib.sha256(body).hexdigest()
    header = sniff(body)
    if header is None:
        shape: dict[str, Any] = {"sha256": sha256}
    else:
        width, height, frames = header.width, header.height, header.frames
        shape = {"sha256": sha256, "original_width": width, "original_height": height, "frames": frames}
    stored: dict[str, Any]
    try:
        stored = _stored(body, header, digest, settings)
    except Refused as error:
        stored = {"status": error.status, "detail": str(error)}
    return replace(answer, **shape, **stored)


def _stored(body: bytes, header: Header | None, digest: str | None, settings: Fetch) -> dict[str, Any]:
    """The picture's fields of ``Fetched``; raises Refused."""
    if settings.verify and digest and hashlib.new(settings.verify, body).hexdigest() != digest.strip().lower():
        raise Refused(Status.HASH_MISMATCH, f"{settings.verify} is not {digest[:64]}")
    if header is None:
        raise Refused(Status.NOT_AN_IMAGE, f"{len(body)} bytes, first {body[:16]!r}")
    if header.width * header.height > settings.max_pixels:
        raise Refused(Status.TOO_MANY_PIXELS, f"{header.width} x {header.height} > {settings.max_pixels}")
    if not header.complete:
        raise Refused(Status.DECODE_ERROR, "the file ends early")
    if settings.resize is None:
        return {"format": header.format, "width": header.width, "height": header.height, "data": body}
    try:
        small = resize(body, header, **settings.resize.model_dump())
    except SizeRejected as error:
        raise Refused(Status.SIZE_REJECTED, str(error)) from None
    except DecodeError as error:
        raise Refused(Status.DECODE_ERROR, str(error)[:200]) from None
    return {"format": small.format, "width": small.width, "height": small.height, "data": small.data}
