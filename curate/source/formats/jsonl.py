"""JSON lines, plain, gzipped or zipped: an object a line. A line that is none is a bad row; blank lines are no rows.

A zip archive is its .jsonl members one after the other. No line, however long, is in memory beyond LONGEST_LINE.
"""

from __future__ import annotations

import gzip
import io
import json
import lzma
import zipfile
import zlib
from collections.abc import Iterator
from itertools import islice
from typing import IO, Any

from curate.document import BadRow
from curate.source.rows import Format, Slice, has_suffix, opened

LONGEST_LINE = 64 * 1024**2
"""Bytes. A longer line is one bad row, and is never in memory as a whole."""
DAMAGE = (
    EOFError,
    NotImplementedError,  # a way of packing that zipfile does not know
    gzip.BadGzipFile,
    lzma.LZMAError,
    zipfile.BadZipFile,
    zlib.error,
)


def count(path: str, file: IO[bytes], shard_rows: int, limit: int | None) -> tuple[int, list[int]]:
    """Rows of a file, and where each shard begins in its unpacked bytes."""
    total, offsets = 0, []
    for offset, _ in islice(_lines(path, file), limit):
        offsets += [offset] if total % shard_rows == 0 else []
        total += 1
    return total, offsets


def read(part: Slice) -> Iterator[dict[str, Any] | BadRow]:
    """The rows of a shard; NaN is None."""
    with opened(part.path) as file:
        for _, line in islice(_lines(part.path, file, part.offset), part.count):
            yield _parsed(line)


def _streams(path: str, file: IO[bytes], offset: int) -> Iterator[tuple[int, IO[bytes]]]:
    """The unpacked streams of a file that reach beyond an offset, each set to where reading starts: (offset, stream).

    Setting gzip and zip streams reads what lies before.
    """
    if has_suffix(path, (".zip",)):
        with zipfile.ZipFile(file) as archive:
            members = [member for member in archive.infolist() if member.filename.endswith(".jsonl")]
            members = [member for member in members if not member.filename.startswith("__MACOSX/")]
            if not members or any(member.flag_bits & 1 for member in members):
                raise zipfile.BadZipFile("encrypted" if members else "no .jsonl file in the archive")
            base = 0
            for member in members:
                if base + member.file_size > offset:
                    with archive.open(member) as stream:
                        yield base + stream.seek(max(0, offset - base)), stream
                base += member.file_size
    elif has_suffix(path, (".gz",)):
        with gzip.GzipFile(fileobj=file) as stream:
            if not stream.peek(1) and file.tell() == 0:
                raise EOFError("empty, not even a gzip header")
            yield stream.seek(offset), stream  # type: ignore[misc]
    else:
        yield file.seek(offset) if offset else 0, file


def _lines(path: str, file: IO[bytes], offset: int = 0) -> Iterator[tuple[int, bytes | None]]:
    """(offset, line) of each line that is not blank; None for one longer than LONGEST_LINE."""
    for start, stream in _streams(path, file, offset):
        at = start
        buffered = io.BufferedReader(stream, 1 << 20)  # type: ignore[type-var]
        while line := buffered.readline(LONGEST_LINE):
            begin, last, whole = at, line, len(line) < LONGEST_LINE
            at += len(line)
            while not whole and not last.endswith(b"\n") and (last := buffered.readline(LONGEST_LINE)):
                at += len(last)
            if not line.isspace():
                yield begin, line if whole else None


def _parsed(line: bytes | None) -> dict[str, Any] | BadRow:
    if line is None:
        return BadRow(f"line of more than {LONGEST_LINE} bytes")
    try:
        row = json.loads(line.decode().removeprefix("\ufeff"), parse_constant=lambda _: None)
    except UnicodeDecodeError as error:
        return BadRow(f"not UTF-8: {error.reason} at byte {error.start} of the line")
    except (ValueError, RecursionError) as error:
        return BadRow(f"not JSON: {error}")
    return row if isinstance(row, dict) else BadRow(f"the line is JSON, but a {type(row).__name__}, not an object")


FORMAT = Format((".jsonl", ".jsonl.gz", ".jsonl.zip"), count, read, DAMAGE)
