"""What a reduced-scale JPEG decode does to a CLIP similarity, and so how large a scorer must ask its pictures to be.

    python benchmarks/decode_fidelity.py [FOLDER ...] [--quick] [--model demo]

A JPEG can be decoded at 1/2, 1/4 or 1/8 of its sides for less time; the model's own preprocessing then resizes from
there. Each picture is scored with a full decode and with `decode(data, factor x the model's side)`, both through
the scorer's own `prepare`, and the similarities with 64 captions compared. FOLDER holds real JPEGs (by default the
GIMP manual's, where it is installed); photo-like ones of 500 to 3000 px are drawn besides. Only pictures that a
factor really decodes smaller are counted, since the others do not differ at all.

The requirement: 99 of 100 differences at most 0.003, a hundredth of LAION's threshold of 0.3. Three sets: drawn
scenes, which are what the demo model was trained on; photo-like and real pictures, which it never saw and on which
its similarities jump. How much they jump anyway is measured beside it: the picture one grey level (of 256)
brighter, saved anew at quality 95 (as everything is that img2dataset resized), and halved by an exact average of
its pixels in place of libjpeg's.

The limit: libjpeg averages in the cosine domain, preprocessing in pixels, and averaging twice is not averaging
once; no decoder that hands over fewer pixels does better than the exact average. A factor's error follows the ratio
of sides; with other weights run this again: `--model FOLDER`.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import common
import cv2
import numpy as np

from curate.demo import world
from curate.document import Image, Text
from curate.filters.clip import Clip
from curate.image.codec import DecodeError, decode, encode, sniff

REAL = "/usr/share/gimp/2.0/help/en"
FACTORS = (1, 1.5, 2, 3, 4)
SIDES = ((500, 500), (600, 700), (800, 533), (1024, 768), (1280, 960), (1500, 1000), (2048, 1536), (3000, 2000))


def real(folders: list[str]) -> list[bytes]:
    """Every JPEG below the folders."""
    paths = sorted(path for folder in folders for path in Path(folder).rglob("*") if path.suffix in (".jpg", ".jpeg"))
    return [path.read_bytes() for path in paths]


def drawn(each: int) -> list[bytes]:
    """Photo-like JPEGs of several sizes, at the quality of the web."""
    return [common.jpeg(common.photo(*side, seed), 85) for side in SIDES for seed in range(each)]


def scenes(each: int) -> list[bytes]:
    """Pictures of the kind that the demo model knows, at sizes of the web."""
    rng = np.random.default_rng(9)
    return [
        encode(world.draw(world.random_scene(rng, side)), "jpg", 85)
        for side in (400, 512, 640, 800, 1024)
        for _ in range(each)
    ]


CHANGES: dict[str, Callable[[Any], Any]] = {
    "one grey level brighter": lambda pixels: cv2.add(pixels, (1, 1, 1, 0)),
    "saved anew at quality 95": lambda pixels: decode(encode(pixels, "jpg", 95)),
    "exact average of 2 x 2": lambda pixels: cv2.resize(
        pixels, (-(-pixels.shape[1] // 2), -(-pixels.shape[0] // 2)), interpolation=cv2.INTER_AREA
    ),
}


def vectors(clip: Clip, pictures: list[bytes], how: int | Callable[[Any], Any] | None) -> Any:
    """The embeddings (n, d), decoded at the smallest scale that keeps a short side, or fully and then changed."""

    def pixels(data: bytes) -> Any:
        return how(decode(data)) if callable(how) else decode(data, how)

    ready = [clip.prepare(Image("", pixels=pixels(data))) for data in pictures]
    return np.concatenate([clip.encode_image(ready[at : at + 64]) for at in range(0, len(ready), 64)])


def shrinks(data: bytes, least: float) -> bool:
    """Whether a picture is decoded at a reduced scale."""
    header = sniff(data)
    assert header
    return -(-min(header.width, header.height) // 2) >= least


def decodable(data: bytes) -> bool:
    """Whether it is a picture."""
    try:
        decode(data)
    except DecodeError:
        return False
    return True


def figures(off: Any, full: Any) -> list[str]:
    """p50, p99 and maximum over all pairs of picture and caption, and p99 of each picture's best similarity."""
    p50, p99 = np.quantile(np.abs(off), (0.5, 0.99))
    best = np.abs((full + off).max(1) - full.max(1))
    return [f"{p50:.4f}", f"{p99:.4f}", f"{np.abs(off).max():.4f}", f"{np.quantile(best, 0.99):.4f}"]


def main() -> None:
    parser = common.arguments(__doc__)
    parser.add_argument("folders", nargs="*", default=[REAL], metavar="FOLDER")
    parser.add_argument("--model", default="demo")
    given = parser.parse_args()
    clip = Clip(given.model)
    side = clip.model.visual.image_size
    side = side if isinstance(side, int) else max(side)
    rng = np.random.default_rng(3)
    captions = [world.caption(world.random_scene(rng), rng) for _ in range(32)] + [
        common.sentence(seed) for seed in range(32)
    ]
    texts = clip.encode_text([Text(caption) for caption in captions])
    sets = {
        "drawn scenes": scenes(4 if given.quick else 30),
        "real": [data for data in real(given.folders) if decodable(data)],
        "photo-like": drawn(1 if given.quick else 12),
    }
    head = ["pictures", "factor or change", "least side, px", "of the pictures", "p50", "p99", "max"]
    table = common.Table([*head, "p99 of each picture's best", "decode time of full", "p99 <= 0.003"])
    for name, pictures in sets.items():
        if given.quick and name == "real":
            pictures = pictures[::8]
        if not pictures:
            common.note(f"no {name} pictures in {given.folders}: not measured")
            continue
        full = vectors(clip, pictures, None) @ texts.T
        whole = common.seconds(lambda pictures=pictures: [decode(data) for data in pictures])
        for change, what in CHANGES.items():
            off = vectors(clip, pictures, what) @ texts.T - full
            table.add(name, change, "-", f"{len(pictures)}", *figures(off, full), "-", "-")
        for factor in FACTORS:
            least = round(factor * side)
            smaller = np.array([shrinks(data, least) for data in pictures])
            if not smaller.any():
                table.add(name, factor, least, f"0 of {len(pictures)}", *["-"] * 6)
                continue
            reduced = vectors(clip, pictures, least) @ texts.T
            assert (reduced[~smaller] == full[~smaller]).all()
            took = common.seconds(lambda pictures=pictures, least=least: [decode(data, least) for data in pictures])
            shown = figures((reduced - full)[smaller], full[smaller])
            good = "yes" if float(shown[1]) <= 0.003 else "no"
            table.add(name, factor, least, f"{smaller.sum()} of {len(pictures)}", *shown, f"{took / whole:.2f}", good)
    about = f"model {given.model} ({side} px), {len(captions)} captions"
    table.show(f"|similarity with reduced decode - with full decode|, {about}")


if __name__ == "__main__":
    main()
