from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

os.environ.setdefault("RAY_AUTH_MODE", "disabled")
os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")

from curate.demo import web


@dataclass(frozen=True)
class SmallWeb:
    """The demo's web, served on loopback for the whole session, with a recipe for its documents."""

    folder: Path
    port: int

    def recipe(self, path: Path, clip: bool = False, extra: str = "", score: str = "", keep: str = "") -> Path:
        clip_score = "  clip: {use: clip, model: demo}\n" if clip else ""
        clip_keep = "  - {image: clip.sim, min: 0.5}\n" if clip else ""
        path.write_text(
            f"source: {{reader: mmc4, path: {self.folder}/mmc4.jsonl, shard: 10}}\n"
            "fetch: {allow_loopback: true, per_host: 16}\n"
            "score:\n  size: {use: image_size}\n  url: {use: url_words}\n  words: {use: text_stats}\n"
            f"  quality: {{use: image_quality}}\n{clip_score}{score}"
            "keep:\n  - {image: url.hits, max: 0}\n  - {image: size.min_side, min: 64}\n"
            f"  - {{text: words.words, min: 3}}\n{clip_keep}{keep}"
            f"place: {{by: {'clip.sims' if clip else 'dom'}}}\n"
            f"pack: {{shard_bytes: 500KB}}\n{extra}"
        )
        return path


@pytest.fixture(scope="session")
def small_web(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SmallWeb]:
    folder = tmp_path_factory.mktemp("web")
    with web.serve(folder) as port:
        web.build(folder, port, documents=60, pairs=60)
        yield SmallWeb(folder, port)
