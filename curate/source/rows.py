"""Rows: one file's rows, counted and streamed by the format that its name ends in; finds no files, knows no corpus.

A row that cannot be read is a value (``BadRow``) and stays in the count; a file that cannot be read is a ``BadFile``.
Memory grows neither with the file nor with the shard. The formats are the modules of ``formats/``.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from functools import cache
from typing import IO, Any

import fsspec

from curate.document import BadRow
from curate.store.store import Stat, stat_of


class BadFile(ValueError):  # noqa: N818 - the file is bad; the run goes on with the others
    """A file that cannot be read, or is not what it was when the shards were planned. Names the file and the cause."""


@dataclass(frozen=True)
class Slice:
    """A shard: ``count`` rows of one file from row ``start`` on; ``offset`` is where they begin, in unpacked bytes.

    ``file`` names it within the source, wherever that lies; ``path`` is what to open. ``by`` is a digest of the plan's
    fingerprint, the file's digest and the rows: what a raw shard of it is made by. ``stat``: what the file must be when
    it is opened; None: anything.
    """

    shard: str
    file: str
    path: str
    start: int
    count: int
    offset: int
    by: str = ""
    stat: Stat | None = None


@dataclass(frozen=True)
class Format:
    """A kind of file: ``FORMAT`` of a module of ``formats/``.

    ``suffixes``: what names of such files end in, in lower case. ``count``: the rows of a path that is open for
    reading, up to a limit, and for every so many of them the byte where they begin (0 where that is of no use).
    ``read``: the rows of a shard, in order. ``damage``: what these two raise on a file that is damaged. ``digest``: of
    a file of which counting does not read every byte, so that not every byte is hashed either.
    """

    suffixes: tuple[str, ...]
    count: Callable[[str, IO[bytes], int, int | None], tuple[int, list[int]]]
    read: Callable[[Slice], Iterator[Mapping[str, Any] | BadRow]]
    damage: tuple[type[Exception], ...]
    digest: Callable[[IO[bytes]], bytes] | None = None


@cache
def formats() -> tuple[Format, ...]:
    """All formats, by the names of their modules."""
    package = importlib.import_module("curate.source.formats")
    modules = sorted(module.name for module in pkgutil.iter_modules(package.__path__))
    return tuple(importlib.import_module(f"{package.__name__}.{module}").FORMAT for module in modules)


def format_of(path: str) -> Format:
    """The format of a file, by its name.

    Raises:
        BadFile: there is none; lists the suffixes that are known.
    """
    for found in formats():
        if has_suffix(path, found.suffixes):
            return found
    raise BadFile(f"{path}: not one of {', '.join(suffix for each in formats() for suffix in each.suffixes)}")


def measure(
    path: str, shard_rows: int, limit: int | None = None, file: IO[bytes] | None = None
) -> list[tuple[int, int, int]]:
    """The shards of one file, up to ``limit`` rows: (first row, rows, byte offset). ``file``: if it is open already.

    Raises:
        BadFile: it is damaged, or of no format we read.
    """
    kind = format_of(path)
    with _blaming(path, kind), opened(path) if file is None else nullcontext(file) as open_file:
        total, offsets = kind.count(path, open_file, shard_rows, limit)
    return [(at, min(shard_rows, total - at), offsets[at // shard_rows]) for at in range(0, total, shard_rows)]


def rows(part: Slice) -> Iterator[tuple[int, Mapping[str, Any] | BadRow]]:
    """The shard's rows with their numbers in the file; NaN is None. Memory does not grow with the shard.

    Raises:
        BadFile: it is damaged, has fewer rows than planned, or is not what it was when the run began.
    """
    done, kind = 0, format_of(part.path)
    if part.stat is not None and stat_of_path(part.path) != part.stat:
        raise BadFile(f"{part.path} changed while this run went on; run the same command again")
    with _blaming(part.path, kind):
        for row in kind.read(part):
            yield part.start + done, row
            done += 1
    if done != part.count:
        raise BadFile(f"{part.path}: {part.count} rows were planned from row {part.start} on, now there are {done}")


def has_suffix(path: str, suffixes: tuple[str, ...]) -> bool:
    """Whether a path or URL ends in one of these; a URL's query is no part of its name."""
    return (path.partition("?")[0] if "://" in path else path).lower().endswith(suffixes)


def opened(path: str) -> Any:
    """A file or URL, open for reading bytes."""
    filesystem, place = fsspec.core.url_to_fs(path)
    return filesystem.open(place, "rb")


def stat_of_path(path: str) -> Stat:
    """Length and stamp of a file or URL, as they are now."""
    filesystem, place = fsspec.core.url_to_fs(path)
    filesystem.invalidate_cache(place)
    return stat_in(filesystem, place, filesystem.info(place))


def stat_in(filesystem: Any, place: str, info: Mapping[str, Any]) -> Stat:
    """Length and stamp of a file by what its file system said of it; -1 bytes if it did not say.

    Where that was a listing of a local folder, a link is looked at again: it speaks of links, not of what they lead to.
    """
    info = filesystem.info(place) if info.get("islink") else info
    return stat_of({**info, "size": -1 if info.get("size") is None else info["size"]})


@contextmanager
def _blaming(path: str, kind: Format) -> Iterator[None]:
    """Turns what is raised on damaged files into BadFile; a disk or network error stays what it is.

    OSErrors that no operating system numbered come from libraries, on damaged files.
    """
    try:
        yield
    except Exception as error:
        unnumbered = type(error) is OSError and error.errno is None
        if not unnumbered and not isinstance(error, kind.damage):
            raise
        raise BadFile(f"{path}: {str(error) or type(error).__name__}") from error
