"""Watermark: the probability that a picture bears one, by LAION's classifier.

https://github.com/LAION-AI/LAION-5B-WatermarkDetection: EfficientNet-B3 of timm (``efficientnet_b3a``, since renamed)
with three linear layers, on the picture squeezed to 256 x 256. LAION calls a picture watermarked above 0.8.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from curate import Image, scores
from curate.filters._heads import DEMO, tensors, weights_file
from curate.image.codec import to_pil

BILINEAR = 2
"""Pillow's number for it."""


@dataclass(frozen=True)
class Network:
    """What the weights do not say; LAION's, unless a config.json beside them has other values.

    ``architecture`` is timm's name, ``head`` the hidden widths of the classifier, ``side`` that of the square that
    the network sees (bilinear), ``index`` the class that means watermark.
    """

    architecture: str = "efficientnet_b3"
    head: tuple[int, ...] = (625, 256)
    side: int = 256
    mean: tuple[float, ...] = (0.485, 0.456, 0.406)
    std: tuple[float, ...] = (0.229, 0.224, 0.225)
    classes: int = 2
    index: int = 0


@scores("image", watermark=float, pixels="full", batch=32, requires=("torch", "timm"), version=1)
class Watermark:
    """``watermark``: 0 to 1.

    Args:
        weights: LAION's, as a .safetensors file or as a state dict (.pt, .pth, .bin); a folder with config.json and
            model.safetensors; or ``demo``, the demo's model.
        sha256: of the file; required for a pickled state dict, which is converted to safetensors beside it, once.
    """

    def __init__(self, weights: str = "demo", sha256: str = "") -> None:
        import torch

        file, *config = self.weights(weights, sha256)
        self.network = described(config[0]) if config else Network()
        self.torch = torch
        self.device = "cuda" if torch.cuda.is_available() else "cpu"
        self.model = built(self.network)
        state = {name: torch.from_numpy(tensor) for name, tensor in tensors(file).items()}
        try:
            self.model.load_state_dict(state)
        except RuntimeError as error:
            raise ValueError(f"{file} is not for {self.network}: {str(error)[:500]}") from None
        self.model.eval().float().to(self.device)
        self.mean, self.std = (
            torch.tensor(each, device=self.device).view(3, 1, 1) for each in (self.network.mean, self.network.std)
        )

    @staticmethod
    def weights(weights: str = "demo", sha256: str = "") -> list[Path]:
        """The files that the scores depend on: the weights, then config.json where the weights are a folder."""
        folder = DEMO / "watermark" if weights == "demo" else Path(weights)
        if weights != "demo" and not folder.is_dir():
            return [weights_file(folder, sha256)]
        if not (folder / "config.json").is_file():
            raise FileNotFoundError(f"there is no {folder / 'config.json'}; name LAION's weights as a file")
        return [weights_file(folder / "model.safetensors", sha256), folder / "config.json"]

    def prepare(self, image: Image) -> Any:
        """The picture squeezed to a square, in the decoding threads: (side, side, 3), 0-255."""
        assert image.pixels is not None
        side = self.network.side
        return np.asarray(to_pil(image.pixels).resize((side, side), BILINEAR))

    def __call__(self, batch: list[Any]) -> list[dict[str, float]]:
        """A row for each prepared picture."""
        with self.torch.inference_mode():
            pictures = self.torch.from_numpy(np.stack(batch)).to(self.device).permute(0, 3, 1, 2)
            logits = self.model((pictures.float() / 255 - self.mean) / self.std)
            probabilities = logits.double().softmax(dim=1)[:, self.network.index]
        return [{"watermark": value} for value in probabilities.tolist()]


def described(config: Path) -> Network:
    """The network that a config.json describes."""
    try:
        return Network(**json.loads(config.read_text()))
    except TypeError as error:
        raise ValueError(f"{config}: {error}; it may have {', '.join(Network.__dataclass_fields__)}") from None


def built(network: Network) -> Any:
    """The network without weights: dropout only where it moves the numbers in the names, as it does nothing here."""
    import timm
    from torch import nn

    model: Any = timm.create_model(network.architecture, pretrained=False, num_classes=network.classes)
    if network.head:
        first, *others = network.head
        last = (first, *others)[-1]
        layers: list[Any] = [nn.Linear(model.num_features, first), nn.ReLU(), nn.Dropout()]
        for before, width in zip(network.head, others, strict=False):
            layers += [nn.Linear(before, width), nn.ReLU()]
        setattr(model, model.default_cfg["classifier"], nn.Sequential(*layers, nn.Linear(last, network.classes)))
    return model
