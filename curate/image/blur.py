"""Blur: parts of a picture made unrecognisable, so that nothing is left to restore them from. Finds no parts."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from curate.document import Pixels
from curate.image.codec import DecodeError, decode_known, encode, sniff

BLOCKS = 4
"""Mean colours that are left of a blurred part, along its width and along its height."""


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
    pixels = decode_known(data, header, None)
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
