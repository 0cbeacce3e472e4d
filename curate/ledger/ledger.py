"""Ledger: which files are good, missing, stale, damaged or foreign. The only place that decides what is to be done.

A file is good if its notes say that it was made by what would make it now, from files that say what they say now.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

from curate.ledger.inventory import Fault, Inventory, Known
from curate.ledger.job import FileSet, Job, Ref, Target
from curate.ledger.state import DAMAGED, FOREIGN, GOOD, MISSING, STALE
from curate.report import Entry, Report
from curate.store import digest
from curate.store.files import Expected
from curate.store.notes import mark
from curate.store.store import Stat, Store

MARKS = 512
"""Files that a job may read before it gets one digest for all of them; 4 bytes each."""


class Ledger:
    """What is to be done in a run. ``inventory``: what is there; what jobs make is taken up as they end.

    ``known``: what there is, and what each file says, from who has read all of them.

    What was found good, and what a set comes to, is kept until files change: until ``take``, ``remove`` or ``forget``.
    By that only a target is good that is the same in all: made by the same from the same files. What is made from sets,
    no two of which are equal, is judged whenever one asks.
    """

    def __init__(self, store: Store, known: Mapping[str, Known] | None = None) -> None:
        self.inventory = Inventory(store)
        self._origins, self._good, self._seen = Origins(self.inventory), dict[str, Target](), set[FileSet]()
        if known is not None:
            self.inventory.learn(known)

    def forget(self) -> None:
        """Has everything looked at again."""
        self.inventory.forget()
        self._seen.clear()
        self._changed()

    def take(self, report: Report) -> None:
        """Takes up what a job made."""
        self.inventory.take(report)
        self._changed()

    def remove(self, name: str) -> None:
        """Removes a file, if it is there."""
        self.inventory.remove(name)
        self._changed()

    def _changed(self) -> None:
        """Has everything judged again: files are not what they were."""
        self._good.clear()
        self._origins.forget()

    def state(self, target: Target) -> tuple[str, str]:
        """The state of a target, and, where it is damaged or foreign, why."""
        return self.states([target])[0]

    def states(self, targets: Sequence[Target]) -> list[tuple[str, str]]:
        """The states of several targets."""
        new = [each for each in targets if self._good.get(each.name) != each]
        self._look(ref for each in new for ref in (each.name, *each.origin))
        return [self._judged(each) for each in targets]

    def unfinished(self, jobs: Iterable[Job]) -> list[Job]:
        """The jobs that have something to make, each with only the targets that are not good."""
        jobs = list(jobs)
        states = iter(self.states([target for job in jobs for target in job.targets]))
        left = [with_followers(job, {each.name for each in job.targets if next(states)[0] != GOOD}) for job in jobs]
        return [replace(job, targets=targets) for job, targets in zip(jobs, left, strict=True) if targets]

    def doubt(self, job: Job) -> None:
        """Has the files that a job reads asked again, when next they are looked at: one is not what is known of it."""
        self.inventory.doubt(files(job.reads))
        self._seen.clear()
        self._changed()

    def blocked(self, jobs: Sequence[Job]) -> dict[str, str]:
        """The jobs that cannot be done: job -> why: what it reads is not there, or a file must not be touched."""
        self._look(ref for job in jobs for ref in job.reads)
        found = dict[str, str]()
        for job in jobs:
            wrong = [why for state, why in map(self._judged, job.targets) if state in (DAMAGED, FOREIGN)]
            wrong += [why for name in files(job.reads) if (why := self._wanting(name))]
            if wrong:
                found[job.name] = wrong[0]
        return found

    def handed(self, job: Job) -> Job:
        """A job as a worker gets it: with what it may read, and what its targets are made from."""
        self._look([*job.reads, *(ref for target in job.targets for ref in target.origin)])
        own = {target.name for target in job.targets}
        targets = tuple(
            replace(each, digest=b"" if own.intersection(each.origin) else self._origins.of(each))
            for each in job.targets
        )
        known = ((name, self.inventory.find(name)) for name in files(job.reads))
        contents = {name: entry.content for name, entry in known if isinstance(entry, Entry)}
        if len(contents) > MARKS:
            return replace(job, targets=targets, expected=Expected(whole=digest.of_files(contents)))
        marks = b"".join(mark(name, content) for name, content in contents.items())
        return replace(job, targets=targets, expected=Expected(marks or mark("", b"")))

    def _judged(self, target: Target) -> tuple[str, str]:
        if self._good.get(target.name) == target:
            return GOOD, ""
        entry = self.inventory.find(target.name)
        if isinstance(entry, Fault):
            return entry
        if entry is None or isinstance(entry, Stat):
            return MISSING, ""
        if target.fixed and entry.by != target.by:
            path = self.inventory.store.path(target.name)
            return FOREIGN, f"{path} was made by another plan: remove it, or use another folder"
        if entry.by != target.by or entry.made_from != self._origins.of(target):
            return STALE, ""
        if wrong := self.inventory.company(entry):
            return wrong
        if not any(isinstance(ref, FileSet) for ref in target.origin):
            self._good[target.name] = target
        return GOOD, ""

    def _wanting(self, name: str) -> str:
        """Why a file cannot be read; "" if it can."""
        found = self.inventory.find(name)
        if found is None:
            return f"reads {name}, which is not there"
        wrong = self.inventory.company(found) if isinstance(found, Entry) else found
        return f"reads {name}: {wrong.why}" if isinstance(wrong, Fault) else ""

    def _look(self, refs: Iterable[Ref]) -> None:
        """Learns what files say of themselves; those of a set once, until everything is forgotten."""
        fresh = [ref for ref in dict.fromkeys(refs) if ref not in self._seen]
        self.inventory.look(files(fresh))
        self._seen |= {ref for ref in fresh if isinstance(ref, FileSet)}


class Origins:
    """What targets are made from, as one digest; that of a set is kept until ``forget``."""

    def __init__(self, inventory: Inventory) -> None:
        self._inventory, self._sets = inventory, dict[FileSet, bytes]()

    def forget(self) -> None:
        """Has sets gone through again."""
        self._sets.clear()

    def of(self, target: Target) -> bytes:
        """The digest of what a target is made from; b"" if that is not known of all."""
        found = self._digest(target.origin)
        return found and digest.of_origin(target.name, found)

    def _digest(self, refs: Iterable[Ref]) -> bytes:
        """One digest of the content of files and sets; b"" if that is not known of all."""
        contents = dict[str, bytes]()
        for ref in refs:
            if isinstance(ref, FileSet):
                if ref not in self._sets:
                    self._sets[ref] = self._digest(ref.files)
                name, content = ref.name, self._sets[ref]
            else:
                entry = self._inventory.find(ref)
                name, content = ref, entry.content if isinstance(entry, Entry) else b""
            if not content:
                return b""
            contents[name] = content
        return digest.of_files(contents)


def with_followers(job: Job, names: set[str]) -> tuple[Target, ...]:
    """The targets of these names, and those of the same job that are made from them, and so may say something else."""
    found = set(names)
    for target in job.targets if found else ():
        found |= {target.name} if found.intersection(target.origin) else set()
    return tuple(each for each in job.targets if each.name in found)


def files(refs: Iterable[Ref]) -> Iterator[str]:
    """The files that references stand for."""
    for ref in refs:
        if isinstance(ref, FileSet):
            yield from ref.files
        else:
            yield ref
