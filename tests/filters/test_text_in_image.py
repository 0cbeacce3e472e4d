from pathlib import Path

import cv2
import numpy as np
import pytest
from shards import measure, page, raw_shard, scored, scorers_of
from test_faces import onnx

from curate import Image, Text
from curate.demo import world
from curate.filters._text_boxes import MEAN, SIDE, STD, DBNet, demo, grown
from curate.filters.clip import Clip
from curate.filters.text_in_image import BORDER, TextInImage, painted
from curate.image.codec import encode
from curate.recipe.section import RecipeError
from curate.store.store import Store


def stripe(_pixels):
    """A detector to which the picture's second fifth from the top is text."""
    return [[0.1, 0.2, 0.9, 0.4]]


def nowhere(_pixels):
    return []


def upside_down(_pixels):
    return [[0, 0.8, 1, 0.9], [0.5, 0.1, 0.9, 0.2], [0.1, 0.1, 0.4, 0.2], [-1, 0.5, 0.2, 7]]


def scene(seed=0, side=120):
    rng = np.random.default_rng(seed)
    drawn = world.random_scene(rng, side)
    return world.draw(drawn), world.caption(drawn, rng)


def rows(scorer, *pairs):
    return scorer([(scorer.prepare(Image("u", pixels=pixels)), Text(caption)) for pixels, caption in pairs])


# --- painting over


def test_a_box_takes_the_mean_colour_around_it():
    pixels = np.zeros((100, 200, 3), np.uint8)
    pixels[:, :, 1] = 80
    pixels[20:40, 20:180] = 255
    pixels[20 - BORDER : 20, :, 0] = 200  # above the box
    plain, area = painted(pixels, np.array([[0.1, 0.2, 0.9, 0.4]]))
    ring = (20 + 2 * BORDER) * (160 + 2 * BORDER) - 20 * 160
    expected = [200 * BORDER * (160 + 2 * BORDER) / ring, 80, 0]
    assert plain[20:40, 20:180] == pytest.approx(np.broadcast_to(np.rint(expected), (20, 160, 3)))
    assert area == pytest.approx(20 * 160 / 20_000)
    plain[20:40, 20:180] = 255
    assert (plain == pixels).all()


def test_the_text_of_a_neighbour_does_not_colour_a_box():
    pixels = np.full((100, 100, 3), 50, np.uint8)
    pixels[10:50] = 255
    plain, area = painted(pixels, np.array([[0, 0.1, 1, 0.3], [0, 0.3, 1, 0.5]]))
    assert (plain == 50).all()
    assert area == pytest.approx(0.4)


def test_overlapping_boxes_count_once_and_a_picture_of_text_alone_is_its_mean():
    pixels = np.random.default_rng(0).integers(0, 256, (10, 20, 3), np.uint8)
    plain, area = painted(pixels, np.array([[0, 0, 1, 1], [0, 0, 0.5, 0.5]]))
    assert area == 1
    assert (plain == np.rint(pixels.mean(axis=(0, 1)))).all()


# --- the scorer


def test_the_similarity_is_that_of_the_masked_picture():
    (pixels, caption), clip = scene(), Clip()
    hidden, area = painted(pixels, np.array(stripe(pixels)))
    direct = clip.encode_image([clip.prepare(Image("u", pixels=hidden))]) @ clip.encode_text([Text(caption)]).T
    (found,) = rows(TextInImage("test_text_in_image:stripe"), (pixels, caption))
    assert found["masked_sim"] == pytest.approx(float(direct[0, 0]), abs=1e-5)
    assert (list(found["boxes"]), found["area"]) == ([0.1, 0.2, 0.9, 0.4], area)
    before = clip.encode_image([clip.prepare(Image("u", pixels=pixels))]) @ clip.encode_text([Text(caption)]).T
    assert before[0, 0] - found["masked_sim"] > 0.01


def test_without_text_it_is_clips_similarity(tmp_path):
    store, urls, pages = Store(tmp_path), {}, []
    for seed in range(3):
        pixels, caption = scene(seed)
        urls[f"http://ex.org/{seed}.png"] = encode(pixels, "png")
        pages.append(page(Image(f"http://ex.org/{seed}.png"), caption))
    raw_shard(store, pages, urls)
    text = {"use": "text_in_image", "detector": "test_text_in_image:nowhere"}
    scorers = scorers_of(tmp_path, {"clip": {"use": "clip"}, "text": text})
    measure(store, scorers)
    clip, masked = scorers
    assert scored(store, masked, "masked_sim") == pytest.approx(scored(store, clip, "sim"), abs=1e-4)
    assert scored(store, masked, "area") == [0, 0, 0]
    assert [len(boxes) for boxes in scored(store, masked, "boxes")] == [0, 0, 0]


def test_boxes_are_in_reading_order_and_inside():
    (found,) = rows(TextInImage("test_text_in_image:upside_down"), scene())
    assert found["boxes"].reshape(-1, 4).tolist() == [
        [0.1, 0.1, 0.4, 0.2], [0.5, 0.1, 0.9, 0.2], [0, 0.5, 0.2, 1], [0, 0.8, 1, 0.9]
    ]  # fmt: skip


def test_the_detectors_file_is_part_of_the_identity(tmp_path):
    files = TextInImage.weights("test_text_in_image:stripe")
    assert Path(__file__) in files
    assert set(TextInImage.weights()) == set(Clip.weights()) == set(files) - {Path(__file__)}
    for detector in ("/no/dbnet.onnx", __file__):
        with pytest.raises(RecipeError, match=r"score\.text: text_in_image: detector is a DBNet"):
            scorers_of(tmp_path, {"text": {"use": "text_in_image", "detector": detector}})
    with pytest.raises(RecipeError, match="No module named 'no_such_module'"):
        scorers_of(tmp_path, {"text": {"use": "text_in_image", "detector": "no_such_module:f"}})


# --- detectors


def test_a_dbnet_through_opencv(tmp_path):
    """One to which red is text: it takes the normalisation back, so a wrong one, or RGB for BGR, would show."""
    kernel = np.zeros((1, 3, 1, 1))
    kernel[0, 2] = STD[2]
    file = onnx(tmp_path / "db.onnx", {"probability": (kernel, [MEAN[2] / 255])}, SIDE)
    pixels = np.zeros((2 * SIDE, SIDE, 3), np.uint8)
    pixels[400:480, 100:300, 0] = 255
    pixels[900:980, 100:300, 2] = 255
    (box,) = DBNet(file)(pixels) * (SIDE, 2 * SIDE, SIDE, 2 * SIDE)
    more = 2.0 * 200 * 40 / (2 * (200 + 40))  # unclip: area x ratio / perimeter, in the square picture
    assert box == pytest.approx([100 - more, 400 - 2 * more, 300 + more, 480 + 2 * more], abs=4)
    assert DBNet(file)(np.zeros((50, 50, 3), np.uint8)).shape == (0, 4)


def test_a_map_is_read_as_opencv_reads_it(tmp_path):
    """OpenCV's own detector, of a network that gives the map as it wants it: without the first two dimensions."""
    probabilities = np.zeros((SIDE, SIDE, 3), np.uint8)
    for centre, axes, angle, red in (((200, 150), (120, 20), 10, 250), ((500, 400), (150, 30), -25, 180),
                                     ((100, 600), (60, 12), 0, 100), ((600, 650), (3, 1), 0, 255)):  # fmt: skip
        cv2.ellipse(probabilities, centre, axes, angle, 0, 360, (0, 0, red), -1)
    kernel = np.zeros((1, 3, 1, 1))
    kernel[0, 2] = 1
    net = cv2.dnn.readNet(onnx(tmp_path / "db.onnx", {"p": (kernel, [0.0])}, SIDE, squeeze=True))
    model = cv2.dnn.TextDetectionModel_DB(net)
    model.setBinaryThreshold(0.3).setPolygonThreshold(0.5).setUnclipRatio(2.0).setMaxCandidates(200)
    model.setInputParams(1 / 255, (SIDE, SIDE))
    expected = [[*quad.min(axis=0), *quad.max(axis=0)] for quad in model.detect(probabilities)[0]]
    found = grown(probabilities[:, :, 2] / np.float32(255))
    assert len(expected) == 2
    assert np.array(sorted(found.tolist())) == pytest.approx(np.array(sorted(expected)), abs=4)


@pytest.mark.parametrize(("ink", "paper"), [(0, 255), (255, 0), (60, 170)])
def test_the_demo_detector_finds_plain_letters(ink, paper):
    pixels = np.full((200, 400, 3), paper, np.uint8)
    (width, height), _ = cv2.getTextSize("SUMMER SALE", cv2.FONT_HERSHEY_SIMPLEX, 1.2, 3)
    cv2.putText(pixels, "SUMMER SALE", (60, 110), cv2.FONT_HERSHEY_SIMPLEX, 1.2, (ink,) * 3, 3, cv2.LINE_AA)
    covered = np.zeros((200, 400), bool)
    for left, top, right, bottom in (demo(pixels) * (400, 200, 400, 200)).round().astype(int):
        covered[top:bottom, left:right] = True
    assert covered[110 - height : 110, 60 : 60 + width].mean() > 0.9
    assert covered.mean() < 1.6 * width * height / 80_000


def test_the_demo_detector_leaves_most_pictures_alone():
    assert sum(len(demo(scene(seed, 200)[0])) > 0 for seed in range(20)) <= 3
    assert demo(np.full((1, 1, 3), 9, np.uint8)).shape == (0, 4)
