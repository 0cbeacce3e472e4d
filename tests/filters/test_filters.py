from pathlib import Path

import imagehash
import numpy as np
import pytest
from PIL import Image as Pil
from shards import measure, page, raw_shard, scored, scorers_of

from curate import Image, Text
from curate.demo import world
from curate.filters.clip import Clip, located, pretrained, relate
from curate.filters.image_quality import image_quality
from curate.filters.image_size import image_size
from curate.filters.phash import phash
from curate.filters.text_stats import text_stats
from curate.filters.url_words import url_words
from curate.image.codec import decode, encode, to_pil
from curate.plugin import Encoded, spec_of
from curate.recipe.section import RecipeError
from curate.store.store import Store

# --- image_size


def sized(width, height):
    return image_size([Image("u", width=width, height=height)])[0]


def test_image_size():
    assert sized(300, 150) == {
        "width": 300, "height": 150, "min_side": 150, "area": 45_000, "aspect": 2.0, "elongation": 2.0
    }  # fmt: skip


def test_aspect_has_a_direction_and_elongation_has_none():
    assert (sized(150, 300)["aspect"], sized(150, 300)["elongation"]) == (0.5, 2.0)
    assert sized(7, 7)["elongation"] == 1


def test_a_picture_without_size_is_not_measured():
    assert image_size([Image("u"), Image("u", width=5)]) == [None, None]


# --- image_quality


def quality(pixels):
    return image_quality([Image("u", pixels=np.asarray(pixels, np.uint8))])[0]


def grey(values):
    return np.repeat(np.asarray(values, np.uint8)[..., None], 3, axis=2)


def test_a_blank_picture_has_no_contrast_sharpness_or_entropy():
    assert quality(grey(np.full((64, 64), 200))) == pytest.approx(
        {"contrast": 0, "sharpness": 0, "entropy": 0}, abs=0.01
    )


def test_a_chessboard_by_hand():
    board = np.indices((66, 66)).sum(axis=0) % 2 * 255  # half 0, half 255; each pixel's neighbours are all the other
    expected = {"contrast": 127.5, "sharpness": (4 * 255) ** 2, "entropy": 1}
    assert quality(grey(board)) == pytest.approx(expected, rel=1e-4)


def test_four_equal_greys_are_two_bits():
    assert quality(grey(np.repeat([[10, 20, 30, 40]], 8, axis=0)))["entropy"] == pytest.approx(2)


def test_luminance_weighs_colours():
    half = np.zeros((8, 8, 3))
    half[:, 4:, 1] = 100  # green: 58.7
    assert quality(half)["contrast"] == pytest.approx(58.7 / 2, rel=1e-4)


def test_blurring_takes_sharpness():
    noise = np.random.default_rng(0).integers(0, 256, (128, 128)).astype(np.uint8)
    blurred = np.asarray(Pil.fromarray(noise).resize((16, 16), Pil.Resampling.BOX).resize((128, 128)))
    assert quality(grey(noise))["entropy"] > 7.9
    assert quality(grey(blurred))["sharpness"] < 100 < 10_000 < quality(grey(noise))["sharpness"]


def test_too_small_or_missing_pictures_are_not_measured():
    assert quality(np.zeros((2, 50, 3))) is None
    assert image_quality([Image("u")]) == [None]


# --- text_stats


def test_text_stats_by_hand():
    (found,) = text_stats([Text("A red bus 42!")])
    assert found == {"words": 4, "chars": 13, "letters": 7 / 13, "digits": 2 / 13, "upper": 1 / 7}


def test_an_empty_text_is_all_zero():
    assert text_stats([Text("")]) == [{"words": 0, "chars": 0, "letters": 0, "digits": 0, "upper": 0}]


@pytest.mark.parametrize(("text", "words"), [("  a \t red\n car ", 3), ("ÉTÉ", 1), ("   ", 0)])
def test_words_are_split_at_white_space(text, words):
    assert text_stats([Text(text)])[0]["words"] == words


# --- url_words


@pytest.mark.parametrize(
    ("url", "token", "substring"),
    [
        ("http://ex.org/logo.png", 1, 1),
        ("http://ex.org/Logo_2.png", 1, 0),
        ("http://ex.org/logos.png", 0, 1),
        ("http://ex.org/ICON.gif", 1, 0),
        ("http://ex.org/silicon/valley.jpg", 0, 1),
        ("http://ex.org/a-button-icon2.jpg", 2, 2),
        ("http://ex.org/bus.jpg", 0, 0),
    ],
)
def test_url_words(url, token, substring):
    assert [row["hits"] for row in url_words([url]) + url_words([url], match="substring")] == [token, substring]


def test_the_first_word_found_is_named():
    assert url_words(["http://ex.org/icon-logo.png", "http://ex.org/"]) == [
        {"hits": 2, "word": "logo"},
        {"hits": 0, "word": None},
    ]


def test_words_of_ones_own():
    assert url_words(["http://ex.org/banner.png"], ["banner"])[0]["hits"] == 1


def test_another_way_to_match_is_refused():
    with pytest.raises(ValueError, match="'regex' is neither token nor substring"):
        url_words(["http://ex.org"], match="regex")


# --- phash


def drawn(seed, side=512):
    return world.draw(world.random_scene(np.random.default_rng(seed), side))


def hash_of(pixels):
    return imagehash.hex_to_hash(phash([Image("u", pixels=pixels)])[0]["phash"])


@pytest.mark.parametrize("seed", range(5))
def test_phash_is_imagehashs_at_reduced_decode(seed):
    data = encode(drawn(seed, 600))
    assert hash_of(decode(data, spec_of(phash).pixels)) - imagehash.phash(to_pil(decode(data))) <= 4


@pytest.mark.parametrize("seed", range(5))
def test_phash_stays_close_when_resized_and_differs_between_pictures(seed):
    small = np.asarray(to_pil(drawn(seed)).resize((200, 200)))
    assert hash_of(small) - hash_of(drawn(seed)) <= 4
    assert hash_of(drawn(seed)) - hash_of(drawn(seed + 100)) > 8


def test_phash_is_sixteen_hex_digits_and_none_without_a_picture():
    found, nothing = phash([Image("u", pixels=drawn(0)), Image("u")])
    assert len(found["phash"]) == 16
    assert nothing is None


# --- clip


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    """Twenty drawn pictures, each on a page with its caption in the middle of two others; what the demo CLIP says."""
    folder, rng = tmp_path_factory.mktemp("clip"), np.random.default_rng(3)
    scenes = [world.random_scene(rng, 224) for _ in range(20)]
    texts = [(world.chatter(rng), world.caption(scene, rng), world.wrong_caption(scene, rng)) for scene in scenes]
    urls = [f"http://ex.org/{at}.png" for at in range(20)]
    store = Store(folder)
    pages = [page(one, Image(url), two, three) for url, (one, two, three) in zip(urls, texts, strict=True)]
    raw_shard(store, pages, {url: encode(world.draw(scene), "png") for url, scene in zip(urls, scenes, strict=True)})
    scorers = scorers_of(folder, {"clip": {"use": "clip"}, "small": {"use": "clip"}}, resources={"small": {"batch": 3}})
    measure(store, scorers)
    return {scorer.name: {column: scored(store, scorer, column) for column in scorer.all_columns} for scorer in scorers}


def test_the_right_caption_scores_higher_than_the_wrong_ones(clip):
    assert sum(best == 1 for best in clip["clip"]["best"]) >= 19
    for sims, sim, best in zip(clip["clip"]["sims"], clip["clip"]["sim"], clip["clip"]["best"], strict=True):
        assert (len(sims), sim, best) == (3, max(sims), int(np.argmax(sims)))


def test_embeddings_are_normalised(clip):
    assert np.linalg.norm(clip["clip"]["embedding"], axis=1) == pytest.approx(np.ones(20), abs=2e-3)


def test_scores_do_not_depend_on_the_batch(clip):
    assert np.array(clip["small"]["sims"]) == pytest.approx(np.array(clip["clip"]["sims"]), abs=1e-4)


def test_similarities_follow_the_texts_of_the_document():
    document = page("x", Image("u"), "y", "z")
    found = relate(
        Encoded(
            document, {1: np.array([1.0, 0])}, {3: np.array([0.5, 0]), 2: np.array([0.9, 0]), 0: np.array([0.1, 0])}
        )
    )
    assert list(found[1]["sims"]) == [0.1, 0.9, 0.5]
    assert (found[1]["sim"], found[1]["best"]) == (0.9, 1)


def test_without_texts_an_image_has_only_its_embedding():
    found = relate(Encoded(page(Image("u")), {0: np.array([1.0, 0])}, {}))
    assert (found[0].keys(), len(found[0]["sims"])) == ({"sims", "embedding"}, 0)


def test_quickgelu_weights_need_a_quickgelu_model(tmp_path):
    with pytest.raises(ValueError, match="use model: ViT-B-32-quickgelu"):
        Clip("ViT-B-32", "openai")
    with pytest.raises(RecipeError, match=r"score\.clip: clip: QuickGELU mismatch.*use model: ViT-B-32-quickgelu"):
        scorers_of(tmp_path, {"clip": {"use": "clip", "model": "ViT-B-32", "weights": "openai"}})
    assert pretrained("ViT-B-32-quickgelu", "openai")["quick_gelu"]


@pytest.mark.parametrize(
    ("model", "weights", "said"),
    [
        ("ViT-B-32-quickgelu", "", "model 'ViT-B-32-quickgelu' needs weights; there are openai, "),
        ("ViT-B-32-quickgelu", "opanai", "has no weights 'opanai'; there are openai, "),
        ("ViT-B-99", "openai", "open_clip has no model 'ViT-B-99'"),
        ("/no/folder", "", "/no/folder has no open_clip_config.json"),
    ],
)
def test_unknown_models_and_weights_are_refused_before_anything_runs(tmp_path, model, weights, said):
    with pytest.raises(RecipeError, match=said):
        scorers_of(tmp_path, {"clip": {"use": "clip", "model": model, "weights": weights}})


def test_a_local_folder_is_a_model():
    folder = Path(located("demo").removeprefix("local-dir:"))
    assert located(str(folder)) == located("demo")
    assert {path.name for path in Clip.weights("demo")} == {path.name for path in folder.iterdir()}
