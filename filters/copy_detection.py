"""Copy detection: a picture's SSCD descriptor, which stays close in copies of it. Compares no two pictures.

Pizzi et al. 2022. Its cosine tells copies apart where CLIP's tells contents: 0.75 is a copy with 90 % precision
(sscd_disc_mixup, DISC2021). To be read by ``decontaminate`` (``on: copy.embedding``) and by groups.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import numpy as np

from curate import Image, Vector, scores
from curate.filters._heads import normalised
from curate.image.codec import to_pil
from curate.score.identity import file_sha256

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""ImageNet's."""


@scores("image", embedding=Vector, pixels=320, batch=32, requires=("torch", "torchvision"), version=1)
class CopyDetection:
    """``embedding``: of length 1 (512-d for SSCD).

    Args:
        weights: a TorchScript file that takes (n, 3, h, w), such as ``sscd_disc_mixup.torchscript.pt``.
        sha256: of that file, which is a program.
        resize: ``short``: the short side to 288, as SSCD was evaluated; one picture at a time. ``square``: squeezed to
            320 x 320, in batches, at a slight loss. Compare only descriptors of one kind.
    """

    def __init__(self, weights: str, sha256: str, resize: Literal["short", "square"] = "short") -> None:
        import torch
        from torchvision.transforms import functional

        (file,) = self.weights(weights, sha256, resize)
        self.torch, self.resize = torch, functional.resize
        self.size: int | list[int] = 288 if resize == "short" else [320, 320]
        self.device = "cuda" if torch.cuda.is_available() else "cpu"
        self.model = torch.jit.load(str(file), map_location=self.device).eval()  # type: ignore[no-untyped-call]
        self.mean, self.std = (torch.tensor(each, device=self.device).view(3, 1, 1) for each in (MEAN, STD))

    @staticmethod
    def weights(weights: str, sha256: str, resize: Literal["short", "square"] = "short") -> list[Path]:
        """The file that the scores depend on."""
        if resize not in {"short", "square"}:
            raise ValueError(f"resize: {resize!r} is neither short nor square")
        if not (file := Path(weights)).is_file():
            raise FileNotFoundError(f"copy_detection: there are no weights {weights}")
        if (found := file_sha256(file)) != sha256.lower():
            raise ValueError(
                f"{file} has the sha256 {found}, not {sha256}: TorchScript is a program, name it if you trust it"
            )
        return [file]

    def prepare(self, image: Image) -> Any:
        """The picture resized, in the decoding threads: (height, width, 3), 0-255."""
        assert image.pixels is not None
        return np.asarray(self.resize(to_pil(image.pixels), self.size))

    def __call__(self, batch: list[Any]) -> list[dict[str, Any] | None]:
        """A row for each prepared picture; None where the descriptor is no direction."""
        together = [batch] if isinstance(self.size, list) else [[each] for each in batch]
        vectors = normalised(np.concatenate([self.describe(np.stack(pictures)) for pictures in together]))
        return [{"embedding": vector} if np.isfinite(vector).all() else None for vector in vectors]

    def describe(self, pictures: Any) -> Any:
        """(n, d) of (n, height, width, 3), in float64."""
        with self.torch.inference_mode():
            ready = self.torch.from_numpy(pictures).to(self.device).permute(0, 3, 1, 2).float() / 255
            return self.model((ready - self.mean) / self.std).double().cpu().numpy()
