import hashlib
import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from shards import measure, page, raw_shard, scored, scorers_of
from torch import nn
from torchvision import transforms

from curate import Image, Text
from curate.demo import world
from curate.filters.copy_detection import CopyDetection
from curate.filters.decontaminate import COLUMNS, ROWS, Decontaminate
from curate.filters.decontaminate_text import DecontaminateText, ngrams
from curate.image.codec import encode, to_pil
from curate.recipe.section import RecipeError
from curate.store.store import Store


def vectors(count, width=16, seed=0):
    return np.random.default_rng(seed).normal(size=(count, width))


def saved(folder, values, name="reference.npy"):
    np.save(folder / name, values)
    return str(folder / name)


def cosines(queries, references):
    unit = [rows / np.linalg.norm(rows, axis=1, keepdims=True) for rows in (queries, references)]
    return unit[0] @ unit[1].T


# --- decontaminate


@pytest.mark.parametrize("count", [1, 7, COLUMNS, COLUMNS + 3])
def test_nearest_is_the_largest_cosine(tmp_path, count):
    references, queries = vectors(count), vectors(ROWS + 5, seed=1) * 3
    found = Decontaminate(saved(tmp_path, references))(queries.tolist())
    expected = cosines(queries, references)
    assert [row["nearest"] for row in found] == pytest.approx(expected.max(axis=1), abs=1e-7)
    assert [int(row["which"]) for row in found] == expected.argmax(axis=1).tolist()


def test_scores_do_not_depend_on_the_batch(tmp_path):
    scorer, queries = Decontaminate(saved(tmp_path, vectors(3000, 128))), vectors(600, 128, seed=1).tolist()
    assert [scorer([query])[0] for query in queries[:40]] == scorer(queries)[:40]
    assert scorer(queries[300:]) == scorer(queries)[300:]


def test_a_copy_is_1_and_the_opposite_is_not(tmp_path):
    references = np.eye(3)
    assert Decontaminate(saved(tmp_path, references))([[0, 5, 0], [0, -1, -1], [3, 4, 0]]) == [
        {"nearest": 1.0, "which": "1"}, {"nearest": 0.0, "which": "0"}, {"nearest": pytest.approx(0.8), "which": "1"}
    ]  # fmt: skip


def test_of_equal_references_the_first_is_named(tmp_path):
    scorer = Decontaminate(saved(tmp_path, np.concatenate([-vectors(1), np.tile(vectors(1), (COLUMNS + 5, 1))])))
    assert {row["which"] for row in scorer((vectors(1) + vectors(50, seed=2) / 9).tolist())} == {"1"}


@pytest.mark.parametrize("bad", [[0.0] * 16, [float("nan")] * 16, [None] * 16, [float("inf")] * 16])
def test_what_is_no_direction_is_not_measured_and_no_reference(tmp_path, bad):
    references, good = vectors(3), vectors(1, seed=1).tolist()
    with_bad = np.concatenate([references[:1], np.array([bad], float), references[1:]])
    one, other = (Decontaminate(saved(tmp_path, each)) for each in (references, with_bad))
    assert one([*good, bad]) == [one(good)[0], None]
    assert other(good)[0]["nearest"] == one(good)[0]["nearest"]
    assert other(references[2:].tolist())[0]["which"] == "3"  # the number of its row in the file


def test_names_of_a_npy_and_of_a_parquet(tmp_path):
    (tmp_path / "names.txt").write_text("a.jpg\nb.jpg\n")
    npy = Decontaminate(saved(tmp_path, np.eye(2)), names=str(tmp_path / "names.txt"))
    assert npy([[0, 1]])[0]["which"] == "b.jpg"
    table = pa.table({"vector": [[1.0, 0.0], None, [0.0, 1.0]], "file": ["a", "b", "c"]})
    pq.write_table(table, tmp_path / "r.parquet")
    assert Decontaminate(str(tmp_path / "r.parquet"), "vector", "file")([[0, 1]])[0]["which"] == "c"
    assert Decontaminate(str(tmp_path / "r.parquet"), "vector")([[0, 1]])[0]["which"] == "2"


@pytest.mark.parametrize(
    ("parameters", "said"),
    [
        ({"reference": "/no/such.npy"}, "there is no reference /no/such.npy"),
        ({"reference": "/"}, "there is no reference /"),
        ({"reference": __file__}, r"is neither \.npy nor \.parquet"),
    ],
)
def test_no_reference_is_refused_before_anything_runs(tmp_path, parameters, said):
    with pytest.raises(RecipeError, match=said):
        scorers_of(tmp_path, {"clip": {"use": "clip"}, "x": {"use": "decontaminate", **parameters}})


def test_references_that_cannot_be_compared_are_refused(tmp_path):
    with pytest.raises(ValueError, match="holds 16-d embeddings; the column that it is compared with has 3"):
        Decontaminate(saved(tmp_path, vectors(4)))([[1.0, 2.0, 3.0]])
    for wrong in (vectors(4)[0], np.empty((0, 4)), np.zeros((2, 4))):
        with pytest.raises(ValueError, match=r"it takes|holds no embedding"):
            Decontaminate(saved(tmp_path, wrong))
    pq.write_table(pa.table({"embedding": [[1.0, 0.0], [1.0]]}), tmp_path / "r.parquet")
    with pytest.raises(ValueError, match="differ in length"):
        Decontaminate(str(tmp_path / "r.parquet"))


def test_the_scores_of_another_run_are_a_reference(tmp_path):
    rng = np.random.default_rng(3)
    drawn = [encode(world.draw(world.random_scene(rng, 96)), "png") for _ in range(4)]
    stores = [Store(tmp_path / name) for name in ("evaluation", "corpus")]
    for store, pictures in zip(stores, (drawn[:2], drawn[1:]), strict=True):
        urls = {f"http://ex.org/{at}.png": data for at, data in enumerate(pictures)}
        ids = raw_shard(store, [page("x", *map(Image, [*urls, "http://ex.org/lost.png"]))], urls)
    clip = {"clip": {"use": "clip"}}
    (evaluated,) = scorers_of(tmp_path, clip)
    measure(stores[0], [evaluated])
    entry = {"use": "decontaminate", "reference": str(tmp_path / "evaluation" / evaluated.folder)}
    scorers = scorers_of(tmp_path, clip | {"known": entry | {"on": "clip.embedding"}})
    measure(stores[1], scorers)
    copy, *others, lost = scored(stores[1], scorers[1], "nearest")
    assert copy == pytest.approx(1, abs=1e-6) and max(others) < 0.99 and lost is None  # noqa: PT018
    assert scored(stores[1], scorers[1], "which")[0] == f"{ids[0]}:2"


# --- decontaminate_text

QUESTION = "What is the name of the large red animal that stands in front of the old house?"


def reference(folder, *questions):
    (folder / "questions.txt").write_text("\n".join(questions))
    return str(folder / "questions.txt")


def test_overlap_by_hand(tmp_path):
    scorer = DecontaminateText(reference(tmp_path, "a b c d e", "c d e f"), n=3)
    grams = [row for text in ("a b c d x", "x c d e", "c d e f", "a b", "x y z a b") for row in scorer([Text(text)])]
    assert grams == [
        {"overlap": pytest.approx(2 / 3), "which": "0"},
        {"overlap": 0.5, "which": "1"},
        {"overlap": 1.0, "which": "1"},
        {"overlap": 0.0, "which": None},
        {"overlap": 0.0, "which": None},
    ]


@pytest.mark.parametrize(
    ("text", "overlap"),
    [
        (QUESTION, 1),
        (f"Quiz of the day.\n{QUESTION.upper()} Answer below; it is long. " + "more words " * 500, 1),
        (QUESTION.replace(" ", " - ").replace("?", ""), 1),
        (QUESTION.replace("large", "small"), 0),
        (QUESTION.replace("house", "barn"), 4 / 5),
        ("", 0),
    ],
)
def test_a_repeated_question_is_found_whatever_stands_around_it(tmp_path, text, overlap):
    scorer = DecontaminateText(reference(tmp_path, "Who?", QUESTION))
    assert scorer([Text(text)])[0]["overlap"] == pytest.approx(overlap)


def test_the_share_is_of_distinct_ngrams_and_of_equal_questions_the_first_is_named(tmp_path):
    scorer = DecontaminateText(reference(tmp_path, "x x x x y", "a b", "a b"), n=2)
    assert scorer([Text("x x"), Text("a b"), Text("a b x x x x y")]) == [
        {"overlap": 0.5, "which": "0"}, {"overlap": 1.0, "which": "1"}, {"overlap": 1.0, "which": "0"}
    ]  # fmt: skip


def test_ngrams():
    assert list(ngrams("A b-c, \uff24!", 2)) == ["a b", "b c", "c d"]
    assert list(ngrams("a b", 3)) == []


def test_questions_in_a_jsonl_and_a_parquet(tmp_path):
    rows = [{"q": "a b c", "id": "one"}, {"q": None, "id": "none"}, {"q": "c d e", "id": "two"}]
    (tmp_path / "q.jsonl").write_text("\n".join(map(json.dumps, rows)))
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "q.parquet")
    for name in ("q.jsonl", "q.parquet"):
        for names, which in (("id", "two"), ("", "2")):
            scorer = DecontaminateText(str(tmp_path / name), n=3, column="q", names=names)
            assert scorer([Text("c d e")]) == [{"overlap": 1.0, "which": which}]
    with pytest.raises(ValueError, match=r"q\.jsonl, row 0: no question; it has q, id"):
        DecontaminateText(str(tmp_path / "q.jsonl"), n=3)


def test_questions_that_can_never_be_found_are_refused(tmp_path):
    with pytest.raises(ValueError, match="no question of 13 words or more"):
        DecontaminateText(reference(tmp_path, "What colour is it?"))
    with pytest.raises(ValueError, match="n is at least 1"):
        DecontaminateText(reference(tmp_path, QUESTION), n=0)
    with pytest.raises(RecipeError, match=r"there is no file /no/q\.txt"):
        scorers_of(tmp_path, {"x": {"use": "decontaminate_text", "reference": "/no/q.txt"}})


# --- copy_detection


class Descriptor(nn.Module):
    """As SSCD: a trunk, generalised mean pooling, a projection; not normalised."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.trunk, self.project = nn.Conv2d(3, 8, 9, 8), nn.Linear(8, 16)

    def forward(self, x):
        return self.project(self.trunk(x).clamp(min=1e-6).pow(3).mean((2, 3)).pow(1 / 3))


@pytest.fixture(scope="module")
def sscd(tmp_path_factory):
    net, file = Descriptor().eval(), tmp_path_factory.mktemp("sscd") / "sscd.torchscript.pt"
    torch.jit.trace(net, torch.zeros(1, 3, 288, 300)).save(str(file))
    return net, str(file), hashlib.sha256(file.read_bytes()).hexdigest()


def photos():
    rng = np.random.default_rng(0)
    sizes = [(300, 400), (500, 200), (100, 100), (288, 700)]
    return [rng.integers(0, 256, (*size, 3), np.uint8) for size in sizes]


@pytest.mark.parametrize(("resize", "size"), [("short", 288), ("square", [320, 320])])
def test_descriptors_are_those_of_the_published_preprocessing(sscd, resize, size):
    net, file, sha256 = sscd
    steps = [transforms.Resize(size), transforms.ToTensor()]
    steps.append(transforms.Normalize(mean=[0.485, 0.456, 0.406], std=[0.229, 0.224, 0.225]))
    ready = transforms.Compose(steps)
    scorer = CopyDetection(file, sha256, resize)
    found = scorer([scorer.prepare(Image("u", pixels=pixels)) for pixels in photos()])
    for row, pixels in zip(found, photos(), strict=True):
        with torch.inference_mode():
            expected = nn.functional.normalize(net(ready(to_pil(pixels))[None]))[0].numpy()
        assert row["embedding"] == pytest.approx(expected, abs=1e-4)


def test_a_program_is_loaded_only_under_its_sha256(sscd, tmp_path):
    _, file, sha256 = sscd
    for given, said in (("", "not : TorchScript is a program"), ("00", "not 00")):
        with pytest.raises(ValueError, match=said):
            CopyDetection(file, given)
    assert CopyDetection.weights(file, sha256.upper()) == [Path(file)]
    with pytest.raises(RecipeError, match=r"'long' is neither short nor square"):
        scorers_of(tmp_path, {"copy": {"use": "copy_detection", "weights": file, "sha256": sha256, "resize": "long"}})


def test_decontaminate_reads_copy_embeddings(sscd, tmp_path):
    _, file, sha256 = sscd
    store, urls = Store(tmp_path), {f"http://ex.org/{at}.png": encode(each, "png") for at, each in enumerate(photos())}
    raw_shard(store, [page("x", *map(Image, urls))], urls)
    copy = {"use": "copy_detection", "weights": file, "sha256": sha256}
    (alone,) = scorers_of(tmp_path, {"copy": copy})
    measure(store, [alone])
    given = saved(tmp_path, np.array(scored(store, alone, "embedding")[2:3]))
    scorers = scorers_of(
        tmp_path, {"copy": copy, "known": {"use": "decontaminate", "on": "copy.embedding", "reference": given}}
    )
    measure(store, scorers)
    assert np.argmax(scored(store, scorers[1], "nearest")) == 2
