"""Heat map: a small network that finds one kind of thing in a picture, for the demo. Knows no weights of its own.

A map of centres, and at each the box (as in CenterNet, Zhou et al. 2019). ``faces`` runs it, and
``demo_models/train_faces.py`` trains it.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from curate.document import Pixels
from curate.filters._heads import tensors

STRIDE = 4
"""Pixels in a cell of the maps."""


class HeatMap:
    """The network of a model.safetensors and its config.json: from pixels (h, w, 3) to boxes and scores (n, 5).

    ``side`` is the longest that a picture may be.
    """

    def __init__(self, file: Path, config: Path, floor: float) -> None:
        import torch

        described = json.loads(config.read_text())
        self.torch, self.floor, self.side = torch, floor, int(described["side"])
        self.model = built(int(described["width"]))
        self.model.load_state_dict({name: torch.from_numpy(tensor) for name, tensor in tensors(file).items()})
        self.model.eval().float()

    def __call__(self, pixels: Pixels) -> npt.NDArray[np.float64]:
        """Left, top, right, bottom in pixels, and the score, 0 to 1, of every peak of the map that is no lower."""
        with self.torch.inference_mode():
            heat, *box = self.model(self.torch.from_numpy(square(pixels, self.side))[None])[0]
            best = self.torch.nn.functional.max_pool2d(heat[None], 3, 1, 1)[0]
            scores = heat.sigmoid()
            y, x = self.torch.nonzero((heat == best) & (scores >= self.floor), as_tuple=True)
            found = self.torch.stack([x, y, *(each[y, x] for each in box), scores[y, x]], dim=1).double().numpy()
        centres, halves = (found[:, :2] + found[:, 2:4]) * STRIDE, np.exp(found[:, 4:6]) / 2
        return np.column_stack([centres - halves, centres + halves, found[:, 6]])


def square(pixels: Pixels, side: int) -> npt.NDArray[np.float32]:
    """A picture that is no larger, in the upper left of a grey square: (3, side, side), -0.5 to 0.5."""
    page = np.zeros((side, side, 3), np.float32)
    page[: pixels.shape[0], : pixels.shape[1]] = pixels / np.float32(255) - np.float32(0.5)
    return np.ascontiguousarray(page.transpose(2, 0, 1))


def built(width: int) -> Any:
    """The network without weights: (n, 3, side, side) to (n, 5, side / 4, side / 4)."""
    from torch import nn

    steps: list[Any] = []
    shapes = [(3, width // 2, 2, 1), (width // 2, width, 2, 1), *((width, width, 1, reach) for reach in (1, 2, 4))]
    for inputs, outputs, stride, reach in shapes:
        conv = nn.Conv2d(inputs, outputs, 3, stride, reach, dilation=reach, bias=False)
        steps += [conv, nn.BatchNorm2d(outputs), nn.ReLU()]
    return nn.Sequential(*steps, nn.Conv2d(width, 5, 1))
