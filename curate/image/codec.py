"""Codec: bytes to pixels and back. The only place that knows how pictures are coded; reads no file and no network.

Formats are told by magic bytes and limited to JPEG, PNG, WebP, GIF and AVIF: never by name, and never SVG, EPS, PDF
or TIFF, whose decoders run programs or read other files. Every function is thread safe and releases the GIL while it
works on pixels.
"""

from __future__ import annotations

import io
import re
import struct

import cv2
import numpy as np
import simplejpeg
from PIL import Image, features

from curate.document import Pixels
from curate.image.header import Header, read_header, upright

cv2.setNumThreads(1)

VERSION = 1
"""Of the pixels that ``decode`` gives: counted up when they change."""

_PIL_ERRORS = (  # RuntimeError is how the AVIF decoder speaks of broken files
    OSError, SyntaxError, ValueError, EOFError, IndexError, RuntimeError, struct.error, Image.DecompressionBombError,
)  # fmt: skip
_HARMLESS = re.compile(r"Corrupt JPEG data: \d\d? extraneous bytes before marker 0xd9|Invalid SOS parameters")

_ENCODERS = {
    "jpg": (cv2.IMWRITE_JPEG_QUALITY, 95),
    "png": (cv2.IMWRITE_PNG_COMPRESSION, 3),
    "webp": (cv2.IMWRITE_WEBP_QUALITY, 95),
}


class DecodeError(ValueError):
    """The bytes are no complete picture: truncated, corrupt, or in a format that is not decoded here."""


def sniff(data: bytes) -> Header | None:
    """The header by magic bytes, or None for anything that is not an image we decode. Never raises."""
    return _avif(data) if data[4:12] in (b"ftypavif", b"ftypavis") else read_header(data)


def _avif(data: bytes) -> Header | None:
    if not features.check("avif"):
        return None
    try:
        with Image.open(io.BytesIO(data), formats=["AVIF"]) as picture:
            orientation = int(picture.getexif().get(0x0112, 1))
            return upright("avif", *picture.size, getattr(picture, "n_frames", 1), orientation, complete=True)
    except _PIL_ERRORS:
        return None


def decode(data: bytes, min_side: int | None = None) -> Pixels:
    """The picture: first frame, upright, transparency on white, 16 bits scaled to 8.

    With ``min_side`` a JPEG comes at the smallest of 1/1, 1/2, 1/4 and 1/8 whose short side is still that long, which
    is faster. The result depends on the arguments alone.

    Raises:
        DecodeError: the data is truncated, corrupt, or not an image.
    """
    header = sniff(data)
    if header is None:
        raise DecodeError("not an image")
    return decode_known(data, header, min_side)


def decode_known(data: bytes, header: Header, min_side: int | None = None) -> Pixels:
    """``decode`` of a file whose header was read before."""
    pixels = _decode_jpeg(data, header, min_side) if header.format == "jpg" else None
    if pixels is None:
        pixels = _decode_with_pil(data, header.format)
    return _turn(pixels, header.orientation)


def _decode_jpeg(data: bytes, header: Header, min_side: int | None) -> Pixels | None:
    """The stored pixels, or None where Pillow has to do it (CMYK and rare kinds)."""
    height, width = (header.width, header.height) if header.orientation >= 5 else (header.height, header.width)
    shrink = next((n for n in (8, 4, 2) if min_side and -(-min(width, height) // n) >= min_side), 1)
    try:
        pixels: Pixels = simplejpeg.decode_jpeg(
            data, "RGB", min_height=-(-height // shrink), min_width=-(-width // shrink)
        )
    except ValueError as error:
        if str(error).startswith(("Premature end", "Corrupt JPEG")) and not _HARMLESS.match(str(error)):
            raise DecodeError(str(error)) from None
        return None
    return pixels


def _decode_with_pil(data: bytes, name: str) -> Pixels:
    try:
        with Image.open(io.BytesIO(data), formats=["JPEG" if name == "jpg" else name.upper()]) as picture:
            picture.load()
            return _rgb(picture)
    except _PIL_ERRORS as error:
        raise DecodeError(f"{type(error).__name__}: {error}") from None


def _rgb(picture: Image.Image) -> Pixels:
    if picture.mode.startswith("I"):  # 16 bits of grey: Pillow's own conversion clips at 255
        grey = (np.asarray(picture) >> 8).clip(0, 255).astype(np.uint8)
        return np.repeat(grey[:, :, None], 3, axis=2)
    if picture.has_transparency_data:
        clear = picture.convert("RGBA")
        picture = Image.new("RGB", picture.size, "white")
        picture.paste(clear, mask=clear)
    return np.array(picture.convert("RGB"))


def _turn(pixels: Pixels, orientation: int) -> Pixels:
    if orientation == 1:
        return pixels
    if orientation >= 5:
        pixels = pixels.transpose(1, 0, 2)
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    return np.ascontiguousarray(pixels)


def encode(pixels: Pixels, format: str = "jpg", quality: int | None = None) -> bytes:  # noqa: A002 - img2dataset's name
    """The file as bytes. ``quality`` is 0-100 (95) for jpg (4:2:0) and webp, the compression 0-9 (3) for png."""
    if format not in _ENCODERS:
        raise ValueError(f"cannot encode {format!r}: use {', '.join(_ENCODERS)}")
    flag, default = _ENCODERS[format]
    bgr = cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR)
    return bytes(cv2.imencode(f".{format}", bgr, [flag, default if quality is None else quality])[1])


def to_pil(pixels: Pixels) -> Image.Image:
    """The picture as Pillow has it, which is what the preprocessing of most models takes."""
    return Image.fromarray(pixels)


def luminance(pixels: Pixels) -> Pixels:
    """Grey levels (height, width), 0-255: ITU-R BT.601, rounded as Pillow does, which is not quite how OpenCV does."""
    height, width = pixels.shape[:2]
    padded = cv2.cvtColor(pixels, cv2.COLOR_RGB2RGBA)  # as Pillow holds it, so that it need not copy
    return np.asarray(Image.frombuffer("RGBX", (width, height), padded, "raw", "RGBX", 0, 1).convert("L"))
