"""Fingerprints beside the libraries that define them: images/s of `phash` and `pdq`, documents/s of `minhash`.

    python benchmarks/hashes.py [--quick] [--rounds 15]

Both sides of a row get the same pixels in memory, or the same texts, and return what is stored: hexadecimal digits,
or 128 values. Pictures are photo-like, landscape and portrait; texts are drawn from a vocabulary by Zipf's law. One
process, one thread (BLAS too), and seconds of the core, which others' work on the machine changes less; sides
alternate, and the ratio is that of the medians. imagehash gets a Pillow image made of the pixels, inside the clock, as
a scorer has to make it. All make 5-grams of the casefolded words, split at white space: datasketch hashes them with
xxhash and updates in one call; datatrove is its own `MinhashDedupSignature` (14 x 8 values, its own simplification of
text, without spaCy's words), found on PYTHONPATH or left out:

    pip install --no-deps --target FOLDER datatrove dill multiprocess loguru humanize
    PYTHONPATH=FOLDER python benchmarks/hashes.py

The limit of `phash`: making Pillow's luminance to the last bit takes a seventh of imagehash's time.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable
from typing import Any

os.environ |= {"OPENBLAS_NUM_THREADS": "1", "RAYON_NUM_THREADS": "1", "LOGURU_LEVEL": "ERROR"}

import common
import imagehash
import numpy as np
import pdqhash
import xxhash
from datasketch import MinHash

from curate.document import Document, Image, Origin, Text
from curate.filters.minhash import minhash, words
from curate.filters.pdq import pdq
from curate.filters.phash import phash
from curate.image.codec import to_pil

Side = Callable[[], list[Any]]
SIDES = ((256, 256), (384, 512), (512, 512), (768, 576), (1024, 768), (1024, 1024))


def pictures(width: int, height: int, count: int) -> list[Any]:
    """Pixels (height, width, 3)."""
    return [np.ascontiguousarray(common.photo(width, height, seed)) for seed in range(count)]


def reference(pixels: Any) -> str:
    """Meta's code, as a scorer would store what it says."""
    return str(np.packbits(pdqhash.compute(pixels)[0]).tobytes().hex())


def image_sides(which: str, several: list[Any]) -> dict[str, Side]:
    """Ours and theirs on the same pixels."""
    images = [Image("", pixels=pixels) for pixels in several]
    if which == "phash":
        return {
            "ours": lambda: [row and row["phash"] for row in phash(images)],
            "imagehash": lambda: [str(imagehash.phash(to_pil(pixels))) for pixels in several],
        }
    return {
        "ours": lambda: [row and row["pdq"] for row in pdq(images)],
        "pdqhash": lambda: [reference(pixels) for pixels in several],
    }


def texts(count: int, length: int) -> list[str]:
    """Texts of so many words on average."""
    rng = np.random.default_rng(length)
    vocabulary = np.array(["".join(rng.choice(list("etaoinshrdlu"), rng.integers(2, 11))) for _ in range(20_000)])
    lengths = rng.poisson(length, count)
    return [" ".join(vocabulary[rng.zipf(1.2, each) % len(vocabulary)]).capitalize() + "." for each in lengths]


def with_datasketch(text: str) -> Any:
    """128 values, in the way that datasketch is fast: one update for all n-grams."""
    found = text.casefold().split()
    made = MinHash(128, seed=1, hashfunc=xxhash.xxh32_intdigest)
    made.update_batch([" ".join(found[at : at + 5]).encode() for at in range(len(found) - 4)])
    return made.hashvalues


def with_datatrove() -> Callable[[str], Any] | None:
    """Datatrove's signature of a text; None where it is not installed."""
    try:
        from datatrove.pipeline.dedup import minhash as theirs
    except ImportError as error:
        common.note(f"datatrove is not measured: {error}")
        return None

    class Spaces:
        """Words split at white space."""

        word_tokenize = staticmethod(str.split)

    theirs.load_word_tokenizer = lambda _: Spaces()
    step = theirs.MinhashDedupSignature(tempfile.gettempdir())
    step._hash_func = lambda text: xxhash.xxh64_intdigest(text.encode())  # its own, which fails with xxhash 4
    return lambda text: step.get_signature(step.get_shingles(text))


def core_seconds(side: Side) -> float:
    """How much of a core a call takes."""
    began = time.process_time()
    side()
    return time.process_time() - began


def compared(sides: dict[str, Side], rounds: int) -> dict[str, float]:
    """Items/s of each side, the median of rounds."""
    sizes = {name: len(side()) for name, side in sides.items()}
    timed = {name: lambda _, name=name, side=side: sizes[name] / core_seconds(side) for name, side in sides.items()}
    return {name: common.median(values) for name, values in common.alternate(timed, rounds).items()}


def main() -> None:
    parser = common.arguments(__doc__)
    parser.add_argument("--rounds", type=int, default=15)
    given = parser.parse_args()
    rounds, count = (3, 8) if given.quick else (given.rounds, 64)
    table = common.Table(["hash", "pixels", "ours, images/s", "theirs, images/s", "ratio of medians", "equal hashes"])
    for which, library in (("phash", "imagehash"), ("pdq", "pdqhash")):
        for width, height in SIDES[::2] if given.quick else SIDES:
            several = pictures(width, height, max(8, count * 256 * 256 // (width * height)))
            sides = image_sides(which, several)
            equal = sum(one == other for one, other in zip(sides["ours"](), sides[library](), strict=True))
            figures = compared(sides, rounds)
            ratio = figures["ours"] / figures[library]
            shown = [f"{figures['ours']:.0f}", f"{library} {figures[library]:.0f}", f"{ratio:.2f}"]
            table.add(which, f"{width} x {height}", *shown, f"{equal} of {len(several)}")
    table.show(f"{rounds} rounds, one thread, batches of 8 to {count}")

    table = common.Table(["words a text", "ours, documents/s", "theirs, documents/s", "ratio of medians"])
    datatrove = with_datatrove()
    origin = Origin("", "", 0, "")
    for length in (100, 400, 2000):
        several = texts(20 if given.quick else 100, length)
        documents = [Document(str(at), (Text(text),), origin) for at, text in enumerate(several)]
        assert len(words(several)[0]) == sum(len(text.split()) for text in several)
        sides = {
            "ours": lambda documents=documents: minhash(documents),
            "datasketch": lambda several=several: [with_datasketch(text) for text in several],
        }
        if datatrove:
            sides["datatrove"] = lambda several=several: [datatrove(text) for text in several]
        figures = compared(sides, rounds)
        for name in sides:
            if name != "ours":
                ratio = f"{figures['ours'] / figures[name]:.1f}"
                table.add(length, f"{figures['ours']:.0f}", f"{name} {figures[name]:.0f}", ratio)
    table.show(f"{rounds} rounds, one thread, 128 values (datatrove 112) of 5-grams of words")


if __name__ == "__main__":
    main()
