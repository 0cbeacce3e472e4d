"""Golden values: what our scorers, readers, views and the decoder make of small fixed inputs, for each version.

Identities hold versions in place of our code, so a number must not change while its version stays. Once the version is
counted up, this writes the new values, of those named or of all that have another version:

    python tests/test_golden.py --write phash decoder

Floats are compared exactly, but for those of networks and of float32 products (``NEAR``): their last bits differ
between types of CPU. A package that changes numbers by its own version is named in the scorer's ``requires=``.
"""

from __future__ import annotations

import base64
import hashlib
import json
import pkgutil
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import polars as pl
import pytest
from shards import measure, page, raw_shard, scorers_of

import curate.filters
import curate.pipelines
from curate import Encoded, Image, Vector, scores
from curate.document import Document, Text, pair
from curate.image import codec
from curate.image.codec import decode
from curate.plugin import VIEWS
from curate.score.tables import names_of
from curate.source.corpus import load_reader
from curate.store.files import Files
from curate.store.store import Store

pytestmark = pytest.mark.filterwarnings("ignore")

GOLDEN = Path(__file__).with_name("golden")
PICTURES = {
    name: base64.b64decode(data) for name, data in json.loads((GOLDEN / "pictures.json").read_text("utf-8")).items()
}
"""Encoded once, as encoders change."""
EMBEDDINGS: dict[str, list[float]] = json.loads((GOLDEN / "embeddings.json").read_text("utf-8"))
"""The demo CLIP's of some pictures, and between those of an unsafe and a safe one: the same wherever this runs."""
NEAR = {
    "aesthetic", "capfilt", "caption", "clip", "copy_detection", "faces", "image_classifier", "image_quality", "itm",
    "language", "nsfw", "tags", "text_in_image", "watermark",
}  # fmt: skip
TOLERANCE = {float: 1e-4, list[float]: 1e-4, Vector: 2**-10}
"""Relative, and a tenth of it absolute; a vector is stored in half precision, whose steps are that large."""


@dataclass
class Golden:
    """The declared version of something, its values by row and column, and by how much a column may be off."""

    version: int | None
    rows: dict[str, dict[str, Any]]
    near: dict[str, float] = field(default_factory=dict)


# --- the inputs

ARTICLE = """The museum opened its doors in 1923, and nobody expected more than a few visitors a day.

Today it is one of the most beloved places in the city; the queue often reaches the river... Is that a surprise?

- a hall of drawings
- a hall of drawings
- a garden with two hundred roses

"We are proud of it," the director said on 12 March 2019 at 10:30 am. The museum opened its doors in 1923, she added.

Share this: follow us! Sign in to read more. 1,204 likes

Lorem ipsum {dolor} sit amet. Please enable JavaScript, and see our privacy policy and terms of use."""
PII = "Write to jane.doe@example.org or call +1 (415) 555-0132; the server is 93.184.216.34. By Jane (photo: J. Doe)"
SPANISH = "Dos estrellas rojas grandes sobre un fondo de lunares, en una imagen que nadie ha visto todavía."
STARS = "two large red stars on a dotted background"


def url(name: str) -> str:
    return f"http://img.example.org/pictures/{name}"


def pages() -> list[Document]:
    """Repeated pictures and texts, pairs, a picture that failed, an article, empty texts, and names of furniture."""
    stars, face = Image(url("scene.jpg"), "red stars"), Image(url("face.jpg"))
    mark = Image(url("watermark.webp"), "a heart under letters")
    return [
        page(STARS, stars, PII, face, Image(url("again.jpg"), "a star"), SPANISH, mark),
        pair(url("wide.jpg"), "A circle in front of a coloured wall, seen from the side", alt="wall"),
        page(Image(url("clear.png"), "Buy now"), Image(url("missing.jpg"), "gone"), STARS, " "),
        page(*ARTICLE.split("\n\n"), Image(url("unsafe.webp"), "magenta stars")),
        page(Image(url("logo.gif"), "icon"), Image(url("grey16.png")), Image(url("cmyk.jpg"), "in four inks"), stars),
        pair(url("again.jpg"), STARS.upper()),
        page(stars, "Stars and a face, viagra, free money", face, mark),
    ]


@scores("document", image={"embedding": Vector, "sims": list[float]})
def clip(documents: list[Document]) -> list[dict[int, Any]]:
    """Stands in for clip: the embeddings above, and similarities that follow from address and text."""

    def similarity(one: Image, text: Text) -> float:
        return hashlib.sha256((one.url + text.text).encode()).digest()[0] / 256

    return [
        {
            at: {
                "embedding": EMBEDDINGS[one.url.rpartition("/")[2]],
                "sims": [similarity(one, text) for text in each.texts.values()],
            }
            for at, one in each.images.items()
            if not one.error
        }
        for each in documents
    ]


CLIP = {"clip": {"use": "test_golden:clip"}}

# --- the scorers


def parameters(name: str, folder: Path) -> dict[str, Any]:
    """The parameters of a scorer, and the files that they name; fp32, so that it is the same on a GPU's machine."""

    def saved(file: str, text: str) -> str:
        (folder / file).write_text(text, "utf-8")
        return str(folder / file)

    def array(file: str, *rows: list[int]) -> str:
        np.save(folder / file, np.array(rows))
        return str(folder / file)

    eye = [[(at == row) - (at == row + 7) for at in range(128)] for row in range(0, 120, 3)]
    given: dict[str, Callable[[], dict[str, Any]]] = {
        "capfilt": lambda: {"precision": "fp32"},
        "caption": lambda: {"precision": "fp32", "n": 3, "rank": [["demo", "", 2]]},
        "centroids": lambda: {"centroids": array("c.npy", *eye), "listed": saved("l.txt", "3\n8\n21\n30\n")},
        "clip": lambda: {"precision": "fp32"},
        "copy_detection": lambda: descriptor(folder),
        "coyo_text": lambda: {"nouns": saved("nouns.txt", "star\nstars\nmuseum\nwall\n")},
        "decontaminate": lambda: {"reference": array("r.npy", *eye)},
        "decontaminate_text": lambda: {"reference": saved("q.txt", f"Who?\n{STARS} at night\n{SPANISH}\n"), "n": 4},
        "image_classifier": lambda: {"model": classifier(folder), "positive": ["b", "c"]},
        "itm": lambda: {"precision": "fp32"},
        "metaclip": lambda: {"metadata": saved("m.txt", "red stars\nstars\nmuseum\nthe museum\na\nwall\n")},
        "opt_out": lambda: {
            "urls": saved("u.txt", f"{url('face.jpg')}\n# none\n{url('missing.jpg')}\n"),
            "sha256": saved("s.txt", hashlib.sha256(PICTURES["wide.jpg"]).hexdigest()),
        },
        "tags": lambda: {"categories": [STARS, "a blue circle", "a page of text", "magenta stars"], "unsafe_from": 3},
        "text_in_image": lambda: {"precision": "fp32"},
    }
    return given.get(name, dict)()


def waves(shape: Any, scale: float = 0.2) -> Any:
    """Weights that need no generator of random numbers."""
    import torch

    return (torch.arange(int(np.prod(shape)), dtype=torch.float64) ** 2 * 0.37).sin().mul(scale).reshape(shape).float()


def descriptor(folder: Path) -> dict[str, Any]:
    """A small network where SSCD's would be."""
    import torch
    from torch import nn

    net = nn.Sequential(nn.Conv2d(3, 8, 9, 8), nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.Linear(128, 16)).eval()
    net.load_state_dict({key: waves(value.shape) for key, value in net.state_dict().items()})
    torch.jit.trace(net, torch.zeros(1, 3, 288, 300)).save(str(folder / "sscd.pt"))
    return {"weights": str(folder / "sscd.pt"), "sha256": hashlib.sha256((folder / "sscd.pt").read_bytes()).hexdigest()}


def classifier(folder: Path) -> str:
    """A small ViT with three labels."""
    from transformers import ViTConfig, ViTForImageClassification, ViTImageProcessor

    shape = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    net = ViTForImageClassification(ViTConfig(**shape, image_size=32, patch_size=16, id2label=dict(enumerate("abc"))))
    weights = {key: waves(value.shape, 0.3) for key, value in net.state_dict().items() if value.ndim > 1}
    net.load_state_dict(net.state_dict() | weights | {"classifier.weight": waves((3, 16), 1)})
    net.save_pretrained(folder / "vit")
    ViTImageProcessor(size={"height": 32, "width": 32}).save_pretrained(folder / "vit")
    return str(folder / "vit")


class Echo(BaseHTTPRequestHandler):
    """Answers a request for a caption with a hash of all that was asked, and the size of the picture."""

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        shown = body["messages"][0]["content"][0]["image_url"]
        kind, _, data = shown.pop("url").partition(",")
        height, width = decode(base64.b64decode(data)).shape[:2]
        asked = hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()[:16]
        answer = {"message": {"content": f"{asked} {kind} {width}x{height}"}, "finish_reason": "stop"}
        said = json.dumps({"choices": [answer]}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(said)))
        self.end_headers()
        self.wfile.write(said)

    def log_message(self, *_: Any) -> None:
        """Quiet."""


@contextmanager
def endpoint() -> Iterator[dict[str, Any]]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Echo) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        try:
            yield {"base_url": f"http://127.0.0.1:{server.server_port}/v1", "model": "m", "side": 64}
        finally:
            server.shutdown()
            thread.join()


def scorer(name: str, folder: Path) -> Golden:
    """A built-in scorer on the pages above; what reads ``clip`` gets the one above."""
    if name != "caption_endpoint":
        entry = {"use": name, **parameters(name, folder)}
        return measured(folder, {**CLIP, name: entry}, name)
    with endpoint() as given:
        return measured(folder, {name: {"use": name, **given}}, name)


def measured(folder: Path, score: dict[str, Any], name: str) -> Golden:
    """All columns of one scorer of a recipe, by ``document:position``; a network runs on the CPU."""
    store = Store(folder / "run")
    pictures = {"again.jpg": PICTURES["scene.jpg"], **PICTURES}
    ids = raw_shard(store, pages(), {url(each): data for each, data in pictures.items()})
    scorers = scorers_of(folder, score)
    with pytest.MonkeyPatch.context() as patch:
        if name in NEAR:
            import torch

            patch.setattr(torch.cuda, "is_available", lambda: False)
        measure(store, scorers)
    (this,) = (each for each in scorers if each.name == name)
    types = this.all_columns
    found = pl.concat([read(store, each) for each in names_of(this, "00000000")], how="align")
    rows = {
        f"{ids.index(row['document'])}:{row['position']}": {key: plain(types[key], row[key]) for key in types}
        for row in found.sort(pl.col("document").replace_strict(ids, range(len(ids))), "position").iter_rows(named=True)
    }
    near = {key: TOLERANCE[kind] for key, kind in types.items() if name in NEAR and kind in TOLERANCE}
    return Golden(this.spec.version, rows, near)


def read(store: Store, name: str) -> pl.DataFrame:
    """One of a scorer's tables."""
    return Files(store).read(name)


def plain(kind: Any, value: Any) -> Any:
    """A value as JSON has it: bytes in hex, floats with the digits that tell them from their neighbours."""
    if value is None:
        return None
    if isinstance(value, list):
        return [plain(np.float16 if kind is Vector else float, each) for each in value]
    if isinstance(value, float) and value != value:
        return "nan"
    if isinstance(value, float):
        return float(str((np.float16 if kind is np.float16 else np.float32)(value)))
    return value.hex() if isinstance(value, bytes) else value


# --- the views, by scorers that say what they see, and how often


def spell(segment: Any) -> str:
    if isinstance(segment, Text):
        return f"{segment.source}: {segment.text[:24]!r}"
    size = "x".join(map(str, segment.pixels.shape)) if segment.pixels is not None else "none"
    return f"{segment.sha256[:6] or segment.url[-11:]} {segment.alt!r} {segment.error} pixels {size}"


class Seen:
    """Counts equal items: each is to be seen once."""

    def __init__(self) -> None:
        self.times: Counter[str] = Counter()

    def row(self, saw: str) -> dict[str, Any]:
        self.times[saw] += 1
        return {"saw": saw, "times": self.times[saw]}


@scores("text", saw=str, times=int)
class Texts(Seen):
    def __call__(self, texts: list[Text]) -> list[dict[str, Any]]:
        return [self.row(spell(text)) for text in texts]


@scores("image", saw=str, times=int, pixels=48)
class Images(Seen):
    def __call__(self, images: list[Image]) -> list[dict[str, Any]]:
        return [self.row(spell(one)) for one in images]


@scores("pair", saw=str, times=int, text={"greatest": int}, pixels="full")
class Pairs(Seen):
    def __call__(self, pairs: list[tuple[Image, Text]]) -> list[dict[str, Any]]:
        saw = [f"{spell(one)} | {spell(text)}" for one, text in pairs]
        return [{**self.row(each), "greatest": int(hashlib.sha256(each.encode()).hexdigest()[:6], 16)} for each in saw]


@scores("document", saw=str, image={"mine": str}, text={"own": str}, pixels=48)
def documents(several: list[Document]) -> list[dict[int, Any]]:
    return [
        {
            -1: {"saw": " / ".join(map(spell, each.segments))},
            **{at: {"mine": spell(one)} for at, one in each.images.items()},
            **{at: {"own": spell(one)} for at, one in each.texts.items()},
        }
        for each in several
    ]


@scores("document", image={"mine": str, "first": int, "last": int}, text={"own": str})
class Towers:
    def encode_image(self, images: list[Image]) -> np.ndarray:
        return np.array([[one.width, one.height] for one in images], np.float32)

    def encode_text(self, texts: list[Text]) -> np.ndarray:
        return np.array([[len(one.text)] for one in texts], np.float32)

    def __call__(self, several: list[Encoded]) -> list[dict[int, Any]]:
        return [encoded(each) for each in several]


def encoded(each: Encoded) -> dict[int, Any]:
    """Vectors by position; the first and the last of the document's texts."""
    last = len(each.document.texts) - 1
    images = {
        at: {
            "mine": str(each.images[at][:2].round(3).tolist()) if at in each.images else "",
            "first": 0,
            "last": last,
        }
        for at in each.document.images
    }
    return images | {at: {"own": str(each.texts[at].tolist())} for at in each.texts}


@scores("document", image={"mine": str, "first": int, "last": int}, text={"own": str}, reads="clip.embedding")
def reading(several: list[Encoded]) -> list[dict[int, Any]]:
    return [encoded(each) for each in several]


@scores("raw.alt", saw=str)
def values(several: list[str]) -> list[dict[str, str]]:
    return [{"saw": repr(value)} for value in several]


WIDE = {"after": {"score": "raw.width", "min": 81}}
STARRED = {"after": {"score": "raw.text", "equals": STARS}}
TOWERS = {"towers": {"use": "test_golden:Towers"}}
CASES: dict[str, dict[str, dict[str, Any]]] = {
    "text": {"all": {"x": {"use": "test_golden:Texts"}}, "gated": {"x": {"use": "test_golden:Texts", **STARRED}}},
    "image": {"all": {"x": {"use": "test_golden:Images"}}, "gated": {"x": {"use": "test_golden:Images", **WIDE}}},
    "pair": {
        "all": {"x": {"use": "test_golden:Pairs"}},
        "gated by images": {"x": {"use": "test_golden:Pairs", **WIDE}},
        "gated by texts": {"x": {"use": "test_golden:Pairs", **STARRED}},
        "with the first text": {**TOWERS, "x": {"use": "test_golden:Pairs", "text_of": "towers.first"}},
        "with the last text": {**TOWERS, "x": {"use": "test_golden:Pairs", "text_of": "towers.last"}},
        "with the last text, gated": {
            **TOWERS,
            "x": {"use": "test_golden:Pairs", "text_of": "towers.last", **STARRED},
        },
    },
    "document": {
        "all": {"x": {"use": "test_golden:documents"}},
        "gated by images": {"x": {"use": "test_golden:documents", **WIDE}},
        "gated by texts": {"x": {"use": "test_golden:documents", **STARRED}},
        "towers": {"x": {"use": "test_golden:Towers"}},
        "towers gated": {"x": {"use": "test_golden:Towers", **WIDE}},
        "reading": {**CLIP, "x": {"use": "test_golden:reading"}},
        "reading gated": {**CLIP, "x": {"use": "test_golden:reading", **WIDE}},
    },
    "column": {
        "all": {"x": {"use": "test_golden:values"}},
        "gated": {"x": {"use": "test_golden:values", **WIDE}},
        "of texts": {"x": {"use": "test_golden:values", "on": "raw.text"}},
    },
}


def view(name: str, folder: Path) -> Golden:
    """A view, with and without gates: what is seen, and to which rows it is handed out."""
    rows = {}
    for case, score in CASES[name].items():
        found = measured(folder / case, score, "x").rows
        rows |= {f"{case} {place}": row for place, row in found.items()}
    return Golden(VIEWS[name], rows)


# --- the decoder and the readers


def decoder(_: Path) -> Golden:
    """The pixels of all pictures, in full and at the scales of JPEG."""
    rows = {}
    for name, data in PICTURES.items():
        for side in (None, 64, 40, 20, 9):
            pixels = decode(data, side)
            rows[f"{name} {side or 'full'}"] = {
                "shape": list(pixels.shape),
                "sha256": hashlib.sha256(pixels.tobytes()).hexdigest(),
            }
    return Golden(codec.VERSION, rows)


SAID = {"src": "https://ex.org/b.jpg", "alt_text": "a dog", "rendered_width": "50%", "original_width": 640}
READ: dict[str, list[dict[str, Any]]] = {
    "coyo": [{"id": 7, "url": "http://ex.org/a.jpg", "text": "a dog", "clip_similarity_vitb32": 0.25, "num_faces": 1}],
    "laion": [{"URL": "http://ex.org/a.jpg", "TEXT": "a dog", "similarity": 0.31, "NSFW": "UNLIKELY", "HEIGHT": 9}],
    "mmc4": [
        {
            "url": "http://ex.org/p",
            "text_list": ["A red bus.", "It rains."],
            "image_info": [
                {"raw_url": "http://ex.org/b.jpg", "matched_text_index": 1, "matched_sim": 0.25, "face_detections": []},
                {"raw_url": "http://ex.org/a.jpg", "matched_text_index": 0, "matched_sim": 0.5},
            ],
            "similarity_matrix": [[0.125, 0.25], [0.5, 0.0]],
            "could_have_url_duplicate": 1,
            **order,
        }
        for order in ({}, {"dom_order": [["text", 1], ["image", 0], ["image", 1], ["text", 0]]})
    ],
    "obelics": [
        {
            "images": ["https://ex.org/b.jpg", None],
            "texts": [None, "First.\n\nEND_OF_DOCUMENT_TOKEN_TO_BE_REPLACED\n\nSecond."],
            "metadata": json.dumps([SAID, None]),
            "general_metadata": json.dumps({"url": "https://ex.org/", "warc_filename": "x.gz"}),
        }
    ],
}


def reader(name: str, _: Path) -> Golden:
    """The documents that a built-in reader makes of rows."""
    corpus = load_reader(name)
    return Golden(corpus.version, {str(at): asdict(corpus(row)) for at, row in enumerate(READ[name])})


# --- the comparison


def built_in(package: Any) -> list[str]:
    names = (module.name for module in pkgutil.iter_modules(package.__path__) if not module.ispkg)
    return sorted(name for name in names if not name.startswith("_"))


SUBJECTS: dict[str, Callable[[Path], Golden]] = {
    **{name: partial(scorer, name) for name in built_in(curate.filters)},
    **{f"view_{name}": partial(view, name) for name in VIEWS},
    **{f"reader_{name}": partial(reader, name) for name in built_in(curate.pipelines)},
    "decoder": decoder,
}


def agree(expected: Any, found: Any, tolerance: float | None) -> bool:
    """Whether two values are equal, or floats within the tolerance."""
    if tolerance is None or not isinstance(found, float | list) or type(expected) is not type(found):
        return bool(expected == found)
    if isinstance(expected, list):
        return len(expected) == len(found) and all(map(agree, expected, found, [tolerance] * len(found)))
    return bool(np.isclose(expected, found, rtol=tolerance, atol=tolerance / 10))


def differences(name: str, expected: dict[str, Any], found: Golden) -> Iterator[str]:
    """What differs between a golden file and what is found now."""
    rows = json.loads(json.dumps(found.rows))
    if expected["rows"].keys() != rows.keys():
        yield f"rows {sorted(expected['rows'].keys() ^ rows.keys())}"
        return
    for place, row in expected["rows"].items():
        for column in row.keys() | rows[place].keys():
            before, now = row.get(column, "no column"), rows[place].get(column, "no column")
            if not agree(before, now, found.near.get(column)):
                yield f"{place} {column}: {str(now)[:200]}, was {str(before)[:200]}"


def fault(name: str, found: Golden, file: Path) -> str:
    """What is wrong with a golden file; nothing if all is well."""
    command = f"python tests/test_golden.py --write {name}"
    if not file.is_file():
        return f"{name} has no golden values: {command}"
    expected = json.loads(file.read_text("utf-8"))
    if expected["version"] != found.version:
        return f"{name} has version {found.version}, its golden values are of {expected['version']}: {command}"
    wrong = list(differences(name, expected, found))
    return f"numbers of {name} changed: count its version up ({len(wrong)}: {'; '.join(wrong[:3])})" if wrong else ""


def write(name: str, found: Golden, file: Path) -> None:
    rows = ",\n".join(f"  {json.dumps(place)}: {json.dumps(row)}" for place, row in found.rows.items())
    file.write_text(f'{{\n "version": {json.dumps(found.version)},\n "rows": {{\n{rows}\n }}\n}}\n', "utf-8")


@pytest.mark.parametrize("name", SUBJECTS)
def test_numbers_change_with_the_version_alone(name: str, tmp_path: Path) -> None:
    said = fault(name, SUBJECTS[name](tmp_path), GOLDEN / f"{name}.json")
    assert not said, said


def test_every_golden_file_is_of_something() -> None:
    assert {path.stem for path in GOLDEN.glob("*.json")} == {*SUBJECTS, "pictures", "embeddings"}


def test_a_number_that_changes_asks_for_a_version_and_a_version_for_new_values(tmp_path: Path) -> None:
    file, found = tmp_path / "x.json", Golden(1, {"0:1": {"n": 1, "p": 0.5, "v": [0.5, 0.25]}}, {"v": 1e-4})
    assert fault("x", found, file) == "x has no golden values: python tests/test_golden.py --write x"
    write("x", found, file)
    assert fault("x", found, file) == ""
    assert "version 2, its golden values are of 1: python tests/test_golden.py --write x" in fault(
        "x", Golden(2, found.rows), file
    )
    for column, value, same in (
        ("n", 2, False),
        ("p", 0.5000001, False),
        ("v", [0.50001, 0.25], True),
        ("v", [0.501, 0.25], False),
        ("v", [0.5], False),
        ("v", None, False),
        ("m", 1, False),
    ):
        said = fault("x", Golden(1, {"0:1": {**found.rows["0:1"], column: value}}, found.near), file)
        assert said.startswith("" if same else f"numbers of x changed: count its version up (1: 0:1 {column}")
        assert bool(said) is not same


def main(names: list[str]) -> None:
    """Writes golden values, but none that changed under an old version."""
    for name in names or SUBJECTS:
        file = GOLDEN / f"{name}.json"
        with TemporaryDirectory() as folder:
            found = SUBJECTS[name](Path(folder))
        said = fault(name, found, file)
        if said.startswith("numbers"):
            raise SystemExit(f"{said}\nIf only the inputs of this test are others, delete {file} first.")
        if said:
            write(name, found, file)
            print(f"{file}: version {found.version}")


if __name__ == "__main__":
    if sys.argv[1:2] != ["--write"]:
        raise SystemExit(__doc__)
    main(sys.argv[2:])
