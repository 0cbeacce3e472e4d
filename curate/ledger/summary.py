"""Summary: what was known of the files of a run, so that they need not be opened again. A cache, never the truth.

``ledger/`` holds segments, each a table of entries; later ones win. An entry counts only if the listing of its file
says the same size and stamp. What is missing here, or damaged, is learned from the files themselves.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress

import pyarrow as pa

from curate.report import Entry
from curate.store import digest, table
from curate.store.digest import DamagedFile, ForeignFile
from curate.store.notes import files_of, files_text
from curate.store.store import Store

log = logging.getLogger(__name__)
FOLDER = "ledger"
NAME = re.compile(r"\d{6}-[0-9a-f]{32}\.parquet")
MOST = 8
"""Segments; with more, they are made one."""
SEGMENT = pa.schema(
    [
        pa.field("name", pa.string(), nullable=False),
        pa.field("size", pa.int64(), nullable=False),
        pa.field("stamp", pa.string(), nullable=False),
        pa.field("by", pa.string(), nullable=False),
        pa.field("made_from", pa.binary(), nullable=False),
        pa.field("content", pa.binary(), nullable=False),
        pa.field("beside", pa.string(), nullable=False),
        pa.field("stamps", pa.list_(pa.string()), nullable=False),  # of those that lie beside it
    ]
)


class Summary:
    """The entries of a store as they were last known, by name."""

    def __init__(self, store: Store) -> None:
        self._store, self.entries = store, dict[str, Entry]()
        self._segments = sorted(filter(NAME.fullmatch, store.listing(FOLDER)))
        for name in self._segments:
            with suppress(DamagedFile, ForeignFile, OSError):
                self._take(self._store.bytes_of(f"{FOLDER}/{name}"))

    def _take(self, data: bytes) -> None:
        table.checked(data)
        rows = table.decode(data)
        if rows.columns != SEGMENT.names:
            return
        columns = [rows[name].to_list() for name in SEGMENT.names]
        for name, size, stamp, by, made_from, content, beside, stamps in zip(*columns, strict=True):
            files = files_of(beside) if beside else ()
            files = tuple(each._replace(stamp=stamp) for each, stamp in zip(files, stamps, strict=True))
            self.entries[name] = Entry(name, size, stamp, by, made_from, content, files)

    def add(self, entries: Mapping[str, Entry], keeps: Callable[[str], bool]) -> None:
        """Writes a segment of new entries, some at least; or, if there would be too many, one in place of all.

        That one has what was known before, too, but for the names that it ``keeps`` no longer.
        """
        self.entries |= entries
        old = self._segments if len(self._segments) >= MOST else []
        if old:
            entries = self.entries = {name: entry for name, entry in self.entries.items() if keeps(name)}
        data = table.encode(_table(list(entries.values())))
        number = int(self._segments[-1].partition("-")[0]) + 1 if self._segments else 0
        name = f"{number:06d}-{digest.of_bytes(data).hex()}.parquet"
        try:
            with self._store.writing(f"{FOLDER}/{name}") as path:
                path.write_bytes(data)
        except OSError as error:
            log.warning("what is known of the files cannot be kept, the next run asks them: %s", error)
            return
        for each in old:
            self._store.remove(f"{FOLDER}/{each}")
        self._segments = [name] if old else [*self._segments, name]


def _table(entries: Sequence[Entry]) -> pa.Table:
    columns = [[entry[at] for entry in entries] for at in range(6)]
    beside = [files_text(entry.beside) for entry in entries]
    stamps = [[file.stamp for file in entry.beside] for entry in entries]
    return pa.table([*columns, beside, stamps], schema=SEGMENT)
