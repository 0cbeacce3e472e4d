"""PDQ: Meta's perceptual hash of 256 bits, with how much the picture gives it to go by. Groups nothing.

Facebook, "The TMK+PDQF Video-Hashing Algorithm and the PDQ Image-Hashing Algorithm", 2019: luminance, averaged and
sampled to 64x64, the 16x16 lowest frequencies but the constant ones, and which of them exceed their median. As every
step before the median is linear, averaging and sampling are one matrix for each side here. Copies lie within 31 bits
(the paper's threshold), other pictures at about 128; hashes of a quality below 50 should not be compared.
"""

from functools import lru_cache

import numpy as np
import numpy.typing as npt

from curate import Image, scores
from curate.document import Pixels

Floats = npt.NDArray[np.float32]

SIDE, LOW = 64, 16
"""Sides of the thumbnail in pixels and of the block of low frequencies."""
SMALLEST = 5
"""The reference hashes no picture with a shorter side, in pixels."""
COLUMNS = 96
"""Columns in one product: so few that BLAS starts no threads, which would wait for the decoders' cores."""
DCT = np.sqrt(2 / SIDE) * np.cos(np.pi / (2 * SIDE) * np.outer(np.arange(1, LOW + 1), np.arange(1, 2 * SIDE, 2)))
"""The waves (16, 64): one to sixteen half periods."""


@scores("image", pdq=str, quality=int, pixels=256, version=1)
def pdq(images: list[Image]) -> list[dict[str, str | int] | None]:
    """The hash as 64 hex digits, as Meta writes it, and its quality: 0 (blank) to 100, by the sum of gradients.

    Equal to the reference's but for bits whose coefficient lies on the median up to the rounding of its float32 sums:
    none in most pictures, many in blank ones (quality 0) and where a side has 16 pixels or fewer. ``decode: exact``
    hashes the whole picture, as the reference does.
    """
    thumbnails = [
        None if i.pixels is None or min(i.pixels.shape[:2]) < SMALLEST else thumbnail(i.pixels) for i in images
    ]
    seen = [each for each in thumbnails if each is not None]
    if not seen:
        return [None] * len(images)
    small = np.stack(seen).astype(np.float64)
    waves = (DCT @ small @ DCT.T).reshape(len(seen), -1)
    lower_median = np.partition(waves, LOW * LOW // 2 - 1, axis=1)[:, LOW * LOW // 2 - 1 : LOW * LOW // 2]
    hashes = np.packbits((waves > lower_median)[:, ::-1], axis=1)
    rows = ({"pdq": h.tobytes().hex(), "quality": int(q)} for h, q in zip(hashes, qualities(small), strict=True))
    return [None if each is None else next(rows) for each in thumbnails]


def qualities(thumbnails: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """0-100 for pictures (n, 64, 64): the steps between neighbours, in whole percent of the range, summed."""
    steps = (np.trunc(np.abs(np.diff(thumbnails, axis=axis)) * 100 / 255).sum(axis=(1, 2)) for axis in (1, 2))
    quality: npt.NDArray[np.float64] = np.minimum(sum(steps) // 90, 100)
    return quality


def thumbnail(pixels: Pixels) -> Floats:
    """Luminance averaged around 64x64 points: (64, 64), 0-255."""
    height, width = pixels.shape[:2]
    lines = np.zeros((height, -(-3 * width // COLUMNS), COLUMNS), np.float32)
    lines.reshape(height, -1)[:, : 3 * width] = pixels.reshape(height, -1)
    parts = lines.transpose(1, 0, 2)
    rows = np.empty((SIDE, *lines.shape[1:]), np.float32)
    for at, (start, stop, weights) in enumerate(averages(height)):
        np.matmul(weights, parts[:, start:stop], out=rows[at * 8 : at * 8 + 8].transpose(1, 0, 2))
    red, green, blue = np.moveaxis(rows.reshape(SIDE, -1)[:, : 3 * width].reshape(SIDE, width, 3), 2, 0)
    grey = 0.299 * red + 0.587 * green + 0.114 * blue
    return np.concatenate([grey[:, start:stop] @ weights.T for start, stop, weights in averages(width)], axis=1)


@lru_cache(1024)
def averages(length: int) -> list[tuple[int, int, Floats]]:
    """For 8 of 64 points at a time: the pixels of a line that they average, and the weights (8, pixels).

    Two box filters of length / 128 pixels, which end at the border, then every (length / 64)th pixel.
    """
    window = -(-length // (2 * SIDE))
    ahead = (window + 2) // 2
    pixel = np.arange(length)
    first, last = np.maximum(pixel - window + ahead, 0), np.minimum(pixel + ahead, length)
    points = ((np.arange(SIDE) + 0.5) * length / SIDE).astype(int)
    weights = np.zeros((SIDE, length))
    weights[np.arange(SIDE), points] = 1
    for _ in range(2 if length != SIDE else 0):
        shares, edges = weights / (last - first), np.zeros((length + 1, SIDE))
        np.add.at(edges, first, shares.T)
        np.subtract.at(edges, last, shares.T)
        weights = edges.cumsum(axis=0)[:length].T
    found = []
    for at in range(0, SIDE, 8):
        seen = np.flatnonzero(np.abs(weights[at : at + 8]).max(axis=0) > 1e-9)
        start, stop = int(seen[0]), int(seen[-1]) + 1
        found.append((start, stop, weights[at : at + 8, start:stop].astype(np.float32)))
    return found
