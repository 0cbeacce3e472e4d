"""Plan: the shards that a recipe's corpus was cut into, once and for all. Fetches nothing."""

from __future__ import annotations

import inspect
import json
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import polars as pl

from curate.plugin import built_in
from curate.recipe.section import RecipeError
from curate.report import Failure
from curate.run.bind import Resolved
from curate.score.identity import code_hash
from curate.source.corpus import plan as plan_source
from curate.source.rows import Slice
from curate.store.store import Store

PLAN = "plan.json"


@dataclass
class Plan:
    """The shards of a recipe's corpus in a folder. ``limit``: only so many documents of the source.

    ``failures``: the files of the source that cannot be read, once the shards were asked for.
    """

    resolved: Resolved
    store: Store
    limit: int | None = None
    failures: list[Failure] = field(default_factory=list)

    @property
    def made(self) -> bool:
        """Whether the corpus was planned already."""
        return self.store.exists(PLAN)

    @cached_property
    def slices(self) -> list[Slice]:
        """The shards of the corpus; planned once and then kept, so that a shard never changes its rows."""
        slices, bad = self._kept() if self.made else self._fresh()
        self.failures = [Failure("plan", "unreadable file", each) for each in bad]
        return slices

    def _kept(self) -> tuple[list[Slice], list[str]]:
        """The plan in the folder.

        Raises:
            RecipeError: it was made with other settings; names the difference.
        """
        planned = self.store.get_json(PLAN)
        changed = [
            f"{key}: {planned['fingerprint'].get(key)!r} -> {value!r}"
            for key, value in self._fingerprint().items()
            if planned["fingerprint"].get(key) != value
        ]
        if changed:
            raise RecipeError(
                f"{self.resolved.path}: what {self.store.url} holds was fetched with other settings:\n  "
                + "\n  ".join(changed)
                + "\nGive this run another folder (--out), or delete that one to fetch again."
            )
        with self.store.local("plan.parquet") as path:
            slices = [Slice(**row) for row in pl.read_parquet(path, glob=False).iter_rows(named=True)]
        return slices, planned["bad_files"]

    def _fresh(self) -> tuple[list[Slice], list[str]]:
        """A new plan, written down."""
        try:
            slices, found = plan_source(self.resolved.recipe.source, limit=self.limit)
        except FileNotFoundError as error:
            raise RecipeError(f"{self.resolved.path}: {error}") from None
        bad = [str(each) for each in found]
        with self.store.writing("plan.parquet") as path:
            pl.DataFrame(slices).write_parquet(path)
        self.store.put_json(PLAN, {"fingerprint": self._fingerprint(), "shards": len(slices), "bad_files": bad})
        return slices, bad

    def _fingerprint(self) -> dict[str, Any]:
        """Everything that decides what the raw shards hold."""
        recipe = self.resolved.recipe
        source = recipe.source.model_dump(mode="json")
        names = {"engine", "max_bytes", "max_pixels", "opt_out", "verify", "resize"}
        fetch = recipe.fetch.model_dump(mode="json", include=names)
        parts = {f"source.{key}": value for key, value in source.items()}
        parts |= {f"fetch.{key}": value for key, value in fetch.items()} | {"--limit": self.limit}
        reader = self.resolved.reader
        if built_in(reader.read):
            parts["source.reader's version"] = reader.version
        else:
            parts["source.reader's code"] = code_hash(Path(inspect.getfile(reader.read)))[:8]
        parts["source.path"] = list(recipe.source.patterns)
        return dict(json.loads(json.dumps(parts).replace(" Infinity", ' "Infinity"')))
