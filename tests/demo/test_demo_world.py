"""The shapes world and the demo CLIP trained on it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from curate.demo import world

FOLDER = Path(world.__file__).parents[2] / "filters" / "demo_models" / "clip"


def scenes(count: int, seed: int = 11, side: int = 96) -> list[world.Scene]:
    rng = np.random.default_rng(seed)
    return [world.random_scene(rng, side) for _ in range(count)]


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    return pytest.importorskip("tokenizers").Tokenizer.from_file(str(FOLDER / "tokenizer.json"))


@pytest.mark.parametrize("side", [64, 97, 224])
def test_a_scene_draws_the_same_pixels_every_time(side: int) -> None:
    (scene,) = scenes(1, side=side)
    pixels = world.draw(scene)
    assert pixels.shape == (side, side, 3)
    assert pixels.dtype == np.uint8
    assert np.array_equal(pixels, world.draw(scene))


def test_the_seed_changes_the_picture_and_not_the_caption() -> None:
    (scene,) = scenes(1)
    other = replace(scene, seed=scene.seed + 1)
    assert not np.array_equal(world.draw(scene), world.draw(other))
    assert world.caption(scene, np.random.default_rng(0)) == world.caption(other, np.random.default_rng(0))


def test_every_combination_can_be_drawn() -> None:
    for shape in world.SHAPES:
        for size, count in world.DIAMETER:
            for texture in world.TEXTURES:
                assert world.draw(world.Scene("red", shape, size, count, texture, 64)).std() > 5


def test_a_caption_names_every_attribute() -> None:
    scene = world.Scene("red", "star", "large", 2, "striped")
    for seed in range(20):
        words = world.caption(scene, np.random.default_rng(seed)).split()
        assert {"two", "large", "red", "stars", "striped"} <= set(words)


def test_one_object_is_spoken_of_in_the_singular() -> None:
    assert "a small blue heart" in world.caption(
        world.Scene("blue", "heart", "small", 1, "wavy"), np.random.default_rng(0)
    )


@pytest.mark.parametrize("attribute", world.ATTRIBUTES)
def test_spoiling_changes_one_attribute(attribute: str) -> None:
    rng = np.random.default_rng(0)
    for scene in scenes(50):
        spoiled = world.spoil(scene, rng, attribute)
        assert [name for name in world.ATTRIBUTES if getattr(spoiled, name) != getattr(scene, name)] == [attribute]
        assert world.draw(spoiled).shape == (96, 96, 3)


def test_a_wrong_caption_is_wrong_in_one_attribute() -> None:
    scene = world.Scene("red", "star", "large", 2, "striped")
    right = {"two", "large", "red", "stars", "striped"}
    for seed in range(50):
        words = set(world.wrong_caption(scene, np.random.default_rng(seed)).split())
        missing = right - words
        assert len(missing) == 1 or missing == {"two", "stars"}  # "a star": another count is another number


def test_chatter_names_nothing_that_can_be_drawn() -> None:
    rng = np.random.default_rng(0)
    drawn = {*world.COLOURS, *world.SHAPES, *world.SHAPES.values(), *world.SIZES, *world.TEXTURES, "two", "three"}
    for _ in range(300):
        assert drawn.isdisjoint(world.chatter(rng).lower().strip(".").split())


def test_a_logo_is_a_small_picture_of_its_seed() -> None:
    assert world.logo(3, 20).shape == (20, 20, 3)
    assert np.array_equal(world.logo(3), world.logo(3))
    assert not np.array_equal(world.logo(3), world.logo(4))


def test_the_shipped_tokenizer_knows_every_word(tokenizer: Any) -> None:
    rng = np.random.default_rng(0)
    for scene in scenes(200):
        for text in (world.caption(scene, rng), world.wrong_caption(scene, rng), world.chatter(rng)):
            words = text.lower().replace(".", " .").replace(",", " ,").split()
            assert tokenizer.encode(text).tokens == ["[CLS]", *words, "[SEP]"]


def test_an_unknown_word_is_spelled(tokenizer: Any) -> None:
    assert "[UNK]" not in tokenizer.encode("Zebra 42, quite!").tokens


def test_the_vocabulary_is_that_of_the_tokenizer(tokenizer: Any) -> None:
    assert set(world.VOCABULARY) <= set(tokenizer.get_vocab())


def test_the_weights_are_small() -> None:
    assert (FOLDER / "open_clip_model.safetensors").stat().st_size <= 5_000_000


@pytest.mark.filterwarnings("ignore")
def test_the_shipped_model_separates_right_from_wrong_captions() -> None:
    torch, open_clip = pytest.importorskip("torch"), pytest.importorskip("open_clip")
    from PIL import Image

    model, preprocess = open_clip.create_model_from_pretrained(f"local-dir:{FOLDER}")
    tokens = open_clip.get_tokenizer(f"local-dir:{FOLDER}")
    model.eval()
    rng, fresh = np.random.default_rng(5), scenes(100, seed=4_242)
    with torch.inference_mode():
        pixels = torch.stack([preprocess(Image.fromarray(world.draw(scene))) for scene in fresh])
        texts = tokens([world.caption(scene, rng) for scene in fresh] + [world.chatter(rng) for _ in fresh])
        scores = model.encode_image(pixels, normalize=True) @ model.encode_text(texts, normalize=True).T
    right = scores[:, :100].diagonal()
    assert (right[:, None] > scores[:, :100][~torch.eye(100, dtype=torch.bool)][None]).float().mean() >= 0.97
    assert (right[:, None] > scores[:, 100:].flatten()[None]).float().mean() >= 0.97
