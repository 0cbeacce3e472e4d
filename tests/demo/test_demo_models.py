"""The demo's models: each loaded by the code that uses it, each no worse than what its README says, roughly."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from curate import Image
from curate.demo import planted, world
from curate.image.codec import to_pil

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

FOLDER = Path(world.__file__).parents[2] / "filters" / "demo_models"
COUNT = 120

pytestmark = pytest.mark.filterwarnings("ignore")


@cache
def scenes() -> tuple[world.Scene, ...]:
    rng = np.random.default_rng(31)
    return tuple(world.random_scene(rng, side) for side in (64, 96, 128) for _ in range(COUNT // 3))


@cache
def loaded(name: str, kind: str) -> tuple[Any, Any]:
    model, about = getattr(transformers, kind).from_pretrained(
        FOLDER / name, dtype=torch.float32, output_loading_info=True, local_files_only=True
    )
    assert not any(about.values())
    return model.eval(), transformers.BlipProcessor.from_pretrained(FOLDER / name, local_files_only=True)


@cache
def vectors() -> list[list[float]]:
    from curate.filters.clip import Clip

    clip = Clip()
    rows: list[list[float]] = clip.encode_image(
        [clip.prepare(Image("", pixels=world.draw(scene))) for scene in scenes()]
    ).tolist()
    return rows


def captions(**how: Any) -> list[str]:
    model, processor = loaded("blip_captioner", "BlipForConditionalGeneration")
    torch.manual_seed(0)
    inputs = processor(images=[to_pil(world.draw(scene)) for scene in scenes()], return_tensors="pt")
    ids = model.generate(**inputs, max_new_tokens=20, **how)
    said: list[str] = processor.batch_decode(ids, skip_special_tokens=True)
    return said


@pytest.mark.parametrize("how", [{"do_sample": False}, {"do_sample": True, "top_p": 0.9, "top_k": 0, "min_length": 5}])
def test_the_captioner_tells_the_truth(how: dict[str, Any]) -> None:
    said = captions(**how)
    assert np.mean([planted.understood(text) is not None for text in said]) >= 0.97
    assert np.mean([planted.holds(text, scene) for text, scene in zip(said, scenes(), strict=True)]) >= 0.85


@pytest.mark.parametrize(("kind", "least"), [("right", 0.9), ("changed", 0.88), ("other", 0.96), ("foreign", 0.96)])
def test_the_matcher_keeps_what_is_right(kind: planted.Kind, least: float) -> None:
    model, processor = loaded("blip_itm", "BlipForImageTextRetrieval")
    rng = np.random.default_rng(0)
    inputs = processor(
        images=[to_pil(world.draw(scene)) for scene in scenes()],
        text=[planted.line(scene, kind, rng).text for scene in scenes()],
        padding=True,
        truncation=True,
        return_tensors="pt",
    )
    with torch.inference_mode():
        kept = model(**inputs, use_itm_head=True).itm_score.softmax(dim=1)[:, 1] >= 0.5
    assert (kept if kind == "right" else ~kept).float().mean() >= least


def test_a_captioner_is_no_matcher() -> None:
    with pytest.raises(AssertionError):
        loaded("blip_captioner", "BlipForImageTextRetrieval")


def test_no_special_token_is_said() -> None:
    _, processor = loaded("blip_captioner", "BlipForConditionalGeneration")
    ids = processor.tokenizer.convert_tokens_to_ids(["[DEC]", "[ENC]", "[PAD]", "[SEP]"])
    assert processor.tokenizer.unk_token_id not in ids
    assert processor.decode(ids, skip_special_tokens=True) == ""


def test_the_unsafe_are_found() -> None:
    from curate.filters.clip import Clip
    from curate.filters.nsfw import Nsfw

    rng, clip = np.random.default_rng(2), Clip()
    pictures = [world.draw(planted.unsafe_scene(rng)) for _ in range(60)]
    stars = clip.encode_image([clip.prepare(Image("", pixels=pixels)) for pixels in pictures]).tolist()
    assert np.mean([row["unsafe"] > 0.5 for row in Nsfw()(stars) if row]) >= 0.9
    safe = [not planted.is_unsafe(scene) for scene in scenes()]
    rows = [row["unsafe"] > 0.5 for row, harmless in zip(Nsfw()(vectors()), safe, strict=True) if row and harmless]
    assert np.mean(rows) <= 0.05


def test_beauty_follows_the_taste() -> None:
    from curate.filters.aesthetic import Aesthetic

    scores = [row["score"] for row in Aesthetic()(vectors()) if row]
    assert np.corrcoef(scores, [planted.taste(scene) for scene in scenes()])[0, 1] >= 0.85


def test_watermarks_are_found() -> None:
    pytest.importorskip("timm")
    from curate.filters.watermark import Watermark

    rng, net = np.random.default_rng(3), Watermark()
    plain = [world.draw(scene) for scene in scenes()]
    marked = [planted.watermark(pixels, rng)[0] for pixels in plain]
    for pictures, lowest, highest in ((marked, 0.93, 1.0), (plain, 0.0, 0.05)):
        rows = net([net.prepare(Image("", pixels=pixels)) for pixels in pictures])
        assert lowest <= np.mean([row["watermark"] > 0.8 for row in rows]) <= highest


def test_they_are_small() -> None:
    names = ("blip_captioner", "blip_itm", "nsfw_head", "aesthetic_head", "watermark")
    assert sum(file.stat().st_size for name in names for file in (FOLDER / name).iterdir()) <= 8_000_000
