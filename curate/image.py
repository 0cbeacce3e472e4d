"""Images: read headers, decode, resize and encode. The only module that knows a codec; reads no file and no network.

Formats are told by magic bytes and limited to JPEG, PNG, WebP, GIF and AVIF: never by name, and never SVG, EPS, PDF
or TIFF, whose decoders run programs or read other files. Every function is thread safe and releases the GIL while it
works on pixels.
"""

from __future__ import annotations

import io
import math
import re
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Self

import cv2
import numpy as np
import simplejpeg
from PIL import Image, features
from pydantic import BaseModel, ConfigDict, Field, model_validator

from curate.document import Pixels
from curate.header import Header as Header
from curate.header import read_header, upright

cv2.setNumThreads(1)

VERSION = 1
"""Of the pixels that ``decode`` gives: counted up when they change."""

SCALED_DECODE_MARGIN = 1.25
"""With ``decode: scaled`` a JPEG is decoded small where that leaves this many times the wanted side.

Measured against a full decode: 28-40 dB at 1.25, 33-40 dB at 2.5, and 40 dB for certain at no margin, since averaging
twice is not averaging once. So ``exact``, which img2dataset's pixels can be compared with, is the default.
"""

_PIL_ERRORS = (  # RuntimeError is how the AVIF decoder speaks of broken files
    OSError, SyntaxError, ValueError, EOFError, IndexError, RuntimeError, struct.error, Image.DecompressionBombError,
)  # fmt: skip
_HARMLESS = re.compile(r"Corrupt JPEG data: \d\d? extraneous bytes before marker 0xd9|Invalid SOS parameters")

BLOCKS = 4
"""Mean colours that are left of a blurred part, along its width and along its height."""

_ENCODERS = {
    "jpg": (cv2.IMWRITE_JPEG_QUALITY, 95),
    "png": (cv2.IMWRITE_PNG_COMPRESSION, 3),
    "webp": (cv2.IMWRITE_WEBP_QUALITY, 95),
}


class DecodeError(ValueError):
    """The bytes are no complete picture: truncated, corrupt, or in a format that is not decoded here."""


class SizeRejected(ValueError):  # noqa: N818 - the picture is fine, the settings refuse it
    """The picture breaks ``min_side``, ``max_area`` or ``max_aspect``; found in its header."""


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
    return _decode(data, header, min_side)


def _decode(data: bytes, header: Header, min_side: int | None) -> Pixels:
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


def blurred(data: bytes, boxes: Sequence[float], quality: int | None = None) -> bytes:
    """The file with these parts made unrecognisable, in the same format; the very same bytes where there are none.

    Of each box at most ``BLOCKS`` x ``BLOCKS`` colours are left, so there is nothing from which the rest could be
    restored. What is outside is decoded and encoded once more: upright, without transparency, metadata and further
    frames; equal in a png, and at the default quality some 48 dB in a jpg and 43 in a webp.

    Args:
        data: a jpg, png or webp.
        boxes: left, top, right, bottom of each, one after the other, as shares of the upright width and height, 0 to 1.
        quality: as for ``encode``.

    Raises:
        DecodeError: the data is truncated, corrupt, or not an image.
        ValueError: boxes that are no boxes, or a format that is not written here.
    """
    corners = np.asarray(boxes, np.float64)
    if corners.size % 4 or not np.isfinite(corners).all():
        raise ValueError(f"boxes are four finite numbers each, not {list(boxes)}")
    if not corners.size:
        return data
    header = sniff(data)
    if header is None:
        raise DecodeError("not an image")
    pixels = _decode(data, header, None)
    height, width = pixels.shape[:2]
    scaled = corners.reshape(-1, 4).clip(0, 1) * (width, height, width, height)
    edges = np.concatenate([np.floor(scaled[:, :2]), np.ceil(scaled[:, 2:])], axis=1).astype(int)
    for left, top, right, bottom in edges.tolist():
        if left < right and top < bottom:
            pixels[top:bottom, left:right] = _smeared(pixels[top:bottom, left:right])
    return encode(pixels, header.format, quality)


def _smeared(part: Pixels) -> Pixels:
    """At most BLOCKS x BLOCKS mean colours, enlarged, with soft edges between them."""
    height, width = part.shape[:2]
    few = cv2.resize(part, (min(BLOCKS, width), min(BLOCKS, height)), interpolation=cv2.INTER_AREA)
    large = cv2.resize(few, (width, height), interpolation=cv2.INTER_NEAREST)
    return np.asarray(cv2.GaussianBlur(large, (0, 0), max(width, height) / BLOCKS / 3, borderType=cv2.BORDER_REPLICATE))


def to_pil(pixels: Pixels) -> Image.Image:
    """The picture as Pillow has it, which is what the preprocessing of most models takes."""
    return Image.fromarray(pixels)


def luminance(pixels: Pixels) -> Pixels:
    """Grey levels (height, width), 0-255: ITU-R BT.601, rounded as Pillow does, which is not quite how OpenCV does."""
    height, width = pixels.shape[:2]
    padded = cv2.cvtColor(pixels, cv2.COLOR_RGB2RGBA)  # as Pillow holds it, so that it need not copy
    return np.asarray(Image.frombuffer("RGBX", (width, height), padded, "raw", "RGBX", 0, 1).convert("L"))


class Resize(BaseModel):
    """How pictures are resized and stored: the names and the meaning of img2dataset's options."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    size: int = Field(256, ge=1, description="the side to resize to, in pixels")
    mode: Literal["border", "keep_ratio", "keep_ratio_largest", "center_crop", "no"] = Field(
        "border",
        description="border: fit into size x size on white; keep_ratio: short side to size; keep_ratio_largest: long "
        "side to size; center_crop: short side to size, then the middle square; no: keep the size",
    )
    only_if_bigger: bool = Field(False, description="leave pictures alone that are not larger than size")
    min_side: int = Field(0, ge=0, description="refuse pictures with a shorter side than this, in pixels")
    max_area: float = Field(float("inf"), gt=0, description="refuse pictures of more pixels")
    max_aspect: float = Field(
        float("inf"), ge=1, description="refuse pictures with a larger ratio of long to short side"
    )
    format: Literal["jpg", "png", "webp"] = Field("jpg", description="the stored format")
    quality: int = Field(95, ge=0, le=100, description="0-100 for jpg and webp; for png the compression, 0-9")
    skip_reencode: bool = Field(False, description="keep the original bytes where neither size nor format changes")
    decode: Literal["exact", "scaled"] = Field(
        "exact", description="scaled: decode large JPEGs at 1/2, 1/4 or 1/8, about twice as fast, at some 35 dB"
    )

    @model_validator(mode="after")
    def _png_compression(self) -> Self:
        if self.format == "png" and self.quality > 9:
            raise ValueError(f"for png, quality is the compression, 0-9, not {self.quality}")
        return self


@dataclass(frozen=True, slots=True)
class Resized:
    """A stored picture; width and height in pixels."""

    data: bytes
    format: str
    width: int
    height: int


def resize(data: bytes, header: Header, settings: Resize) -> Resized:
    """Decodes, resizes and encodes as img2dataset does, upright.

    Enlarging uses Lanczos, shrinking area averaging. With ``skip_reencode``, unchanged pictures are still decoded, so
    that a broken one is never stored.

    Raises:
        SizeRejected: before any decoding.
        DecodeError: the data is truncated or corrupt.
    """
    _check_size(header, settings)
    goal = _goal(header, settings)
    short = None if goal is None or settings.decode == "exact" else math.ceil(min(goal) * SCALED_DECODE_MARGIN)
    pixels = _decode(data, header, short)
    if goal is None and settings.skip_reencode and header.format == settings.format:
        return Resized(data, header.format, header.width, header.height)
    if goal is not None:
        pixels = _fit(pixels, goal, header, settings)
    height, width = pixels.shape[:2]
    return Resized(encode(pixels, settings.format, settings.quality), settings.format, width, height)


def _check_size(header: Header, settings: Resize) -> None:
    short, long = sorted((header.width, header.height))
    if short < settings.min_side:
        raise SizeRejected(f"short side {short} < {settings.min_side}")
    if short * long > settings.max_area:
        raise SizeRejected(f"area {short * long} > {settings.max_area:g}")
    if long / short > settings.max_aspect:
        raise SizeRejected(f"aspect ratio {long / short:.3g} > {settings.max_aspect:g}")


def _side(header: Header, settings: Resize) -> int:
    """The side that is brought to ``size``."""
    return (min if settings.mode in ("keep_ratio", "center_crop") else max)(header.width, header.height)


def _goal(header: Header, settings: Resize) -> tuple[int, int] | None:
    """Width and height to scale to, None to leave the picture alone."""
    if settings.mode == "no":
        return None
    side = _side(header, settings)
    if settings.only_if_bigger and side <= settings.size:
        return None
    scale = settings.size / side
    return max(1, round(header.width * scale)), max(1, round(header.height * scale))


def _fit(pixels: Pixels, goal: tuple[int, int], header: Header, settings: Resize) -> Pixels:
    if (pixels.shape[1], pixels.shape[0]) != goal:
        smaller = settings.size < _side(header, settings)
        pixels = cv2.resize(pixels, goal, interpolation=cv2.INTER_AREA if smaller else cv2.INTER_LANCZOS4)
    width, height = goal
    if settings.mode == "center_crop":
        left, top = (width - settings.size) // 2, (height - settings.size) // 2
        return pixels[top : top + settings.size, left : left + settings.size]
    if settings.mode == "border":
        left, top = (settings.size - width) // 2, (settings.size - height) // 2
        page: Pixels = np.full((settings.size, settings.size, 3), 255, np.uint8)
        page[top : top + height, left : left + width] = pixels
        return page
    return pixels
