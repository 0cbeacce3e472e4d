"""What a second text costs the filter of CapFilt, whose image encoder runs once for all texts of a picture.

    python benchmarks/capfilt.py [--quick] [--images 8]

One text: the web's, as ``itm`` judges it. Two texts: that and another one, on the same picture. Twice: two calls that
share nothing, as two passes of the model would. The requirement is at most 1.3 times one text. Pictures are prepared
before the clock starts; texts have 12 words. Both times hold tokenising, and neither holds a caption being written. The
ratio of multiplications, which no other process can disturb, is what a GPU comes to while it is busy with those.

Models: the shape of BLIP-base (ViT-B/16 at 384 pixels, 12 text layers of 768) with random weights and a small
vocabulary; and the demo's matcher, where it is there.
"""

from __future__ import annotations

import hashlib
import random
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import common
import torch
from torch.utils.flop_counter import FlopCounterMode

from curate.document import Image, Text
from curate.filters._pretrained import DEMO
from curate.filters.itm import Itm


def random_blip(folder: Path) -> str:
    """A matcher of BLIP-base's shape, as transformers saves it, in half precision."""
    import transformers

    tokens = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *common.WORDS]
    words = transformers.BertTokenizer(vocab={token: at for at, token in enumerate(tokens)})
    config = transformers.BlipConfig(
        text_config={"vocab_size": 30524, "encoder_hidden_size": 768, "num_attention_heads": 12},
        vision_config={"image_size": 384, "initializer_range": 0.02},
    )
    torch.manual_seed(0)
    transformers.BlipForImageTextRetrieval(config).half().save_pretrained(folder)
    transformers.BlipProcessor(transformers.BlipImageProcessor(), words).save_pretrained(folder)
    return str(folder)


class Sides:
    """The same pictures with one text each, or two."""

    def __init__(self, model: str, images: int) -> None:
        self.scorer, draw = Itm(model), random.Random(0)
        pictures = [self.scorer.prepare(picture(at)) for at in range(images)]
        texts = [Text(" ".join(draw.choices(common.WORDS, k=12))) for _ in range(2 * images)]
        self.first = list(zip(pictures, texts[:images], strict=True))
        self.second = list(zip(pictures, texts[images:], strict=True))
        self.both = [pair for pairs in zip(self.first, self.second, strict=True) for pair in pairs]
        self.cores: dict[str, list[float]] = {}

    def timed(self, side: str, *calls: list[Any]) -> Callable[[int], float]:
        """Seconds for a picture; keeps core seconds, which others' work on the machine changes less."""

        def work() -> None:
            for pairs in calls:
                self.scorer.seen = {}
                self.scorer(pairs)

        def measured(_: int = 0) -> float:
            began = time.process_time()
            took = common.seconds(work)
            self.cores.setdefault(side, []).append((time.process_time() - began) / len(self.first))
            return took / len(self.first)

        return measured


def operations(scorer: Itm, pairs: list[Any]) -> int:
    """How many floating point operations the models' matrix products take."""
    scorer.seen = {}
    with FlopCounterMode(display=False) as counter:
        scorer(pairs)
    return int(counter.get_total_flops())


def picture(seed: int) -> Image:
    """A photo-like picture."""
    pixels = common.scene(512, seed % 4)[:, :, ::-1].copy()
    pixels[0, 0] = seed
    return Image("", pixels=pixels, sha256=hashlib.sha256(pixels).hexdigest())


def main() -> None:
    parser = common.arguments(__doc__)
    parser.add_argument("--images", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    images, rounds = (2, 1) if given.quick else (given.images, given.rounds)
    torch.set_num_threads(common.CORES)
    table = common.Table(
        [
            "model",
            "one text, ms a picture",
            "two texts",
            "twice one text",
            "two / one, median of rounds",
            "best / worst round",
            "ratio of core seconds",
            "ratio of multiplications",
        ]
    )
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        models = {"BLIP-base, random": random_blip(Path(name) / "blip")}
        if (DEMO / "blip_itm").is_dir():
            models["demo (64 px)"] = "demo"
        for model, path in models.items():
            sides = Sides(path, images if path != "demo" else 32)
            ways = {
                "one": sides.timed("one", sides.first),
                "two": sides.timed("two", sides.both),
                "twice": sides.timed("twice", sides.first, sides.second),
            }
            ways["two"](0)
            sides.cores.clear()
            found = common.alternate(ways, rounds)
            ratios = [two / one for one, two in zip(found["one"], found["two"], strict=True)]
            table.add(
                model,
                *(f"{1000 * common.median(found[way]):.1f}" for way in ways),
                f"{common.median(ratios):.2f}",
                f"{min(ratios):.2f} / {max(ratios):.2f}",
                f"{common.median(sides.cores['two']) / common.median(sides.cores['one']):.2f}",
                f"{operations(sides.scorer, sides.both[:2]) / operations(sides.scorer, sides.first[:1]):.2f}",
            )
    where = torch.cuda.get_device_name() if torch.cuda.is_available() else "CPU; not measured on a GPU"
    table.show(f"{images} pictures of 512 x 512, {common.CORES} torch threads, {where}")


if __name__ == "__main__":
    main()
