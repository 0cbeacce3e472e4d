"""Inventory: what is there in a run, and what each file says of itself. Judges nothing.

A folder is listed once. Notes are known from a summary as long as the listing shows the same size and stamp; else the
file is asked. What lies beside it is believed by its size; but a file of an output, which nobody of ours checks later,
is compared with its digest unless its stamp is the one that it had when it was written or compared.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property, partial
from typing import NamedTuple, TypeGuard

from curate.ledger.state import DAMAGED, FOREIGN, MISSING
from curate.ledger.summary import Summary
from curate.report import Beside, Entry, Report
from curate.store import digest, record, table
from curate.store.digest import DamagedFile, ForeignFile
from curate.store.notes import notes_of
from curate.store.store import Stat, Store, blaming, damage

READERS = 32
"""Files that are asked at a time: on remote storage each waits."""
COMPARERS = 8
"""Files that are read whole at a time."""
BLOCK = 8 << 20
"""Bytes of such a file that are read at once."""
PRODUCT = "out/"
"""Where files lie that are compared. Of raw tars whoever reads a picture checks that."""
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
        """Learns what files say of themselves: from the summary, or else from them, several at a time.

        What lies beside them is compared, where that is needed.
        """
        asked, products, known = list[str](), list[str](), self._summary.entries
        for name in names:
            if name.startswith(PRODUCT):
                products.append(name)
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
        self._compare(products)

    def _compare(self, names: Iterable[str]) -> None:
        """Compares what lies beside files and may not be what it was; takes up what it is."""
        entries = (entry for name in dict.fromkeys(names) if isinstance(entry := self.find(name), Entry))
        beside = ((entry.name, each, self.find(each.name)) for entry in entries for each in entry.beside)
        doubtful = [(name, each, found.stamp) for name, each, found in beside if is_doubtful(found, each)]
        answers = compared(self.store, [each for _, each, _ in doubtful])
        for (name, each, stamp), same in zip(doubtful, answers, strict=True):
            if same:
                self._restamp(name, each._replace(stamp=stamp))
            else:
                self._put(each.name, Fault(DAMAGED, damage(self.store, each.name, "it is not what was written")))

    def company(self, entry: Entry) -> Fault | None:
        """What is wrong with a file that lies beside another (missing or damaged); None if nothing is."""
        faults = (fault_of(self.store, each, self.find(each.name)) for each in entry.beside)
        return next((fault for fault in faults if fault), None)

    def _restamp(self, name: str, beside: Beside) -> None:
        entry = self.find(name)
        assert isinstance(entry, Entry)
        files = tuple(beside if each.name == beside.name else each for each in entry.beside)
        self._new[name] = entry._replace(beside=files)
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
    stat = store.stat(name)

    def notes() -> Mapping[str, str]:
        with blaming(store, name):
            if name.endswith(".json"):
                return record.decode(store.bytes_of(name))[1]
            return table.footer(partial(store.range_of, name), stat.size).notes

    return told(name, stat, notes)


def told(name: str, stat: Stat, notes: Callable[[], Mapping[str, str]]) -> Entry | Fault:
    """What the notes of a file say, or what is wrong with them if they cannot be read."""
    try:
        return notes_of(notes(), name, *stat)
    except DamagedFile as error:
        return Fault(DAMAGED, str(error))
    except ForeignFile as error:
        return Fault(FOREIGN, str(error))


def fault_of(store: Store, each: Beside, found: Known | None) -> Fault | None:
    """What is wrong with a file beside another, by what is known of it."""
    if found is None:
        return Fault(MISSING, f"{store.path(each.name)} is not there")
    if isinstance(found, Stat) and found.size != each.size:
        return Fault(DAMAGED, damage(store, each.name, f"it has {found.size:,} bytes, and had {each.size:,}"))
    return found if isinstance(found, Fault) else None


def is_doubtful(found: Known | None, each: Beside) -> TypeGuard[Stat]:
    """Whether a file beside another may have changed, though its size has not."""
    return isinstance(found, Stat) and found.size == each.size and found.stamp != each.stamp


def compared(store: Store, files: Sequence[Beside]) -> list[bool]:
    """Whether each of some files is what was written. They are read whole, several at a time."""
    if not files:
        return []
    with ThreadPoolExecutor(COMPARERS) as pool:
        return list(pool.map(partial(is_same, store), files))


def is_same(store: Store, each: Beside) -> bool:
    """Whether a file beside another is what was written. It is read whole."""
    hashed = digest.Running()
    for at in range(0, each.size, BLOCK):
        hashed.update(store.range_of(each.name, at, min(at + BLOCK, each.size)))
    return hashed.digest() == each.digest
