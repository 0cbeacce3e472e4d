"""Inventory: what is there in a run, and what each file says of itself. Judges nothing.

A folder is listed once. Notes are known from a summary as long as the listing shows the same size and stamp; else the
file is asked.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property, partial
from typing import NamedTuple

from curate.ledger.summary import Summary
from curate.report import Beside, Entry, Report
from curate.store import digest, record, table
from curate.store.digest import DamagedFile, ForeignFile
from curate.store.notes import notes_of
from curate.store.store import Stat, Store, blaming, damage

READERS = 32
"""Files that are asked at a time: on remote storage each waits."""
PAUSE = 60
"""Seconds between two segments of the summary."""


class Fault(NamedTuple):
    """What is wrong with a file: ``state`` is damaged or foreign; ``why`` says it and what to do."""

    state: str
    why: str


Known = Stat | Entry | Fault
"""What is known of a file: only its listing, or its notes, or what is wrong with them."""


class Inventory:
    """The files of a store by name."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self._new = dict[str, Entry]()
        self._saved = time.monotonic()
        self.forget()

    def forget(self) -> None:
        """Has every folder listed again when it is next looked at."""
        self._folders = dict[str, dict[str, Known]]()

    def learn(self, known: Mapping[str, Known]) -> None:
        """Takes up what there is, and what each file says, from who has read all of them."""
        self.forget()
        for name, each in known.items():
            folder, _, file = name.rpartition("/")
            self._folders.setdefault(folder, {})[file] = each

    @cached_property
    def _summary(self) -> Summary:
        return Summary(self.store)

    def find(self, name: str) -> Known | None:
        """What is known of a file; None if it is not there. Its folder is listed if it was not."""
        folder, _, file = name.rpartition("/")
        if folder not in self._folders:
            self._folders[folder] = dict(self.store.listing(folder))
        return self._folders[folder].get(file)

    def look(self, names: Iterable[str]) -> None:
        """Learns what files say of themselves: from the summary, or else from them, several at a time."""
        asked, known = list[str](), self._summary.entries
        for name in names:
            found = self.find(name)
            if isinstance(found, Stat):
                entry = known.get(name)
                if entry is not None and entry[1:3] == found:
                    self._put(name, entry)
                else:
                    asked.append(name)
        if asked:
            asked = list(dict.fromkeys(asked))
            with ThreadPoolExecutor(READERS) as pool:
                for name, answer in zip(asked, pool.map(lambda name: said_by(self.store, name), asked), strict=True):
                    self._put(name, answer)
                    if isinstance(answer, Entry):
                        self._new[name] = answer

    def company(self, entry: Entry) -> Fault | None:
        """What is wrong with a file that lies beside another (missing or damaged); None if nothing is."""
        for each in entry.beside:
            found = self.find(each.name)
            if found is None:
                return Fault("missing", f"{self.store.path(each.name)} is not there")
            if found[:2] != (each.size, each.stamp):
                if wrong := changed(self.store, each, int(found[0])):
                    return wrong
                self._restamp(entry.name, each.name, str(found[1]))
        return None

    def _restamp(self, name: str, beside: str, stamp: str) -> None:
        known = self.find(name)
        assert isinstance(known, Entry)
        files = (each._replace(stamp=stamp) if each.name == beside else each for each in known.beside)
        self._new[name] = known._replace(beside=tuple(files))
        self._put(name, self._new[name])

    def _put(self, name: str, known: Known) -> None:
        folder, _, file = name.rpartition("/")
        if folder in self._folders:
            self._folders[folder][file] = known

    def take(self, report: Report) -> None:
        """Takes up what a job made."""
        for entry in report.made:
            self._put(entry.name, entry)
            for each in entry.beside:
                self._put(each.name, Stat(each.size, each.stamp))
            self._new[entry.name] = entry
        if time.monotonic() - self._saved > PAUSE:
            self.save()

    def doubt(self, names: Iterable[str]) -> None:
        """Has files asked again, here and by whoever reads the summary."""
        for name in names:
            known = self.find(name)
            if isinstance(known, Entry):
                self._new[name] = known._replace(stamp="?")
                self._put(name, Stat(known.size, known.stamp))
                self._summary.entries.pop(name, None)

    def remove(self, name: str) -> None:
        """Removes a file, if it is there."""
        if self.find(name) is not None:
            self.store.remove(name)
            folder, _, file = name.rpartition("/")
            del self._folders[folder][file]

    def _may_be_there(self, name: str) -> bool:
        folder, _, file = name.rpartition("/")
        return folder not in self._folders or file in self._folders[folder]

    def save(self) -> None:
        """Writes down what was learned since the last time."""
        if self._new:
            self._summary.add(self._new, self._may_be_there)
        self._saved, self._new = time.monotonic(), {}


def said_by(store: Store, name: str) -> Entry | Fault:
    """What a file says of itself; of a table the footer is read."""
    try:
        stat = store.stat(name)
        with blaming(store, name):
            if name.endswith(".json"):
                notes = record.decode(store.bytes_of(name))[1]
            else:
                notes = table.footer(partial(store.range_of, name), stat.size).notes
            return notes_of(notes, name, *stat)
    except DamagedFile as error:
        return Fault("damaged", str(error))
    except ForeignFile as error:
        return Fault("foreign", str(error))


def changed(store: Store, each: Beside, size: int) -> Fault | None:
    """What is wrong with a file beside another whose stamp is not the one that was known.

    Where none was known, as the summary was lost, a file is believed by its size.
    """
    why = f"it has {size:,} bytes, and had {each.size:,}" if size != each.size else ""
    if each.stamp and not why:
        with store.local(each.name) as path:
            why = "" if digest.of_path(path) == each.digest else "it is not what was written"
    return Fault("damaged", damage(store, each.name, why)) if why else None
