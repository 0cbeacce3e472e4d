"""Rows: one file's rows, counted and streamed by the format that its name ends in; finds no files, knows no corpus.

A row that cannot be read is a value (``BadRow``) and stays in the count; a file that cannot be read is a ``BadFile``.
Memory grows neither with the file nor with the shard. The formats are the modules of ``formats/``.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import Any

import fsspec

from curate.document import BadRow


class BadFile(ValueError):  # noqa: N818 - the file is bad; the run goes on with the others
    """A file that cannot be read, or is not what it was when the shards were planned. Names the file and the cause."""


@dataclass(frozen=True)
class Slice:
    """A shard: ``count`` rows of one file from row ``start`` on; ``offset`` is where they begin, in unpacked bytes.

    ``file`` names it within the source, wherever that lies; ``path`` is what to open. ``by`` is a digest of the plan's
    fingerprint, the file's digest and the rows: what a raw shard of it is made by.
    """

    shard: str
    file: str
    path: str
    start: int
    count: int
    offset: int
    by: str = ""


@dataclass(frozen=True)
class Format:
    """A kind of file: ``FORMAT`` of a module of ``formats/``.

    ``suffixes``: what names of such files end in, in lower case. ``count``: the rows of a path, up to a limit, and for
    every so many of them the byte where they begin (0 where that is of no use). ``read``: the rows of a shard, in
    order. ``damage``: what these two raise on a file that is damaged.
    """

    suffixes: tuple[str, ...]
    count: Callable[[str, int, int | None], tuple[int, list[int]]]
    read: Callable[[Slice], Iterator[Mapping[str, Any] | BadRow]]
    damage: tuple[type[Exception], ...]


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


def measure(path: str, shard_rows: int, limit: int | None = None) -> list[tuple[int, int, int]]:
    """The shards of one file, up to ``limit`` rows: (first row, rows, byte offset).

    Raises:
        BadFile: it is damaged, or of no format we read.
    """
    kind = format_of(path)
    with _blaming(path, kind):
        total, offsets = kind.count(path, shard_rows, limit)
    return [(at, min(shard_rows, total - at), offsets[at // shard_rows]) for at in range(0, total, shard_rows)]


def rows(part: Slice) -> Iterator[tuple[int, Mapping[str, Any] | BadRow]]:
    """The shard's rows with their numbers in the file; NaN is None. Memory does not grow with the shard.

    Raises:
        BadFile: it is damaged, or has fewer rows than planned.
    """
    done, kind = 0, format_of(part.path)
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
