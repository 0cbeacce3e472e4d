"""A small world of one's own: pages on a loopback site, a recipe that uses every stage, and ways to damage its run.

What is on the web and what its scorers measure can be changed, so that a file is made again with other content.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from unittest.mock import patch

import numpy as np
from web import Site

from curate.cli.app import main
from curate.image.codec import encode
from curate.run.executor import InProcess

SHARDS, PAGES = 3, 4
"""Shards, and pages in each."""

MEASURES = """
from pathlib import Path
import numpy as np
from curate import Vector, scores

TILT = Path(__file__).with_name("tilt.txt")

@scores("image", light=float, pixels=16)
def lightness(images):
    return [{"light": float(np.float32(each.pixels.mean() + float(TILT.read_text())))} for each in images]

@scores("image", vector=Vector, pixels=16)
def shape(images):
    tilt = float(TILT.read_text())
    return [{"vector": each.pixels.reshape(-1)[:8].astype("f4") + tilt} for each in images]

@scores("text", entries=bytes)
def words(texts):
    found = [[len(each.text) % 2, 2 + int(each.text.split()[1])] for each in texts]
    return [{"entries": np.array(each, "<u4").tobytes()} for each in found]
"""

RECIPE = """source: {{reader: mmc4, path: {folder}/pages.jsonl, shard: {pages}}}
fetch: {{allow_loopback: true, per_host: 16, retries: 0}}
score:
  size: {{use: image_size}}
  hash: {{use: phash}}
  light: {{use: measures:lightness}}
  shape: {{use: measures:shape, after: {{score: size.min_side, min: 30}}}}
  words: {{use: measures:words}}
group:
  near: {{by: hash.phash, within: 4, keep: light.light}}
  like: {{by: shape.vector, cosine: 0.999999, clusters: 2}}
  dense: {{by: shape.vector, eps: 0.01, clusters: 2, keep: hard}}
keep:
  - {{image: size.min_side, min: 20}}
  - {{image: light.light, top: 0.9}}
  - {{image: like.size, max: 9}}
balance: {{by: words.entries, most: 6}}
place: {{by: source.sims}}
pack: {{shard_bytes: 40KB}}
"""


def picture(seed: int, side: int = 40) -> bytes:
    """Noise of a few large blocks, so that its hash is stable."""
    blocks = np.random.default_rng(seed).integers(0, 256, (8, 8, 3), np.uint8)
    return encode(np.ascontiguousarray(blocks.repeat(side // 8 + 1, 0).repeat(side // 8 + 1, 1)[:side, :side]), "png")


@dataclass
class World:
    """A folder with a recipe, and the site that its pages point to.

    ``jobs``: the jobs that the last command handed out, by phase; ``made``: the files that they were to make.
    """

    folder: Path
    site: Site
    jobs: dict[str, list[str]] = field(default_factory=dict)
    made: list[str] = field(default_factory=list)

    @classmethod
    def build(cls, folder: Path, site: Site, shards: int = SHARDS, pages_each: int = PAGES, images: int = 3) -> World:
        """Writes the corpus and the recipe; the pictures go to the site."""
        rows, pages = [], dict(site.pages)
        for at in range(shards * pages_each):
            names = [f"/{at}a.png", f"/{at}b.png", "/logo.png" if at % 3 else f"/{at}c.png"][:images]
            for number, name in enumerate(names):
                pages[name] = picture(7 if name == "/logo.png" else 100 * (at // 2) + number, 30 + 10 * (at % 3))
            info = [
                {"raw_url": site.url(name), "matched_text_index": n, "matched_sim": 0.3} for n, name in enumerate(names)
            ]
            texts = [f"Sentence {n} of page {at}, which says little." for n in range(3)]
            sims = [[0.1 + 0.2 * (n == m) for m in range(3)] for n in range(images)]
            rows.append(
                {"url": f"http://ex.org/{at}", "text_list": texts, "image_info": info, "similarity_matrix": sims}
            )
        site.pages = pages
        (folder / "pages.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        (folder / "measures.py").write_text(MEASURES)
        (folder / "tilt.txt").write_text("0")
        (folder / "recipe.yaml").write_text(RECIPE.format(folder=folder, pages=pages_each))
        return cls(folder, site)

    @property
    def recipe(self) -> Path:
        return self.folder / "recipe.yaml"

    def run(self, run: Path, *more: str, command: str = "run") -> tuple[int, str]:
        """``curate run`` in this process: exit status and what was said; ``jobs`` has what was done."""
        return self.curate(command, self.recipe, "--out", run, *more)

    def curate(self, *arguments: str | Path) -> tuple[int, str]:
        """A command in this process: exit status, and what was said."""
        measures = sys.modules.get("measures")
        if measures is not None and Path(str(measures.__file__)).parent != self.folder:
            del sys.modules["measures"]  # another world's
        said, self.jobs, self.made = io.StringIO(), {}, []
        do = InProcess.run

        def noting(executor, phase, jobs, done):
            self.jobs.setdefault(phase.name, []).extend(job.name for job in jobs)
            self.made.extend(target.name for job in jobs for target in job.targets)
            return do(executor, phase, jobs, done)

        with contextlib.ExitStack() as stack:
            stack.enter_context(patch.object(sys, "argv", ["curate", *map(str, arguments)]))
            stack.enter_context(patch.object(sys, "path", [*sys.path, str(self.folder)]))
            stack.enter_context(patch.object(InProcess, "run", noting))
            stack.enter_context(patch("signal.signal"))
            stack.enter_context(contextlib.redirect_stdout(said))
            stack.enter_context(contextlib.redirect_stderr(said))
            try:
                main()
            except SystemExit as error:
                return int(error.code or 0), said.getvalue()
        return 0, said.getvalue()


def outputs(run: Path) -> dict[str, str]:
    """The sha256 of every file of the output, the summary of its files aside."""
    return {
        str(path.relative_to(run)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(run.glob("out/**/*"))
        if path.is_file()
    }


def everything(run: Path) -> dict[str, bytes]:
    """Every file but the cache of what is known of them."""
    return {
        str(path.relative_to(run)): path.read_bytes()
        for path in sorted(run.rglob("*"))
        if path.is_file() and path.parent.name != "ledger"
    }


def copy(run: Path, to: Path) -> Path:
    """A run as it is, times included."""
    return Path(shutil.copytree(run, to))


def flip(path: Path, bit: int) -> None:
    """Flips one bit."""
    data = bytearray(path.read_bytes())
    data[bit // 8] ^= 1 << bit % 8
    path.write_bytes(data)


Damage = Callable[[Path], None]
