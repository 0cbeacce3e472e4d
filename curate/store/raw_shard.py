"""Raw shard: one opened for reading, and tar members written the same way every time. Fetches and decides nothing.

``raw/NNNNNNNN.parquet`` holds the segments, ``raw/NNNNNNNN.tar`` each distinct picture once, named by its sha256.
"""

from __future__ import annotations

import os
import tarfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, replace
from functools import cached_property
from io import BytesIO
from pathlib import Path
from typing import IO, Any

import polars as pl

from curate.document import DOCUMENT, Document, Image, Origin, Segment, Text
from curate.status import Status
from curate.store.digest import DamagedFile
from curate.store.files import Files
from curate.store.store import blaming

RAW = "raw"
Blaming = Callable[[], AbstractContextManager[None]]
"""Says of which file it is that something is wrong there."""


def add_member(tar: tarfile.TarFile, name: str, data: bytes) -> int:
    """Adds a file with fixed owner, mode and time, so that equal content gives equal bytes; returns its offset."""
    member = tarfile.TarInfo(name)
    member.size = len(data)
    member.mode = 0o644
    tar.addfile(member, BytesIO(data))
    return int(tar.offset) - (len(data) + 511) // 512 * 512


def open_tar(file: Path | IO[bytes]) -> tarfile.TarFile:
    """A tar to write to: plain, uncompressed, without the PAX headers that fractional times bring."""
    if isinstance(file, Path):
        return tarfile.open(file, "w", format=tarfile.USTAR_FORMAT)
    return tarfile.open(fileobj=file, mode="w", format=tarfile.USTAR_FORMAT)


@dataclass(frozen=True)
class Stored:
    """Where a distinct picture lies in a shard's tar, and its header."""

    image: Image
    offset: int
    length: int
    crc32: int


class RawShard:
    """A raw shard: its documents in order, and the bytes of its pictures by sha256."""

    def __init__(self, table: pl.DataFrame, tar: IO[bytes], content: bytes, blaming: Blaming = nullcontext) -> None:
        self.table = table
        self.content = content
        self._tar, self._blaming = tar, blaming

    @cached_property
    def stored(self) -> dict[str, Stored]:
        """The distinct pictures in the order in which they lie in the tar."""
        rows = self.table.filter(pl.col("status") == Status.OK).unique("sha256", keep="first", maintain_order=True)
        return {
            row["sha256"]: Stored(distinct(row), row["offset"], row["bytes"], row["crc32"])
            for row in rows.iter_rows(named=True)
        }

    def bytes_of(self, sha256: str) -> bytes:
        """A picture's stored bytes; may be called from several threads.

        Raises:
            DamagedFile: they are not what the table says.
        """
        stored = self.stored[sha256]
        data = os.pread(self._tar.fileno(), stored.length, stored.offset)
        if len(data) != stored.length or zlib.crc32(data) != stored.crc32:
            with self._blaming():
                raise DamagedFile(f"picture {sha256} is not what the table beside it says")
        return data

    @property
    def segments(self) -> pl.DataFrame:
        """The rows that are documents and their segments, without rejects."""
        return self.table.filter(pl.col("kind") != "reject")

    def documents(self) -> Iterator[Document]:
        """The documents in order, one at a time; their images are headers without data."""
        head: dict[str, Any] | None = None
        segments: list[Segment] = []
        for row in self.segments.iter_rows(named=True):
            if row["position"] == DOCUMENT:
                if head is not None:
                    yield _document(head, segments)
                head, segments = row, []
            elif row["kind"] == "image":
                segments.append(_image(row))
            else:
                segments.append(Text(row["text"], row["source"]))
        if head is not None:
            yield _document(head, segments)


@contextmanager
def open_shard(files: Files, shard: str) -> Iterator[RawShard]:
    """A raw shard for the length of the block; remote ones are copied to local disk first."""
    name, tar = f"{RAW}/{shard}.parquet", f"{RAW}/{shard}.tar"
    table = files.read(name)
    with files.store.local(tar) as path, path.open("rb") as opened:
        yield RawShard(table, opened, files.contents[name], lambda: blaming(files.store, tar))


def distinct(row: dict[str, Any]) -> Image:
    """A picture by itself: it stands in many places, so it has neither a URL nor an alt text."""
    return replace(_image(row), url="", alt="")


def _image(row: dict[str, Any]) -> Image:
    error = "" if row["status"] == Status.OK else row["status"]
    shape = (row["format"] or "", row["width"] or 0, row["height"] or 0, row["sha256"] or "")
    return Image(row["url"], row["alt"] or "", None, *shape, error)


def _document(row: dict[str, Any], segments: list[Segment]) -> Document:
    return Document(row["document"], tuple(segments), Origin(row["corpus"], row["file"], row["row"], row["url"]))
