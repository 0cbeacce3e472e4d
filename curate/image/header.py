"""Header: what an image file says of itself, read from its first bytes. Decodes nothing and needs no codec.

Formats are told by magic bytes and limited to JPEG, PNG, WebP and GIF.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

_LOOK_AT = 10_000  # header blocks that are looked at before a file counts as malformed
_START_OF_FRAME = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_NO_LENGTH = frozenset({0x01, *range(0xD0, 0xD9)})


@dataclass(frozen=True, slots=True)
class Header:
    """What a file says of itself. ``format`` is its suffix; width and height are upright, in pixels.

    ``frames`` is 1 for a still picture and above 1 for an animation (exact for PNG and AVIF, 2 for "several"
    elsewhere). ``orientation`` is the EXIF one, 1-8. ``complete`` is False where the end is missing for certain.
    """

    format: str
    width: int
    height: int
    frames: int = 1
    orientation: int = 1
    complete: bool = True


def read_header(data: bytes) -> Header | None:
    """The header by magic bytes, or None for anything that is not one of the four formats. Never raises."""
    try:
        if data.startswith(b"\xff\xd8\xff"):
            header = _jpeg(data)
        elif data.startswith(b"\x89PNG\r\n\x1a\n"):
            header = _png(data)
        elif data.startswith(b"RIFF") and data[8:12] == b"WEBP":
            header = _webp(data)
        elif data.startswith((b"GIF87a", b"GIF89a")):
            header = _gif(data)
        else:
            return None
    except (IndexError, struct.error):  # the header itself is cut
        return None
    return header if header and header.width and header.height else None


def upright(name: str, width: int, height: int, frames: int, orientation: int, complete: bool) -> Header:
    """A header whose stored width and height are swapped where the orientation says so."""
    if orientation >= 5:
        width, height = height, width
    return Header(name, width, height, frames, orientation, complete)


def _jpeg(data: bytes) -> Header | None:
    at, orientation, size = 2, 1, (0, 0)
    for _ in range(_LOOK_AT):
        at = data.find(b"\xff", at)
        if at < 0:
            return upright("jpg", *size, 1, orientation, complete=False)
        marker = data[at + 1] if at + 1 < len(data) else 0xFF
        if marker == 0xFF or marker == 0x00 or marker in _NO_LENGTH:
            at += 1 if marker == 0xFF else 2
            continue
        if marker in _START_OF_FRAME:
            height, width = struct.unpack_from(">HH", data, at + 5)
            size = width, height
        elif marker == 0xE1 and data.startswith(b"Exif\0\0", at + 4):
            orientation = _exif_orientation(data[at + 10 : at + 10 + 65_536])
        elif marker == 0xDA:  # the scan: inside it 0xff 0xd9 can only be the end
            return upright("jpg", *size, 1, orientation, complete=data.rfind(b"\xff\xd9", at) > 0)
        at += 2 + struct.unpack_from(">H", data, at + 2)[0]
    return None


def _exif_orientation(tiff: bytes) -> int:
    """The orientation tag of an EXIF block, 1 where there is none or the block is broken."""
    order = {b"II": "<", b"MM": ">"}.get(tiff[:2])
    try:
        if order is None:
            return 1
        (start,) = struct.unpack_from(order + "I", tiff, 4)
        (count,) = struct.unpack_from(order + "H", tiff, start)
        for entry in range(start + 2, start + 2 + 12 * count, 12):
            tag, kind, _, value = struct.unpack_from(order + "HHIH", tiff, entry)
            if tag == 0x0112 and kind == 3:
                return int(value) if 1 <= value <= 8 else 1
    except struct.error:
        pass
    return 1


def _png(data: bytes) -> Header | None:
    if data[12:16] != b"IHDR":
        return None
    width, height = struct.unpack_from(">II", data, 16)
    at, frames, orientation = 8, 1, 1
    for _ in range(_LOOK_AT):
        kind = data[at + 4 : at + 8]
        if kind in (b"IDAT", b"IEND", b""):
            break
        (length,) = struct.unpack_from(">I", data, at)
        if kind == b"acTL":
            (frames,) = struct.unpack_from(">I", data, at + 8)
        elif kind == b"eXIf":
            orientation = _exif_orientation(data[at + 8 : at + 8 + length])
        at += 12 + length
    return upright("png", width, height, max(1, frames), orientation, complete=data.rfind(b"IEND", at) > 0)


def _webp(data: bytes) -> Header | None:
    (size,) = struct.unpack_from("<I", data, 4)
    complete, kind = size + 8 <= len(data), data[12:16]
    if kind == b"VP8 ":
        width, height = (side & 0x3FFF for side in struct.unpack_from("<HH", data, 26))
        return Header("webp", width, height, complete=complete)
    if kind == b"VP8L":
        (bits,) = struct.unpack_from("<I", data, 21)
        return Header("webp", (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1, complete=complete)
    if kind != b"VP8X":
        return None
    width, height = (1 + int.from_bytes(data[at : at + 3], "little") for at in (24, 27))
    exif = data.rfind(b"EXIF", 30) if data[20] & 0x08 else -1
    block = data[exif + 8 : exif + 65_536].removeprefix(b"Exif\0\0") if exif > 0 else b""
    return upright("webp", width, height, 2 if data[20] & 0x02 else 1, _exif_orientation(block), complete)


def _gif(data: bytes) -> Header | None:
    width, height = struct.unpack_from("<HH", data, 6)
    at, frames = 13 + _gif_colours(data[10]), 0
    while at < len(data) and data[at] in (0x21, 0x2C):
        if data[at] == 0x2C:
            frames += 1
            if frames == 2:
                break
            at += 11 + _gif_colours(data[at + 9])
        else:
            at += 2
        while at < len(data) and data[at]:  # sub-blocks, each with its length, up to an empty one
            at += 1 + data[at]
        at += 1
    return Header("gif", width, height, max(1, frames), complete=frames > 0 and at <= len(data))


def _gif_colours(flags: int) -> int:
    return 3 << (flags & 7) + 1 if flags & 0x80 else 0
