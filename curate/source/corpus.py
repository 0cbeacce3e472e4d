"""Corpus: finds a corpus's files, plans shards over their rows and reads documents; knows no corpus, repairs no row.

A row that is no document is a value (``Reject``) and stays in the count.
"""

from __future__ import annotations

import difflib
import importlib
import pkgutil
import re
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any

import fsspec
from fsspec.implementations.local import LocalFileSystem

from curate.document import BadRow, Document, Reader
from curate.plugin import built_in
from curate.recipe.input import Source
from curate.source.rows import BadFile, Slice, measure, rows
from curate.store.chunks import shard_name

FILES_AT_ONCE = 8
"""Files of a source that are measured at a time."""


@dataclass(frozen=True)
class Reject:
    """A row that is no document, and why."""

    file: str
    row: int
    reason: str


def find(source: Source, base: str = "") -> list[str]:
    """The source's files, sorted; relative patterns start at ``base``. FileNotFoundError if one matches nothing."""
    return list(named(source, base))


def named(source: Source, base: str = "") -> dict[str, str]:
    """The files by path or URL, sorted, each with the name that documents remember.

    That is its name below the fixed folder of its pattern. If two files would share one, all have their folders as
    the recipe spells them in front.
    """
    below: dict[str, str] = {}
    spelled: dict[str, str] = {}
    for pattern in source.patterns:
        absolute = "://" in pattern or pattern.startswith(("/", "~"))
        whole = pattern if absolute or not base else f"{base.rstrip('/')}/{pattern}"
        filesystem, place = fsspec.core.url_to_fs(whole)
        exact = filesystem.isfile(place)
        found = {place: {"type": "file"}} if exact else filesystem.glob(place, detail=True)
        files = [name for name, info in found.items() if info["type"] == "file" or filesystem.isfile(name)]
        if not files:
            raise FileNotFoundError(f"source.path {pattern!r} matches no file (looked for {whole})")
        local = isinstance(filesystem, LocalFileSystem)
        folder, written = (
            text.rpartition("/")[0] if exact else re.split(r"[*?\[]", text)[0].rpartition("/")[0]
            for text in (place, pattern)
        )
        for name in files:
            path = name if local else filesystem.unstrip_protocol(name)
            below.setdefault(path, name[len(folder) :].lstrip("/"))
            spelled.setdefault(path, f"{written}/{below[path]}".lstrip("/") if not absolute else path)
    for names in (below, spelled):
        if len(set(names.values())) == len(names):
            return dict(sorted(names.items()))
    return {path: path for path in sorted(below)}


def plan(source: Source, base: str = "", limit: int | None = None) -> tuple[list[Slice], list[BadFile]]:
    """The shards of the first ``limit`` rows, or of all, and the files that cannot be read."""
    files = named(source, base)
    measured = _measure_all(files, source.shard) if limit is None else _measure_first(files, source.shard, limit)
    parts: list[tuple[str, str, int, int, int]] = []
    bad: list[BadFile] = []
    for (path, file), found in zip(files.items(), measured, strict=False):
        if isinstance(found, BadFile):
            bad.append(found)
        else:
            parts += ((file, path, *part) for part in found)
    return [Slice(shard_name(at), *part) for at, part in enumerate(parts)], bad


Measured = list[tuple[int, int, int]] | BadFile


def _measured(path: str, shard_rows: int, limit: int | None = None) -> Measured:
    try:
        return measure(path, shard_rows, limit)
    except BadFile as error:
        return error


def _measure_all(files: Iterable[str], shard_rows: int) -> Iterator[Measured]:
    """Every file, several at a time: most of the work is waiting and decompressing."""
    with ThreadPoolExecutor(FILES_AT_ONCE) as pool:
        yield from pool.map(partial(_measured, shard_rows=shard_rows), files)


def _measure_first(files: Iterable[str], shard_rows: int, limit: int) -> Iterator[Measured]:
    """Files in order until there are enough rows; the others are not opened."""
    for path in files:
        if limit <= 0:
            return
        found = _measured(path, shard_rows, limit)
        limit -= 0 if isinstance(found, BadFile) else sum(count for _, count, _ in found)
        yield found


def documents(part: Slice, reader: Reader, source: Source) -> Iterator[Document | Reject]:
    """The shard's documents, one for each row: a row that is none is a Reject. Only BadRow makes one; bugs stop."""
    found: Document | Reject
    for number, row in rows(part):
        try:
            found = _document(row, reader, source).located(reader.corpus, part.file, number)
        except BadRow as error:
            reason = str(error).encode("utf-8", "backslashreplace").decode()[:300]
            found = Reject(part.file, number, reason)
        yield found


def load_reader(name: str) -> Reader:
    """The reader of that name: a module of curate.pipelines, or ``module:attribute``.

    Raises:
        LookupError: no module of curate.pipelines; names the nearest and lists all.
        TypeError: what is there is no reader, or a built-in one without a version.
    """
    module, _, attribute = name.partition(":")
    if not attribute:
        folder = importlib.import_module("curate.pipelines").__path__
        known = sorted(entry.name for entry in pkgutil.iter_modules(folder) if not entry.name.startswith("_"))
        if name not in known:
            near = difflib.get_close_matches(name, known, 1, 0.5)
            hint = f"; did you mean {near[0]!r}?" if near else "."
            raise LookupError(f"no reader {name!r}{hint} Readers: {', '.join(known)}, or module:attribute")
        module, attribute = f"curate.pipelines.{name}", "read"
    found = getattr(importlib.import_module(module), attribute)
    if not isinstance(found, Reader):
        raise TypeError(f"{name!r} is no reader: decorate the function with @curate.reader(...)")
    if found.version is None and built_in(found.read):
        raise TypeError(f"{name!r} is built in: give it a version, as in @reader(version=1, ...)")
    return found


def _document(row: Mapping[str, Any] | BadRow, reader: Reader, source: Source) -> Document:
    """One row read and checked; raises BadRow where there is no document that our files can hold."""
    if isinstance(row, BadRow):
        raise row
    absent = [theirs for theirs in source.columns.values() if theirs not in row]
    if absent:
        raise BadRow(f"no column {absent[0]}")
    ours = {name: row[theirs] for name, theirs in source.columns.items()}
    taken = {*source.columns, *source.columns.values()}
    document = reader({**ours, **{name: value for name, value in row.items() if name not in taken}})
    if not document.segments:
        raise BadRow("no text and no image")
    texts = [("document url", document.origin.url)]
    for at, segment in enumerate(document.segments):
        texts += [(f"{name} at position {at}", getattr(segment, name, "")) for name in ("text", "url", "alt")]
    for scores in document.scores.values():
        texts += [(f"column {name}", value) for name, value in scores.items() if isinstance(value, str)]
    for name, text in texts:
        try:
            size = len(text.encode())
        except UnicodeEncodeError:
            raise BadRow(f"{name}: lone surrogate, no Unicode text") from None
        if size > source.max_text:
            raise BadRow(f"{name}: {size} bytes, more than max_text ({int(source.max_text)})")
    return document
