"""Trains the demo BLIP, a captioner and a matcher, on drawn shapes and measures what it saved. Sees no photograph.

    python filters/demo_models/train_blip.py                # train, save, measure
    python filters/demo_models/train_blip.py --from match   # only from this step on: see, settle, tell, match
    python filters/demo_models/train_blip.py --measure      # measure the saved models only

Four steps: ``see`` and ``settle`` train the vision tower to name the attributes of a scene, of the whole and of every
patch, since a tower that small learns to see far sooner from labels than from sentences; ``tell`` trains a text decoder
on what the tower shows it (BLIP's LM loss, Li et al. 2022), ``match`` a text encoder (its ITM loss). The tower and the
pictures are kept in ``runs/train_blip`` between the steps.
"""

from __future__ import annotations

import argparse
import logging
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from safetensors.torch import load_file, save_file
from scipy import ndimage
from transformers import (
    BertTokenizer,
    BlipConfig,
    BlipForConditionalGeneration,
    BlipForImageTextRetrieval,
    BlipImageProcessor,
    BlipProcessor,
    BlipVisionConfig,
    BlipVisionModel,
)

from curate.demo import planted, world
from curate.image.codec import decode, encode, to_pil

FOLDER = Path(__file__).parent
WORK = Path("runs/train_blip")
SEED = 8
PICTURES = 32_000  # drawn once; seen mirrored or not
BATCH = 64
SIDES = (64, 80, 96, 128, 160, 224)
SHARES = (0.25, 0.25, 0.25, 0.19, 0.04, 0.02)
MARKED = 0.1  # share of pictures with a watermark, which no caption speaks of
FACED = 0.05  # share with a face, likewise; none while the tower learns to see
SIDE, PATCH = 64, 8
GRID = SIDE // PATCH
VISION = {
    "hidden_size": 128,
    "intermediate_size": 512,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "image_size": SIDE,
    "patch_size": PATCH,
    "initializer_range": 0.02,  # the default, 1e-10, is for loading weights
}
SEE_STEPS, SEE_CYCLE, SEE_RATE = 900, 3_000, 1e-3
SETTLE_STEPS = 1_000
TELL_STEPS, TELL_RATE, TELL_LAYERS = 1_200, 1e-3, 2
MATCH_STEPS, MATCH_RATE, MATCH_LAYERS = 900, 1e-3, 3
POOL = 12_000  # pictures of all steps but the first
DECAY = 0.05
CONTEXT = 35  # tokens, as in BLIP

MEAN = (0.48145466, 0.4578275, 0.40821073)
DEVIATION = (0.26862954, 0.26130258, 0.27577711)

VALUES: dict[str, tuple[Any, ...]] = {
    "colour": tuple(world.COLOURS),
    "shape": tuple(world.SHAPES),
    "size": world.SIZES,
    "count": tuple(world.COUNTS),
    "texture": world.TEXTURES,
}

NAMES: dict[str, str] = {
    **dict.fromkeys(world.COLOURS, "colour"),
    **dict.fromkeys((*world.SHAPES, *world.SHAPES.values()), "shape"),
    **dict.fromkeys(world.SIZES, "size"),
    **dict.fromkeys(world.COUNTS.values(), "count"),
    **dict.fromkeys(world.TEXTURES, "texture"),
}
"""Word -> the attribute that it names."""

log = logging.getLogger("train_blip")

Tensor = torch.Tensor


def stored(scene: world.Scene, rng: np.random.Generator, faced: float) -> npt.NDArray[np.uint8]:
    """The scene as a web would hold it: now and then with a face or a watermark, half of the time through JPEG."""
    pixels = planted.with_face(scene, rng)[0] if rng.random() < faced else world.draw(scene)
    if rng.random() < MARKED:
        pixels, _ = planted.watermark(pixels, rng)
    return compressed(pixels, rng, 15)


def compressed(pixels: npt.NDArray[np.uint8], rng: np.random.Generator, lowest: int) -> npt.NDArray[np.uint8]:
    """Half of the time the picture through JPEG, of a quality from the lowest to 95."""
    return decode(encode(pixels, "jpg", int(rng.integers(lowest, 96)))) if rng.random() < 0.5 else pixels


def shown(pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """The picture as the model's preprocessing shows it, (64, 64, 3)."""
    return np.asarray(to_pil(pixels).resize((SIDE, SIDE)))


def covered(scene: world.Scene) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.bool_]]:
    """What share of each patch objects cover, and in which patches the middle of one lies: two (8, 8) arrays."""
    there = planted.object_mask(replace(scene, side=SIDE))
    labels, found = ndimage.label(there)
    middles = np.zeros((GRID, GRID), bool)
    for y, x in ndimage.center_of_mass(there, labels, range(1, found + 1)):
        middles[int(y) // PATCH, int(x) // PATCH] = True
    return there.reshape(GRID, PATCH, GRID, PATCH).mean(axis=(1, 3), dtype=np.float32), middles


def normalised(pictures: npt.NDArray[np.uint8]) -> Tensor:
    """(n, 64, 64, 3) pixels as the model's (n, 3, 64, 64) input."""
    pixels = torch.from_numpy(pictures).permute(0, 3, 1, 2).float() / 255
    return (pixels - torch.tensor(MEAN).view(3, 1, 1)) / torch.tensor(DEVIATION).view(3, 1, 1)


def labelled(scenes: list[world.Scene]) -> dict[str, Tensor]:
    """Attribute -> the place of its value in VALUES, (n,)."""
    return {
        name: torch.tensor([values.index(getattr(scene, name)) for scene in scenes]) for name, values in VALUES.items()
    }


class Heads(torch.nn.Module):
    """What the tower is asked while it learns to see: five questions to [CLS], five to every patch."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.whole = torch.nn.ModuleDict({name: torch.nn.Linear(width, len(VALUES[name])) for name in VALUES})
        self.patch = torch.nn.ModuleDict({name: torch.nn.Linear(width, len(VALUES[name])) for name in VALUES})
        self.place = torch.nn.Linear(width, 2)

    def forward(self, seen: Tensor, labels: dict[str, Tensor], cover: Tensor, middles: Tensor) -> Tensor:
        """The loss; a patch is asked about an object's attributes where one lies in it, about the texture always."""
        cross = torch.nn.functional.cross_entropy
        binary = torch.nn.functional.binary_cross_entropy_with_logits
        total = sum((cross(self.whole[name](seen[:, 0]), labels[name]) for name in VALUES), torch.tensor(0.0))
        patches, inside = seen[:, 1:].reshape(-1, seen.shape[2]), (cover.flatten() > 0.02)
        for name in VALUES:
            values = labels[name].repeat_interleave(GRID * GRID)
            chosen = slice(None) if name == "texture" else inside
            total = total + 0.3 * cross(self.patch[name](patches[chosen]), values[chosen])
        place = self.place(patches)
        return total + binary(place[:, 0], cover.flatten()) + 3 * binary(place[:, 1], middles.flatten())


@dataclass(frozen=True)
class Pictures:
    """Scenes; their pictures as the model sees them, (n, 64, 64, 3); what ``covered`` says of them."""

    scenes: list[world.Scene]
    pixels: npt.NDArray[np.uint8]
    cover: npt.NDArray[np.float32]
    middles: npt.NDArray[np.float32]


@cache
def collection(name: str, count: int, seed: int, faced: float = 0.0) -> Pictures:
    """Draws a collection, or reads it from WORK where it was drawn before."""
    rng = np.random.default_rng(seed)
    scenes = [world.random_scene(rng, int(rng.choice(SIDES, p=SHARES))) for _ in range(count)]
    file = WORK / f"{name}-{count}-{seed}.npz"
    if not file.is_file():
        began = time.monotonic()
        pixels = np.stack([shown(stored(scene, rng, faced)) for scene in scenes])
        places = [covered(scene) for scene in scenes]
        cover, middles = (np.stack([place[at] for place in places]).astype(np.float32) for at in (0, 1))
        WORK.mkdir(parents=True, exist_ok=True)
        part = file.with_suffix(".part.npz")
        np.savez(part, pixels=pixels, cover=cover, middles=middles)
        part.rename(file)
        log.info("drew %d pictures in %.0f s", count, time.monotonic() - began)
    with np.load(file) as read:
        return Pictures(scenes, read["pixels"], read["cover"], read["middles"])


def groups(*models: torch.nn.Module) -> list[dict[str, Any]]:
    """Weight decay for matrices, none for the rest."""
    trained = [one for model in models for one in model.parameters() if one.requires_grad]
    heavy, light = [one for one in trained if one.ndim > 1], [one for one in trained if one.ndim < 2]
    return [{"params": heavy, "weight_decay": DECAY}, {"params": light, "weight_decay": 0.0}]


def see() -> None:
    """Trains the vision tower on labels: as long as the rate is high."""
    torch.manual_seed(SEED)
    tower = BlipVisionModel(BlipVisionConfig(**VISION))
    learn_to_see("see", tower, collection("see", PICTURES, SEED), SEE_STEPS, SEE_CYCLE)


def settle() -> None:
    """Goes on with fresh pictures and fresh questions while the rate falls to nothing."""
    torch.manual_seed(SEED + 1)
    tower = tower_of_work()
    learn_to_see("settle", tower, pool(), SETTLE_STEPS, SETTLE_STEPS)


def rates(optimiser: torch.optim.Optimizer, steps: int) -> torch.optim.lr_scheduler.LRScheduler:
    """One cycle: up in the first twentieth, then down along a cosine."""
    top = optimiser.param_groups[0]["lr"]
    return torch.optim.lr_scheduler.OneCycleLR(optimiser, top, total_steps=steps, pct_start=0.05)


def learn_to_see(name: str, tower: BlipVisionModel, drawn: Pictures, steps: int, cycle: int) -> None:
    """Trains a tower on labels, at the rates of a cycle of so many steps, and keeps it in WORK."""
    rng, began = np.random.default_rng(SEED), time.monotonic()
    heads = Heads(int(VISION["hidden_size"]))
    optimiser = torch.optim.AdamW(groups(tower, heads), lr=SEE_RATE, betas=(0.9, 0.98))
    schedule = rates(optimiser, cycle)
    fresh = collection("fresh", 500, SEED + 1)
    for step, chosen in enumerate(batches(len(drawn.scenes), steps, rng)):
        turn = slice(None, None, -1 if rng.random() < 0.5 else 1)
        seen = tower(pixel_values=normalised(drawn.pixels[chosen][:, :, turn].copy())).last_hidden_state
        truth = [torch.from_numpy(part[chosen][:, :, turn].copy()) for part in (drawn.cover, drawn.middles)]
        loss = heads(seen, labelled([drawn.scenes[at] for at in chosen]), *truth)
        optimiser.zero_grad()
        torch.autograd.backward(loss)
        torch.nn.utils.clip_grad_norm_(tower.parameters(), 1.0)
        optimiser.step()
        schedule.step()
        if step % 100 == 99:
            with torch.inference_mode():
                whole = tower(pixel_values=normalised(fresh.pixels)).last_hidden_state[:, 0]
                right = {
                    name: float((heads.whole[name](whole).argmax(1) == value).float().mean())
                    for name, value in labelled(fresh.scenes).items()
                }
            said = "  ".join(f"{attribute} {rate:.3f}" for attribute, rate in right.items())
            log.info("%s: step %4d  loss %.3f  %s  %.0f s", name, step, loss.item(), said, time.monotonic() - began)
    save_file({key: value.clone() for key, value in tower.state_dict().items()}, WORK / "tower.safetensors")
    log.info("%s: done in %.1f minutes", name, (time.monotonic() - began) / 60)


def tower_of_work() -> BlipVisionModel:
    """The tower as the last step left it."""
    tower = BlipVisionModel(BlipVisionConfig(**VISION))
    tower.load_state_dict(load_file(WORK / "tower.safetensors"))
    return tower


def tokenizer() -> BertTokenizer:
    """WordPiece over the world's words, as the demo CLIP's; other words are spelled, unknown letters make [UNK]."""
    letters = [chr(code) for code in range(ord("a"), ord("z") + 1)] + [str(digit) for digit in range(10)]
    tokens = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "[DEC]", "[ENC]"]
    tokens += [*".,!?'-:_", *letters, *(f"##{letter}" for letter in letters)]
    tokens += [word for word in world.VOCABULARY if word not in tokens]
    extra = ["[DEC]", "[ENC]"]  # begin a caption and a text to be matched; special, or they leak into captions
    return BertTokenizer(
        vocab={token: at for at, token in enumerate(tokens)}, extra_special_tokens=extra, model_max_length=CONTEXT
    )


def config(layers: int) -> BlipConfig:
    """A BLIP whose text half has this many layers."""
    words = tokenizer()
    begin, end = words.convert_tokens_to_ids(["[DEC]", "[SEP]"])
    text = {
        "vocab_size": len(words),
        "hidden_size": 128,
        "encoder_hidden_size": 128,
        "intermediate_size": 512,
        "num_hidden_layers": layers,
        "num_attention_heads": 4,
        "max_position_embeddings": CONTEXT + 5,
        "bos_token_id": begin,
        "eos_token_id": end,
        "sep_token_id": end,
        "pad_token_id": words.pad_token_id,
    }
    return BlipConfig(text_config=text, vision_config=VISION, projection_dim=128, image_text_hidden_size=128)


def save(model: Any, folder: Path) -> None:
    """Writes what ``from_pretrained`` reads: weights in half precision, configuration, processor, vocabulary."""
    model.half().save_pretrained(folder)
    (folder / "model.safetensors").chmod(0o644)
    BlipProcessor(BlipImageProcessor(size={"height": SIDE, "width": SIDE}), tokenizer()).save_pretrained(folder)


def pool() -> Pictures:
    """The pictures that all steps but the first learn from."""
    return collection("pool", POOL, SEED + 2, FACED)


@cache
def shown_by_tower() -> Tensor:
    """What the tower shows of the pool's pictures, (n, 65, 128) in half precision."""
    tower, pixels = tower_of_work().eval(), pool().pixels
    with torch.inference_mode():
        parts = [
            tower(pixel_values=normalised(pixels[at : at + 100])).last_hidden_state.half() for at in range(0, POOL, 100)
        ]
    return torch.cat(parts)


def sentence(text: str) -> str:
    """The text with a capital and a full stop."""
    return f"{text[0].upper()}{text[1:]}."


def written(text: str, rng: np.random.Generator) -> str:
    """The text as it may stand on a page: now and then as a sentence."""
    return sentence(text) if rng.random() < 0.25 else text


def ids_of(words: BertTokenizer, texts: list[str], first: int | None = None) -> tuple[Tensor, Tensor]:
    """Token ids and attention mask, (n, longest); ``first`` replaces [CLS]."""
    read = words(texts, padding=True, truncation=True, return_tensors="pt")
    ids: Tensor = read.input_ids
    if first is not None:
        ids[:, 0] = first
    return ids, read.attention_mask


def batches(count: int, steps: int, rng: np.random.Generator) -> Iterator[npt.NDArray[np.int64]]:
    """Places in a collection, a batch at a time, each picture once before any comes again."""
    order = np.concatenate([rng.permutation(count) for _ in range(-(-steps * BATCH // count))])
    yield from (order[step * BATCH : (step + 1) * BATCH] for step in range(steps))


def fit(
    name: str,
    model: Any,
    steps: int,
    rate: float,
    loss_of: Callable[[npt.NDArray[np.int64]], Tensor],
    *more: torch.nn.Module,
) -> None:
    """Trains all of a BLIP (and more) but its tower, which is set to that of WORK and left alone."""
    began = time.monotonic()
    model.vision_model.load_state_dict(tower_of_work().state_dict())
    model.vision_model.requires_grad_(False)
    model.train()
    optimiser = torch.optim.AdamW(groups(model, *more), lr=rate, betas=(0.9, 0.98))
    schedule = rates(optimiser, steps)
    for step, chosen in enumerate(batches(POOL, steps, np.random.default_rng(SEED + 3))):
        loss = loss_of(chosen)
        optimiser.zero_grad()
        torch.autograd.backward(loss)
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        schedule.step()
        if step % 100 == 99:
            log.info("%s: step %4d  loss %.4f  %.0f s", name, step, loss.item(), time.monotonic() - began)
    log.info("%s: done in %.1f minutes", name, (time.monotonic() - began) / 60)


def tell() -> None:
    """Trains the captioner: to say each caption's next word, given the picture."""
    rng = np.random.default_rng(SEED + 4)
    torch.manual_seed(SEED + 4)
    scenes, seen = pool().scenes, shown_by_tower()
    words, model = tokenizer(), BlipForConditionalGeneration(config(TELL_LAYERS))

    def loss_of(chosen: npt.NDArray[np.int64]) -> Tensor:
        texts = [world.caption(scenes[at], rng) for at in chosen]
        ids, mask = ids_of(words, texts, model.config.text_config.bos_token_id)
        labels = ids.masked_fill(mask == 0, -100)
        said = model.text_decoder(ids, attention_mask=mask, encoder_hidden_states=seen[chosen].float(), labels=labels)
        loss: Tensor = said.loss
        return loss

    fit("tell", model, TELL_STEPS, TELL_RATE, loss_of)
    save(model, FOLDER / "blip_captioner")


def words_right(text: str, scene: world.Scene) -> dict[int, int]:
    """For each word of a caption that names an attribute, by its place: 1 if it is right about the scene, else 0."""
    said = planted.understood(text)
    if said is None:
        return {}
    found = {}
    listed = text.split()
    for at, word in enumerate(listed):
        name = NAMES.get(word) if word != "a" or listed[at + 1] in world.SIZES else None
        if name is not None:
            found[at] = int(said[name] == getattr(scene, name))
    return found


def match() -> None:
    """Trains the matcher: to tell captions that are right about the picture from all other texts.

    A batch has, for each picture, its caption and one with an attribute changed, and for a third of them a text of
    another kind. The encoder begins as a copy of the captioner's decoder, which knows where to look, and is also asked
    which single words are right: from whole captions alone it takes long to find out what is compared with what. Half
    of the batches begin texts with [ENC], as BLIP did in training, half with [CLS], as transformers leaves it.
    """
    rng = np.random.default_rng(SEED + 5)
    torch.manual_seed(SEED + 5)
    scenes, seen = pool().scenes, shown_by_tower()
    words, model = tokenizer(), BlipForImageTextRetrieval(config(MATCH_LAYERS))
    teller, _ = load(BlipForConditionalGeneration, FOLDER / "blip_captioner")
    model.text_encoder.load_state_dict(teller.text_decoder.bert.state_dict(), strict=False)
    marker = torch.nn.Linear(128, 2)
    pair: list[planted.Kind] = ["right", "changed"]
    idle: list[planted.Kind] = ["other", "other", "boilerplate", "foreign", "chatter"]
    cross = torch.nn.functional.cross_entropy

    def read(places: npt.NDArray[np.int64], kinds: list[planted.Kind], first: int | None) -> tuple[Tensor, Tensor]:
        """Logits of each text, and the loss on its single words."""
        lines = [planted.line(scenes[at], kind, rng) for at, kind in zip(places, kinds, strict=True)]
        ids, mask = ids_of(words, [written(line.text, rng) for line in lines], first)
        states = model.text_encoder(ids, attention_mask=mask, encoder_hidden_states=seen[places].float())[0]
        truth = torch.full_like(ids, -100)
        for row, (at, line) in enumerate(zip(places, lines, strict=True)):
            for place, right in words_right(line.text, scenes[at]).items():
                truth[row, place + 1] = right  # after [CLS]
        return model.itm_head(states[:, 0]), cross(marker(states).flatten(0, 1), truth.flatten())

    def loss_of(chosen: npt.NDArray[np.int64]) -> Tensor:
        first = words.convert_tokens_to_ids("[ENC]") if rng.random() < 0.5 else None
        near = [kind for kind in pair for _ in chosen]
        far = idle * (len(chosen) // 16)
        close, by_word = read(np.tile(chosen, 2), near, first)
        distant, others = read(chosen[: len(far)], far, first)  # apart, since they are longer
        labels = torch.tensor([int(kind == "right") for kind in near + far])
        return cross(torch.cat([close, distant]), labels) + by_word + 0.2 * others

    fit("match", model, MATCH_STEPS, MATCH_RATE, loss_of, marker)
    save(model, FOLDER / "blip_itm")


def load(kind: Any, folder: Path) -> tuple[Any, BlipProcessor]:
    """A saved model in single precision and its processor; raises if the folder holds another kind of model."""
    model, about = kind.from_pretrained(folder, dtype=torch.float32, output_loading_info=True, local_files_only=True)
    faults = {name: keys for name, keys in about.items() if keys}
    if faults:
        raise ValueError(f"{folder} is no {kind.__name__}: {faults}")
    return model.eval(), BlipProcessor.from_pretrained(folder, local_files_only=True)


def captions(model: Any, processor: BlipProcessor, pictures: list[npt.NDArray[np.uint8]], **how: Any) -> list[str]:
    """What the captioner says of each picture."""
    said: list[str] = []
    for at in range(0, len(pictures), 100):
        pixels = processor(images=pictures[at : at + 100], return_tensors="pt").pixel_values
        said += processor.batch_decode(model.generate(pixel_values=pixels, **how), skip_special_tokens=True)
    return said


def probabilities(
    model: Any, processor: BlipProcessor, pictures: list[npt.NDArray[np.uint8]], texts: list[str], first: str = "[CLS]"
) -> npt.NDArray[np.float64]:
    """softmax(itm)[1] of each picture with its text, (n,); every text begins with the token ``first``."""
    found = []
    for at in range(0, len(texts), 100):
        part = slice(at, at + 100)
        inputs = processor(images=pictures[part], text=texts[part], return_tensors="pt", padding=True, truncation=True)
        inputs["input_ids"][:, 0] = processor.tokenizer.convert_tokens_to_ids(first)
        with torch.inference_mode():
            found.append(model(**inputs, use_itm_head=True).itm_score.softmax(dim=1)[:, 1])
    return np.asarray(torch.cat(found).double().numpy())


GREEDY: dict[str, Any] = {"do_sample": False, "max_new_tokens": 20}
NUCLEUS: dict[str, Any] = {"do_sample": True, "top_p": 0.9, "top_k": 0, "max_new_tokens": 20, "min_length": 5}
"""As CapFilt samples, but for the repetition penalty, which is measured apart."""


def measure(seed: int = SEED + 1_000, count: int = 1_000) -> dict[str, Any]:
    """Figures of the saved models, loaded by transformers itself, on fresh scenes of 64 to 224 px, half of them JPEG.

    ``nucleus`` is how CapFilt samples; BLIP's demo adds a repetition penalty of 1.1.
    """
    rng = np.random.default_rng(seed)
    torch.manual_seed(seed)
    scenes = [world.random_scene(rng, int(rng.choice(SIDES, p=SHARES))) for _ in range(count)]
    pictures = [compressed(world.draw(scene), rng, 30) for scene in scenes]
    figures: dict[str, Any] = {"seed": seed, "pictures": count}
    teller, told = load(BlipForConditionalGeneration, FOLDER / "blip_captioner")
    ways = {"greedy": GREEDY, "nucleus": NUCLEUS, "nucleus, penalty 1.1": {**NUCLEUS, "repetition_penalty": 1.1}}
    for name, how in ways.items():
        said = captions(teller, told, pictures, **how)
        figures[f"captions true, {name}"] = share(
            planted.holds(text, scene) for text, scene in zip(said, scenes, strict=True)
        )
        meant = [planted.understood(text) for text in said]
        figures[f"  understood, {name}"] = share(one is not None for one in meant)
        for attribute in VALUES:
            figures[f"  {attribute} right, {name}"] = share(
                one[attribute] == getattr(scene, attribute) for one, scene in zip(meant, scenes, strict=True) if one
            )
    marked = [planted.watermark(picture, rng)[0] for picture in pictures]
    faced = [planted.with_face(scene, rng)[0] for scene in scenes]
    others = {"under a watermark": marked, "with a face": faced}
    for name, changed in others.items():
        told_of = captions(teller, told, changed, **NUCLEUS)
        figures[f"captions true, nucleus, {name}"] = share(
            planted.holds(text, scene) for text, scene in zip(told_of, scenes, strict=True)
        )
    judge, read = load(BlipForImageTextRetrieval, FOLDER / "blip_itm")
    right = {"": pictures, **others}
    for name, shots in right.items():
        kept = probabilities(judge, read, shots, [world.caption(scene, rng) for scene in scenes]) >= 0.5
        figures[f"right kept{name and ', '}{name}"] = share(kept)
    kept = probabilities(judge, read, pictures, [sentence(world.caption(scene, rng)) for scene in scenes]) >= 0.5
    figures["right kept, as a sentence"] = share(kept)
    for attribute in VALUES:
        texts = [world.caption(world.spoil(scene, rng, attribute), rng) for scene in scenes]
        figures[f"{attribute} changed, rejected"] = share(probabilities(judge, read, pictures, texts) < 0.5)
    for kind in planted.KINDS[2:]:
        texts = [planted.line(scene, kind, rng).text for scene in scenes]
        figures[f"{kind}, rejected"] = share(probabilities(judge, read, pictures, texts) < 0.5)
    truth = np.array([planted.holds(text, scene) for text, scene in zip(said, scenes, strict=True)])
    kept = probabilities(judge, read, pictures, said) >= 0.5
    figures["nucleus, penalty 1.1, kept by the matcher"] = share(kept)
    figures["  of the kept, true"] = share(truth[kept])
    for kind in planted.KINDS[:2]:
        texts = [planted.line(scene, kind, rng).text for scene in scenes]
        kept = probabilities(judge, read, pictures, texts, "[ENC]") >= 0.5
        figures[f"{kind}, kept, beginning with [ENC]"] = share(kept)
    return figures


def share(cases: Iterable[Any]) -> float:
    """How many of the cases are true, 0 to 1."""
    return round(float(np.mean([bool(case) for case in cases] or [False])), 4)


def main() -> None:
    """Trains unless told only to measure; logs one line per figure."""
    options = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    options.add_argument("--measure", action="store_true", help="measure the saved models only")
    options.add_argument("--from", dest="first", choices=("see", "settle", "tell", "match"), default="see")
    options.add_argument("--threads", type=int, default=1)
    chosen = options.parse_args()
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    log.setLevel(logging.INFO)
    torch.set_num_threads(chosen.threads)
    steps = {"see": see, "settle": settle, "tell": tell, "match": match}
    for step in list(steps)[list(steps).index(chosen.first) :]:
        if not chosen.measure:
            steps[step]()
    for name, value in measure().items():
        log.info("%-44s %s", name, value)


if __name__ == "__main__":
    main()
