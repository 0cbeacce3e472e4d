"""ITM: the probability that an image and its text belong together, by BLIP's image-text matching head. Drops nothing.

Li et al. 2022; BLIP's CapFilt keeps a text at 0.5 or more. ``capfilt`` also writes captions.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from curate import Image, Text, scores
from curate.filters._blip import MATCHER, Matcher
from curate.filters._pretrained import Prepared, files


@scores(
    "pair",
    itm=float,
    text={"text_itm": float},
    pixels="full",
    batch=32,
    requires=("torch", "torchvision", "transformers"),
    version=1,
)
class Itm:
    """``itm`` of the image and ``text_itm`` of the text, 0 to 1; null for a text of punctuation only.

    Args:
        filter: a folder that transformers wrote, with a BlipForImageTextRetrieval; an id on the Hugging Face hub; or
            ``demo``, the demo's model.
        revision: the full commit hash of a model on the hub.
        enc_token: whether texts begin with [ENC], as when BLIP was trained, or with [CLS], as in its demo and in
            transformers; the probabilities differ.
        precision: ``bf16``, ``fp16`` or ``fp32``; ``auto`` is bf16 on a GPU.
    """

    def __init__(
        self,
        filter: str = "demo",  # noqa: A002 - the paper's name
        revision: str = "",
        enc_token: bool = False,
        precision: str = "auto",
    ) -> None:
        self.filter = Matcher(filter, revision, precision, enc_token)
        self.seen: dict[str, Any] = {}

    @staticmethod
    def weights(filter: str = "demo", revision: str = "", **_: Any) -> list[Path]:  # noqa: A002
        """The files that the scores depend on."""
        return files(filter, revision, MATCHER)

    def prepare(self, image: Image) -> Prepared:
        """The picture as the model reads it, in the decoding threads."""
        return Prepared(image.sha256, (self.filter.net.prepare(image),))

    def __call__(self, pairs: list[tuple[Prepared, Text]]) -> list[dict[str, Any]]:
        """A row for each pair; every picture is encoded once."""
        with self.filter.net.torch.inference_mode():
            fresh = {picture.sha256: picture.pixels[0] for picture, _ in pairs if picture.sha256 not in self.seen}
            if fresh:
                self.seen |= dict(zip(fresh, self.filter.states(list(fresh.values())), strict=True))
            states = [self.seen[picture.sha256] for picture, _ in pairs]
            found = self.filter.probabilities(states, [text.text for _, text in pairs])
        last = pairs[-1][0].sha256  # its other texts may be in the next call
        self.seen = {last: self.seen[last]}
        return [{"itm": itm, "text_itm": itm} for itm in found]
