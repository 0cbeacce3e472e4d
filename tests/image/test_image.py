from __future__ import annotations

import contextlib
import importlib.util
import io
import pickle
import struct
import subprocess
import sys
import zlib
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image, ImageOps
from pydantic import ValidationError

from curate.image.codec import DecodeError, decode, encode, sniff, to_pil
from curate.image.header import Header
from curate.image.resize import SizeRejected, resize
from curate.recipe.input import Resize


def photo(width, height, seed=0):
    """Pixels with the 1/f spectrum of natural pictures."""
    noise = np.random.default_rng(seed)
    frequency = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None])
    frequency[0, 0] = 1
    planes = [
        np.fft.irfft2(np.exp(2j * np.pi * noise.random(frequency.shape)) / frequency**1.2, s=(height, width))
        for _ in range(3)
    ]
    colours = np.stack([planes[0] + 0.3 * planes[1], planes[0], planes[0] + 0.3 * planes[2]], -1)
    return np.clip(128 + 50 * colours / colours.std(), 0, 255).astype(np.uint8)


def file(picture, kind, **options):
    picture.save(out := io.BytesIO(), kind, **options)
    return out.getvalue()


def psnr(one, other):
    error = np.mean((one.astype(float) - other.astype(float)) ** 2)
    return 99.0 if error == 0 else 10 * np.log10(255**2 / error)


PHOTO = photo(90, 60)
PIL_PHOTO = Image.fromarray(PHOTO)
JPEG = encode(PHOTO)
KINDS = ["JPEG", "PNG", "WEBP", "GIF", "AVIF"]


def png(width, height, chunks=(), depth=8, colour=2, data=b"\x78\x9c\x03\x00\x00\x00\x00\x01"):
    out = b"\x89PNG\r\n\x1a\n"
    header = (b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0))
    for kind, body in (header, *chunks, (b"IDAT", data), (b"IEND", b"")):
        out += struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
    return out


@pytest.mark.parametrize("kind", KINDS)
def test_sniff(kind):
    header = sniff(file(PIL_PHOTO, kind))
    assert header == Header({"JPEG": "jpg"}.get(kind, kind.lower()), 90, 60)


def test_sniff_webp_kinds():
    assert sniff(file(PIL_PHOTO, "WEBP", lossless=True)) == Header("webp", 90, 60)
    assert sniff(file(PIL_PHOTO.convert("RGBA"), "WEBP")) == Header("webp", 90, 60)


@pytest.mark.parametrize(
    "data",
    [
        b"", b"\xff\xd8\xff", b"GIF89a", b"RIFF\0\0\0\0WEBP", b"\x89PNG\r\n\x1a\n", b"\0\0\0\x18ftypavif" + bytes(99),
        b"<html>", b"<svg/>", b'<?xml version="1.0"?><svg/>', b"%!PS-Adobe-3.0", b"%PDF-1.7", b"II*\0" + bytes(99),
        b"MM\0*" + bytes(99), b"BM" + bytes(99), bytes(99),
    ],
)  # fmt: skip
def test_what_is_no_image(data):
    assert sniff(data) is None
    with pytest.raises(DecodeError):
        decode(data)


@pytest.mark.parametrize("kind", KINDS)
def test_garbage_never_raises_anything_else(kind):
    data, random = bytearray(file(PIL_PHOTO, kind)), np.random.default_rng(1)
    for _ in range(60):
        broken = bytearray(data)
        for at in random.integers(0, len(data), 5):
            broken[at] = random.integers(256)
        broken = bytes(broken[: random.integers(len(data))])
        header = sniff(broken)
        assert header is None or header.width > 0
        if header and header.width * header.height < 10**6:
            with contextlib.suppress(DecodeError):
                assert decode(broken).ndim == 3


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("share", [0.5, 0.9])
def test_truncated(kind, share):
    data = file(PIL_PHOTO, kind)
    cut = data[: int(len(data) * share)]
    for min_side in (None, 15):
        with pytest.raises(DecodeError):
            decode(cut, min_side)
    if kind not in ("AVIF",):
        assert not sniff(cut).complete
        assert sniff(data + b"trailing").complete


@pytest.mark.parametrize("cut", [1, 2, 50])
def test_jpeg_without_its_end(cut):
    for data in (JPEG, file(PIL_PHOTO, "JPEG", progressive=True)):
        assert not sniff(data[:-cut]).complete
        with pytest.raises(DecodeError):
            decode(data[:-cut])


def test_bombs_are_seen_in_the_header():
    assert sniff(png(20_000, 20_000, depth=1, colour=0)) == Header("png", 20_000, 20_000)
    text = zlib.compress(bytes(50_000_000))
    with pytest.raises(DecodeError):
        decode(png(8, 8, chunks=[(b"zTXt", b"k\0\0" + text)]))


# Pixels


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_upright(orientation, kind):
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"lossless": True} if kind == "WEBP" else {}
    data = file(PIL_PHOTO, kind, exif=exif, **options)
    wanted = np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(data))).convert("RGB"))
    pixels = decode(data)
    header = sniff(data)
    assert (header.height, header.width, header.orientation) == (*wanted.shape[:2], orientation)
    assert pixels.shape == wanted.shape
    assert psnr(pixels, wanted) > 45
    small = resize(data, header, size=30, mode="keep_ratio")
    assert (small.width > small.height) == (wanted.shape[1] > wanted.shape[0])
    if kind == "JPEG":
        assert decode(data, 30).shape[:2] == (wanted.shape[0] // 2, wanted.shape[1] // 2)


def test_sixteen_bits_are_scaled():
    grey = Image.fromarray(np.full((4, 4), 40_000, np.uint16))
    assert (decode(file(grey, "PNG")) == 40_000 >> 8).all()
    rows = b"".join(b"\0" + struct.pack(">HHH", 40_000, 300, 65_535) * 2 for _ in range(2))
    assert (decode(png(2, 2, depth=16, data=zlib.compress(rows))) == [156, 1, 255]).all()


def test_transparency_goes_on_white():
    clear = Image.new("RGBA", (4, 4), (200, 0, 0, 128))
    assert np.abs(decode(file(clear, "PNG")).astype(int) - [227, 127, 127]).max() <= 1
    assert (decode(file(Image.new("LA", (4, 4), (0, 0)), "PNG")) == 255).all()
    palette = Image.new("P", (4, 4), 3)
    palette.putpalette([10, 20, 30] * 8)
    assert (decode(file(palette, "PNG")) == [10, 20, 30]).all()
    assert (decode(file(palette, "PNG", transparency=3)) == 255).all()


def test_cmyk_grey_and_one_bit():
    cmyk = Image.new("CMYK", (16, 16), (0, 255, 255, 0))
    assert np.abs(decode(file(cmyk, "JPEG", quality=100)).astype(int) - [255, 0, 0]).max() <= 3
    assert (decode(file(Image.new("L", (16, 16), 77), "JPEG", quality=100)) == 77).all()
    assert (decode(file(Image.new("1", (4, 4), 1), "PNG")) == 255).all()


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG", "AVIF"])
def test_animations_give_their_first_frame(kind):
    frames = [Image.new("RGB", (16, 16), (grey,) * 3) for grey in (0, 90, 180, 250)]
    data = file(frames[0], kind, save_all=True, append_images=frames[1:])
    assert sniff(data).frames == (4 if kind in ("PNG", "AVIF") else 2)
    assert decode(data).mean() < 3


def test_scaled_decode_is_the_smallest_that_is_large_enough():
    data = encode(photo(800, 601))
    sides = {min_side: decode(data, min_side).shape[:2] for min_side in (602, 601, 302, 301, 151, 76, 75, 1)}
    full, half, quarter, eighth = (601, 800), (301, 400), (151, 200), (76, 100)
    assert sides == {602: full, 601: full, 302: full, 301: half, 151: quarter, 76: eighth, 75: eighth, 1: eighth}


def test_harmless_padding_before_the_end_is_accepted():
    data = JPEG[:-2] + b"\x01\x02" + JPEG[-2:]
    assert psnr(decode(data), decode(JPEG)) > 50


@pytest.mark.parametrize(("format", "least"), [("jpg", 30), ("png", 99), ("webp", 30)])
def test_encode(format, least):  # noqa: A002
    data = encode(PHOTO, format)
    assert sniff(data) == Header(format, 90, 60)
    assert psnr(decode(data), PHOTO) >= least
    assert len(encode(PHOTO, format, 0)) != len(data)


def test_encode_knows_no_other_format():
    with pytest.raises(ValueError, match="gif"):
        encode(PHOTO, "gif")


def test_to_pil():
    assert to_pil(PHOTO).mode == "RGB"
    assert (np.asarray(to_pil(PHOTO)) == PHOTO).all()


# Resize


def test_settings():
    with pytest.raises(ValidationError):
        Resize(sizes=3)
    with pytest.raises(ValidationError, match="compression"):
        Resize(format="png")
    assert all(field.description for field in Resize.model_fields.values())


@pytest.mark.parametrize("limit", [{"min_side": 61}, {"max_area": 5399}, {"max_aspect": 1.49}])
def test_sizes_are_refused_by_the_header(limit):
    with pytest.raises(SizeRejected):
        resize(JPEG[:400], sniff(JPEG), **limit)  # there is nothing to decode
    assert resize(JPEG, sniff(JPEG), min_side=60, max_area=5400, max_aspect=1.5).width == 256


def test_skip_reencode():
    keep = {"mode": "no", "skip_reencode": True}
    assert resize(JPEG, sniff(JPEG), **keep).data == JPEG
    assert resize(JPEG, sniff(JPEG), **keep, format="webp").format == "webp"
    assert resize(JPEG, sniff(JPEG), mode="no").data != JPEG
    with pytest.raises(DecodeError):
        resize(JPEG[:-9], sniff(JPEG), **keep)


def test_scaled_decode_changes_pixels_a_little_and_sizes_not_at_all():
    data = encode(photo(600, 700))
    exact = resize(data, sniff(data), size=256)
    scaled = resize(data, sniff(data), size=256, decode="scaled")
    assert (scaled.width, scaled.height) == (exact.width, exact.height)
    assert 28 < psnr(decode(scaled.data), decode(exact.data)) < 99


def test_threads_give_the_same_bytes():
    data = encode(photo(300, 200))
    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(lambda _: resize(data, sniff(data), size=64).data, range(64)))
    assert len(set(results)) == 1


THEIRS = """
import io, pickle, sys
from img2dataset.resizer import Resizer
jobs = pickle.load(sys.stdin.buffer)
done = [Resizer(**options)(io.BytesIO(data)) for data, options in jobs]
sys.stdout.buffer.write(pickle.dumps(done))
"""
MODES = ["border", "keep_ratio", "keep_ratio_largest", "center_crop", "no"]
SIZES = [(600, 700), (601, 701), (700, 333), (256, 256), (255, 257), (100, 90), (1, 5), (40, 900), (899, 37)]


@pytest.mark.skipif(not importlib.util.find_spec("img2dataset"), reason="needs the extra img2dataset")
def test_sizes_and_pixels_are_those_of_img2dataset():
    grid = []
    for at, (width, height) in enumerate(SIZES):
        data = encode(photo(width, height, at))
        grid += [
            (data, {"size": size, "mode": mode, "only_if_bigger": bigger, "max_aspect": 20})
            for mode in MODES
            for size in (64, 256, 299)
            for bigger in (False, True)
        ]
    names = {"size": "image_size", "mode": "resize_mode", "only_if_bigger": "resize_only_if_bigger"}
    jobs = [(data, {theirs: how[ours] for ours, theirs in names.items()}) for data, how in grid]
    jobs = [(data, options | {"max_aspect_ratio": 20}) for data, options in jobs]
    run = subprocess.run([sys.executable, "-c", THEIRS], input=pickle.dumps(jobs), capture_output=True, check=True)
    compared = 0
    for (data, how), (theirs, width, height, _, _, error) in zip(grid, pickle.loads(run.stdout), strict=True):
        header = sniff(data)
        if error:
            with pytest.raises(SizeRejected):
                resize(data, header, **how)
            continue
        ours = resize(data, header, **how)
        assert (ours.width, ours.height) == (width, height), (header, how)
        assert decode(ours.data).shape[:2] == (height, width)
        assert psnr(decode(ours.data), decode(theirs)) >= 40, (header, how)
        compared += 1
    assert compared > 200
