"""Formats: the rows of one file, counted and streamed; finds no files and knows no corpus.

Read are parquet, and JSON lines plain, gzipped or zipped. A row that cannot be read is a value (``BadRow``) and stays
in the count; a file that cannot be read is a ``BadFile``. Memory grows neither with the file nor with the shard.
"""

from __future__ import annotations

import gzip
import io
import json
import lzma
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from typing import IO, Any

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq

from curate.document import BadRow

JSONL = (".jsonl", ".jsonl.gz", ".jsonl.zip")
LONGEST_LINE = 64 * 1024**2
"""Bytes. A longer line is one bad row, and is never in memory as a whole."""
BATCH = 512
"""Rows of a parquet file that are in memory at once."""
CORRUPT = (
    EOFError,
    NotImplementedError,  # a way of packing that zipfile does not know
    lzma.LZMAError,
    zipfile.BadZipFile,
    zlib.error,
    pa.ArrowInvalid,
    pa.ArrowNotImplementedError,
)
"""What the libraries raise on a file that is damaged; so do OSErrors that no operating system numbered."""


class BadFile(ValueError):  # noqa: N818 - the file is bad; the run goes on with the others
    """A file that cannot be read, or is not what it was when the shards were planned. Names the file and the cause."""


@dataclass(frozen=True)
class Slice:
    """A shard: ``count`` rows of one file from row ``start`` on; ``offset`` is where they begin, in unpacked bytes.

    ``file`` names it within the source, wherever that lies; ``path`` is what to open.
    """

    shard: str
    file: str
    path: str
    start: int
    count: int
    offset: int


def measure(path: str, shard_rows: int, limit: int | None = None) -> list[tuple[int, int, int]]:
    """The shards of one file: (first row, rows, byte offset). Rows of JSON lines are the lines that are not blank.

    Raises:
        BadFile: it is damaged, or of no format we read.
    """
    with _blaming(path):
        if _has_suffix(path, (".parquet",)):
            with _open(path) as file:
                total = pq.read_metadata(file).num_rows
            offsets = [0] * -(-total // shard_rows)
        elif _has_suffix(path, JSONL):
            total, offsets = 0, []
            for offset, _ in islice(_lines(path), limit):
                offsets += [offset] if total % shard_rows == 0 else []
                total += 1
        else:
            raise BadFile(f"{path}: not one of .parquet, {', '.join(JSONL)}")
    total = total if limit is None else min(total, limit)
    return [(at, min(shard_rows, total - at), offsets[at // shard_rows]) for at in range(0, total, shard_rows)]


def rows(part: Slice) -> Iterator[tuple[int, Mapping[str, Any] | BadRow]]:
    """The shard's rows with their numbers in the file; NaN is None. Memory does not grow with the shard.

    Raises:
        BadFile: it is damaged, or has fewer rows than planned.
    """
    done = 0
    with _blaming(part.path):
        if _has_suffix(part.path, (".parquet",)):
            found = _parquet_rows(part.path, part.start, part.count)
        else:
            found = (_parsed(line) for _, line in islice(_lines(part.path, part.offset), part.count))
        for row in found:
            yield part.start + done, row
            done += 1
    if done != part.count:
        raise BadFile(f"{part.path}: {part.count} rows were planned from row {part.start} on, now there are {done}")


def _has_suffix(path: str, suffixes: tuple[str, ...]) -> bool:
    return (path.partition("?")[0] if "://" in path else path).lower().endswith(suffixes)


@contextmanager
def _blaming(path: str) -> Iterator[None]:
    """Turns what the libraries raise on damaged files into BadFile; a disk or network error stays what it is."""
    try:
        yield
    except (*CORRUPT, OSError) as error:
        if isinstance(error, OSError) and not (error.errno is None and type(error) in (OSError, gzip.BadGzipFile)):
            raise
        raise BadFile(f"{path}: {str(error) or type(error).__name__}") from error


def _open(path: str) -> Any:
    filesystem, place = fsspec.core.url_to_fs(path)
    return filesystem.open(place, "rb")


def _streams(path: str, offset: int) -> Iterator[tuple[int, IO[bytes]]]:
    """The unpacked streams of a file that reach beyond an offset, each set to where reading starts: (offset, stream).

    A zip archive is its .jsonl members one after the other. Setting gzip and zip streams reads what lies before.
    """
    with _open(path) as file:
        if _has_suffix(path, (".zip",)):
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
        elif _has_suffix(path, (".gz",)):
            with gzip.GzipFile(fileobj=file) as stream:
                if not stream.peek(1) and file.tell() == 0:
                    raise EOFError("empty, not even a gzip header")
                yield stream.seek(offset), stream  # type: ignore[misc]
        else:
            yield file.seek(offset) if offset else 0, file


def _lines(path: str, offset: int = 0) -> Iterator[tuple[int, bytes | None]]:
    """(offset, line) of each line that is not blank; None for one longer than LONGEST_LINE."""
    for start, stream in _streams(path, offset):
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


def _parquet_rows(path: str, start: int, count: int) -> Iterator[Mapping[str, Any] | BadRow]:
    """Rows from the row groups that hold them; rows that come earlier in such a group are decoded and dropped."""
    stop = start + count
    with _open(path) as file, pq.ParquetFile(file, pre_buffer=False, buffer_size=1 << 20) as content:
        groups: list[int] = []
        first = at = 0
        for group in range(content.num_row_groups):
            size = content.metadata.row_group(group).num_rows
            if at < stop and at + size > start:
                first = at if not groups else first
                groups.append(group)
            at += size
        for batch in content.iter_batches(BATCH, row_groups=groups, use_threads=False):
            low, high = max(0, start - first), min(batch.num_rows, stop - first)
            if low < high:
                yield from _values(batch.slice(low, high - low))
            first += batch.num_rows
            if first >= stop:
                return


def _values(batch: Any) -> list[Mapping[str, Any] | BadRow]:
    """A batch as Python rows; halved where something in it has no Python value, down to the row that is bad."""
    try:
        return [_without_nan(row) for row in batch.to_pylist()]
    except (ValueError, OverflowError) as error:
        if batch.num_rows > 1:
            half = batch.num_rows // 2
            return _values(batch.slice(0, half)) + _values(batch.slice(half))
        return [BadRow(f"{'not UTF-8' if isinstance(error, UnicodeDecodeError) else 'unreadable value'}: {error}")]


def _without_nan(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _without_nan(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [_without_nan(inner) for inner in value]
    return None if isinstance(value, float) and value != value else value
