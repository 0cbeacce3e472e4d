"""Inputs: the files of a corpus, what they were when shards were planned, and what has become of them. Reads no row.

Files are known by their names below the fixed folder of a pattern, so that a folder may move. One listing of each
pattern says whether a file is what it was; it is opened only if its size is the same and its stamp is not.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import repeat
from typing import IO, Any, NamedTuple

import fsspec
from fsspec.implementations.local import LocalFileSystem

from curate.recipe.input import Source
from curate.source.rows import BadFile, format_of, measure, opened, stat_in
from curate.store import digest
from curate.store.store import Stat

FILES_AT_ONCE = 8
"""Files of a source that are looked at at a time."""
BLOCK = 1 << 20


class Found(NamedTuple):
    """A file that is there; ``file`` is its name within the source."""

    path: str
    file: str
    stat: Stat


@dataclass(frozen=True)
class Input:
    """A file as it was when its shards were planned.

    ``rows``: those that were planned, -1 if it could not be read. ``hashed``: how many of its first bytes ``digest``,
    in hex, is of; -1 if its format says what is hashed. Of a file of no format we read nothing is. ``offsets``: where
    the rows of each shard begin, in unpacked bytes, with blanks between; "" if that is 0 for all. As one text it takes
    a tenth of the time of a list.
    """

    file: str
    path: str
    size: int
    stamp: str
    rows: int = -1
    hashed: int = 0
    digest: str = ""
    offsets: str = ""

    def parts(self, shard_rows: int) -> Iterator[tuple[int, int, int]]:
        """Its shards: first row, rows, byte offset."""
        starts = range(0, self.rows, shard_rows)
        offsets = map(int, self.offsets.split()) if self.offsets else repeat(0, len(starts))
        for start, offset in zip(starts, offsets, strict=True):
            yield start, min(shard_rows, self.rows - start), offset


class Hashed(io.RawIOBase):
    """An open file that is hashed as far as it is read on from its beginning. Closing it leaves the file open."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file, self._hash, self.count = file, digest.Running(), 0

    def readinto(self, buffer: Any) -> int:
        """See ``io.RawIOBase``."""
        at = self._file.tell()
        data = self._file.read(len(buffer))
        if at <= self.count < at + len(data):
            self._hash.update(memoryview(data)[self.count - at :])
            self.count = at + len(data)
        buffer[: len(data)] = data
        return len(data)

    def seek(self, offset: int, whence: int = 0) -> int:
        """See ``io.RawIOBase``."""
        return self._file.seek(offset, whence)

    def readable(self) -> bool:
        """It is."""
        return True

    def seekable(self) -> bool:
        """It is."""
        return True

    def digest(self, end: int | None = None) -> str:
        """The digest in hex, once the file is hashed up to a place, or to its end."""
        self._file.seek(self.count)
        while data := self._file.read(BLOCK if end is None else min(BLOCK, end - self.count)):
            self._hash.update(data)
            self.count += len(data)
        return self._hash.hexdigest()


def matching(source: Source, base: str = "") -> tuple[list[Found], list[str]]:
    """The files that there are, by path, and why not, for each pattern that matches none.

    A file is named below the fixed folder of its pattern. If two files would share a name, all have their folders as
    the recipe spells them in front.
    """
    stats, below, spelled = dict[str, Stat](), dict[str, str](), dict[str, str]()
    nothing = list[str]()
    for pattern in source.patterns:
        absolute = "://" in pattern or pattern.startswith(("/", "~"))
        whole = pattern if absolute or not base else f"{base.rstrip('/')}/{pattern}"
        filesystem, place = fsspec.core.url_to_fs(whole)
        filesystem.invalidate_cache()
        exact = filesystem.isfile(place)
        found = {place: filesystem.info(place)} if exact else filesystem.glob(place, detail=True)
        files = {name: info for name, info in found.items() if info["type"] == "file" or filesystem.isfile(name)}
        if not files:
            nothing.append(f"source.path {pattern!r} matches no file (looked for {whole})")
        local = isinstance(filesystem, LocalFileSystem)
        folder, written = (
            text.rpartition("/")[0] if exact else re.split(r"[*?\[]", text)[0].rpartition("/")[0]
            for text in (place, pattern)
        )
        for name, info in files.items():
            path = name if local else filesystem.unstrip_protocol(name)
            stats.setdefault(path, stat_in(filesystem, name, info))
            below.setdefault(path, name[len(folder) :].lstrip("/"))
            spelled.setdefault(path, f"{written}/{below[path]}".lstrip("/") if not absolute else path)
    names = next((each for each in (below, spelled) if len(set(each.values())) == len(each)), {})
    return [Found(path, names.get(path, path), stats[path]) for path in sorted(stats)], nothing


def named(source: Source, base: str = "") -> list[Found]:
    """The files, by path; relative patterns start at ``base``. FileNotFoundError if one matches nothing."""
    files, nothing = matching(source, base)
    if nothing:
        raise FileNotFoundError(nothing[0])
    return files


def survey(found: Found, shard_rows: int, limit: int | None = None) -> tuple[Input, BadFile | None]:
    """A file as it is, with its first ``limit`` rows, or all, and why it cannot be read, if so.

    It is hashed as far as it has to be read, or to its end.
    """
    known, parts = Input(found.file, found.path, *found.stat), list[tuple[int, int, int]]()
    try:
        kind = format_of(found.path)
    except BadFile as error:
        return known, error
    with opened(found.path) as file:
        hashed, bad = Hashed(file), None
        try:
            parts = measure(found.path, shard_rows, limit, file if kind.digest else hashed)  # type: ignore[arg-type]
        except BadFile as error:
            bad = error
        rows = sum(count for _, count, _ in parts)
        if kind.digest:
            value, end = kind.digest(file).hex(), -1
        else:
            value = hashed.digest(hashed.count if not bad and limit is not None and rows >= limit else None)
            end = hashed.count
    offsets = " ".join(str(offset) for *_, offset in parts) if any(offset for *_, offset in parts) else ""
    return Input(found.file, found.path, *found.stat, -1 if bad else rows, end, value, offsets), bad


@dataclass(frozen=True)
class Compared:
    """What became of planned files, by name: which are ``here``, how some are ``changed``, which are ``gone``."""

    here: dict[str, Found]
    changed: dict[str, str]
    gone: list[str]


def compare(planned: Sequence[Input], found: Sequence[Found], all_planned: bool) -> Compared:
    """Planned files and those that are there now. ``all_planned``: a file that was not planned is new."""
    paths = {each.path for each in planned}
    by_path = {each.path: each for each in found}
    by_name = {each.file: each for each in found if each.path not in paths}
    pairs = [(each, by_path.get(each.path) or by_name.get(each.file)) for each in planned]
    here = {was.file: now for was, now in pairs if now is not None}
    doubtful = [(was, now) for was, now in pairs if now and not (now.stat.stamp and now.stat == (was.size, was.stamp))]
    with ThreadPoolExecutor(FILES_AT_ONCE) as pool:
        told = list(pool.map(lambda pair: _difference(pair[0], pair[1], all_planned), doubtful))
    changed = {was.file: text for (was, _), text in zip(doubtful, told, strict=True) if text}
    known = {each.path for each in here.values()}
    if all_planned:
        changed |= {each.file: "new" for each in found if each.path not in known}
    return Compared(here, changed, [was.file for was, now in pairs if now is None])


def _difference(was: Input, now: Found, all_rows: bool) -> str:
    """How a file with another size or stamp differs from what it was, in words; "" if it was only touched.

    ``all_rows``: all of its rows were planned, not the first of them.
    """
    size = now.stat.size
    if size == was.size and (not was.digest or _digest(now.path, was.hashed) == was.digest):
        return ""
    before, after, what = was.size, size, "bytes"
    if was.hashed < 0 <= was.rows and all_rows:  # counting is cheap
        try:
            before, after, what = was.rows, sum(count for _, count, _ in measure(now.path, 1 << 40)), "rows"
        except BadFile as error:
            return f"replaced by what cannot be read ({error})"
    unread = "" if was.rows >= 0 else "; it could not be read when shards were planned"
    if before == after:
        return f"changed (other content, {before:,} {what} as before{unread})"
    return f"{'grown' if after > before else 'shrunk'} ({before:,} {what} -> {after:,}{unread})"


def _digest(path: str, hashed: int) -> str:
    """The digest of a file, as ``survey`` takes it."""
    kind = format_of(path)
    with opened(path) as file:
        return kind.digest(file).hex() if kind.digest else Hashed(file).digest(hashed)
