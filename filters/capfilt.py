"""CapFilt: a caption for each picture, and whether it and the web's text are about the picture. Drops nothing.

Li et al. 2022: a captioner writes one caption by nucleus sampling; a filter judges the web's text and that caption,
each for itself, and BLIP keeps whichever it believes at 0.5 or more. In a recipe that is ``image: capfilt.caption_itm,
min: 0.5`` for the one and ``text: capfilt.text_itm, min: 0.5`` for the other.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from curate import Image, Text, scores
from curate.filters._blip import MATCHER, Matcher
from curate.filters._captioner import CAPTIONER, PROMPT, Captioner, Sampling
from curate.filters._pretrained import Prepared, files


@scores(
    "pair",
    caption=str,
    caption_itm=float,
    itm=float,
    text={"text_itm": float},
    pixels="full",
    batch=16,
    requires=("torch", "torchvision", "transformers"),
    version=1,
)
class CapFilt:
    """``caption`` and its probability ``caption_itm``; that of the text, as ``itm`` (image) and ``text_itm`` (text).

    A caption depends on the picture, the seed and the parameters, not on the batch, as far as rounding lets it: of 96
    captions by the demo's model, none changed between batches of 1, 5 and 16, in fp32 and in bf16 on a CPU.

    Args:
        captioner: a folder that transformers wrote, with a BLIP or BLIP-2 captioner; an id on the Hugging Face hub; or
            ``demo``, the demo's model.
        filter: the same, for a BLIP that was trained to match images and texts.
        captioner_revision: the full commit hash of a captioner on the hub.
        filter_revision: the same, of the filter.
        prompt: what captions go on from, which is not part of them; unset: BLIP's "a picture of ", none for the demo.
        top_p: the nucleus; BLIP's 0.9.
        top_k: no more tokens than that; 0 is the paper. BLIP's own code had 50, by the default of its transformers.
        max_length: tokens of a caption with [DEC] and prompt; BLIP's demo has 20, its code 30 where nothing is said.
        min_length: likewise 5 and 10.
        repetition_penalty: BLIP's 1.1.
        seed: another one gives other captions.
        enc_token: whether texts begin with [ENC], as when BLIP was trained, or with [CLS], as in its demo and in
            transformers; the probabilities differ.
        precision: ``bf16``, ``fp16`` or ``fp32``; ``auto`` is bf16 on a GPU.
    """

    def __init__(
        self,
        captioner: str = "demo",
        filter: str = "demo",  # noqa: A002 - the paper's name
        captioner_revision: str = "",
        filter_revision: str = "",
        prompt: str | None = None,
        top_p: float = 0.9,
        top_k: int = 0,
        max_length: int = 20,
        min_length: int = 5,
        repetition_penalty: float = 1.1,
        seed: int = 0,
        enc_token: bool = False,
        precision: str = "auto",
    ) -> None:
        if prompt is None:
            prompt = "" if captioner == "demo" else PROMPT
        how = Sampling(top_p, top_k, max_length, min_length, repetition_penalty, prompt, seed)
        self.captioner = Captioner(captioner, captioner_revision, precision, how)
        self.filter = Matcher(filter, filter_revision, precision, enc_token)
        processors = [each.net.processor.image_processor.to_dict() for each in (self.captioner, self.filter)]
        self.alike = processors[0] == processors[1]
        self.seen: dict[str, tuple[str, Any]] = {}

    @staticmethod
    def weights(
        captioner: str = "demo",
        filter: str = "demo",  # noqa: A002
        captioner_revision: str = "",
        filter_revision: str = "",
        **_: Any,
    ) -> list[Path]:
        """The files that the scores depend on."""
        return files(captioner, captioner_revision, CAPTIONER) + files(filter, filter_revision, MATCHER)

    def prepare(self, image: Image) -> Prepared:
        """The picture as captioner and filter read it, in the decoding threads; once where both read the same."""
        first = self.captioner.net.prepare(image)
        return Prepared(image.sha256, (first,) if self.alike else (first, self.filter.net.prepare(image)))

    def __call__(self, pairs: list[tuple[Prepared, Text]]) -> list[dict[str, Any]]:
        """A row for each pair; every picture is captioned and encoded once, its texts are judged on that."""
        with self.filter.net.torch.inference_mode():
            self.look({picture.sha256: picture for picture, _ in pairs})
            texts = {(picture.sha256, text.text): 0 for picture, text in pairs}
            texts |= {(sha256, caption): 0 for sha256, (caption, _) in self.seen.items()}
            states = [self.seen[sha256][1] for sha256, _ in texts]
            found = dict(zip(texts, self.filter.probabilities(states, [text for _, text in texts]), strict=True))
        rows = [self.row(picture.sha256, text.text, found) for picture, text in pairs]
        last = pairs[-1][0].sha256  # its other captions may be in the next call
        self.seen = {last: self.seen[last]}
        return rows

    def look(self, pictures: dict[str, Prepared]) -> None:
        """Adds the caption and what the filter sees of pictures that were not in the last call."""
        self.seen = {sha256: seen for sha256, seen in self.seen.items() if sha256 in pictures}
        fresh = [picture for sha256, picture in pictures.items() if sha256 not in self.seen]
        if fresh:
            names = [picture.sha256 for picture in fresh]
            captions = self.captioner.captions(names, [picture.pixels[0] for picture in fresh])
            states = self.filter.states([picture.pixels[-1] for picture in fresh])
            self.seen |= {name: (said[0], state) for name, said, state in zip(names, captions, states, strict=True)}

    def row(self, sha256: str, text: str, found: dict[tuple[str, str], float | None]) -> dict[str, Any]:
        """The columns of one pair."""
        caption, itm = self.seen[sha256][0], found[sha256, text]
        return {
            "caption": caption or None,
            "caption_itm": found[sha256, caption],
            "itm": itm,
            "text_itm": itm,
        }
