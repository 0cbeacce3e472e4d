"""Plan: the shards that a recipe's corpus was cut into, once and for all. Fetches nothing.

``plan.json`` has what decides what raw shards hold: settings, and each input file as it was. The shards follow from
these alone, so that whatever becomes of the input files, they stay what they are.
"""

from __future__ import annotations

import inspect
import json
from collections import Counter
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from curate.ledger.inventory import said_by
from curate.plugin import built_in
from curate.recipe.input import Fetch, Resize, Source
from curate.recipe.section import RecipeError
from curate.report import Entry, Failure
from curate.run.bind import Resolved
from curate.score.identity import code_hash
from curate.source import corpus
from curate.source.inputs import Found, Input, compare, matching
from curate.source.rows import Slice
from curate.store import record
from curate.store.digest import ForeignFile
from curate.store.raw_shard import RAW
from curate.store.store import Store

PLAN = "plan.json"
PARTS = {"fingerprint", "bad_files", "inputs"}
LISTED = 20
"""The most inputs that a message lists."""
FETCH = {"engine", "max_bytes", "max_pixels", "opt_out", "verify", "resize"}
"""Settings of the download that decide what raw shards hold."""


@dataclass
class Plan:
    """The shards of a recipe's corpus in a folder. ``limit``: only so many documents of the source.

    ``failures``: the files of the source that cannot be read, once the shards were asked for.
    """

    resolved: Resolved
    store: Store
    limit: int | None = None
    failures: list[Failure] = field(default_factory=list)
    _record: dict[str, Any] = field(default_factory=dict, init=False, repr=False)
    _checked: bool = field(default=False, init=False)

    @property
    def made(self) -> bool:
        """Whether the corpus was planned already."""
        return self.store.exists(PLAN)

    @cached_property
    def slices(self) -> list[Slice]:
        """The shards of the corpus; planned once and then kept, so that a shard never changes its rows.

        Raises:
            RecipeError: it was planned with other settings, or cannot be planned (again); names the difference.
            DamagedFile, ForeignFile: the plan is not what was written.
        """
        if self.made:
            self._keep()
        else:
            self._make()
        self.failures = [Failure("plan", "unreadable file", each) for each in self._record["bad_files"]]
        settings = record.content(self._record["fingerprint"])
        return corpus.slices(self._inputs, self.resolved.recipe.source.shard, settings)

    @property
    def _inputs(self) -> list[Input]:
        return [Input(**each) for each in self._record["inputs"]]

    def check_inputs(self, fetched: Callable[[], Collection[str]]) -> None:
        """Compares the files of the corpus, once, with what they were when it was planned.

        Shards then know where their files are now. ``fetched``: the shards that are there, which need no file.

        Raises:
            RecipeError: a file has changed or is new, or is gone and still needed; names the difference.
        """
        slices = self.slices
        if self._checked:
            return
        planned = self._inputs
        found, _ = matching(self.resolved.recipe.source)
        compared = compare(planned, found, self.limit is None)
        wrong = dict(compared.changed)
        if compared.gone:
            there = set(fetched())
            needed = Counter(part.file for part in slices if part.shard not in there)
            wrong |= {name: f"gone; shards that need it: {needed[name]}" for name in compared.gone if needed[name]}
        if wrong:
            raise RecipeError(
                f"{self.resolved.path}: the source's files are not those that {self.store.url} was planned from:\n  "
                + listed(wrong)
                + "\nPut the old files back, or give this run another folder (--out)."
            )
        here = compared.here
        slices[:] = [located(part, here.get(part.file)) for part in slices]
        now = [seen(each, here.get(each.file)) for each in planned]
        if now != planned:  # touched or moved: noted, so that nobody has to hash them again
            self._note(self._record | {"inputs": [dict(vars(each)) for each in now]})
        self._checked = True

    def _note(self, found: dict[str, Any]) -> None:
        self.store.put_json(PLAN, found)
        self._record = found

    def _keep(self) -> None:
        """Takes the plan in the folder."""
        self._record = self.store.get_json(PLAN)
        if not self._record.keys() >= PARTS:
            raise ForeignFile(f"{self.store.path(PLAN)} is foreign (it is no plan): remove it, or use another folder")
        changed = differences(self._record["fingerprint"], fingerprint(self.resolved, self.limit), self.resolved)
        if changed:
            raise RecipeError(
                f"{self.resolved.path}: what {self.store.url} holds was fetched with other settings:\n  "
                + "\n  ".join(changed)
                + "\nGive this run another folder (--out), or delete that one to fetch again."
            )

    def _make(self) -> None:
        """Plans the corpus as it is now."""
        try:
            planned = corpus.plan(self.resolved.recipe.source, limit=self.limit)
        except FileNotFoundError as error:
            raise RecipeError(f"{self.resolved.path}: {error}") from None
        parts = {
            "fingerprint": fingerprint(self.resolved, self.limit),
            "bad_files": [str(each) for each in planned.bad],
        }
        settings = record.content(fingerprint(self.resolved, self.limit))
        self._refuse_others(corpus.slices(planned.inputs, self.resolved.recipe.source.shard, settings))
        self._note(parts | {"inputs": [dict(vars(each)) for each in planned.inputs]})
        self._checked = True

    def _refuse_others(self, slices: Iterable[Slice]) -> None:
        """A plan that was lost is made anew, but not another one over shards that are there: the first is looked at."""
        by = {part.shard: part.by for part in slices}
        there = min((name for name in self.store.listing(RAW) if name.endswith(".parquet")), default=None)
        found = said_by(self.store, f"{RAW}/{there}") if there else None
        if isinstance(found, Entry) and found.by != by.get(found.name[len(RAW) + 1 :].partition(".")[0]):
            raise RecipeError(
                f"{self.resolved.path}: {self.store.url} has no {PLAN}, and {found.name} was made by another plan than "
                f"{', '.join(self.resolved.recipe.source.patterns)} comes to now. Put the old files and settings "
                "back, or give this run another folder (--out)."
            )


def located(part: Slice, found: Found | None) -> Slice:
    """A shard whose file lies there now."""
    return part if found is None else replace(part, path=found.path, stat=found.stat)


def seen(planned: Input, found: Found | None) -> Input:
    """A file that is what it was, wherever it lies now."""
    if found is None or (found.path, found.stat.stamp) == (planned.path, planned.stamp):
        return planned
    return replace(planned, path=found.path, stamp=found.stat.stamp)


def listed(wrong: dict[str, str]) -> str:
    """Files and what is wrong with them, a line each; of many, the first."""
    lines = [f"{name}: {how}" for name, how in sorted(wrong.items())]
    return "\n  ".join(lines[:LISTED] + ([f"... and {len(lines) - LISTED} more"] if len(lines) > LISTED else []))


def fingerprint(resolved: Resolved, limit: int | None) -> dict[str, Any]:
    """Everything but the files that decides what the raw shards of a recipe hold."""
    parts = _settings(resolved.recipe.source, resolved.recipe.fetch, limit)
    if built_in(resolved.reader.read):
        parts["source.reader's version"] = resolved.reader.version
    else:
        parts["source.reader's code"] = code_hash(Path(inspect.getfile(resolved.reader.read)))[:8]
    parts["source.path"] = list(resolved.recipe.source.patterns)
    return parts


def differences(old: dict[str, Any], new: dict[str, Any], resolved: Resolved) -> list[str]:
    """In which settings two fingerprints differ. A setting that there was not then had what is its default now."""
    source = Source(reader=resolved.recipe.source.reader, path=resolved.recipe.source.path)
    then = _settings(source, Fetch(), None) | old
    if isinstance(then["fetch.resize"], dict):
        then["fetch.resize"] = _plain(Resize().model_dump(mode="json")) | then["fetch.resize"]
    return [f"{key}: {then.get(key)!r} -> {value!r}" for key, value in new.items() if then.get(key) != value]


def _settings(source: Source, fetch: Fetch, limit: int | None) -> dict[str, Any]:
    parts = {f"source.{key}": value for key, value in source.model_dump(mode="json").items()}
    parts |= {f"fetch.{key}": value for key, value in fetch.model_dump(mode="json", include=FETCH).items()}
    return _plain(parts | {"--limit": limit})


def _plain(parts: dict[str, Any]) -> dict[str, Any]:
    """As JSON has it, where there is no infinity."""
    return dict(json.loads(json.dumps(parts).replace(" Infinity", ' "Infinity"')))
