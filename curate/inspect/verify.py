"""Verify: what became of every file of a run, judged by a recipe. Reads every byte; changes and prints nothing.

Each file is good, missing, stale (it would be made again), damaged, foreign (nobody of ours made it here) or unused
(another recipe made it). What cannot be judged before something else is mended is counted, but not listed: of a damage
exactly the damaged file is named, and not what was made from it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from curate.fetch.salvage import SUFFIX, TABLE
from curate.inspect.condition import UNJUDGED, UNUSED, WRONG, Finding, Verified
from curate.inspect.fresh import judge_targets
from curate.inspect.reading import Reading, read_all, walked
from curate.inspect.targets import Targets, home, targets_of
from curate.ledger.inventory import Fault
from curate.ledger.state import DAMAGED, FOREIGN, GOOD, MISSING, STALE
from curate.ledger.summary import FOLDER
from curate.report import Beside, Entry
from curate.run.plan import PLAN
from curate.run.run import Run
from curate.run.scheduler import Progress
from curate.store.digest import DamagedFile
from curate.store.files import Files
from curate.store.raw_shard import RAW, open_shard
from curate.store.store import Store

LOST, UNMADE = "it is not what was written", "no stage of this recipe makes it"


def verify(store: Store, run: Run | None, watch: Progress) -> Verified:
    """Reads all files of a folder and judges them by a run in it; None: only by what each says of itself."""
    listed = walked(store)
    targets = targets_of(run, listed) if run else Targets(ends={"": []})
    readings = read_all(store, listed, watch)
    sorting = Sorting(store, readings, targets, judge_targets(store, readings, targets))
    sorting.judge_others()
    sorting.judge_company()
    sorting.judge_rest()
    sorting.judge_sums()
    ends = (name for names in targets.ends.values() for name in names)
    unknown = tuple(name for name in dict.fromkeys(ends) if sorting.state(name) in WRONG)
    return Verified(sorting.findings, unknown)


@dataclass
class Sorting:
    """Files, as they were read, being sorted."""

    store: Store
    readings: Mapping[str, Reading]
    targets: Targets
    findings: dict[str, Finding]

    def put(self, name: str, state: str, why: str = "", lost: tuple[str, ...] = ()) -> None:
        """Notes what became of a file."""
        self.findings[name] = Finding(name, state, why, lost)

    def state(self, name: str) -> str:
        """What became of a file; "" if it has not been said."""
        return self.findings[name].state if name in self.findings else ""

    def says(self, name: str) -> Entry | Fault | None:
        """What a file says of itself; None if it is not there, or bears no notes."""
        return self.readings[name].says if name in self.readings else None

    def judge_others(self) -> None:
        """Judges what no stage makes, if it has notes, or should have."""
        homes = {home(name) for name in (*self.targets.lasting, *self.targets.passing)}
        transient = {name.rpartition("/")[0] for name in self.targets.passing}
        entries = {name: each.says for name, each in self.readings.items() if isinstance(each.says, Entry)}
        ours, beside = set(map(home, entries)), {each.name for entry in entries.values() for each in entry.beside}
        for name in self.targets.ends.get("", ()):  # the plan
            if name not in self.readings:
                self.put(name, MISSING)
            elif isinstance(self.says(name), Entry):
                self.put(name, STALE)
        for name in self.readings.keys() - self.findings.keys() - beside:
            says, folder = self.says(name), home(name)
            if isinstance(says, Fault):
                if says.state == DAMAGED and (is_known(name) or folder in ours):
                    self.put(name, *says)
            elif is_known(name) and folder in ("", RAW, *homes):
                self.put(name, GOOD)
            elif isinstance(says, Entry):
                left = name.rpartition("/")[0] in transient or folder not in ("", RAW, *homes)
                self.put(name, *((UNJUDGED,) if self._ends(name) else (UNUSED,) if left else (FOREIGN, UNMADE)))

    def _ends(self, name: str) -> bool:
        """Whether a file lies where not all that is made could be named."""
        return any(home(name).startswith(folder) for folder in self.targets.ends)

    def judge_company(self) -> None:
        """Judges what lies beside the files that say so; if several do, then by one that is as it should be."""
        said = [(name, each.says.beside) for name, each in self.readings.items() if isinstance(each.says, Entry)]
        for name, beside in sorted(said, key=lambda each: self.state(each[0]) not in (GOOD, UNJUDGED)):
            for each in beside:
                if each.name not in self.findings:
                    self._judge_beside(name, each)

    def _judge_beside(self, name: str, beside: Beside) -> None:
        state, found = self.state(name), self.readings.get(beside.name)
        same = found is not None and (found.stat.size, found.digest) == (beside.size, beside.digest)
        if same and state not in (STALE, DAMAGED):
            self.put(beside.name, state, self.findings[name].why)
        elif found is None:
            if state in (GOOD, UNJUDGED):
                self.put(beside.name, MISSING)
        elif state in (STALE, DAMAGED, FOREIGN):  # made again, or removed, together with what lies beside it
            self.put(beside.name, UNJUDGED)
        else:
            sizes = f"it has {found.stat.size:,} bytes, and had {beside.size:,}"
            why, lost = sizes if found.stat.size != beside.size else LOST, list[str]()
            if home(beside.name) == RAW:
                lost, count = self._lost(name)
                why += f"; {len(lost):,} of its {count:,} pictures are lost"
            self.put(beside.name, DAMAGED, why, tuple(lost))

    def _lost(self, name: str) -> tuple[list[str], int]:
        """The pictures of a raw shard that cannot be read, and how many it had."""
        shard, lost = name.rpartition("/")[2].partition(".")[0], list[str]()
        with open_shard(Files(self.store), shard) as raw:
            for sha256 in raw.stored:
                try:
                    raw.bytes_of(sha256)
                except DamagedFile:
                    lost.append(sha256)
            return lost, len(raw.stored)

    def judge_sums(self) -> None:
        """Compares output files that are good with the sums that strangers compare them with."""
        for name in [name for name in self.readings if name.endswith("/SHA256SUMS") and self.state(name) == GOOD]:
            folder = name.rpartition("/")[0]
            if self.state(f"{folder}/index.json") == GOOD:
                for line in self.store.bytes_of(name).decode().splitlines():
                    sha256, _, file = line.partition("  ")
                    found = self.readings.get(f"{folder}/{file}")
                    if found and found.sha256 != sha256 and self.state(f"{folder}/{file}") == GOOD:
                        self.put(f"{folder}/{file}", DAMAGED, "its sha256 is not that in SHA256SUMS")

    def judge_rest(self) -> None:
        """Judges what bears no notes, and lies beside nothing of ours; what did not tell may be what tells of it."""
        silent = {(home(name), stem(name)) for name in self.targets.lasting if self.state(name) != GOOD}
        for name in self.readings.keys() - self.findings.keys():
            folder = home(name)
            if self._ends(name) or not silent.isdisjoint([(folder, stem(name)), (folder, "index")]):
                self.put(name, UNJUDGED)
            else:
                says = self.says(name)
                self.put(name, FOREIGN, says.why if isinstance(says, Fault) else UNMADE)


def stem(name: str) -> str:
    """The last part of a name up to its first dot: what files of one shard have in common."""
    return name.rpartition("/")[2].partition(".")[0]


def is_known(name: str) -> bool:
    """Whether a file is one of those that belong to a run and are no target of any stage."""
    folder, _, file = name.rpartition("/")
    if name in (PLAN, "latest.json"):
        return True
    if folder == FOLDER:
        return file.endswith(".parquet")
    if folder == RAW:
        return file.endswith((SUFFIX, TABLE))
    return file == "scorer.json" and home(name) == folder and folder.startswith("scores/")
