"""Trains the demo's face detector, and measures what it saved. Sees no photograph.

    python filters/demo_models/train_faces.py            # train, save, measure
    python filters/demo_models/train_faces.py --measure  # measure the saved network only

The faces are drawn (curate/demo/planted.py). The network and how its maps are read stand in filters/_heat_map.py.
"""

from __future__ import annotations

import argparse
import json
import logging
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from safetensors.torch import save as serialise
from torch.nn.functional import l1_loss, logsigmoid

from curate import Image
from curate.demo import planted, world
from curate.filters._heat_map import STRIDE, built, square
from curate.filters.faces import Faces, shrunk
from curate.image.codec import decode, encode

FOLDER = Path(__file__).parent / "faces"
SEED = 11
PICTURES = 5_000
EPOCHS = 8
BATCH = 32
SIDE = 96
WIDTH = 32
SIDES = (96, 128, 160, 224)

log = logging.getLogger("train_faces")

Tensor = torch.Tensor
Pixels = npt.NDArray[np.uint8]
Boxes = list[tuple[float, ...]]
"""Left, top, right, bottom as shares of the picture."""


@dataclass(frozen=True)
class Case:
    """A picture and its faces."""

    pixels: Pixels
    boxes: Boxes


def cases(count: int, rng: np.random.Generator) -> list[Case]:
    """Square pictures of 96 to 224 px, half of them JPEG, a tenth watermarked.

    Half of the scenes have a face. A quarter of the pictures are four scenes, with faces of half the size.
    """
    return [_case(rng) for _ in range(count)]


def _case(rng: np.random.Generator) -> Case:
    side = int(rng.choice(SIDES))
    if rng.random() < 0.25:
        four = [_scene(rng, side // 2) for _ in range(4)]
        rows = [np.concatenate([one.pixels, two.pixels], axis=1) for one, two in (four[:2], four[2:])]
        corners = [(at % 2 / 2, at // 2 / 2) * 2 for at in range(4)]
        boxes = [
            tuple(value / 2 + corner for value, corner in zip(box, corners[at], strict=True))
            for at, each in enumerate(four)
            for box in each.boxes
        ]
        case = Case(np.concatenate(rows), boxes)
    else:
        case = _scene(rng, side)
    pixels = planted.watermark(case.pixels, rng)[0] if rng.random() < 0.1 else case.pixels
    if rng.random() < 0.5:
        pixels = decode(encode(pixels, "jpg", int(rng.integers(30, 96))))
    return Case(pixels, case.boxes)


def _scene(rng: np.random.Generator, side: int) -> Case:
    scene = world.random_scene(rng, side)
    if rng.random() < 0.5:
        return Case(world.draw(scene), [])
    pixels, face = planted.with_face(scene, rng)
    return Case(pixels, [tuple(value / side for value in face.box)])


def targets(boxes: Boxes) -> tuple[Tensor, Tensor]:
    """The maps that a picture should give: (5, cells, cells), and where the last four count: (cells, cells)."""
    cells = SIDE // STRIDE
    maps, there = torch.zeros(5, cells, cells), torch.zeros(cells, cells, dtype=torch.bool)
    grid = torch.arange(cells)
    for left, top, right, bottom in (torch.tensor(box) * cells for box in boxes):
        x, y, width, height = (left + right) / 2, (top + bottom) / 2, right - left, bottom - top
        column, line = int(x), int(y)
        far = ((grid - column) / width)[None] ** 2 + ((grid - line) / height)[:, None] ** 2
        maps[0] = torch.maximum(maps[0], torch.exp(-far / (2 * 0.12**2)))
        sizes = torch.stack([width, height]).mul(STRIDE).log()
        maps[1:, line, column] = torch.tensor([x - column, y - line, *sizes.tolist()])
        there[line, column] = True
    return maps, there


def loss_of(output: Tensor, maps: Tensor, there: Tensor) -> Tensor:
    """CenterNet's: a focal loss for the centres, L1 for the boxes."""
    heat, true = output[:, 0], maps[:, 0]
    found = -logsigmoid(heat) * torch.sigmoid(-heat) ** 2 * there
    false = -logsigmoid(-heat) * torch.sigmoid(heat) ** 2 * (1 - true) ** 4 * ~there
    faces = there.sum().clamp(min=1)
    where = there[:, None].expand(-1, 4, -1, -1)
    return (found.sum() + false.sum()) / faces + l1_loss(output[:, 1:][where], maps[:, 1:][where])


def train() -> None:
    """Draws, trains and saves."""
    began, rng = time.monotonic(), np.random.default_rng(SEED)
    torch.manual_seed(SEED)
    drawn = cases(PICTURES, rng)
    inputs = torch.from_numpy(np.stack([square(shrunk(case.pixels, SIDE), SIDE) for case in drawn]))
    maps, there = (torch.stack(part) for part in zip(*(targets(case.boxes) for case in drawn), strict=True))
    log.info("drew %d pictures in %.0f s", PICTURES, time.monotonic() - began)
    net = built(WIDTH)
    torch.nn.init.constant_(net[-1].bias[0], -4.0)
    optimiser = torch.optim.AdamW(net.parameters(), lr=3e-3, weight_decay=0.01)
    steps = EPOCHS * -(-PICTURES // BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 3e-3, total_steps=steps, pct_start=0.1)
    for epoch in range(EPOCHS):
        for places in torch.randperm(PICTURES).split(BATCH):  # type: ignore[no-untyped-call]
            loss = loss_of(net(inputs[places]), maps[places], there[places])
            optimiser.zero_grad()
            torch.autograd.backward(loss)
            optimiser.step()
            schedule.step()
        log.info("  epoch %d  loss %.4f  %.0f s", epoch + 1, loss.item(), time.monotonic() - began)
    FOLDER.mkdir(exist_ok=True)
    half = {name: (value.half() if value.is_floating_point() else value) for name, value in net.state_dict().items()}
    (FOLDER / "model.safetensors").write_bytes(serialise(half))
    (FOLDER / "config.json").write_text(json.dumps({"side": SIDE, "width": WIDTH}) + "\n")
    log.info("trained and saved in %.1f minutes", (time.monotonic() - began) / 60)


def iou(one: Any, other: Any) -> float:
    """Intersection over union of two boxes."""
    left, top = (max(one[at], other[at]) for at in (0, 1))
    right, bottom = (min(one[at], other[at]) for at in (2, 3))
    common = max(0.0, right - left) * max(0.0, bottom - top)
    return float(common / (sum((box[2] - box[0]) * (box[3] - box[1]) for box in (one, other)) - common))


def matched(found: Any, boxes: Boxes, least: float) -> int:
    """How many of the found boxes, best first, are a face that no better one was."""
    free, hits = list(boxes), 0
    for box in found:
        if free and iou(box, best := max(free, key=lambda each: iou(box, each))) >= least:
            free.remove(best)
            hits += 1
    return hits


def width(case: Case) -> float:
    """The first face's share of the picture's width: 0.22 to 0.34 in a scene, half of that in four."""
    return float(case.boxes[0][2] - case.boxes[0][0])


def measure(seed: int = SEED + 1_000, count: int = 2_000) -> dict[str, Any]:
    """Figures of the saved network, loaded by the filter itself, on fresh pictures."""
    drawn, faces = cases(count, np.random.default_rng(seed)), Faces()
    seen = [faces.prepare(Image("", pixels=case.pixels))[:, :4] for case in drawn]
    true, found = sum(len(case.boxes) for case in drawn), sum(map(len, seen))
    figures: dict[str, Any] = {"seed": seed, "pictures": count, "faces": true}
    for least in (0.5, 0.7):
        hits = sum(matched(boxes, case.boxes, least) for boxes, case in zip(seen, drawn, strict=True))
        figures |= {f"recall at IoU {least}": hits / true, f"precision at IoU {least}": hits / found}
    for name, least, most in (("scene", 0.2, 1.0), ("four scenes", 0.0, 0.2)):
        those = [
            (boxes, case) for boxes, case in zip(seen, drawn, strict=True) if case.boxes and least <= width(case) < most
        ]
        hits = sum(matched(boxes, case.boxes, 0.5) for boxes, case in those)
        figures[f"recall at IoU 0.5, {name}"] = hits / sum(len(case.boxes) for _, case in those)
    empty = [len(boxes) > 0 for boxes, case in zip(seen, drawn, strict=True) if not case.boxes]
    right = [len(boxes) == len(case.boxes) for boxes, case in zip(seen, drawn, strict=True)]
    return figures | {
        "pictures without a face": len(empty),
        "of them with a false one": float(np.mean(empty)),
        "pictures with the right count": float(np.mean(right)),
    }


def main() -> None:
    """Trains unless told only to measure; logs one line per figure."""
    options = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    options.add_argument("--measure", action="store_true", help="measure the saved network only")
    options.add_argument("--threads", type=int, default=1)
    chosen = options.parse_args()
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    log.setLevel(logging.INFO)
    torch.set_num_threads(chosen.threads)
    if not chosen.measure:
        train()
    for name, value in measure().items():
        log.info("%-32s %s", name, round(value, 4))


if __name__ == "__main__":
    main()
