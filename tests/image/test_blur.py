import io

import numpy as np
import pytest
from PIL import Image as Pil

from curate.image.blur import BLOCKS, blurred
from curate.image.codec import DecodeError, decode, encode, sniff

BOX = (0.25, 0.5, 0.75, 0.9)
INSIDE = np.s_[60:108, 40:120]
"""The pixels of BOX in a picture of 160 x 120."""


def noise(seed=0, width=160, height=120):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def smooth(form="png"):
    y, x = np.mgrid[:120, :160]
    return encode(np.stack([x, y * 2, 255 - x], axis=2).astype(np.uint8), form)


@pytest.mark.parametrize("form", ["jpg", "png", "webp"])
def test_without_boxes_the_bytes_are_the_same(form):
    data = encode(noise(), form)
    assert blurred(data, []) is data


@pytest.mark.parametrize("form", ["jpg", "png", "webp"])
def test_the_format_and_what_is_outside_stay(form):
    data = smooth(form)
    found = blurred(data, BOX)
    assert sniff(found).format == form
    before, after = (decode(each).astype(float) for each in (data, found))
    after[INSIDE] = before[INSIDE]
    error = np.mean((before - after) ** 2)
    assert error == 0 if form == "png" else error < 255**2 / 10**4  # 40 dB


def test_only_mean_colours_are_left_of_a_box():
    pixels = noise()
    inside = decode(blurred(encode(pixels, "png"), BOX))[INSIDE]
    assert inside.std() < 10 < 70 < pixels[INSIDE].std()
    means = pixels[INSIDE].reshape(BLOCKS, 48 // BLOCKS, BLOCKS, 80 // BLOCKS, 3).mean(axis=(1, 3))
    middles = inside[48 // BLOCKS // 2 :: 48 // BLOCKS, 80 // BLOCKS // 2 :: 80 // BLOCKS]
    assert np.abs(middles - means).max() < 12


def test_pictures_with_equal_means_cannot_be_told_apart():
    pixels = noise()
    other = pixels.copy()
    other[INSIDE] = pixels[INSIDE].reshape(BLOCKS, 12, BLOCKS, 20, 3)[:, ::-1, :, ::-1].reshape(48, 80, 3)
    assert (pixels != other).any()
    assert blurred(encode(pixels, "png"), BOX) == blurred(encode(other, "png"), BOX)


def test_each_box_counts_and_one_that_juts_out_is_cut():
    pixels = noise()
    after = decode(blurred(encode(pixels, "png"), [-0.5, -0.5, 0.1, 0.1, 0.9, 0.9, 7, 7, 0.5, 0.5, 0.5, 0.9]))
    changed = (after != pixels).any(axis=2)
    assert changed[:12, :16].mean() > 0.9
    assert changed[108:, 144:].mean() > 0.9
    assert changed.sum() <= 2 * 12 * 16


@pytest.mark.parametrize("side", [1, 2, 3, 5])
def test_a_few_pixels_are_a_picture_too(side):
    assert decode(blurred(encode(noise(0, side, side), "png"), (0, 0, 1, 1))).shape == (side, side, 3)


def test_boxes_are_upright():
    out = io.BytesIO()
    exif = Pil.Exif()
    exif[0x0112] = 6  # a quarter turn
    Pil.fromarray(noise(0, 60, 40)).save(out, "JPEG", exif=exif, quality=95)
    pixels = decode(blurred(out.getvalue(), (0, 0, 1, 0.5)))
    assert pixels.shape == (60, 40, 3)
    assert pixels[:28].std() < 25 < 40 < pixels[32:].std()


@pytest.mark.parametrize("boxes", [(0, 0, 1), (0, 0, 1, float("nan")), (0, 0, 1, float("inf"))])
def test_what_is_no_box_is_refused(boxes):
    with pytest.raises(ValueError, match="four finite numbers"):
        blurred(smooth(), boxes)


def test_what_is_no_picture_is_refused():
    with pytest.raises(DecodeError):
        blurred(b"nothing", BOX)
    with pytest.raises(DecodeError):
        blurred(smooth()[:200], BOX)
    out = io.BytesIO()
    Pil.new("RGB", (8, 8)).save(out, "GIF")
    with pytest.raises(ValueError, match="cannot encode 'gif'"):
        blurred(out.getvalue(), BOX)
