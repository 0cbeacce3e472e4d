import hashlib
import json
import math
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from shards import measure, page, raw_shard, scored, scorers_of
from torch import nn

from curate import Image
from curate.demo import world
from curate.filters.aesthetic import Aesthetic
from curate.filters.image_classifier import ImageClassifier
from curate.filters.nsfw import Nsfw
from curate.filters.tags import Tags, verdict
from curate.filters.watermark import Watermark
from curate.image.codec import encode
from curate.recipe.section import RecipeError
from curate.store.store import Store

NAN = float("nan")


def vectors(count, width, seed=0):
    """As stored: of length 1, in half precision."""
    rows = np.random.default_rng(seed).normal(size=(count, width))
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float16).astype(float).tolist()


def sha256(file):
    return hashlib.sha256(Path(file).read_bytes()).hexdigest()


def saved(folder, tensors, name="head.safetensors"):
    from safetensors.torch import save_file

    save_file({key: tensor.contiguous() for key, tensor in tensors.items()}, folder / name)
    return str(folder / name)


def column(rows, name):
    return [row and row[name] for row in rows]


def spread(net, seed=0):
    """Weights under which scores differ."""
    torch.manual_seed(seed)
    for tensor in net.state_dict().values():
        if tensor.ndim == 2:
            nn.init.normal_(tensor, std=2 / tensor.shape[1] ** 0.5)
        elif tensor.ndim == 1:
            nn.init.normal_(tensor, std=0.1)
    return net.eval()


# --- nsfw


class Ported(nn.Module):
    """What the torch port of LAION's autokeras heads computes, for any widths."""

    def __init__(self, *widths):
        super().__init__()
        self.norm = nn.Module()
        generator = torch.Generator().manual_seed(1)
        self.norm.register_buffer("mean", torch.randn(widths[0], generator=generator) / widths[0] ** 0.5)
        self.norm.register_buffer("variance", (0.5 + torch.rand(widths[0], generator=generator)) / widths[0])
        self.count = len(widths) - 1
        for at in range(self.count):
            self.add_module(f"linear_{at + 1}", nn.Linear(widths[at], widths[at + 1]))

    def forward(self, x):
        x = (x - self.norm.mean) / self.norm.variance.sqrt()
        for at in range(1, self.count):
            x = torch.relu(getattr(self, f"linear_{at}")(x))
        return torch.sigmoid(getattr(self, f"linear_{self.count}")(x))


def ported(*widths):
    net = Ported(*widths)
    kept = {name: tensor.clone() for name, tensor in net.norm.state_dict().items()}
    spread(net).norm.load_state_dict(kept)
    return net


class H14(nn.Module):
    def __init__(self, out=1):
        super().__init__()
        widths, steps = [1024, 1024, 2048, 1024, 256, 128, 16], []
        for before, after in pairwise(widths):
            steps += [nn.Linear(before, after), nn.ReLU(), nn.Dropout(0.2)]
        self.layers = nn.Sequential(*steps[:-2], nn.Linear(16, out))  # nothing stands between 128 -> 16 -> 1

    def forward(self, x):
        return self.layers(x)


def direct(net, rows):
    with torch.inference_mode():
        return net(nn.functional.normalize(torch.tensor(rows, dtype=torch.float32)))[:, 0].numpy()


@pytest.mark.parametrize("widths", [(768, 64, 512, 256, 1), (512, 32, 32, 1), (128, 64, 512, 256, 1)])
def test_nsfw_is_the_torch_port(tmp_path, widths):
    net, rows = ported(*widths), vectors(50, widths[0])
    head = Nsfw(saved(tmp_path, net.state_dict()))
    found = column(head(rows), "unsafe")
    assert found == pytest.approx(direct(net, rows), abs=1e-4)
    assert np.ptp(found) > 0.5
    assert column([head([row])[0] for row in rows], "unsafe") == pytest.approx(found, abs=1e-12)


def test_nsfw_of_h14_has_no_sigmoid_and_no_relu_before_the_last_layer(tmp_path):
    net, rows = spread(H14()), vectors(50, 1024)
    assert [int(name.split(".")[1]) for name in net.state_dict()][::2] == [0, 3, 6, 9, 12, 15, 16]
    found = column(Nsfw(saved(tmp_path, net.state_dict()))(rows), "unsafe")
    raw = direct(net, rows)
    assert found == pytest.approx(np.clip(raw, 0, 1), abs=1e-4)
    assert raw.min() < 0 < 0.5 < raw.max()


def test_embeddings_need_not_be_normalised(tmp_path):
    head = Nsfw(saved(tmp_path, ported(768, 64, 512, 256, 1).state_dict()))
    rows = vectors(5, 768)
    assert column(head([[7 * x for x in row] for row in rows]), "unsafe") == pytest.approx(column(head(rows), "unsafe"))


@pytest.mark.parametrize("bad", [[NAN, *[0.1] * 7], [math.inf, *[0.1] * 7], [None, *[0.1] * 7], [0.0] * 8])
def test_what_is_no_direction_is_not_measured_nor_touches_its_neighbours(tmp_path, bad):
    good = vectors(2, 8)
    for head in (
        Nsfw(saved(tmp_path, ported(8, 4, 1).state_dict())),
        Aesthetic(saved(tmp_path, nn.Linear(8, 1).state_dict(), "a.safetensors")),
    ):
        assert head([good[0], bad, good[1]]) == [head(good)[0], None, head(good)[1]]
        assert head([bad]) == [None]


def test_a_head_for_another_clip_is_refused_by_name(tmp_path):
    file = saved(tmp_path, ported(768, 64, 512, 256, 1).state_dict())
    with pytest.raises(ValueError) as error:
        Nsfw(file)(vectors(2, 512))
    assert str(error.value) == (
        f"{file} (768 -> 64 -> 512 -> 256 -> 1): this head expects 768-d embeddings of OpenAI ViT-L/14; "
        "the column that it reads has 512"
    )


@pytest.mark.parametrize(
    ("tensors", "said"),
    [
        ({"a": torch.ones(3)}, "no chain of linear layers in a"),
        (spread(H14(5)).state_dict(), "the last layer has 5 outputs; expected 1"),
        ({"0.weight": torch.ones(4, 8), "0.bias": torch.ones(3)}, r"0 has weight \(4, 8\) and bias \(3,\); expected"),
        ({"0.weight": torch.ones(4, 8)}, r"0 has weight \(4, 8\) and bias \(0,\); expected \(n, 8\) and \(n,\)"),
        (
            nn.Sequential(nn.Linear(8, 4), nn.ReLU(), nn.Linear(5, 1)).state_dict(),
            r"2 has weight \(1, 5\) and bias \(1,\); expected \(n, 4\)",
        ),
        (
            ported(8, 1).state_dict() | {"norm.mean": torch.ones(7)},
            r"has norm.mean \(7,\) and norm.variance \(8,\); expected \(8,\)",
        ),
        (
            {"norm.mean": torch.ones(8)} | nn.Sequential(nn.Linear(8, 1)).state_dict(),
            r"has norm.mean \(8,\) and norm.variance \(0,\); expected \(8,\)",
        ),
        ({"scale": torch.ones(1)} | ported(8, 1).state_dict(), "no chain of linear layers in linear_1.bias, .*, scale"),
    ],
)
def test_weights_of_another_shape_are_refused_with_the_shape_expected(tmp_path, tensors, said):
    with pytest.raises(ValueError, match=rf"{tmp_path}/head.safetensors.* {said}"):
        Nsfw(saved(tmp_path, tensors))


# --- weights


def test_a_pickle_is_read_only_under_its_sha256_and_converted_once(tmp_path):
    net, file, rows = ported(8, 4, 1), tmp_path / "head.pth", vectors(4, 8)
    torch.save({f"module.{name}": tensor for name, tensor in net.state_dict().items()}, file)
    with pytest.raises(ValueError, match=rf"{file} has the sha256 {sha256(file)}, and a pickle may run code: name it"):
        Nsfw(str(file))
    with pytest.raises(ValueError, match=r"has the sha256 .*, not 00"):
        Nsfw(str(file), "00")
    assert [path.name for path in tmp_path.iterdir()] == ["head.pth"]
    pin = sha256(file)
    expected = Nsfw(saved(tmp_path, net.state_dict(), "same.safetensors"))(rows)
    assert Nsfw(str(file), pin)(rows) == expected
    (copy,) = Nsfw.weights(str(file), pin)
    assert (copy.name, sha256(copy)) == (f"head-{pin[:12]}.safetensors", sha256(tmp_path / "same.safetensors"))
    file.unlink()
    assert Nsfw(str(file), pin)(rows) == expected
    assert not list(tmp_path.glob("*.part"))


class Runs:
    def __reduce__(self):
        return (print, ("this ran",))


def test_a_pickle_that_would_run_code_does_not(tmp_path, capsys):
    file = tmp_path / "head.bin"
    torch.save({"a": Runs()}, file)
    with pytest.raises(ValueError, match="holds more than tensors"):
        Nsfw(str(file), sha256(file))
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("content", [{}, [1], {"epoch": 3}, {"weights": {"a": 1}}])
def test_a_pickle_without_a_state_dict_is_refused(tmp_path, content):
    file = tmp_path / "head.pt"
    torch.save(content, file)
    with pytest.raises(ValueError, match="holds no state dict"):
        Nsfw(str(file), sha256(file))


def test_wrong_files_are_refused_before_anything_runs(tmp_path):
    (tmp_path / "head.npy").write_bytes(b"")
    for entry, said in (
        ({"use": "nsfw", "weights": "/no/head.safetensors"}, r"score\.x: there are no weights /no/head\.safetensors"),
        ({"use": "aesthetic", "weights": str(tmp_path / "head.npy")}, r"weights are \.safetensors, or a state dict as"),
        ({"use": "watermark", "weights": str(tmp_path)}, r"there is no .*config\.json; name LAION's weights as a file"),
        ({"use": "image_classifier", "model": "a/b"}, r"a/b is no folder; .* pin revision: to a commit of 40 hex"),
        ({"use": "image_classifier", "model": "a/b", "revision": "main"}, "pin revision"),
        ({"use": "tags", "categories": "/no/prompts.txt"}, r"/no/prompts\.txt"),
    ):
        with pytest.raises(RecipeError, match=said):
            scorers_of(tmp_path, {"clip": {"use": "clip"}, "x": entry})


@pytest.mark.parametrize(("head", "folder"), [(Nsfw, "nsfw_head"), (Aesthetic, "aesthetic_head")])
def test_the_demo_heads_read_the_demo_clip(head, folder):
    assert all(head()(vectors(3, 128)))


def test_a_damaged_file_is_named(tmp_path):
    (tmp_path / "head.safetensors").write_bytes(b"version https://git-lfs")
    with pytest.raises(ValueError, match=r"head\.safetensors is damaged, or no safetensors file"):
        Nsfw(str(tmp_path / "head.safetensors"))


# --- aesthetic


class V2(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(768, 1024), nn.Dropout(0.2), nn.Linear(1024, 128), nn.Dropout(0.2),
            nn.Linear(128, 64), nn.Dropout(0.1), nn.Linear(64, 16), nn.Linear(16, 1),
        )  # fmt: skip

    def forward(self, x):
        return self.layers(x)


@pytest.mark.parametrize("net", [V2(), nn.Linear(768, 1), nn.Linear(512, 1)], ids=["V2", "V1 L/14", "V1 B/32"])
def test_aesthetic_is_the_torch_module(tmp_path, net):
    rows = vectors(50, next(iter(spread(net).state_dict().values())).shape[1])
    head = Aesthetic(saved(tmp_path, net.state_dict()))
    found = column(head(rows), "score")
    assert found == pytest.approx(direct(net, rows), abs=1e-4)
    assert np.std(found) > 0.02
    assert column([head([row])[0] for row in rows], "score") == pytest.approx(found, abs=1e-12)


def test_an_aesthetic_head_with_activations_is_no_affine_map(tmp_path):
    net = nn.Sequential(nn.Linear(8, 4), nn.ReLU(), nn.Dropout(0.2), nn.Linear(4, 1))
    with pytest.raises(ValueError, match="more than dropout stands between layers 0 and 3"):
        Aesthetic(saved(tmp_path, net.state_dict()))


# --- tags

PROMPTS = ["one large red circle", "a small blue square", "three large green stars", "two small yellow circles"]


def test_tags_are_those_of_the_clip_itself():
    import open_clip

    from curate.filters.clip import located

    name = located("demo")
    model, _ = open_clip.create_model_from_pretrained(name)
    with torch.inference_mode():
        texts = model.eval().encode_text(open_clip.get_tokenizer(name)(PROMPTS), normalize=True)
        near = nn.functional.normalize(texts[[2, 0, 3]] + 0.05 * torch.randn(3, 128, generator=torch.manual_seed(1)))
        shares = (model.logit_scale.exp() * near @ texts.T).softmax(dim=1)
    tags = Tags(PROMPTS, unsafe_from=2)
    found = tags([*near.tolist(), [NAN] * 128])
    assert column(found[:3], "tag") == [PROMPTS[2], PROMPTS[0], PROMPTS[3]]
    assert column(found[:3], "probability") == pytest.approx(shares.max(dim=1).values.numpy(), abs=1e-4)
    for row, both in zip(found, shares.topk(2).indices.tolist(), strict=False):
        assert row["nsfw"] == {0: "UNLIKELY", 1: "UNSURE", 2: "NSFW"}[sum(at >= 2 for at in both)]
    assert found[3] is None
    assert [tags([row])[0] for row in near.tolist()] == found[:3]
    with pytest.raises(ValueError, match="demo has 128-d embeddings; the column that it reads has 4"):
        tags([[1.0] * 4])


@pytest.mark.parametrize(
    ("best", "tag"),
    [((0, 18), "UNLIKELY"), ((18, 19), "UNSURE"), ((19, 18), "UNSURE"), ((19, 30), "NSFW"), ((0, 1), "UNLIKELY")],
)
def test_laions_three_tags(best, tag):
    assert verdict(*best, unsafe_from=19) == tag


def test_of_equal_prompts_the_earlier_counts(tmp_path):
    (tmp_path / "prompts.txt").write_text("\n".join([PROMPTS[0], "", PROMPTS[1], PROMPTS[1], ""]))
    tags = Tags(str(tmp_path / "prompts.txt"), unsafe_from=2)
    (row,) = tags([tags.texts[1].tolist()])
    assert (row["tag"], row["nsfw"]) == (PROMPTS[1], "UNSURE")
    assert row["probability"] == pytest.approx(0.5, abs=0.05)
    assert Tags(PROMPTS)([tags.texts[1].tolist()])[0]["nsfw"] is None


@pytest.mark.parametrize(
    ("categories", "unsafe_from", "said"),
    [(["a"], None, "1 prompts"), (PROMPTS, 0, "0 does not split 4"), (PROMPTS, 4, "4 does not split 4")],
)
def test_prompts_that_divide_nothing_are_refused(categories, unsafe_from, said):
    with pytest.raises(ValueError, match=said):
        Tags(categories, unsafe_from)


def test_heads_read_the_column_of_clip_in_a_recipe(tmp_path):
    rng, store = np.random.default_rng(3), Store(tmp_path)
    scenes = [world.random_scene(rng, 96) for _ in range(3)]
    pictures = {f"http://ex.org/{at}.png": encode(world.draw(scene), "png") for at, scene in enumerate(scenes)}
    urls = [*pictures, "http://ex.org/lost.png"]
    raw_shard(store, [page(*map(Image, urls), *[world.caption(scene, rng) for scene in scenes])], pictures)
    head = saved(tmp_path, ported(128, 64, 512, 256, 1).state_dict())
    prompts = [world.caption(scene, np.random.default_rng(7)) for scene in scenes]
    score = {"clip": {"use": "clip"}, "nsfw": {"use": "nsfw", "weights": head, "on": "clip.embedding"}}
    scorers = scorers_of(tmp_path, score | {"tags": {"use": "tags", "categories": prompts}})
    measure(store, scorers)
    clip, *others = scorers
    embeddings = scored(store, clip, "embedding")
    named = {scorer.name: scorer for scorer in others}
    expected = column(Nsfw(head)(embeddings[:3]), "unsafe")
    assert scored(store, named["nsfw"], "unsafe") == [*np.float32(expected).tolist(), None]
    assert scored(store, named["tags"], "tag") == [*prompts, None]


# --- watermark


def pictures(count, seed=0):
    rng = np.random.default_rng(seed)
    return [Image("u", pixels=rng.integers(0, 256 - 30 * at, (200 + 60 * at, 420, 3), np.uint8)) for at in range(count)]


@pytest.fixture(scope="module")
def b3a(tmp_path_factory):
    """LAION's network with random weights, as its batch code saves it."""
    import timm

    torch.manual_seed(0)
    net = timm.create_model("efficientnet_b3", pretrained=False, num_classes=2)
    net.classifier = nn.Sequential(
        nn.Linear(1536, 625), nn.ReLU(), nn.Dropout(p=0.3), nn.Linear(625, 256), nn.ReLU(), nn.Linear(256, 2)
    )
    for each in net.modules():
        each.momentum = 1  # one step in training, and BatchNorm knows the scale of everything
    with torch.inference_mode():
        net.train()(torch.randn(4, 3, 128, 128))
        net.classifier[5].weight /= net.eval()(torch.randn(4, 3, 128, 128)).std()
    file = tmp_path_factory.mktemp("watermark") / "watermark_model_v1.pt"
    torch.save({"weights": net.state_dict(), "epoch": 3}, file)
    return net.eval(), file, Watermark(str(file), sha256(file))


def test_watermark_is_the_first_class_of_laions_network(b3a):
    from torchvision import transforms

    net, _, watermark = b3a
    seen = transforms.Compose(
        [
            transforms.Resize((256, 256)),
            transforms.ToTensor(),
            transforms.Normalize([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]),
        ]
    )
    with torch.inference_mode():
        batch = torch.stack([seen(transforms.functional.to_pil_image(each.pixels)) for each in pictures(2)])
        expected = net(batch).softmax(dim=1)[:, 0].numpy()
    ready = [watermark.prepare(image) for image in pictures(2)]
    found = column(watermark(ready), "watermark")
    assert found == pytest.approx(expected, abs=1e-4)
    assert np.ptp(found) > 0.01
    assert column([watermark([each])[0] for each in ready], "watermark") == pytest.approx(found, abs=1e-5)


def test_watermark_weights_of_another_network_are_refused(tmp_path):
    file = saved(tmp_path, nn.Linear(8, 1).state_dict())
    with pytest.raises(
        ValueError, match=rf"{file} is not for Network\(architecture='efficientnet_b3'(.|\n)*Missing key"
    ):
        Watermark(file)


def test_a_folder_says_which_network_it_holds(tmp_path):
    import timm

    net = timm.create_model("test_resnet", pretrained=False, num_classes=3).eval()
    saved(tmp_path, net.state_dict(), "model.safetensors")
    config = {"architecture": "test_resnet", "head": [], "side": 64, "mean": [0, 0, 0], "std": [1, 1, 1], "classes": 3}
    (tmp_path / "config.json").write_text(json.dumps(config | {"index": 2}))
    watermark = Watermark(str(tmp_path))
    assert [path.name for path in Watermark.weights(str(tmp_path))] == ["model.safetensors", "config.json"]
    square = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    with torch.inference_mode():
        expected = net(torch.tensor(square).permute(2, 0, 1)[None] / 255).softmax(dim=1)[0, 2]
    (row,) = watermark([watermark.prepare(Image("u", pixels=square))])
    assert row["watermark"] == pytest.approx(float(expected), abs=1e-5)
    (tmp_path / "config.json").write_text(json.dumps(config | {"width": 2}))
    with pytest.raises(ValueError, match=r"config.json: .*'width'; it may have architecture, head, side"):
        Watermark(str(tmp_path))


# --- image_classifier


@pytest.fixture(scope="module")
def classifier(tmp_path_factory):
    from transformers import ViTConfig, ViTForImageClassification, ViTImageProcessor

    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("classifier")
    shape = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    labels = {0: "normal", 1: "nsfw", 2: "drawing"}
    net = ViTForImageClassification(ViTConfig(**shape, image_size=32, patch_size=16, id2label=labels)).eval()
    nn.init.normal_(net.classifier.weight, std=2)
    net.save_pretrained(folder)
    ViTImageProcessor(size={"height": 32, "width": 32}).save_pretrained(folder)
    return net, str(folder)


def test_image_classifier_is_the_model_itself(classifier):
    net, folder = classifier
    scorer = ImageClassifier(folder, positive=("nsfw", "drawing"))
    ready = [scorer.prepare(image) for image in pictures(6)]
    with torch.inference_mode():
        expected = net(pixel_values=torch.tensor(np.stack(ready))).logits.softmax(dim=1).numpy()
    found = scorer(ready)
    assert column(found, "label") == [("normal", "nsfw", "drawing")[at] for at in expected.argmax(axis=1)]
    assert column(found, "score") == pytest.approx(expected.max(axis=1), abs=1e-4)
    assert column(found, "positive") == pytest.approx(expected[:, 1:].sum(axis=1), abs=1e-4)
    alone = [scorer([each])[0] for each in ready]
    assert column(alone, "positive") == pytest.approx(column(found, "positive"), abs=1e-5)
    assert ready[0].shape == (3, 32, 32)
    assert ready[0].min() >= -1 < 0 < ready[0].max() <= 1


def test_without_positive_labels_there_is_no_such_probability(classifier):
    scorer = ImageClassifier(classifier[1])
    assert scorer([scorer.prepare(pictures(1)[0])])[0]["positive"] is None


def test_a_label_that_the_model_has_not_is_refused(classifier):
    with pytest.raises(ValueError, match="has no label porn; it has normal, nsfw, drawing"):
        ImageClassifier(classifier[1], positive=("nsfw", "porn"))


def test_the_classifiers_files_are_part_of_its_identity(classifier):
    names = [path.name for path in ImageClassifier.weights(classifier[1])]
    assert names == ["config.json", "model.safetensors", "preprocessor_config.json"]
    assert ImageClassifier.weights("a/b", revision="0" * 40) == []
