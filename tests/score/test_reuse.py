"""What is there is used again: scores that are added to a run embed nothing anew and read each picture once more."""

from __future__ import annotations

import hashlib
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from shards import measure, page, raw_shard, scorers_of

from curate.demo import world
from curate.document import Image
from curate.image.codec import encode
from curate.score import batch
from curate.store.store import Store

torch = pytest.importorskip("torch")
pytest.importorskip("open_clip")
pytest.importorskip("transformers")

SHARDS = ("00000000", "00000001")
CLIP = {"clip": {"use": "clip", "model": "demo"}}
HEADS = {"nsfw": {"use": "nsfw"}, "aesthetic": {"use": "aesthetic"}}

pytestmark = pytest.mark.filterwarnings("ignore")


def score(folder: Path, entries: dict[str, Any]) -> None:
    """Measures what is missing of both shards."""
    for shard in SHARDS:
        measure(Store(folder), scorers_of(folder, entries), shard)


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """Pairs of twelve drawn pictures in two shards, every third picture twice in its shard."""
    rng = np.random.default_rng(3)
    for shard in SHARDS:
        scenes = {f"http://ex.org/{shard}/{at}": world.random_scene(rng, 96) for at in range(6)}
        pictures = {url: encode(world.draw(scene), "png") for url, scene in scenes.items()}
        urls = [*scenes, *list(scenes)[::3]]
        pages = [page(Image(url), world.caption(scenes[url], rng), url=f"{url}#{at}") for at, url in enumerate(urls)]
        raw_shard(Store(tmp_path), pages, pictures, shard=shard)
    score(tmp_path, CLIP)
    return tmp_path


class Watched:
    """Counts how often each picture is decoded, and how many items CLIP and other models are given."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        from curate.filters._captioner import Captioner
        from curate.filters.clip import Clip

        self.decoded: Counter[str] = Counter()
        self.given: Counter[str] = Counter()
        decode = batch.decode

        def counting(data: bytes, least: int | None = None) -> Any:
            self.decoded[hashlib.sha256(data).hexdigest()] += 1
            return decode(data, least)

        patch.setattr(batch, "decode", counting)
        for kind, name in ((Clip, "encode_image"), (Clip, "encode_text"), (Captioner, "captions")):
            patch.setattr(kind, name, self.counted(name, getattr(kind, name)))

    def counted(self, name: str, method: Any) -> Any:
        def call(model: Any, items: Any, *others: Any) -> Any:
            self.given[name] += len(items)
            return method(model, items, *others)

        return call


def test_the_counters_count(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    watched = Watched(monkeypatch)
    score(run, {"other": {"use": "clip", "model": "demo", "precision": "fp32"}})
    assert sorted(watched.decoded.values()) == [1] * 12
    assert watched.given["encode_image"] >= 12
    assert watched.given["encode_text"] >= 12


def test_heads_beside_clip_decode_and_embed_nothing(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    watched = Watched(monkeypatch)
    score(run, CLIP | HEADS)
    assert len(list(run.glob("scores/nsfw-*/*.parquet"))) == 2
    assert not watched.decoded
    assert not watched.given


@pytest.mark.parametrize("order", ["before", "after"])
def test_capfilt_beside_clip_decodes_each_picture_once_more_and_embeds_nothing(
    order: str, run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not (Path(world.__file__).parents[2] / "filters" / "demo_models" / "blip_itm").is_dir():
        pytest.skip("the demo's filter is not there")
    capfilt, watched = {"capfilt": {"use": "capfilt"}}, Watched(monkeypatch)
    score(run, CLIP | HEADS | capfilt if order == "after" else capfilt | CLIP | HEADS)
    assert len(list(run.glob("scores/capfilt-*/*.parquet"))) == 2
    assert sorted(watched.decoded.values()) == [1] * 12
    assert watched.given == {"captions": 12}
