"""Output: an output folder: its name, and everything that decides what lies in it. Reads no shard."""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from curate.pack.writer import installed
from curate.plugin import SCALARS
from curate.recipe.output import Pack, Place
from curate.recipe.recipe import Recipe
from curate.score.catalogue import Catalogue
from curate.score.identity import code_files, code_hash, short_hash
from curate.score.plugins import masker
from curate.select.decide import Addition
from curate.store.columns import SOURCE

VERSION = 1
"""Of the code of this wing, its writers, and the masks and the blurring of ours: counts up when bytes change."""


@dataclass(frozen=True)
class Output:
    """What is packed, and into which folder.

    ``verdicts``: the folder of the verdicts. ``scores``: the folder of each score and group by its name, whose columns
    ``known`` lists. ``adds``: the texts that are put after images. ``text`` and ``changes``, for the card: the recipe's
    file as it was written, and what was set on top of it.
    """

    folder: str
    recipe: Recipe
    verdicts: str
    scores: Mapping[str, str]
    known: Catalogue
    adds: Sequence[Addition] = ()
    text: str = ""
    changes: Mapping[str, str] = field(default_factory=dict)

    @property
    def index(self) -> str:
        """The file that is there when the output is complete."""
        return f"{self.folder}/index.json"

    @property
    def name(self) -> str:
        """The name of the data set."""
        return self.folder.rpartition("/")[2]

    def scalars(self, score: str) -> dict[str, Any]:
        """The columns of a score, of any kind of segment, that a sample shows, and their types."""
        columns = (column for group in self.known[score].values() for column in group.items())
        return {name: kind for name, kind in columns if kind in SCALARS}

    @property
    def columns(self) -> dict[str, Any]:
        """The type of every "score.column" that a sample may have, in the order of their names."""
        found = {f"{score}.{name}": kind for score in self.scores for name, kind in self.scalars(score).items()}
        return dict(sorted(found.items()))


def output(
    recipe: Recipe,
    file: Path,
    changes: Mapping[str, str],
    known: Catalogue,
    scores: Mapping[str, str],
    verdicts: str,
    adds: Sequence[Addition],
) -> Output:
    """What the recipe in a file, with ``changes`` on top, packs. See ``Output``."""
    measured = [folder for folder in scores.values() if folder != SOURCE]
    folder = f"out/{output_name(recipe.pack, recipe.place, verdicts, measured, file.stem)}"
    return Output(folder, recipe, verdicts, scores, known, adds, file.read_text(encoding="utf-8"), changes)


def output_name(pack: Pack, place: Place, verdicts: str, scores: Sequence[str], stem: str) -> str:
    """The folder below out/: a readable name, and a hash of what decides its bytes."""
    parts = json.dumps([verdicts, list(scores), place.model_dump(), pack.model_dump(exclude={"name"})], sort_keys=True)
    return f"{pack.name or stem}-{hashlib.sha256(parts.encode()).hexdigest()[:8]}"


def made_by(pack: Pack) -> str:
    """What else decides the bytes: the version of our code, and of what is not ours."""
    others: list[str] = []
    if pack.format in (packages := installed()):
        distribution = packages[pack.format].dist
        others.append(distribution.version if distribution else "")
    if pack.mask and ":" in pack.mask and not pack.mask.startswith("curate."):
        masker(pack.mask, "pack.mask")  # so that it is loaded
        file = getattr(sys.modules[pack.mask.partition(":")[0]], "__file__", None) or ""
        others += sorted(map(code_hash, code_files(Path(file)))) if file.endswith(".py") else []
    return f"{VERSION} {short_hash(others)}" if others else f"{VERSION}"
