"""Corpus: plans shards over the rows of a corpus's files and reads documents; knows no corpus, repairs no row.

A row that is no document is a value (``Reject``) and stays in the count.
"""

from __future__ import annotations

import difflib
import importlib
import pkgutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

from curate.document import BadRow, Document, Reader
from curate.plugin import built_in
from curate.recipe.input import Source
from curate.source.inputs import FILES_AT_ONCE, Found, Input, named, survey
from curate.source.rows import BadFile, Slice, rows
from curate.store import digest
from curate.store.chunks import shard_name
from curate.store.store import Stat


@dataclass(frozen=True)
class Reject:
    """A row that is no document, and why."""

    file: str
    row: int
    reason: str


class Planned(NamedTuple):
    """The files of a corpus as they are, and why some cannot be read."""

    inputs: list[Input]
    bad: list[BadFile]


def plan(source: Source, base: str = "", limit: int | None = None) -> Planned:
    """Looks at the files with the first ``limit`` rows, or all; what becomes of them are ``slices``.

    Raises:
        FileNotFoundError: a pattern of the source matches no file.
    """
    files = named(source, base)
    surveyed = _survey_all(files, source.shard) if limit is None else _survey_first(files, source.shard, limit)
    found = Planned([], [])
    for known, bad in surveyed:
        found.inputs.append(known)
        if bad is not None:
            found.bad.append(bad)
    return found


def slices(inputs: Sequence[Input], shard_rows: int, fingerprint: bytes = b"") -> list[Slice]:
    """The shards of planned files: these follow from what is noted of each, and no file is opened.

    ``fingerprint``: of all else that decides what raw shards hold; a shard is made by that, its file and its rows.
    """
    found = list[Slice]()
    for each in inputs:
        stat = Stat(each.size, each.stamp)
        for start, count, offset in each.parts(shard_rows):
            by = digest.of_values(fingerprint, each.digest, f"{start} {count} {offset}", each.file).hex()
            found.append(Slice(shard_name(len(found)), each.file, each.path, start, count, offset, by, stat))
    return found


def _survey_all(files: Iterable[Found], shard_rows: int) -> Iterator[tuple[Input, BadFile | None]]:
    """Every file, several at a time: most of the work is waiting and decompressing."""
    with ThreadPoolExecutor(FILES_AT_ONCE) as pool:
        yield from pool.map(partial(survey, shard_rows=shard_rows), files)


def _survey_first(files: Iterable[Found], shard_rows: int, limit: int) -> Iterator[tuple[Input, BadFile | None]]:
    """Files in order until there are enough rows; the others are not opened."""
    for each in files:
        if limit <= 0:
            return
        found = survey(each, shard_rows, limit)
        limit -= max(0, found[0].rows)
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
