"""Pretrained: models of transformers from a folder or a pinned commit of the hub. Knows no particular model.

A checkpoint of another class, or with weights missing, is an error: transformers would fill in random ones. Pictures
are prepared by the processor in the model's own folder.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from curate import Image
from curate.image.codec import to_pil

DEMO = Path(__file__).resolve().parent / "demo_models"
Pixels = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Prepared:
    """A picture as models read it, (3, height, width) each, in the order of the models."""

    sha256: str
    pixels: tuple[Pixels, ...]

    @property
    def nbytes(self) -> int:
        """Bytes, for the queue between decoding and model."""
        return sum(each.nbytes for each in self.pixels)


class Model:
    """A model of transformers on its device, with its processor.

    Raises:
        ValueError: it is of another class, lacks weights, has no vocabulary, or is not pinned.
    """

    def __init__(self, model: str, revision: str, precision: str, kinds: Sequence[str]) -> None:
        import torch
        import transformers

        transformers.utils.logging.disable_progress_bar()
        self.torch, self.device = torch, "cuda" if torch.cuda.is_available() else "cpu"
        if precision == "auto":
            precision = "bf16" if self.device == "cuda" else "fp32"
        self.dtype = {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32}[precision]
        at = {"revision": pinned(model, revision), "local_files_only": Path(model).is_dir()}
        config = transformers.AutoConfig.from_pretrained(model, **at)
        self.kind = next(iter(config.architectures or ["nothing"]))
        if self.kind not in kinds:
            raise ValueError(f"{model} holds a {self.kind}; wanted: {' or '.join(kinds)}")
        loaded, about = weighed(getattr(transformers, self.kind), model, dtype=self.dtype, **at)
        if faults := {name: sorted(about[name]) for name in ("missing_keys", "mismatched_keys") if about[name]}:
            raise ValueError(f"{model} is no whole {self.kind}: {str(faults)[:300]}")
        self.model = loaded.eval().to(self.device)
        self.processor = transformers.AutoProcessor.from_pretrained(model, **at)
        self.tokenizer = self.processor.tokenizer
        if self.tokenizer.unk_token_id in self.tokenizer("a").input_ids:
            raise ValueError(f"{model} has no vocabulary: its tokenizer does not even know 'a'")

    def prepare(self, image: Image) -> Pixels:
        """The processor's own preprocessing."""
        assert image.pixels is not None
        return np.asarray(self.processor.image_processor(to_pil(image.pixels), return_tensors="np")["pixel_values"][0])

    def batch(self, pixels: Sequence[Pixels]) -> Any:
        """Pictures as one tensor."""
        return self.torch.from_numpy(np.stack(pixels)).to(self.device, self.dtype)


def weighed(kind: Any, model: str, **at: Any) -> tuple[Any, dict[str, Any]]:
    """A model with its weights, and what loading it has to say. Pickles are read as tensors only."""
    os.environ.setdefault("DISABLE_SAFETENSORS_CONVERSION", "1")  # else a thread asks the hub to convert pickles
    try:
        loaded, about = kind.from_pretrained(model, use_safetensors=True, output_loading_info=True, **at)
    except OSError:  # there are no safetensors
        loaded, about = kind.from_pretrained(
            model, use_safetensors=False, weights_only=True, output_loading_info=True, **at
        )
    return loaded, about


def pinned(model: str, revision: str) -> str | None:
    """The revision to load; ValueError for a model on the hub that is not pinned to a commit."""
    if Path(model).is_dir():
        return None
    if not re.fullmatch(r"[0-9a-f]{40}", revision):
        raise ValueError(f"{model} is no folder; for a model on the hub, pin its revision to a commit of 40 hex digits")
    return revision


def files(model: str, revision: str, demo: str) -> list[Path]:
    """The files of a model's folder, of the demo's where it is ``demo``; what is on the hub is named by its commit."""
    folder = located(model, demo)
    pinned(folder, revision)
    return sorted(path for path in Path(folder).glob("*") if path.is_file())


def located(model: str, demo: str) -> str:
    """A model's folder or id."""
    return str(DEMO / demo) if model == "demo" else model
