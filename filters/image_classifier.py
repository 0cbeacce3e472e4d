"""Image classifier: the label of a picture by any classifier of transformers, such as Falconsai/nsfw_image_detection.

Decides nothing: which labels are unwelcome is a parameter, and from which probability on is the recipe's rule.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np

from curate import Image, scores
from curate.image.codec import to_pil


@scores(
    "image",
    label=str,
    score=float,
    positive=float,
    pixels="full",
    batch=32,
    requires=("torch", "transformers"),
    version=1,
)
class ImageClassifier:
    """``label`` is the best, ``score`` its probability, ``positive`` that of the labels named, taken together.

    Args:
        model: a folder with config.json, preprocessor_config.json and model.safetensors; or an id on the Hugging Face
            hub, with ``revision``.
        positive: labels of the model; ``positive`` is null without any.
        revision: the full commit hash of a model on the hub, so that the same recipe gives the same scores.
    """

    def __init__(self, model: str, positive: tuple[str, ...] = (), revision: str = "") -> None:
        import torch
        from transformers import AutoImageProcessor, AutoModelForImageClassification

        at = {"revision": pinned(model, revision)}
        self.torch = torch
        self.device = "cuda" if torch.cuda.is_available() else "cpu"
        self.processor = AutoImageProcessor.from_pretrained(model, **at)
        self.model = AutoModelForImageClassification.from_pretrained(
            model, use_safetensors=True, dtype=torch.float32, **at
        )
        self.model.eval().to(self.device)
        config = self.model.config
        if config.problem_type == "multi_label_classification":
            raise ValueError(f"{model} gives several labels to a picture, whose probabilities do not add up to 1")
        self.labels: list[str] = [config.id2label[index] for index in range(config.num_labels)]
        if unknown := sorted(set(positive) - set(self.labels)):
            raise ValueError(f"{model} has no label {', '.join(unknown)}; it has {', '.join(self.labels)}")
        self.positive = [index for index, label in enumerate(self.labels) if label in positive]

    @staticmethod
    def weights(model: str, positive: tuple[str, ...] = (), revision: str = "") -> list[Path]:  # noqa: ARG004
        """The files of a folder; what is on the hub is named by its commit hash."""
        pinned(model, revision)
        return sorted(path for path in Path(model).glob("*") if path.is_file())

    def prepare(self, image: Image) -> Any:
        """The model's own preprocessing, in the decoding threads: float32 (3, height, width)."""
        assert image.pixels is not None
        return np.asarray(self.processor(to_pil(image.pixels), return_tensors="np")["pixel_values"][0], np.float32)

    def __call__(self, batch: list[Any]) -> list[dict[str, Any] | None]:
        """A row for each prepared picture."""
        with self.torch.inference_mode():
            pixels = self.torch.from_numpy(np.stack(batch)).to(self.device)
            several = self.model(pixel_values=pixels).logits.double().softmax(dim=1).cpu().numpy()
        return [self.row(probabilities) if np.isfinite(probabilities).all() else None for probabilities in several]

    def row(self, probabilities: Any) -> dict[str, Any]:
        """The columns of one picture."""
        best = int(probabilities.argmax())
        positive = float(probabilities[self.positive].sum()) if self.positive else None
        return {"label": self.labels[best], "score": float(probabilities[best]), "positive": positive}


def pinned(model: str, revision: str) -> str | None:
    """The revision to load; ValueError for a model on the hub that is not pinned to a commit."""
    if Path(model).is_dir():
        return None
    if not re.fullmatch(r"[0-9a-f]{40}", revision):
        raise ValueError(f"{model} is no folder; for a model on the hub, pin revision: to a commit of 40 hex digits")
    return revision
