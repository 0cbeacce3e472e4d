"""Caption: captions of a picture by BLIP or BLIP-2, the best by CLIP first. Compares them with no text of the web.

As LAION-COCO and BLIP-2 did it: draw many, let CLIP choose. LAION-COCO is ``n: 40``, ``rank: [[ViT-L-14-quickgelu,
openai, 5], [RN50x64-quickgelu, openai, 1]]``; BLIP-2 is ``n: 10``, ``rank: [[ViT-L-14-quickgelu, openai, 2]]``.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from curate import Image, Text, scores
from curate.filters._captioner import CAPTIONER, PROMPT, Captioner, Sampling
from curate.filters._pretrained import Prepared, files
from curate.filters.clip import Clip

Ranked = list[tuple[float, str]]


@scores(
    "image",
    caption=str,
    captions=str,
    sim=float,
    sims=list[float],
    pixels="full",
    batch=16,
    requires=("torch", "torchvision", "transformers", "open_clip_torch"),
    version=1,
)
class Caption:
    """``captions``: a line each, all different; ``caption``: the first; ``sims``, ``sim``: cosines with the picture.

    Without ``rank`` captions stand as they were drawn, and there are no similarities.

    Args:
        model: a folder that transformers wrote, with a BlipForConditionalGeneration or Blip2ForConditionalGeneration;
            an id on the Hugging Face hub; or ``demo``, the demo's model.
        revision: the full commit hash of a model on the hub.
        n: captions that are drawn.
        rank: CLIP models (name, weights) as ``clip`` takes them, and how many captions each leaves to the next.
        prompt: what captions go on from, which is not part of them; unset: BLIP's "a picture of ", none for the demo.
        top_p: the nucleus.
        top_k: no more tokens than that; 0 for all of the nucleus.
        max_length: tokens of a caption, with [DEC] and prompt.
        min_length: likewise.
        repetition_penalty: BLIP's 1.1.
        seed: another one gives other captions.
        precision: ``bf16``, ``fp16`` or ``fp32``; ``auto`` is bf16 on a GPU.
    """

    def __init__(
        self,
        model: str = "demo",
        revision: str = "",
        n: int = 1,
        rank: tuple[tuple[str, str, int], ...] = (),
        prompt: str | None = None,
        top_p: float = 0.9,
        top_k: int = 0,
        max_length: int = 20,
        min_length: int = 5,
        repetition_penalty: float = 1.1,
        seed: int = 0,
        precision: str = "auto",
    ) -> None:
        if prompt is None:
            prompt = "" if model == "demo" else PROMPT
        how = Sampling(top_p, top_k, max_length, min_length, repetition_penalty, prompt, seed)
        self.captioner, self.n = Captioner(model, revision, precision, how), n
        clip_precision = "auto" if precision == "fp16" else precision
        self.rankers = [(Clip(name, weights, clip_precision), keep) for name, weights, keep in rank]

    @staticmethod
    def weights(
        model: str = "demo", revision: str = "", rank: tuple[tuple[str, str, int], ...] = (), **_: Any
    ) -> list[Path]:
        """The files that the scores depend on."""
        clips = [file for name, weights, _ in rank for file in Clip.weights(name, weights)]
        return files(model, revision, CAPTIONER) + clips

    def prepare(self, image: Image) -> Prepared:
        """The picture as the captioner and each CLIP read it, in the decoding threads."""
        clips = [clip.prepare(image) for clip, _ in self.rankers]
        return Prepared(image.sha256, (self.captioner.net.prepare(image), *clips))

    def __call__(self, pictures: list[Prepared]) -> list[dict[str, Any] | None]:
        """A row for each picture; None where the model says nothing."""
        with self.captioner.net.torch.inference_mode():
            said = self.captioner.captions(
                [picture.sha256 for picture in pictures], [picture.pixels[0] for picture in pictures], self.n
            )
        several: list[Ranked] = [[(np.nan, text) for text in dict.fromkeys(texts) if text] for texts in said]
        for at, (clip, keep) in enumerate(self.rankers, 1):
            vectors = clip.encode_image([picture.pixels[at] for picture in pictures])
            several = [ranked(clip, vector, texts)[:keep] for vector, texts in zip(vectors, several, strict=True)]
        return [self.row(texts) for texts in several]

    def row(self, texts: Ranked) -> dict[str, Any] | None:
        """The columns of one picture."""
        if not texts:
            return None
        captions = [text for _, text in texts]
        sims = [sim for sim, _ in texts] if self.rankers else None
        return {"caption": captions[0], "captions": "\n".join(captions), "sim": sims and sims[0], "sims": sims}


def ranked(clip: Clip, vector: Any, texts: Ranked) -> Ranked:
    """The texts with their similarity to a picture's vector, the best first."""
    if not texts:
        return []
    sims = clip.encode_text([Text(text) for _, text in texts]) @ vector
    return [(float(sims[at]), texts[at][1]) for at in np.argsort(-sims, kind="stable")]
