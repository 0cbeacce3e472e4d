from pathlib import Path

import numpy as np
import pytest
from shards import measure, page, raw_shard, scored, scorers_of

from curate import Image
from curate.demo import planted, world
from curate.filters._heat_map import HeatMap
from curate.filters.faces import Faces, row
from curate.image.codec import encode
from curate.recipe.section import RecipeError
from curate.store.store import Store


def field(number: int, value: int | str | bytes) -> bytes:
    """One field of a protobuf message."""
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    data = value.encode() if isinstance(value, str) else value
    return varint(number << 3 | 2) + varint(len(data)) + data


def varint(value: int) -> bytes:
    return bytes([value]) if value < 128 else bytes([value & 127 | 128]) + varint(value >> 7)


def onnx(file: Path, convolutions: dict[str, tuple[np.ndarray, list[float]]], side: int, squeeze=False) -> str:
    """A network of single convolutions by the names of their outputs: kernel (out, 3, n, n) with stride n, and bias.

    With ``squeeze`` an output has no first two dimensions.
    """

    def tensor(name, values):
        dims = b"".join(field(1, size) for size in values.shape)
        return field(5, dims + field(2, 1) + field(8, name) + field(9, values.astype("<f4").tobytes()))

    def shaped(name, *shape):
        dims = b"".join(field(1, field(1, size)) for size in shape)
        return field(1, name) + field(2, field(1, field(1, 1) + field(2, dims)))

    graph = field(2, "g") + field(11, shaped("input", 1, 3, side, side))
    for name, (kernel, bias) in convolutions.items():
        ints = field(8, kernel.shape[-1]) * 2 + field(20, 7)
        sides = b"".join(field(5, field(1, each) + ints) for each in ("kernel_shape", "strides"))
        inputs = b"".join(field(1, each) for each in ("input", f"{name}_k", f"{name}_b"))
        whole = f"{name}_whole" if squeeze else name
        graph += field(1, inputs + field(2, whole) + field(3, whole) + field(4, "Conv") + sides)
        if squeeze:
            axes = field(5, field(1, "axes") + field(8, 0) + field(8, 1) + field(20, 7))
            graph += field(1, field(1, whole) + field(2, name) + field(3, name) + field(4, "Squeeze") + axes)
        graph += tensor(f"{name}_k", kernel) + tensor(f"{name}_b", np.array(bias))
        cells = side // kernel.shape[-1]
        graph += field(12, shaped(name, *((cells, cells) if squeeze else (1, len(kernel), cells, cells))))
    file.write_bytes(field(1, 8) + field(7, graph) + field(8, field(2, 11)))
    return str(file)


@pytest.fixture(scope="module")
def yunet(tmp_path_factory):
    """A network with YuNet's outputs, to which a face is a red cell of 8 x 8, centred on the cell's upper left."""
    red = np.zeros((1, 3, 8, 8))
    red[0, 2] = 1 / 64 / 255  # OpenCV's order: blue, green, red
    parts = {"cls": 1, "obj": 1, "bbox": 4, "kps": 10}
    nothing = {
        f"{part}_{n}": (np.zeros((out, 3, n, n)), [0.0] * out) for n in (8, 16, 32) for part, out in parts.items()
    }
    return onnx(
        tmp_path_factory.mktemp("yunet") / "net.onnx", nothing | {f"{p}_8": (red, [0.0]) for p in ("cls", "obj")}, 320
    )


def painted(*cells, width=64, height=96, cell=8):
    """Black with these cells: x, y and red, green, blue."""
    pixels = np.zeros((height, width, 3), np.uint8)
    for x, y, *colour in cells:
        pixels[y * cell : (y + 1) * cell, x * cell : (x + 1) * cell] = colour
    return Image("u", pixels=pixels)


def faces_of(detector, *images):
    return detector([detector.prepare(image) for image in images])


def test_yunet_through_opencv(yunet):
    (found,) = faces_of(
        Faces(yunet), painted((3, 5, 204, 0, 0), (6, 2, 255, 0, 0), (1, 1, 0, 0, 255), (2, 8, 99, 0, 0))
    )
    edges = np.array([6 * 8, 2 * 8, 6 * 8, 2 * 8, 3 * 8, 5 * 8, 3 * 8, 5 * 8]) + [-4, -4, 4, 4] * 2
    assert found["boxes"] == pytest.approx((edges / ([64, 96] * 4)).tolist(), abs=1e-6)
    assert (found["count"], found["score"]) == (2, pytest.approx(1, abs=1e-3))
    assert found["largest"] == pytest.approx(8 * 8 / (64 * 96))


@pytest.mark.parametrize(("floor", "count"), [(0.9, 1), (0.7, 2), (0.3, 3)])
def test_the_floor_says_what_counts(yunet, floor, count):
    picture = painted((3, 5, 204, 0, 0), (6, 2, 255, 0, 0), (2, 8, 99, 0, 0))
    assert faces_of(Faces(yunet, floor=floor), picture)[0]["count"] == count


def test_a_large_picture_is_shrunk_and_its_boxes_are_not(yunet):
    small = painted((3, 5, 255, 0, 0), width=320, height=160)
    large = painted((3, 5, 255, 0, 0), width=1280, height=640, cell=32)
    detector = Faces(yunet)
    one, other = faces_of(detector, small, large)
    assert one["boxes"] == pytest.approx(other["boxes"], abs=1e-6)
    assert faces_of(Faces(yunet, side=80), large)[0]["count"] == 0  # its faces have 2 pixels there
    assert (detector.pixels(yunet), detector.pixels(yunet, side=640)) == (320, 640)


def test_boxes_end_at_the_picture(yunet):
    (found,) = faces_of(Faces(yunet), painted((0, 0, 255, 0, 0)))
    assert found["boxes"] == pytest.approx([0, 0, 4 / 64, 4 / 96])


def test_without_faces_there_is_a_row_of_nothing(yunet):
    assert faces_of(Faces(yunet), painted()) == [{"boxes": [], "count": 0, "largest": 0, "score": 0}]


def test_the_largest_need_not_be_the_best():
    found = row(np.array([[0, 0, 0.1, 0.1, 0.9], [0.2, 0.2, 0.7, 0.6, 0.8]]))
    assert (found["largest"], found["score"]) == (pytest.approx(0.2), 0.9)


@pytest.mark.parametrize("weights", ["/no/yunet.onnx", "yunet.safetensors"])
def test_other_weights_are_refused_before_anything_runs(tmp_path, weights):
    with pytest.raises(RecipeError, match=rf"score\.faces: faces: weights are YuNet's .*{weights}"):
        scorers_of(tmp_path, {"faces": {"use": "faces", "weights": weights}})


def scenes(count, face, seed=5):
    """Pictures and their faces' boxes as shares."""
    rng = np.random.default_rng(seed)
    for _ in range(count):
        scene = world.random_scene(rng, int(rng.choice((96, 160))))
        if face:
            pixels, truth = planted.with_face(scene, rng)
            yield Image("u", pixels=pixels), np.array(truth.box) / scene.side
        else:
            yield Image("u", pixels=world.draw(scene)), None


def test_the_demo_finds_drawn_faces_and_nothing_else():
    images, truths = zip(*scenes(40, face=True), strict=True)
    hits = [
        each["count"] == 1 and np.abs(np.array(each["boxes"]) - box).max() < 0.06
        for each, box in zip(faces_of(Faces(), *images), truths, strict=True)
    ]
    assert sum(hits) >= 38
    assert sum(each["count"] for each in faces_of(Faces(), *(image for image, _ in scenes(40, face=False)))) <= 1


def test_the_demo_reads_its_map_as_it_was_drawn():
    demo = HeatMap(*Faces.weights(), 0.5)
    maps = demo.torch.full((1, 5, 24, 24), -9.0)
    for y, x, heat in ((4, 6, 2.0), (4, 7, 1.9), (20, 3, 1.0), (12, 12, -1.0)):  # a face, its slope, another, no face
        maps[0, :, y, x] = demo.torch.tensor([heat, 0.25, 0.5, np.log(20.0), np.log(10.0)])
    demo.model = lambda _: maps
    found = demo(np.zeros((96, 96, 3), np.uint8))
    assert found[:, :4] == pytest.approx(np.array([[15, 13, 35, 23], [3, 77, 23, 87]]), abs=1e-4)
    assert found[:, 4] == pytest.approx(1 / (1 + np.exp([-2.0, -1.0])), abs=1e-6)


def test_in_a_recipe(tmp_path):
    store = Store(tmp_path)
    (with_face, _), (without, _) = *scenes(1, face=True), *scenes(1, face=False)
    pictures = {f"http://ex.org/{at}.png": encode(each.pixels, "png") for at, each in enumerate((with_face, without))}
    raw_shard(store, [page("x", *map(Image, [*pictures, "http://ex.org/lost.png"]))], pictures)
    (scorer,) = scorers_of(tmp_path, {"faces": {"use": "faces"}})
    measure(store, [scorer])
    assert scored(store, scorer, "count") == [1, 0, None]
    assert [each if each is None else len(each) for each in scored(store, scorer, "boxes")] == [4, 0, None]
