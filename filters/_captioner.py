"""Captioner: captions of pictures drawn by nucleus sampling, from BLIP or BLIP-2. Judges none of them.

Li et al. 2022 (BLIP, ``models/blip.py``) and Li et al. 2023 (BLIP-2), as transformers has them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from curate.filters._pretrained import Model, Pixels, located
from curate.filters._sampling import Nucleus, key_of

CAPTIONER = "blip_captioner"
"""The demo's."""
CAPTIONERS = ("BlipForConditionalGeneration", "Blip2ForConditionalGeneration")
PROMPT = "a picture of "
"""What BLIP's captioner was trained to go on from; the demo's knows none."""
ROWS = 64
"""Captions that are decoded at a time."""


@dataclass(frozen=True)
class Sampling:
    """How captions are drawn. Lengths are in tokens, [DEC] and the prompt among them, as in BLIP."""

    top_p: float
    top_k: int
    max_length: int
    min_length: int
    repetition_penalty: float
    prompt: str
    seed: int


class Captioner:
    """Captions drawn by nucleus sampling, BLIP or BLIP-2."""

    def __init__(self, model: str, revision: str, precision: str, how: Sampling) -> None:
        self.net = Model(located(model, CAPTIONER), revision, precision, CAPTIONERS)
        self.how = how
        prompt = self.net.tokenizer(how.prompt).input_ids
        image_tokens: list[int] = []
        if self.net.kind == CAPTIONERS[0]:
            self.decoder, text = self.net.model.text_decoder, self.net.model.config.text_config
            prompt = [text.bos_token_id, *prompt[1:-1]]
            ends = {"eos_token_id": text.sep_token_id, "pad_token_id": text.pad_token_id}
        else:
            self.decoder, ends = self.net.model.language_model, {}
            image_tokens = [self.net.model.config.image_token_id] * self.net.model.config.num_query_tokens
        self.prompt = self.net.torch.tensor([image_tokens + prompt], device=self.net.device)
        if how.max_length <= len(prompt):
            raise ValueError(f"max_length {how.max_length} leaves no room after the {len(prompt)} tokens of the prompt")
        self.settings = {
            "do_sample": False,
            "num_beams": 1,
            "max_new_tokens": how.max_length - len(prompt),
            "min_new_tokens": max(0, how.min_length - len(prompt)),
            "repetition_penalty": how.repetition_penalty,
            **ends,
        }

    def states(self, pixels: Sequence[Pixels]) -> Any:
        """What the decoder sees of pictures, (n, patches + 1 or queries, width)."""
        if self.net.kind == CAPTIONERS[0]:
            return self.net.model.vision_model(pixel_values=self.net.batch(pixels)).last_hidden_state
        return self.net.model.get_image_features(self.net.batch(pixels), return_dict=True).pooler_output

    def captions(self, pictures: Sequence[str], pixels: Sequence[Pixels], count: int = 1) -> list[list[str]]:
        """So many captions for each picture, named by its sha256."""
        states = self.states(pixels)
        rows = [(at, key_of(sha256, self.how.seed, k)) for at, sha256 in enumerate(pictures) for k in range(count)]
        said: list[str] = []
        for start in range(0, len(rows), ROWS):
            places, keys = zip(*rows[start : start + ROWS], strict=True)
            sampler = Nucleus(list(keys), self.how.top_p, self.how.top_k)
            ids = self.generated(states[list(places)], logits_processor=[sampler], **self.settings)
            said += self.net.tokenizer.batch_decode(self.spelled(ids), skip_special_tokens=True)
        said = [" ".join(text.split()) for text in said]
        return [said[at : at + count] for at in range(0, len(said), count)]

    def generated(self, states: Any, **settings: Any) -> Any:
        """Token ids that follow the prompt."""
        ids = self.prompt.expand(len(states), -1)
        if self.net.kind == CAPTIONERS[0]:
            mask = self.net.torch.ones_like(ids)
            return self.decoder.generate(input_ids=ids, attention_mask=mask, encoder_hidden_states=states, **settings)[
                :, ids.shape[1] :
            ]
        seen = self.net.model.get_input_embeddings()(ids)
        shown = (ids == self.net.model.config.image_token_id)[..., None]
        seen = seen.masked_scatter(shown, states.to(seen.dtype))
        return self.decoder.generate(inputs_embeds=seen, attention_mask=self.net.torch.ones_like(ids), **settings)

    def spelled(self, ids: Any) -> list[list[int]]:
        """Without ids that the tokenizer has no word for, such as [DEC] in Salesforce's models."""
        return [[one for one in row if one < len(self.net.tokenizer)] for row in ids.tolist()]
