"""What is planted in the drawn web, and that the truth recorded about it is the truth."""

from __future__ import annotations

import numpy as np
import pytest

from curate.demo import planted, world


def scenes(count: int, seed: int = 12) -> list[world.Scene]:
    rng = np.random.default_rng(seed)
    return [world.random_scene(rng, 96) for _ in range(count)]


def test_equal_generators_plant_the_same() -> None:
    (scene,) = scenes(1)

    def made() -> tuple[bytes, object, bytes, object, list[planted.Line]]:
        rng = np.random.default_rng(3)
        marked, mark = planted.watermark(world.draw(scene), rng)
        faced, face = planted.with_face(scene, rng)
        return marked.tobytes(), mark, faced.tobytes(), face, [planted.line(scene, kind, rng) for kind in planted.KINDS]

    assert made() == made()


@pytest.mark.parametrize("side", [64, 97, 224])
def test_a_watermark_changes_its_box_and_nothing_else(side: int) -> None:
    pixels = world.draw(world.Scene("red", "star", "large", 2, "striped", side))
    marked, mark = planted.watermark(pixels, np.random.default_rng(side))
    left, top, right, bottom = mark.box
    changed = (marked != pixels).any(axis=2)
    assert changed[top:bottom, left:right].mean() > 0.9
    changed[top:bottom, left:right] = False
    assert not changed.any()


def test_every_stamp_can_be_written() -> None:
    assert {letter for stamp in planted.STAMPS for letter in stamp} == set(planted.LETTERS)


def test_a_face_changes_its_box_and_nothing_else() -> None:
    for at, scene in enumerate(scenes(8)):
        pixels, face = planted.with_face(scene, np.random.default_rng(at))
        left, top, right, bottom = face.box
        changed = (pixels != world.draw(scene)).any(axis=2)
        assert changed[top:bottom, left:right].mean() > 0.7  # a disc in its square
        changed[top:bottom, left:right] = False
        assert not changed.any()
        assert face.hides < 0.2


def test_the_mask_is_where_the_objects_are() -> None:
    red = world.Scene("red", "square", "large", 1, "dotted", 96, seed=4)
    mask, pixels = planted.object_mask(red), world.draw(red).astype(int)
    assert 0.2 < mask.mean() < 0.6
    assert (pixels[mask][:, 0] > pixels[mask][:, 2] + 60).mean() > 0.95
    assert (pixels[~mask][:, 0] > pixels[~mask][:, 2] + 60).mean() < 0.02


def test_only_magenta_stars_are_unsafe() -> None:
    rng = np.random.default_rng(0)
    assert all(planted.is_unsafe(planted.unsafe_scene(rng)) for _ in range(20))
    unsafe = [scene for scene in scenes(500) if planted.is_unsafe(scene)]
    assert {(scene.colour, scene.shape) for scene in unsafe} == {("magenta", "star")}


def test_taste_is_for_contrast_and_few_objects() -> None:
    black = world.Scene("black", "circle", "large", 1, "cloudy")
    crowd = world.Scene("magenta", "circle", "small", 5, "cloudy")
    assert planted.taste(black) > 8 > 4 > planted.taste(crowd)
    assert all(1 <= planted.taste(scene) <= 10 for scene in scenes(30))


@pytest.mark.parametrize(
    ("kind", "right", "holds"),
    [
        ("right", True, True),
        ("changed", False, False),
        ("other", False, False),
        ("boilerplate", False, False),
        ("foreign", True, False),
        ("chatter", False, False),
    ],
)
def test_a_line_says_whether_it_is_right(kind: planted.Kind, right: bool, holds: bool) -> None:
    rng = np.random.default_rng(1)
    for scene in scenes(40):
        line = planted.line(scene, kind, rng)
        assert (line.kind, line.right, line.language == "en") == (kind, right, kind != "foreign")
        assert planted.holds(line.text, scene) == holds


@pytest.mark.parametrize(
    ("text", "holds"),
    [
        ("two large red stars on a striped background", True),
        ("Two large red stars on a striped wall.", True),
        ("striped paper with two large red stars", True),
        ("two large red star on a striped wall", False),
        ("a large red stars on a striped wall", False),
        ("two large red stars", False),
        ("two large red stars on a striped background with", False),
        ("three large red stars on a striped background", False),
        ("two large red stars on a wavy background", False),
        ("", False),
    ],
)
def test_a_caption_holds_if_every_word_does(text: str, holds: bool) -> None:
    assert planted.holds(text, world.Scene("red", "star", "large", 2, "striped")) == holds


@pytest.mark.parametrize(
    ("language", "shape", "count", "words"),
    [
        ("de", "heart", 1, "ein großes weißes Herz"),
        ("de", "circle", 1, "ein großer weißer Kreis"),
        ("nl", "square", 1, "een groot wit vierkant"),
        ("nl", "star", 2, "twee grote witte sterren"),
        ("fr", "cross", 1, "une grande croix blanche"),
        ("es", "heart", 3, "tres corazones blancos grandes"),
        ("it", "star", 5, "cinque grandi stelle bianche"),
        ("pt", "star", 2, "duas estrelas brancas grandes"),
    ],
)
def test_translations_agree_in_gender_and_number(language: str, shape: str, count: int, words: str) -> None:
    scene = world.Scene("white", shape, "large", count, "wavy")
    assert words in planted.translated(scene, language, np.random.default_rng(0))


@pytest.mark.parametrize("language", planted.LANGUAGES)
def test_every_scene_can_be_told_in_every_language(language: str) -> None:
    rng = np.random.default_rng(0)
    told = {planted.translated(scene, language, rng) for scene in scenes(300)}
    assert len(told) > 250
    assert not any(sign in text for text in told for sign in "{}/")
