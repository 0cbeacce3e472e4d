"""Files: the files of a run, read with every byte checked. Writes nothing.

A file that is damaged is refused; so is, to a job, one that is not what it was when the job was handed out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa

from curate.store import digest, record, table
from curate.store.notes import mark, marks_of, notes_of
from curate.store.store import Store, blaming

HELD = 64 << 20
"""Bytes of checked files that are kept for the next look at them: several rules read one table."""


class ChangedFile(RuntimeError):  # noqa: N818
    """A file that is not what it was when the job was handed out. Another attempt of the run finds out what it is."""


@dataclass(frozen=True, slots=True)
class Expected:
    """What a job may read: ``marks`` of each file by name and content, or, of too many, one digest of the ``whole``."""

    marks: bytes = b""
    whole: bytes = b""


class Files:
    """The files of a store. ``contents``: the digest of what each file says that was read, or made here.

    ``expected``: what may be read; None: anything. What the job itself makes need not be expected.
    """

    def __init__(self, store: Store, expected: Expected | None = None) -> None:
        self.store, self.contents = store, dict[str, bytes]()
        self._own = dict[str, Path | None]()
        self._expected = expected or Expected()
        self._marks = marks_of(self._expected.marks)
        self._held: dict[str, bytes] = {}

    def read(self, name: str, columns: Sequence[str] | None = None) -> pl.DataFrame:
        """The rows of a table, or some of its columns.

        Raises:
            DamagedFile, ForeignFile, ChangedFile: it is not what it should be; says what to do.
        """
        if name not in self._held:
            data = self._bytes(name)
            with blaming(self.store, name):
                self.saw(name, notes_of(table.checked(data).notes).content)
            while self._held and sum(map(len, self._held.values())) + len(data) > HELD:
                del self._held[next(iter(self._held))]
            self._held[name] = data
        return table.decode(self._held[name], columns)

    def rows(self, names: Sequence[str], wanted: Any = None, columns: list[str] | None = None) -> pl.DataFrame:
        """Some rows and columns of tables of one schema; of each, only the row groups that may have any are read.

        One file after the other, each with its last row group: sorted keys may lie in thousands of files.
        """
        if not names:
            return pl.DataFrame()
        opened = (table.dataset([self._opened(name)]) for name in names)
        parts = [each.to_table(filter=wanted, columns=columns, use_threads=False) for each in opened]
        frame = pl.from_arrow(pa.concat_tables(parts))
        assert isinstance(frame, pl.DataFrame)
        return frame

    def count(self, name: str) -> int:
        """The rows of a table."""
        return int(table.dataset([self._opened(name)]).count_rows())

    def json(self, name: str) -> dict[str, Any]:
        """The object in a JSON file."""
        with blaming(self.store, name):
            value, notes = record.decode(self._bytes(name))
            self.saw(name, notes_of(notes).content)
        return value

    def notes(self, name: str) -> Mapping[str, str]:
        """The notes of a table."""
        return self._footer(name)[0].notes

    def content(self, name: str) -> bytes:
        """The digest of what a file says, whose notes are read if it was not."""
        if name not in self.contents:
            _ = self.json(name) if name.endswith(".json") else self.notes(name)
        return self.contents[name]

    def makes(self, name: str, path: Path | None, content: bytes) -> None:
        """Takes up a file that the job itself makes, and what it says: it lies at a path until it is there."""
        self._own[name], self.contents[name] = path, content
        self._held.pop(name, None)

    def saw(self, name: str, content: bytes) -> None:
        """Takes up what a file says that is read, or that a worker still has from another job.

        Raises:
            ChangedFile: it is not what was expected, what the job wrote, or what it said before.
        """
        as_before = self.contents.get(name, content) == content
        if not as_before or (name not in self._own and not self.expects(name, content)):
            raise ChangedFile(f"{self.store.path(name)} changed while this run went on; run the same command again")
        self.contents[name] = content

    def expects(self, name: str, content: bytes) -> bool:
        """Whether a file may say this; where there is one digest for all, only ``compare`` tells."""
        return not self._marks or mark(name, content) in self._marks

    def compare(self) -> None:
        """Compares all that was read with what was expected, where that is one digest.

        Raises:
            ChangedFile: it is something else.
        """
        read = {name: content for name, content in self.contents.items() if name not in self._own}
        if self._expected.whole and digest.of_files(read) != self._expected.whole:
            raise ChangedFile(f"files of {self.store.url} changed while this run went on; run the same command again")

    @property
    def compared(self) -> bool:
        """Whether everything was compared as it was read."""
        return not self._expected.whole

    def _bytes(self, name: str) -> bytes:
        part = self._own.get(name)
        return part.read_bytes() if part else self.store.bytes_of(name)

    def _range(self, name: str, start: int, end: int) -> bytes:
        part = self._own.get(name)
        return part.read_bytes()[start:end] if part else self.store.range_of(name, start, end)

    def _footer(self, name: str) -> tuple[table.Footer, int]:
        part = self._own.get(name)
        size = part.stat().st_size if part else self.store.stat(name).size
        with blaming(self.store, name):
            found = table.footer(partial(self._range, name), size)
            self.saw(name, notes_of(found.notes).content)
        return found, size

    def _opened(self, name: str) -> table.CheckedFile:
        found, size = self._footer(name)
        return table.CheckedFile(found, size, partial(self._range, name), partial(blaming, self.store, name))
