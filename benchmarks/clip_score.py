"""`curate score` with CLIP beside the bare model on tensors that are in memory already.

    python benchmarks/clip_score.py [--quick] [--images 128]

The bare model gets batches of 64 preprocessed tensors and one short caption for each picture, tokenised before the
clock starts, in `inference_mode`, with as many torch threads as there are cores and on the same device. `curate
score` does all the rest besides: it reads the raw shard, decodes, preprocesses, tokenises, encodes pictures and
captions, relates them, and writes the table. Both times hold picture and text encoding of every pair; loading the
model is in neither. Model: ViT-B-32 with open_clip's own configuration and random weights, but for the vocabulary
and the context of 20 words of the demo tokenizer, since the real one cannot be had without a download; and the demo
model, which is so small that decoding is all there is to see. The requirement (0.9) is for ViT-B-32.

Two corpora: pictures of 256 x 256, as fetched with `resize`, and originals of 600 x 700 of 124 KB.

The limit: on a CPU, decoding and preprocessing take cores away from the model, so the ratio cannot exceed model /
(model + decode) in core seconds; that bound is printed beside it. With a GPU it is 1 as long as the cores decode as
fast as the GPU encodes.
"""

from __future__ import annotations

import json
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import common
import polars as pl
import torch

from curate.document import Image
from curate.filters.clip import Clip
from curate.image.codec import decode
from curate.ledger.ledger import Ledger
from curate.ledger.making import done
from curate.run.executor import InProcess
from curate.run.run import Run
from curate.run.stages import Stages
from curate.score.measure import Measurer, job_of
from curate.store.store import Store

DEMO = Path(__file__).resolve().parent.parent / "filters/demo_models/clip"


def random_vit(folder: Path) -> Path:
    """A ViT-B-32 with random weights, in the layout that open_clip loads from a folder."""
    import open_clip
    from safetensors.torch import save_file

    demo = json.loads((DEMO / "open_clip_config.json").read_text())
    config = open_clip.get_model_config("ViT-B-32")
    text = {name: demo["model_cfg"]["text_cfg"][name] for name in ("context_length", "vocab_size", "hf_tokenizer_name")}
    config["text_cfg"] |= text | {"pool_type": "eos", "eos_id": demo["model_cfg"]["text_cfg"]["eos_id"]}
    torch.manual_seed(0)
    built = open_clip.CLIP(config["embed_dim"], config["vision_cfg"], config["text_cfg"])
    folder.mkdir()
    save_file(
        {name: value.contiguous() for name, value in built.state_dict().items()}, folder / "open_clip_model.safetensors"
    )
    about = {"model_cfg": config, "preprocess_cfg": demo["preprocess_cfg"] | {"size": 224}}
    (folder / "open_clip_config.json").write_text(json.dumps(about))
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(DEMO / name, folder)
    return folder


class Quiet:
    """Progress for nobody."""

    def start(self, *_: object) -> None:
        """Says nothing."""

    advance = end = start


def fetched(folder: Path, images: int, side: tuple[int, int], goal: int, model: str) -> Run:
    """A run whose pictures are fetched, as one shard."""
    common.draw(folder / "web", images, *side, goal)
    with common.serve(folder / "web") as web:
        manifest = common.manifest(folder / "pairs.parquet", [f"{web.base}/{n:06d}.jpg" for n in range(images)])
        recipe = common.recipe(
            folder / "recipe.yaml",
            {
                "source": {"reader": "laion", "path": str(manifest), "shard": images},
                "fetch": {"allow_loopback": True, "per_host": 32},
                "score": {"clip": {"use": "clip", "model": model}},
            },
        )
        run = Run.open(recipe, Store(folder / "run"))
        Stages.of(run, InProcess(), Quiet()).fetch()
    return run


class Sides:
    """The same pairs, for the bare model and for us."""

    def __init__(self, run: Run) -> None:
        self.run, (self.scorer,) = run, run.resolved.scorers
        self.measurer, self.job = Measurer(run.resolved.scorers), job_of("00000000", run.resolved.scorers)
        self.clip: Clip = self.measurer._call(self.scorer)
        raw = run.store.path("raw")
        table = pl.read_parquet(f"{raw}/00000000.parquet")
        self.texts = table.filter(kind="text")["text"].to_list()
        with Path(f"{raw}/00000000.tar").open("rb") as tar:
            self.data = []
            for offset, size in table.filter(kind="image").select("offset", "bytes").iter_rows():
                tar.seek(offset)
                self.data.append(tar.read(size))
        self.prepared = [self.prepare(each) for each in self.data]
        self.tensors = self.clip.normalised(self.prepared).cpu()
        self.cores: dict[str, list[float]] = {"bare": [], "curate": []}
        self.tokens = self.clip.tokenize(self.texts)

    def prepare(self, data: bytes) -> Any:
        """What the decoding threads do to a picture."""
        return self.clip.prepare(Image("", pixels=decode(data)))

    def bare(self, _: int = 0) -> float:
        """Pairs/s of the model alone."""
        size, clip = self.scorer.spec.batch, self.clip

        def work() -> None:
            with torch.inference_mode():
                for at in range(0, len(self.tensors), size):
                    batch = self.tensors[at : at + size].to(clip.device, clip.dtype)
                    clip.model.encode_image(batch, normalize=True).float().cpu()
                    clip.model.encode_text(self.tokens[at : at + size].to(clip.device), normalize=True).float().cpu()

        return self.timed("bare", work)

    def timed(self, side: str, work: Callable[[], Any]) -> float:
        """Pairs/s of a call; keeps its core seconds for a pair, which others' work on the machine changes less."""
        began = time.process_time()
        took = common.seconds(work)
        self.cores[side].append((time.process_time() - began) / len(self.tensors))
        return len(self.tensors) / took

    def pictures_alone(self) -> float:
        """Pictures/s of the image tower alone."""
        size = self.scorer.spec.batch
        parts = [self.prepared[at : at + size] for at in range(0, len(self.prepared), size)]
        return len(self.tensors) / common.seconds(lambda: [self.clip.encode_image(part) for part in parts])

    def ours(self, _: int = 0) -> float:
        """Pairs/s of curate score."""
        shutil.rmtree(self.run.store.path(self.scorer.folder), ignore_errors=True)
        job = Ledger(self.run.store).handed(self.job)
        return self.timed("curate", lambda: done(self.run.store, job, self.measurer))

    def decoding(self) -> float:
        """Seconds of one core for a picture: read, decode, preprocess."""
        some = self.data[:64]
        torch.set_num_threads(1)
        began = time.process_time()
        for each in some:
            self.prepare(each)
        took = (time.process_time() - began) / len(some)
        torch.set_num_threads(common.CORES)
        return took


def main() -> None:
    parser = common.arguments(__doc__)
    parser.add_argument("--images", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    images, rounds = (64, 1) if given.quick else (given.images, given.rounds)
    torch.set_num_threads(common.CORES)
    where = torch.cuda.get_device_name() if torch.cuda.is_available() else "CPU; not measured on a GPU"
    head = [
        "model",
        "pictures",
        "bare model, pairs/s",
        "its image tower alone",
        "curate score, pairs/s",
        "ratio, median of rounds",
    ]
    more = ["worst / best round", "ratio of core seconds", "decode + prepare, ms of a core", "bound on this machine"]
    table = common.Table([*head, *more])
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        folder = Path(name)
        vit = random_vit(folder / "vit-b-32")
        for model, path in (("ViT-B-32, random", str(vit)), ("demo (64 px)", "demo")):
            for kind, side, goal in (("256 x 256", (256, 256), 30_000), ("600 x 700", (600, 700), 124_000)):
                here = folder / f"{Path(path).name}-{side[0]}"
                here.mkdir()
                sides = Sides(fetched(here, images, side, goal, path))
                sides.bare(), sides.ours()
                figures = common.alternate({"bare": sides.bare, "curate": sides.ours}, rounds)
                ratios = [ours / bare for ours, bare in zip(figures["curate"], figures["bare"], strict=True)]
                cost = {side: common.median(values[1:]) for side, values in sides.cores.items()}
                decoding = 0.0 if torch.cuda.is_available() else sides.decoding()
                table.add(
                    model,
                    kind,
                    f"{common.median(figures['bare']):.1f}",
                    f"{sides.pictures_alone():.1f}",
                    f"{common.median(figures['curate']):.1f}",
                    f"{common.median(ratios):.2f}",
                    f"{min(ratios):.2f} / {max(ratios):.2f}",
                    f"{cost['bare'] / cost['curate']:.2f}",
                    f"{1000 * decoding:.1f}",
                    f"{cost['bare'] / (cost['bare'] + decoding):.2f}",
                )
    table.show(f"{images} pairs, batches of 64, {common.CORES} torch threads, {where}")


if __name__ == "__main__":
    main()
