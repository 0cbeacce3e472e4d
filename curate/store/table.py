"""Table: parquet files that check themselves. Everything that reads or writes the parquet of a run does it here.

The bytes before the footer are cut into pieces, one for each row group. The footer has their digests among its notes,
and a digest of itself, taken with that digest blanked. So whoever reads a range reads, and checks, only its pieces::

    checksum     of the footer, blanked                by          parameters and version of what made it
    pieces       END:DIGEST of each piece              made_from   of the content of the files that it was made from
    content      of what the rows say                  files       what lies beside it: name, size, digest
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq

from curate.store import digest
from curate.store.digest import DamagedFile, ForeignFile

ROW_GROUP = 100_000
"""Rows of a row group, unless it is said otherwise."""
TAIL = 1 << 16
"""Bytes at the end of a file in which the footer usually lies."""
BLANK = "0" * 2 * digest.SIZE
_CHECKSUM = re.compile(rb"checksum\x18\x20([0-9a-f]{32})")  # key and value as the footer spells them
_MAGIC = b"PAR1"
NOT_NOTES = {"checksum", "ARROW:schema"}


@dataclass(frozen=True)
class Footer:
    """What a file says of itself, checked. ``pieces``: where each ends, and its digest; ``tail``: the bytes after."""

    notes: dict[str, str]
    pieces: tuple[tuple[int, bytes], ...]
    tail: bytes

    def check(self, data: Any) -> None:
        """Compares all bytes of the file with what the footer says.

        Raises:
            DamagedFile: they differ.
        """
        start = 0
        for end, expected in self.pieces:
            if digest.of_bytes(memoryview(data)[start:end]) != expected:
                raise DamagedFile(f"bytes {start} to {end} have changed")
            start = end


def encode(rows: pa.Table, row_group: int = ROW_GROUP, **notes: str) -> bytes:
    """A table as the bytes of a parquet file, with notes: the same bytes for the same table and notes.

    ``row_group``: the most rows in one row group; small ones let readers of a sorted table skip what they do not want.
    """
    rows, sink, pieces, start = rows.replace_schema_metadata(None), io.BytesIO(), list[str](), 0
    writer = pq.ParquetWriter(sink, rows.schema, compression="zstd")
    for first in range(0, max(rows.num_rows, 1), row_group):
        writer.write_table(rows.slice(first, row_group), row_group)
        end = sink.tell()
        pieces.append(f"{end}:{digest.of_bytes(sink.getbuffer()[start:end]).hex()}")
        start = end
    writer.add_key_value_metadata({**notes, "pieces": " ".join(pieces), "checksum": BLANK})
    writer.close()
    whole = sink.getbuffer()
    tail = bytes(whole[start:])
    blank = _last_checksum(tail)
    assert blank is not None
    whole[start + blank.start(1) : start + blank.end(1)] = digest.of_bytes(tail).hex().encode()
    return bytes(whole)


def footer(read: Callable[[int, int], bytes], size: int) -> Footer:
    """The footer of a file of so many bytes; ``read`` gives those from a place up to another.

    Raises:
        DamagedFile: it has changed, or is no parquet file.
        ForeignFile: somebody else wrote it, or a version of curate that noted no checksums.
    """
    tail = read(max(0, size - TAIL), size)
    length = int.from_bytes(tail[-8:-4], "little") + 8
    if len(tail) < 12 or tail[-4:] != _MAGIC or length > size:
        raise DamagedFile("it does not end like a parquet file")
    tail = tail[-length:] if length <= len(tail) else read(size - length, size)
    said = _last_checksum(tail)
    if said is None:
        raise _unsigned(tail)
    if digest.of_bytes(tail[: said.start(1)], BLANK.encode(), tail[said.end(1) :]).hex() != said[1].decode():
        raise DamagedFile("its footer has changed")
    metadata = pq.read_metadata(pa.BufferReader(_MAGIC + tail)).metadata
    notes = {key.decode(): value.decode() for key, value in sorted(metadata.items())}
    pieces = [piece.split(":") for piece in notes.pop("pieces").split(" ")]
    ends = tuple((int(end), bytes.fromhex(value)) for end, value in pieces)
    if ends[-1][0] + len(tail) != size:
        raise DamagedFile("bytes are missing, or too many")
    return Footer({name: notes[name] for name in notes.keys() - NOT_NOTES}, ends, tail)


def _last_checksum(tail: bytes) -> re.Match[bytes] | None:
    """Where the checksum stands: the last of its like. Before it stand values of the rows, which say anything."""
    return max(_CHECKSUM.finditer(tail), key=re.Match.start, default=None)


def _unsigned(tail: bytes) -> DamagedFile | ForeignFile:
    """What is wrong with a file whose footer has no checksum."""
    try:
        ours = {b"pieces", b"content"} & (pq.read_metadata(pa.BufferReader(_MAGIC + tail)).metadata or {}).keys()
    except (OSError, ValueError, pa.ArrowException):
        return DamagedFile("its footer cannot be read")
    return DamagedFile("its footer has changed") if ours else ForeignFile("it bears no checksum of curate's")


def checked(data: bytes) -> Footer:
    """The footer of a file whose bytes are all here; every one of them is checked.

    Raises:
        DamagedFile: something has changed.
    """
    found = footer(lambda start, end: data[start:end], len(data))
    found.check(data)
    return found


def decode(data: bytes, columns: Sequence[str] | None = None) -> pl.DataFrame:
    """The rows of a file that was checked, or some of its columns."""
    return pl.read_parquet(io.BytesIO(data), columns=list(columns) if columns else None)


def dataset(files: Sequence[Any]) -> ds.Dataset:
    """Open files of one schema as one dataset: of each, only the row groups that a filter leaves are read."""
    form = ds.ParquetFileFormat()
    fragments = [form.make_fragment(pa.PythonFile(each, "r")) for each in files]
    return ds.FileSystemDataset(fragments, fragments[0].physical_schema, form)


class CheckedFile:
    """A file, open for reading, each piece of which is checked before any byte of it is handed out.

    ``fetch`` gives the bytes from a place up to another; ``blaming`` says of which file it is that they are wrong.
    Holds the last piece that was read. A read up to the end is taken for what it is, a look at the footer of unknown
    length: what lies before the footer is then zeros, since no column reaches that far.
    """

    def __init__(
        self,
        found: Footer,
        size: int,
        fetch: Callable[[int, int], bytes],
        blaming: Callable[[], AbstractContextManager[None]] = nullcontext,
    ) -> None:
        self.closed, self._blaming = False, blaming
        self._footer, self._size, self._fetch = found, size, fetch
        self._starts = [0, *(end for end, _ in found.pieces)]
        self._at, self._held = 0, (-1, b"")

    def read(self, count: int = -1) -> bytes:
        """The next bytes."""
        end = self._size if count < 0 else min(self._size, self._at + count)
        parts = []
        if end == self._size and self._at < self._starts[-1]:
            parts.append(bytes(self._starts[-1] - self._at))
            self._at = self._starts[-1]
        while self._at < end:
            piece = next(at for at, start in reversed([*enumerate(self._starts)]) if start <= self._at)
            data, start = self._piece(piece), self._starts[piece]
            parts.append(data[self._at - start : end - start])
            self._at += len(parts[-1])
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def _piece(self, number: int) -> bytes:
        if number == len(self._footer.pieces):
            return self._footer.tail
        if self._held[0] != number:
            end, expected = self._footer.pieces[number]
            with self._blaming():
                data = self._fetch(self._starts[number], end)
                if digest.of_bytes(data) != expected:
                    raise DamagedFile(f"bytes {self._starts[number]} to {end} have changed")
            self._held = (number, data)
        return self._held[1]

    def seek(self, offset: int, whence: int = 0) -> int:
        """Goes to a place."""
        self._at = offset + (0, self._at, self._size)[whence]
        return self._at

    def tell(self) -> int:
        """The place of the next byte."""
        return self._at

    def size(self) -> int:
        """How many bytes there are."""
        return self._size

    def readable(self) -> bool:
        """It is."""
        return True

    def seekable(self) -> bool:
        """It is."""
        return True

    def close(self) -> None:
        """Lets go of what it holds."""
        self.closed, self._held = True, (-1, b"")
