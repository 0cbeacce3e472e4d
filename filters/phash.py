"""Perceptual hash: 64 bits that stay close when a picture is resized or re-encoded. Groups nothing.

The bits of imagehash's ``phash``, COYO's ``image_phash``: luminance, shrunk to 32x32 with Pillow's Lanczos, its DCT,
and which of the 8x8 lowest frequencies exceed their median. Equal to the last bit, since pictures are joined by equal
hashes; faster, since shrinking is a product of matrices here, and a batch is one DCT.
"""

from functools import lru_cache
from importlib.metadata import version

import numpy as np
import numpy.typing as npt
import scipy.fft

from curate import Image, scores
from curate.document import Pixels
from curate.image.codec import luminance

Floats = npt.NDArray[np.floating]

SIDE, LOW = 32, 8
"""Sides of the thumbnail in pixels and of the block of low frequencies."""
ROWS = 32
"""Lines in one product: so few that BLAS starts no threads, which would wait for the decoders' cores."""
HEIGHT_FIRST = int(version("pillow").split(".")[0]) >= 13
"""Whether Pillow shrinks a tall picture's height first, and so rounds otherwise (python-pillow/Pillow#9549)."""


@scores("image", phash=str, detail=float, pixels=128, requires=("pillow",), version=1)
def phash(images: list[Image]) -> list[dict[str, str | float] | None]:
    """The hash, and how much it has to go by.

    phash: 16 hex digits. Copies differ in a few of the 64 bits, other pictures in about 32.
    detail: mean amplitude, in grey levels (0-255), of the 49 low-frequency waves that vary both across and down. Flat
        pictures, linear gradients and stripes have none but what rounding leaves (0.04; 0.13 after JPEG at quality
        30), and their bits are noise or all the same: gate by ``min: 0.2`` before grouping. Drawings have 0.6 and
        more, photographs mostly 2 to 10.
    """
    thumbnails = [None if image.pixels is None else thumbnail(image.pixels) for image in images]
    seen = [each for each in thumbnails if each is not None]
    if not seen:
        return [None] * len(images)
    waves = low_frequencies(np.stack(seen))
    bits = waves > np.median(waves, axis=(1, 2), keepdims=True)
    hashes = np.packbits(bits.reshape(len(seen), -1), axis=1)
    details = np.abs(waves[:, 1:, 1:]).mean(axis=(1, 2)) / SIDE**2  # a wave of amplitude 1 has the coefficient 32**2
    rows = ({"phash": h.tobytes().hex(), "detail": float(d)} for h, d in zip(hashes, details, strict=True))
    return [None if each is None else next(rows) for each in thumbnails]


def low_frequencies(thumbnails: Pixels) -> Floats:
    """The 8x8 lowest coefficients of pictures (n, 32, 32): DCT-II, not normalised, down and then across.

    By the routine that imagehash calls: where coefficients vanish, another order of additions gives other bits.
    """
    down = scipy.fft.dct(thumbnails.astype(np.float64), axis=1)[:, :LOW]
    across: Floats = scipy.fft.dct(down, axis=2)[:, :, :LOW]
    return across


def thumbnail(pixels: Pixels) -> Pixels:
    """32x32 grey levels: Pillow's ``convert("L").resize((32, 32), LANCZOS)``."""
    grey = luminance(pixels)
    taller, wider = grey.shape[0] - SIDE, grey.shape[1] - SIDE
    if HEIGHT_FIRST and taller > max(0, 2 * wider):
        return shrink(shrink(grey.T).T)
    return shrink(shrink(grey).T).T


def shrink(lines: Pixels) -> Pixels:
    """Resizes lines of grey levels (n, length) to 32 pixels, rounded as Pillow does.

    In float32, which is right unless a sum is close to the middle between two grey levels: those are added again.
    """
    count, length = lines.shape
    products, pixels, weights, error = lanczos(length)
    stack = np.empty((-(-count // ROWS), ROWS, length), np.float32)
    stack.reshape(-1, length)[:count] = lines
    stack.reshape(-1, length)[count:] = 0
    sums = np.empty((len(stack), ROWS, SIDE), np.float32)
    for at, (start, stop, some) in enumerate(products):
        np.matmul(stack[:, :, start:stop], some, out=sums[:, :, at * LOW : (at + 1) * LOW])
    levels = np.rint(sums)
    sums -= levels
    line, output = np.divmod(np.flatnonzero(np.abs(sums, out=sums) > 0.5 - error), SIDE)
    exact = (stack.reshape(-1, length)[line[:, None], pixels[output]] * weights[output]).sum(axis=1)
    levels.reshape(-1, SIDE)[line, output] = np.floor(exact + 0.5)
    return levels.reshape(-1, SIDE)[:count].clip(0, 255).astype(np.uint8)


@lru_cache(1024)
def lanczos(length: int) -> tuple[list[tuple[int, int, Floats]], npt.NDArray[np.intp], Floats, np.float32]:
    """Pillow's weights (its Resample.c), integers in units of 2**-22, of resizing a line to 32 pixels.

    As matrices (pixels seen, 8) for 8 outputs at a time; as pixels and their weights for each output (32, seen), in
    float64, which adds them without error; and the most that a sum in float32 can be wrong.
    """
    scale = length / SIDE
    reach = 3 * max(scale, 1.0)
    centre = (np.arange(SIDE) + 0.5)[:, None] * scale
    first = np.maximum((centre - reach + 0.5).astype(np.intp), 0)
    last = np.minimum((centre + reach + 0.5).astype(np.intp), length)
    pixels = np.minimum(first, length - (seen := int((last - first).max()))) + np.arange(seen)
    away = (pixels - centre + 0.5) * (3 / reach)
    window = (first <= pixels) & (pixels < last) & (away >= -3) & (away < 3)
    weights = np.where(window, np.sinc(away) * np.sinc(away / 3), 0)
    weights = weights / weights.sum(axis=1, keepdims=True) * 2**22
    weights = np.trunc(weights + np.copysign(0.5, weights)) / 2**22
    products = []
    for at in range(0, SIDE, LOW):
        start, stop = int(pixels[at, 0]), int(pixels[at + LOW - 1, -1]) + 1
        matrix = np.zeros((stop - start, LOW), np.float32)
        np.put_along_axis(matrix, pixels[at : at + LOW].T - start, weights[at : at + LOW].T, axis=0)
        products.append((start, stop, matrix))
    return products, pixels, weights, np.float32(seen * 2**-24 * 255 * np.abs(weights).sum(axis=1).max())
