"""Trains the demo CLIP on drawn shapes, on one core, and measures what it saved. Downloads nothing, sees no photograph.

    python filters/demo_models/train_clip.py            # train, save, measure
    python filters/demo_models/train_clip.py --measure  # measure the saved model only

The loss is CLIP's (Radford et al. 2021) with extra columns: for every picture its caption with one attribute changed
(a hard negative), sentences about no picture, and, among the pictures, logos that no caption is about.
"""

from __future__ import annotations

import argparse
import json
import logging
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import open_clip
import simplejpeg
import torch
from PIL import Image
from safetensors.torch import save as serialise
from tokenizers import Tokenizer, normalizers, pre_tokenizers, processors
from tokenizers.models import WordPiece

from curate.demo import world

FOLDER = Path(__file__).parent / "clip"
SEED = 7
PICTURES = 36_000  # drawn once; seen mirrored or not
STEPS = 800
BATCH = 128
CHATTER = 16  # sentences about nothing, per batch
LOGOS = 4  # logos, per batch
RATE = 1.5e-3
DECAY = 0.05
SHARPEST = 50.0  # upper bound of the logit scale: keeps the cosines of near captions apart
SIDES = (64, 80, 96, 128, 160, 224)
SHARES = (0.22, 0.22, 0.24, 0.20, 0.08, 0.04)
CONTEXT = 20

MEAN = (0.48145466, 0.4578275, 0.40821073)
DEVIATION = (0.26862954, 0.26130258, 0.27577711)

log = logging.getLogger("train_clip")

Tensor = torch.Tensor
Encode = Callable[[list[str]], Tensor]


def tokenizer() -> Tokenizer:
    """WordPiece over the world's words; any other word is spelled in letters, so that no text is unknown."""
    letters = [chr(code) for code in range(ord("a"), ord("z") + 1)] + [str(digit) for digit in range(10)]
    tokens = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *".,!?'-:", *letters, *(f"##{letter}" for letter in letters)]
    tokens += [word for word in world.VOCABULARY if word not in tokens]
    vocabulary = {token: at for at, token in enumerate(tokens)}
    made = Tokenizer(WordPiece(vocabulary, unk_token="[UNK]"))  # noqa: S106 - no password
    made.normalizer = normalizers.BertNormalizer(lowercase=True)
    made.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    ends = [(token, vocabulary[token]) for token in ("[CLS]", "[SEP]")]
    made.post_processor = processors.TemplateProcessing(single="[CLS] $A [SEP]", special_tokens=ends)
    made.add_special_tokens(["[PAD]", "[UNK]", "[CLS]", "[SEP]"])
    return made


def config(words: Tokenizer) -> dict[str, Any]:
    """What open_clip needs to build the model: pooling at [SEP], a modified ResNet of one block per stage."""
    return {
        "model_cfg": {
            "embed_dim": 128,
            "vision_cfg": {"image_size": 64, "layers": [1, 1, 1, 1], "width": 16, "head_width": 32, "patch_size": None},
            "text_cfg": {
                "context_length": CONTEXT,
                "vocab_size": words.get_vocab_size(),
                "hf_tokenizer_name": "curate-demo",  # not empty: the folder's own tokenizer is read
                "width": 128,
                "heads": 4,
                "layers": 2,
                "pool_type": "eos",
                "eos_id": words.token_to_id("[SEP]"),
            },
        },
        "preprocess_cfg": {
            "size": 64,
            "mode": "RGB",
            "mean": list(MEAN),
            "std": list(DEVIATION),
            "interpolation": "bicubic",
            "resize_mode": "shortest",
        },
    }


def save(model: torch.nn.Module) -> None:
    """Writes the folder that open_clip reads as ``local-dir:``: weights in half precision, BatchNorm's means too."""
    words = tokenizer()
    FOLDER.mkdir(parents=True, exist_ok=True)
    named = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    kind = {"tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": CONTEXT, **named}
    (FOLDER / "open_clip_config.json").write_text(json.dumps(config(words), indent=2) + "\n")
    (FOLDER / "tokenizer_config.json").write_text(json.dumps(kind, indent=2) + "\n")
    (FOLDER / "tokenizer.json").write_text(words.to_str(pretty=True) + "\n")
    weights = {
        name: (value.half() if value.is_floating_point() else value).contiguous()
        for name, value in model.state_dict().items()
    }
    part = FOLDER / "open_clip_model.safetensors.part"
    part.write_bytes(serialise(weights))
    part.rename(FOLDER / "open_clip_model.safetensors")


def seen(scene: world.Scene, rng: np.random.Generator) -> npt.NDArray[np.uint8]:
    """The scene as the model's preprocessing shows it: half of them through JPEG, then 64 x 64 by bicubic resizing."""
    return shown(world.draw(scene), rng)


def shown(pixels: npt.NDArray[np.uint8], rng: np.random.Generator) -> npt.NDArray[np.uint8]:
    """A square picture at 64 x 64, half of the time after a JPEG of quality 15 to 95."""
    if rng.random() < 0.5:
        data = simplejpeg.encode_jpeg(pixels, quality=int(rng.integers(15, 96)), colorspace="RGB")
        pixels = simplejpeg.decode_jpeg(data)
    if pixels.shape[0] != 64:
        pixels = np.asarray(Image.fromarray(pixels).resize((64, 64), Image.Resampling.BICUBIC))
    return pixels


def normalised(pictures: npt.NDArray[np.uint8]) -> Tensor:
    """(n, 64, 64, 3) pixels as the model's (n, 3, 64, 64) input."""
    pixels = torch.from_numpy(pictures).permute(0, 3, 1, 2).float() / 255
    pixels = pixels.contiguous(memory_format=torch.channels_last)
    return (pixels - torch.tensor(MEAN).view(3, 1, 1)) / torch.tensor(DEVIATION).view(3, 1, 1)


def code(scene: world.Scene) -> int:
    """One number per combination of attributes: equal for scenes that the same captions are right about."""
    colour, shape = list(world.COLOURS).index(scene.colour), list(world.SHAPES).index(scene.shape)
    size, texture = world.SIZES.index(scene.size), world.TEXTURES.index(scene.texture)
    return (((colour * 6 + shape) * 2 + size) * 5 + texture) * 5 + scene.count - 1


def gibberish(rng: np.random.Generator) -> str:
    """Words of random letters: what text in another language looks like to this tokenizer."""
    lengths = rng.integers(1, 8, int(rng.integers(1, 6)))
    return " ".join("".join(chr(ord("a") + int(at)) for at in rng.integers(0, 26, length)) for length in lengths)


def loss_of(pictures: Tensor, texts: Tensor, scale: Tensor, codes: Tensor, spoiled: Tensor) -> Tensor:
    """Cross-entropy of the right caption per picture and of the right picture per caption.

    ``pictures`` holds the batch and then the logos, ``texts`` the captions, the spoiled captions and the chatter. A
    text that happens to be right about another picture of the batch does not count as wrong about it.
    """
    batch = len(codes)
    logits = scale * pictures @ texts.T
    own = torch.arange(batch)
    labels = torch.cat([codes, spoiled])
    twin = codes[:, None] == labels[None, :]
    twin[own, own] = False
    to_texts = logits[:batch].clone()
    to_texts[:, : 2 * batch] = to_texts[:, : 2 * batch].masked_fill(twin, -1e4)
    to_pictures = logits[:, :batch].T.clone()
    to_pictures[:, :batch] = to_pictures[:, :batch].masked_fill(twin[:, :batch].T, -1e4)
    cross = torch.nn.functional.cross_entropy
    return cross(to_texts, own) + 0.5 * cross(to_pictures, own)


def train() -> None:
    """Draws the pictures, trains, and saves half-way and at the end."""
    rng = np.random.default_rng(SEED)
    torch.manual_seed(SEED)
    began = time.monotonic()
    scenes = [world.random_scene(rng, int(rng.choice(SIDES, p=SHARES))) for _ in range(PICTURES)]
    pictures = np.stack([seen(scene, rng) for scene in scenes])
    logos = np.stack([shown(world.logo(at, int(rng.integers(16, 49))), rng) for at in range(400)])
    log.info("drew %d pictures in %.0f s", PICTURES, time.monotonic() - began)
    words = tokenizer()
    words.enable_padding(length=CONTEXT)
    words.enable_truncation(CONTEXT)
    model = open_clip.CLIP(**config(words)["model_cfg"]).to(memory_format=torch.channels_last)
    log.info("%d parameters", sum(parameter.numel() for parameter in model.parameters()))
    heavy = [parameter for parameter in model.parameters() if parameter.ndim > 1]
    light = [parameter for parameter in model.parameters() if parameter.ndim < 2]
    groups = [{"params": heavy, "weight_decay": DECAY}, {"params": light, "weight_decay": 0.0}]
    optimiser = torch.optim.AdamW(groups, lr=RATE, betas=(0.9, 0.98))
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, RATE, total_steps=STEPS, pct_start=0.06)
    order = np.concatenate([rng.permutation(PICTURES) for _ in range(-(-STEPS * BATCH // PICTURES))])
    model.train()
    for step in range(STEPS):
        chosen = order[step * BATCH : (step + 1) * BATCH]
        batch = [scenes[at] for at in chosen]
        wrong = [world.spoil(scene, rng) for scene in batch]
        noise = [world.chatter(rng) if at % 4 else gibberish(rng) for at in range(CHATTER)]
        texts = [world.caption(scene, rng) for scene in (*batch, *wrong)] + noise
        ids = torch.tensor([line.ids for line in words.encode_batch(texts)])
        pixels = np.concatenate([pictures[chosen], logos[rng.integers(0, len(logos), LOGOS)]])
        if rng.random() < 0.5:
            pixels = pixels[:, :, ::-1].copy()
        features = model.encode_image(normalised(pixels), normalize=True)
        sentences = model.encode_text(ids, normalize=True)
        codes, spoiled = (torch.tensor([code(scene) for scene in part]) for part in (batch, wrong))
        loss = loss_of(features, sentences, model.logit_scale.exp(), codes, spoiled)
        optimiser.zero_grad()
        torch.autograd.backward(loss)
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        schedule.step()
        with torch.no_grad():
            model.logit_scale.clamp_(0, float(np.log(SHARPEST)))
        if step % 25 == 0 or step == STEPS - 1:
            spent = time.monotonic() - began
            log.info(
                "step %4d  loss %.3f  scale %.1f  %.0f s", step, loss.item(), model.logit_scale.exp().item(), spent
            )
        if step == STEPS // 2:
            save(model)
    save(model)
    log.info("trained and saved in %.1f minutes", (time.monotonic() - began) / 60)


def auc(right: npt.NDArray[np.float64], wrong: npt.NDArray[np.float64]) -> float:
    """The chance that a right pair scores above a wrong one (Mann-Whitney); ties count half."""
    ordered = np.sort(wrong)
    below, upto = np.searchsorted(ordered, right, "left"), np.searchsorted(ordered, right, "right")
    return float((below + upto).mean() / 2 / len(wrong))


def measure(seed: int = SEED + 1_000, count: int = 2_000) -> dict[str, Any]:
    """Figures of the saved model, loaded by open_clip itself, on fresh scenes of 64 to 224 px, half of them JPEG."""
    model, preprocess = open_clip.create_model_from_pretrained(f"local-dir:{FOLDER}")
    encode: Encode = open_clip.get_tokenizer(f"local-dir:{FOLDER}")
    model.eval()
    rng = np.random.default_rng(seed)
    scenes = [world.random_scene(rng, int(rng.choice(SIDES, p=SHARES))) for _ in range(count)]

    def pictures_of(arrays: list[npt.NDArray[np.uint8]]) -> npt.NDArray[np.float64]:
        stack = torch.stack([preprocess(Image.fromarray(array)) for array in arrays])
        parts = [model.encode_image(part, normalize=True) for part in torch.split(stack, 250)]
        return np.asarray(torch.cat(parts).double().numpy())

    def texts_of(texts: list[str]) -> npt.NDArray[np.float64]:
        return np.asarray(model.encode_text(encode(texts), normalize=True).double().numpy())

    def stored(scene: world.Scene) -> npt.NDArray[np.uint8]:
        pixels = world.draw(scene)
        if rng.random() < 0.5:
            data = simplejpeg.encode_jpeg(pixels, quality=int(rng.integers(30, 96)), colorspace="RGB")
            pixels = simplejpeg.decode_jpeg(data)
        return pixels

    with torch.inference_mode():
        images = pictures_of([stored(scene) for scene in scenes])
        sentences = texts_of([world.caption(scene, rng) for scene in scenes])
        right = (images * sentences).sum(axis=1)
        random = (images * np.roll(sentences, 1, axis=0)).sum(axis=1)
        idle = (images * texts_of([world.chatter(rng) for _ in scenes])).sum(axis=1)
        logos = (sentences * pictures_of([world.logo(at + 10_000, 32) for at in range(count)])).sum(axis=1)
        figures: dict[str, Any] = {"seed": seed, "pictures": count}
        for name, scores in {"right": right, "random": random, "chatter": idle, "logo": logos}.items():
            figures[f"cosine {name}"] = [round(float(x), 3) for x in (scores.mean(), scores.std())]
            figures[f"p01 p99 {name}"] = [round(float(x), 3) for x in np.percentile(scores, [1, 99])]
        figures["auc random"], figures["auc chatter"] = auc(right, random), auc(right, idle)
        spoils = {}
        for attribute in world.ATTRIBUTES:
            lines = [world.caption(world.spoil(scene, rng, attribute), rng) for scene in scenes]
            spoils[attribute] = (images * texts_of(lines)).sum(axis=1)
            figures[f"{attribute} auc, pair, cosine"] = [
                round(auc(right, spoils[attribute]), 4),
                round(float((right > spoils[attribute]).mean()), 4),
                round(float(spoils[attribute].mean()), 3),
            ]
        figures["auc hard"] = auc(right, np.concatenate(list(spoils.values())))
        ranks = [images[at : at + 100] @ sentences[at : at + 100].T for at in range(0, count - 99, 100)]
        figures["top-1 of 100"] = float(np.mean([(rank.argmax(axis=1) == np.arange(100)).mean() for rank in ranks]))
    return figures


def main() -> None:
    """Trains unless told only to measure; logs one line per figure."""
    options = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    options.add_argument("--measure", action="store_true", help="measure the saved model only")
    options.add_argument("--threads", type=int, default=1)
    chosen = options.parse_args()
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    log.setLevel(logging.INFO)
    torch.set_num_threads(chosen.threads)
    if not chosen.measure:
        train()
    for name, value in measure().items():
        log.info("%-28s %s", name, value)


if __name__ == "__main__":
    main()
