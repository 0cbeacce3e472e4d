"""Planned: a recipe in a folder, and the shards that its corpus was cut into, once and for all. Fetches nothing."""

from __future__ import annotations

import inspect
import json
from functools import cached_property
from pathlib import Path
from typing import Any

import polars as pl

from curate.executor import Failure
from curate.formats import Slice
from curate.identity import code_hash
from curate.plugin import built_in
from curate.recipe import RecipeError
from curate.resolved import Resolved
from curate.shard import RAW
from curate.source import plan as plan_source
from curate.store import Store


class Planned(Resolved):
    """The shards of a recipe's corpus in a folder. ``limit``: only so many documents of the source."""

    store: Store
    limit: int | None
    failures: list[Failure]

    @cached_property
    def slices(self) -> list[Slice]:
        """The shards of the corpus; planned once and then kept, so that a shard never changes its rows."""
        fingerprint = self._fingerprint()
        if self.store.exists("plan.json"):
            planned = self.store.get_json("plan.json")
            changed = [
                f"{key}: {planned['fingerprint'].get(key)!r} -> {value!r}"
                for key, value in fingerprint.items()
                if planned["fingerprint"].get(key) != value
            ]
            if changed:
                raise RecipeError(
                    f"{self.path}: what {self.store.url} holds was fetched with other settings:\n  "
                    + "\n  ".join(changed)
                    + "\nGive this run another folder (--out), or delete that one to fetch again."
                )
            with self.store.local("plan.parquet") as path:
                slices = [Slice(**row) for row in pl.read_parquet(path, glob=False).iter_rows(named=True)]
            bad = planned["bad_files"]
        else:
            try:
                slices, found = plan_source(self.recipe.source, limit=self.limit)
            except FileNotFoundError as error:
                raise RecipeError(f"{self.path}: {error}") from None
            bad = [str(each) for each in found]
            with self.store.writing("plan.parquet") as path:
                pl.DataFrame(slices).write_parquet(path)
            self.store.put_json("plan.json", {"fingerprint": fingerprint, "shards": len(slices), "bad_files": bad})
        unread = [Failure("plan", "unreadable file", each) for each in bad]
        self.failures.extend(each for each in unread if each not in self.failures)
        return slices

    def _fingerprint(self) -> dict[str, Any]:
        """Everything that decides what the raw shards hold."""
        source = self.recipe.source.model_dump(mode="json")
        names = {"engine", "max_bytes", "max_pixels", "opt_out", "verify", "resize"}
        fetch = self.recipe.fetch.model_dump(mode="json", include=names)
        parts = {f"source.{key}": value for key, value in source.items()}
        parts |= {f"fetch.{key}": value for key, value in fetch.items()} | {"--limit": self.limit}
        if built_in(self.reader.read):
            parts["source.reader's version"] = self.reader.version
        else:
            parts["source.reader's code"] = code_hash(Path(inspect.getfile(self.reader.read)))[:8]
        parts["source.path"] = list(self.recipe.source.patterns)
        return dict(json.loads(json.dumps(parts).replace(" Infinity", ' "Infinity"')))

    @property
    def shards(self) -> list[str]:
        """The shards that have been fetched, in order."""
        done = self.store.names(RAW)
        return [part.shard for part in self.slices if f"{part.shard}.parquet" in done]
