"""Trains the demo's heads, for unsafe pictures, beauty and watermarks, and measures what it saved. Sees no photograph.

    python filters/demo_models/train_heads.py            # train, save, measure
    python filters/demo_models/train_heads.py --measure  # measure the saved heads only

They have the shapes of LAION's and read what those read: the first two the embeddings of filters/clip.py with the demo
CLIP, the third the picture itself. What they look for is planted (curate/demo/planted.py): magenta stars stand in for
the unsafe, beauty is an invented taste, watermarks are drawn.
"""

from __future__ import annotations

import argparse
import json
import logging
import time
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from safetensors.torch import save as serialise
from torch import nn

from curate import Image
from curate.demo import planted, world
from curate.filters.aesthetic import Aesthetic
from curate.filters.clip import Clip
from curate.filters.nsfw import Nsfw
from curate.filters.watermark import Network, Watermark, built
from curate.image.codec import decode, encode, to_pil

FOLDER = Path(__file__).parent
SEED = 9
SCENES = 12_000
MARKED = 6_000  # pictures for the watermark network, half of them marked
EPOCHS = 40
MARK_EPOCHS = 10
BATCH = 128
WIDTH = 128  # of the demo CLIP's embeddings
SIDES = (64, 80, 96, 128, 160, 224)
SHARES = (0.25, 0.25, 0.25, 0.19, 0.04, 0.02)
NETWORK = Network(architecture="test_efficientnet", head=(), side=64)
"""timm's smallest EfficientNet, with LAION's normalisation and order of classes; 0 is watermark."""

log = logging.getLogger("train_heads")

Tensor = torch.Tensor
Pixels = npt.NDArray[np.uint8]
Vectors = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Case:
    """A picture and what is true of it."""

    pixels: Pixels
    scene: world.Scene
    marked: bool
    lookalike: bool


def cases(count: int, rng: np.random.Generator, unsafe: float, marked: float) -> list[Case]:
    """Pictures of 64 to 224 px, half of them JPEG, a tenth with a face.

    ``unsafe`` is the share of magenta stars; as many others resemble them in colour or shape. ``marked`` is the share
    of watermarks.
    """
    return [_case(rng, unsafe, marked) for _ in range(count)]


def _case(rng: np.random.Generator, unsafe: float, marked: float) -> Case:
    scene, chance = planted.unsafe_scene(rng, int(rng.choice(SIDES, p=SHARES))), rng.random()
    if unsafe <= chance < 2 * unsafe:
        scene = world.spoil(scene, rng, "colour" if rng.random() < 0.5 else "shape")
    elif chance >= 2 * unsafe:
        scene = world.random_scene(rng, scene.side)
    pixels = planted.with_face(scene, rng)[0] if rng.random() < 0.1 else world.draw(scene)
    under = bool(rng.random() < marked)
    if under:
        pixels, _ = planted.watermark(pixels, rng)
    if rng.random() < 0.5:
        pixels = decode(encode(pixels, "jpg", int(rng.integers(30, 96))))
    return Case(pixels, scene, under, unsafe <= chance < 2 * unsafe and not planted.is_unsafe(scene))


def embeddings(pictures: list[Pixels]) -> Vectors:
    """(n, 128), as filters/clip.py makes them; rounded to half precision, as they are stored."""
    clip = Clip()
    ready = [clip.prepare(Image("", pixels=pixels)) for pixels in pictures]
    parts = [clip.encode_image(ready[at : at + 256]) for at in range(0, len(ready), 256)]
    return np.concatenate(parts).astype(np.float16).astype(np.float32)


def save(name: str, weights: dict[str, Tensor]) -> None:
    """Writes FOLDER/name/model.safetensors in half precision."""
    (FOLDER / name).mkdir(parents=True, exist_ok=True)
    half = {key: (value.half() if value.is_floating_point() else value) for key, value in weights.items()}
    part = FOLDER / name / "model.safetensors.part"
    part.write_bytes(serialise({key: value.detach().contiguous() for key, value in half.items()}))
    part.rename(part.with_suffix(""))


def fit(net: nn.Module, inputs: Tensor, loss_of: Any, epochs: int, rate: float) -> None:
    """AdamW, one cycle; ``loss_of(output, places)``."""
    optimiser = torch.optim.AdamW(net.parameters(), lr=rate, weight_decay=0.01)
    batches = -(-len(inputs) // BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, rate, total_steps=epochs * batches, pct_start=0.1)
    net.train()
    for epoch in range(epochs):
        for places in torch.split(torch.randperm(len(inputs)), BATCH):
            loss = loss_of(net(inputs[places]), places)
            optimiser.zero_grad()
            torch.autograd.backward(loss)
            optimiser.step()
            schedule.step()
        if epoch % 5 == 4:
            log.info("  epoch %d  loss %.4f", epoch + 1, loss.item())
    net.eval()


def train_nsfw(vectors: Tensor, unsafe: Tensor) -> None:
    """LAION's head for ViT-L/14 at the demo's width: normalisation, 64, 512, 256, 1, ReLU between, sigmoid after."""
    torch.manual_seed(SEED)
    mean, variance = vectors.mean(dim=0), vectors.var(dim=0)
    widths = (WIDTH, 64, 512, 256, 1)
    linears = [nn.Linear(before, after) for before, after in pairwise(widths)]
    net = nn.Sequential(*(part for linear in linears for part in (linear, nn.ReLU())))[:-1]
    binary = nn.functional.binary_cross_entropy_with_logits
    ready = (vectors - mean) / variance.sqrt()
    fit(net, ready, lambda output, places: binary(output[:, 0], unsafe[places]), EPOCHS, 1e-3)
    named = {f"linear_{at}": linear.state_dict() for at, linear in enumerate(linears, 1)}
    weights = {f"{name}.{key}": value for name, part in named.items() for key, value in part.items()}
    save("nsfw_head", {"norm.mean": mean, "norm.variance": variance, **weights})


def train_aesthetic(vectors: Tensor, taste: Tensor) -> None:
    """LAION's predictor V2 at the demo's width: linear layers with dropout between them and nothing else."""
    torch.manual_seed(SEED)
    net = nn.Sequential(
        nn.Linear(WIDTH, 1024),
        nn.Dropout(0.2),
        nn.Linear(1024, 128),
        nn.Dropout(0.2),
        nn.Linear(128, 64),
        nn.Dropout(0.1),
        nn.Linear(64, 16),
        nn.Linear(16, 1),
    )
    fit(net, vectors, lambda output, places: nn.functional.mse_loss(output[:, 0], taste[places]), EPOCHS, 1e-3)
    save("aesthetic_head", {f"layers.{name}": value for name, value in net.state_dict().items()})


def train_watermark(rng: np.random.Generator) -> None:
    """A small EfficientNet on the picture squeezed to a square."""
    torch.manual_seed(SEED)
    drawn = cases(MARKED, rng, 0.0, 0.5)
    small = np.stack([np.asarray(to_pil(case.pixels).resize((NETWORK.side,) * 2, 2)) for case in drawn])  # bilinear
    mean, std = (torch.tensor(part).view(3, 1, 1) for part in (NETWORK.mean, NETWORK.std))
    pictures = (torch.from_numpy(small).permute(0, 3, 1, 2).float() / 255 - mean) / std
    labels = torch.tensor([int(not case.marked) for case in drawn])
    net = built(NETWORK)
    fit(net, pictures, lambda output, at: nn.functional.cross_entropy(output, labels[at]), MARK_EPOCHS, 3e-3)
    save("watermark", net.state_dict())
    described = json.dumps(asdict(NETWORK), indent=2)
    (FOLDER / "watermark" / "config.json").write_text(f"{described}\n")


def train() -> None:
    """Draws, embeds, trains and saves the three heads."""
    began, rng = time.monotonic(), np.random.default_rng(SEED)
    drawn = cases(SCENES, rng, 0.3, 0.1)
    vectors = torch.from_numpy(embeddings([case.pixels for case in drawn]))
    log.info("drew and embedded %d pictures in %.0f s", SCENES, time.monotonic() - began)
    train_nsfw(vectors, torch.tensor([float(planted.is_unsafe(case.scene)) for case in drawn]))
    train_aesthetic(vectors, torch.tensor([planted.taste(case.scene) for case in drawn], dtype=torch.float32))
    train_watermark(rng)
    log.info("trained and saved in %.1f minutes", (time.monotonic() - began) / 60)


def auc(right: npt.NDArray[np.float64], wrong: npt.NDArray[np.float64]) -> float:
    """The chance that a right case scores above a wrong one (Mann-Whitney); ties count half."""
    ordered = np.sort(wrong)
    below, upto = np.searchsorted(ordered, right, "left"), np.searchsorted(ordered, right, "right")
    return float((below + upto).mean() / 2 / len(wrong))


def found(scores: npt.NDArray[np.float64], there: npt.NDArray[np.bool_], least: float) -> dict[str, float]:
    """Recall and false alarms of ``scores > least``, and the AUC."""
    flagged = scores > least
    figures = {"recall": flagged[there].mean(), "false alarms": flagged[~there].mean()}
    figures["auc"] = auc(scores[there], scores[~there])
    return {name: round(float(value), 4) for name, value in figures.items()}


def measure(seed: int = SEED + 1_000, count: int = 3_000) -> dict[str, Any]:
    """Figures of the saved heads, loaded by the filters themselves, on fresh pictures."""
    rng = np.random.default_rng(seed)
    drawn = cases(count, rng, 0.25, 0.25)
    vectors = embeddings([case.pixels for case in drawn]).tolist()
    unsafe = np.array([planted.is_unsafe(case.scene) for case in drawn])
    alike = np.array([case.lookalike for case in drawn])
    marked = np.array([case.marked for case in drawn])
    scores = np.array([row["unsafe"] for row in Nsfw()(vectors) if row])
    figures: dict[str, Any] = {"seed": seed, "pictures": count, "unsafe at 0.5": found(scores, unsafe, 0.5)}
    figures["unsafe at 0.1"] = found(scores, unsafe, 0.1)
    figures["unsafe at 0.5, without watermarks"] = found(scores[~marked], unsafe[~marked], 0.5)
    figures["unsafe at 0.5, against look-alikes"] = found(scores[unsafe | alike], unsafe[unsafe | alike], 0.5)
    taste = np.array([planted.taste(case.scene) for case in drawn])
    liked = np.array([row["score"] for row in Aesthetic()(vectors) if row])
    figures["taste, correlation"] = round(float(np.corrcoef(taste, liked)[0, 1]), 4)
    figures["taste, mean error"] = round(float(np.abs(taste - liked).mean()), 3)
    figures["taste, true and predicted percentiles 5 50 95"] = [
        np.percentile(values, [5, 50, 95]).round(2).tolist() for values in (taste, liked)
    ]
    mark = Watermark()
    ready = [mark.prepare(Image("", pixels=case.pixels)) for case in drawn]
    parts = [mark(ready[at : at + 100]) for at in range(0, count, 100)]
    seen = np.array([row["watermark"] for part in parts for row in part])
    return {**figures, "watermark at 0.8": found(seen, marked, 0.8), "watermark at 0.5": found(seen, marked, 0.5)}


def main() -> None:
    """Trains unless told only to measure; logs one line per figure."""
    options = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    options.add_argument("--measure", action="store_true", help="measure the saved heads only")
    options.add_argument("--threads", type=int, default=1)
    chosen = options.parse_args()
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    log.setLevel(logging.INFO)
    torch.set_num_threads(chosen.threads)
    if not chosen.measure:
        train()
    for name, value in measure().items():
        log.info("%-48s %s", name, value)


if __name__ == "__main__":
    main()
