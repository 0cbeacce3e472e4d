"""What heads on CLIP's embedding cost: scoring with clip, nsfw and aesthetic beside clip alone.

    python benchmarks/heads.py [--quick] [--images 256]

Two models: ViT-B-32 with random weights, with heads of LAION's B/32 shapes, random too; and the demo CLIP with the demo
heads, where preparing pictures is all the work. The same raw shard, in turns; the ratio is that of medians.
"""

from __future__ import annotations

import shutil
import tempfile
from itertools import pairwise
from pathlib import Path

import clip_score
import common
import torch

from curate.ledger.ledger import Ledger
from curate.ledger.making import done
from curate.run.run import Run
from curate.score.measure import Measurer, job_of


def random_heads(folder: Path, width: int) -> dict[str, dict[str, str]]:
    """LAION's unsafe head for B/32 and aesthetic V1 with random weights; the entries of a recipe."""
    from safetensors.torch import save_file

    sizes = [width, 32, 32, 1]
    unsafe = {"norm.mean": torch.zeros(width), "norm.variance": torch.ones(width)}
    for at, (came, went) in enumerate(pairwise(sizes), 1):
        unsafe |= {f"linear_{at}.weight": torch.randn(went, came) / came**0.5, f"linear_{at}.bias": torch.zeros(went)}
    save_file(unsafe, folder / "unsafe.safetensors")
    save_file({"weight": torch.randn(1, width), "bias": torch.zeros(1)}, folder / "aesthetic.safetensors")
    return {
        "nsfw": {"use": "nsfw", "weights": str(folder / "unsafe.safetensors")},
        "aesthetic": {"use": "aesthetic", "weights": str(folder / "aesthetic.safetensors")},
    }


class Side:
    """A recipe's scorers on the one raw shard of a run."""

    def __init__(self, run: Run) -> None:
        self.run, self.measurer = run, Measurer(run.resolved.scorers)
        self.job = job_of("00000000", run.resolved.scorers)
        self.images = run.plan.slices[0].count

    def rate(self, _: int = 0) -> float:
        """Pairs/s of everything."""
        for scorer in self.run.resolved.scorers:
            shutil.rmtree(self.run.store.path(scorer.folder), ignore_errors=True)
        job = Ledger(self.run.store).handed(self.job)
        return self.images / common.seconds(lambda: done(self.run.store, job, self.measurer))


def main() -> None:
    parser = common.arguments(__doc__)
    parser.add_argument("--images", type=int, default=256)
    given = parser.parse_args()
    images, rounds = (64, 2) if given.quick else (given.images, 5)
    torch.set_num_threads(common.CORES)
    table = common.Table(("model", "clip, pairs/s", "clip + nsfw + aesthetic, pairs/s", "times as long"))
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        folder = Path(name)
        vit = clip_score.random_vit(folder / "vit-b-32")
        demo = {each: {"use": each, "weights": "demo"} for each in ("nsfw", "aesthetic")}
        for model, path, heads in (
            ("ViT-B-32, random", str(vit), random_heads(folder, 512)),
            ("demo", "demo", demo),
        ):
            here = folder / Path(path).name
            here = here.with_name(f"{here.name}-run")
            here.mkdir()
            alone = clip_score.fetched(here, images, (256, 256), 30_000, path)
            content = alone.resolved.recipe.model_dump(mode="json", exclude_unset=True)
            content["score"] |= heads
            more = Run.open(common.recipe(here / "more.yaml", content), alone.store)
            sides = {"alone": Side(alone), "heads": Side(more)}
            for side in sides.values():
                side.rate()
            found = common.alternate({name: side.rate for name, side in sides.items()}, rounds)
            alone_rate, heads_rate = common.median(found["alone"]), common.median(found["heads"])
            ratio = alone_rate / heads_rate
            table.add(model, f"{alone_rate:.1f}", f"{heads_rate:.1f}", f"{ratio:.3f}")
    table.show(f"{images} pairs of 256 x 256 px")


if __name__ == "__main__":
    main()
