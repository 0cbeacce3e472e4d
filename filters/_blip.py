"""BLIP's matcher, and how it cleans texts. Decides nothing.

Li et al. 2022. For BLIP a picture is a square of 384 pixels, bicubic, nothing cropped. No code of CapFilt was ever
released; what is known of it stands in BLIP's ``models/blip_itm.py`` and ``data/utils.py``.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np

from curate.filters._pretrained import Model, Pixels, located

MATCHER = "blip_itm"
"""The demo's."""
MATCHERS = ("BlipForImageTextRetrieval",)
CONTEXT, WORDS = 35, 50
"""Tokens of a text that the matcher reads, and words that are left of one before."""


class Matcher:
    """The probability that a text goes with a picture: softmax of the two logits of the ITM head."""

    def __init__(self, model: str, revision: str = "", precision: str = "auto", enc_token: bool = False) -> None:
        self.net = Model(located(model, MATCHER), revision, precision, MATCHERS)
        known = self.net.tokenizer.convert_tokens_to_ids("[ENC]")
        if known in (None, self.net.tokenizer.unk_token_id):
            known = self.net.model.config.text_config.bos_token_id + 1  # Salesforce's vocabulary ends with [DEC], [ENC]
        self.first = known if enc_token else None

    def states(self, pixels: Sequence[Pixels]) -> Any:
        """What the image encoder makes of pictures, (n, patches + 1, width)."""
        return self.net.model.vision_model(pixel_values=self.net.batch(pixels)).last_hidden_state

    def probabilities(self, states: Sequence[Any], texts: Sequence[str]) -> list[float | None]:
        """For pictures' states and the text to each, which is cleaned; None where nothing is left of it."""
        cleaned = [pre_caption(text) for text in texts]
        some = [at for at, text in enumerate(cleaned) if text]
        found: list[float | None] = [None] * len(texts)
        if some:
            read = self.net.tokenizer(
                [cleaned[at] for at in some], padding=True, truncation=True, max_length=CONTEXT, return_tensors="pt"
            ).to(self.net.device)
            if self.first is not None:
                read.input_ids[:, 0] = self.first
            seen = self.net.model.text_encoder(
                read.input_ids,
                attention_mask=read.attention_mask,
                encoder_hidden_states=self.net.torch.stack([states[at] for at in some]),
            ).last_hidden_state[:, 0]
            for at, probability in zip(some, matching(self.net.model.itm_head(seen)), strict=True):
                found[at] = probability
        return found


def matching(logits: Any) -> list[float | None]:
    """The probabilities of a match, from (n, 2); None where they are no numbers."""
    values = logits.double().softmax(dim=1)[:, 1].tolist()
    return [value if np.isfinite(value) else None for value in values]


def pre_caption(text: str) -> str:
    """A text as BLIP cleans it: lower case, ``.!"()*#:;~`` and line ends as spaces, 50 words; hyphens stay."""
    return " ".join(re.sub(r"[.!\"()*#:;~]", " ", text.lower()).split()[:WORDS])
