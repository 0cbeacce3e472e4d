"""CLIP: how well each image goes with each text of its document, and the image's embedding.

Radford et al. 2021, through open_clip. Every distinct picture is encoded once a shard, every text once a document; the
images x texts similarities are kept, the text embeddings are not. Thresholds only transfer between equal weights:
LAION's 0.28 and 0.3 are for ``ViT-B-32-quickgelu`` / ``openai``, MMC4's 0.15 for ``ViT-L-14-quickgelu`` / ``openai``.
"""

from __future__ import annotations

import os
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from curate import Encoded, Image, Text, Vector, scores
from curate.image.codec import to_pil

DEMO = Path(__file__).resolve().parent / "demo_models" / "clip"
"""The demo model: trained on drawn shapes, of no use on real pictures."""

Vectors = npt.NDArray[np.float32]


@scores(
    "document",
    image={"sim": float, "best": int, "sims": list[float], "embedding": Vector},
    pixels="full",
    batch=64,
    requires=("open_clip_torch",),
    version=1,
)
class Clip:
    """Similarities (cosine, -1 to 1) of images and texts.

    ``sim`` is an image's best one, ``best`` the index of that text among the document's texts, ``sims`` those with all
    texts in order, ``embedding`` the normalised vector.

    Args:
        model: an open_clip name such as ``ViT-B-32-quickgelu``; a local folder with ``open_clip_config.json``,
            weights and tokenizer; or ``demo``, the demo model that comes with curate.
        weights: the tag of the pretrained weights, such as ``openai`` or ``laion2b_s34b_b79k``; none for a folder.
        precision: ``bf16`` or ``fp32``; ``auto`` is bf16 on a GPU. Name one where some workers have no GPU.
    """

    def __init__(self, model: str = "demo", weights: str = "", precision: str = "auto") -> None:
        os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # waiting threads must not take cores from the decoders
        import open_clip
        import torch

        self.torch = torch
        self.device = "cuda" if torch.cuda.is_available() else "cpu"
        if precision == "auto":
            precision = "bf16" if self.device == "cuda" else "fp32"
        self.dtype = {"bf16": torch.bfloat16, "fp32": torch.float32}[precision]
        name = located(model)
        if weights or not name.startswith("local-dir:"):
            pretrained(model, weights)
        with warnings.catch_warnings():
            warnings.filterwarnings("error", message=".*QuickGELU.*")
            self.model, preprocess = open_clip.create_model_from_pretrained(
                name, weights or None, precision=precision, device=self.device
            )
        self.model.eval()
        self.shape_picture, self.normalise = split(preprocess)
        self.tokenize = open_clip.get_tokenizer(name)

    @staticmethod
    def weights(model: str = "demo", weights: str = "", precision: str = "auto") -> list[Path]:  # noqa: ARG004
        """The files that the scores depend on."""
        name = located(model)
        if name.startswith("local-dir:"):
            return sorted(path for path in Path(name.removeprefix("local-dir:")).iterdir() if path.is_file())
        import open_clip

        return [Path(open_clip.download_pretrained(pretrained(model, weights)))]

    def prepare(self, image: Image) -> Any:
        """The model's own resizing and cropping, in the decoding threads: (side, side, 3), 0-255."""
        assert image.pixels is not None
        return np.asarray(self.shape_picture(to_pil(image.pixels)))

    def encode_image(self, batch: list[Any]) -> Vectors:
        """(n, d), normalised."""
        with self.torch.inference_mode():
            ready = self.normalised(batch).to(self.dtype)
            vectors: Vectors = self.model.encode_image(ready, normalize=True).float().cpu().numpy()
        return vectors

    def normalised(self, batch: list[Any]) -> Any:
        """Prepared pictures as the model reads them: a float32 tensor (n, 3, side, side) on its device."""
        pictures = self.torch.from_numpy(np.stack(batch)).to(self.device).permute(0, 3, 1, 2)
        return self.normalise(pictures.float() / 255).contiguous()

    def encode_text(self, texts: list[Text]) -> Vectors:
        """(n, d), normalised; a text is cut at the model's context length."""
        with self.torch.inference_mode():
            tokens = self.tokenize([text.text for text in texts]).to(self.device)
            vectors: Vectors = self.model.encode_text(tokens, normalize=True).float().cpu().numpy()
        return vectors

    def __call__(self, documents: list[Encoded]) -> list[dict[int, dict[str, Any]]]:
        """The rows of each document's images."""
        return [relate(document) for document in documents]


def split(preprocess: Any) -> tuple[Any, Any]:
    """A model's preprocessing in two: what makes a small picture of a picture, and what follows ToTensor.

    The first half runs for each picture in the decoding threads and leaves bytes; the second, for a whole batch.
    """
    from torchvision.transforms import Compose, ToTensor

    steps = list(preprocess.transforms)
    at = next(at for at, step in enumerate(steps) if isinstance(step, ToTensor))
    return Compose(steps[:at]), Compose(steps[at + 1 :])


def relate(document: Encoded) -> dict[int, dict[str, Any]]:
    """Similarities of each image with each text, in document order."""
    texts = np.stack([document.texts[at] for at in document.document.texts]) if document.texts else None
    rows: dict[int, dict[str, Any]] = {}
    for at, vector in document.images.items():
        sims = texts @ vector if texts is not None else np.empty(0, np.float32)
        best = {"sim": float(sims.max()), "best": int(sims.argmax())} if len(sims) else {}
        rows[at] = {**best, "sims": sims, "embedding": vector}
    return rows


def located(model: str) -> str:
    """The name by which open_clip finds a model: its own, or local-dir:PATH for a folder."""
    folder = DEMO if model == "demo" else Path(model)
    if (folder / "open_clip_config.json").is_file():
        return f"local-dir:{folder}"
    if model == "demo" or "/" in model:
        raise FileNotFoundError(f"clip: {folder} has no open_clip_config.json")
    return model


def pretrained(model: str, weights: str) -> dict[str, Any]:
    """What open_clip knows of these weights, without fetching them.

    Refuses weights trained with QuickGELU in a model without it, which open_clip would score wrongly.
    """
    import open_clip

    trained: dict[str, Any] = open_clip.get_pretrained_cfg(model, weights)
    if not open_clip.get_model_config(model):
        raise ValueError(f"clip: open_clip has no model {model!r}")
    if not trained:
        tags = ", ".join(open_clip.list_pretrained_tags_by_model(model)) or "none"
        fault = f"has no weights {weights!r}" if weights else "needs weights"
        raise ValueError(f"clip: model {model!r} {fault}; there are {tags}")
    quick = bool(trained.get("quick_gelu"))
    if quick != bool((open_clip.get_model_config(model) or {}).get("quick_gelu")):
        other = f"{model}-quickgelu" if quick else model.removesuffix("-quickgelu")
        raise ValueError(f"clip: QuickGELU mismatch: {weights!r} of {model!r} would score wrongly; use model: {other}")
    return trained
