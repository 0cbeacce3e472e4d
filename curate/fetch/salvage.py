"""Salvage: the pictures of a raw shard whose tar is damaged or lost. Those that check are kept; asks for none.

``curate verify --repair`` sets a damaged ``raw/S.tar`` aside as ``raw/S.salvage.tar``, so that the shard is fetched
again; that takes from it, by the table that is still there, every picture whose bytes are what they were, and asks the
web, which may have lost it, only for the others. The old table goes aside before the new tar comes, which it would
not fit, and is there until the new one is: a kill in between loses no picture.
"""

from __future__ import annotations

import hashlib
import os
import zlib
from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import count, takewhile
from pathlib import Path

import polars as pl

from curate.fetch.response import Fetched
from curate.status import Status
from curate.store.digest import DamagedFile, ForeignFile
from curate.store.files import Files
from curate.store.raw_shard import RAW
from curate.store.store import Store

SUFFIX = ".salvage.tar"
"""What names of tars that were set aside end in."""
TABLE = ".salvage.table"
"""What names of raw tables that were set aside end in."""


def set_aside(store: Store, shard: str) -> None:
    """Gives a shard's damaged tar another name. What was set aside before stays: it may have what this one lacks."""
    if store.exists(f"{RAW}/{shard}.tar"):
        store.move(f"{RAW}/{shard}.tar", next(name for name in _names(shard) if not store.exists(name)))


def set_table_aside(store: Store, shard: str) -> None:
    """Gives a shard's table, if it has one, another name: it speaks of a tar that will be replaced."""
    if store.exists(f"{RAW}/{shard}.parquet"):
        store.move(f"{RAW}/{shard}.parquet", f"{RAW}/{shard}{TABLE}")


def aside(store: Store, shard: str) -> list[str]:
    """The tars of a shard that were set aside."""
    return list(takewhile(store.exists, _names(shard)))


def remove(store: Store, shard: str) -> None:
    """Removes what was set aside; the last tar first, so that what is left after a kill is still found."""
    for name in (f"{RAW}/{shard}{TABLE}", *reversed(aside(store, shard))):
        store.remove(name)


def _names(shard: str) -> Iterator[str]:
    return (f"{RAW}/{shard}{f'.{at}' if at else ''}{SUFFIX}" for at in count())


def known(store: Store, shard: str, by: str) -> pl.DataFrame:
    """The images of a shard's table, wherever it is; none if it is gone, damaged, or made by another plan."""
    files = Files(store)
    for name in (f"{RAW}/{shard}.parquet", f"{RAW}/{shard}{TABLE}"):
        with suppress(FileNotFoundError, DamagedFile, ForeignFile):
            if files.notes(name).get("by", "") == by:
                return files.read(name).filter(kind="image")
    return pl.DataFrame()


def ended(images: pl.DataFrame) -> dict[str, Fetched]:
    """How each URL ended, by the rows that it has."""
    first = images.unique("url", keep="first", maintain_order=True) if images.height else images
    return {row["url"]: _fetched(row) for row in first.iter_rows(named=True)}


def _fetched(row: dict[str, object]) -> Fetched:
    missing = {"detail": "", "attempts": 0, "final_url": "", "sha256": "", "format": ""}
    names = (*missing, "http", "width", "height", "original_width", "original_height", "frames")
    values = {name: missing.get(name, None if name == "http" else 0) for name in names}
    values |= {name: row[name] for name in names if row[name] is not None}
    return Fetched(str(row["url"]), Status(row["status"]), **values)  # type: ignore[arg-type]


def rescue(store: Store, shard: str, images: pl.DataFrame, put: Callable[[str, bytes], None], untouched: bool) -> None:
    """Puts every picture that is found whole, by its sha256.

    ``untouched``: pictures are stored as they were downloaded, so that their sha256 can be checked, too.
    """
    if not images.height:
        return
    pictures = images.filter(status=Status.OK).unique("sha256", keep="first", maintain_order=True)
    left = {sha: place for sha, *place in pictures.select("sha256", "offset", "bytes", "crc32").iter_rows()}
    tar = f"{RAW}/{shard}.tar"
    for name in [*aside(store, shard), *([tar] if store.exists(tar) else [])]:
        with store.local(name) as path, Path(path).open("rb") as file:
            for sha256, (offset, length, crc32) in list(left.items()):
                data = os.pread(file.fileno(), length, offset)
                if len(data) != length or zlib.crc32(data) != crc32:
                    continue
                if untouched and hashlib.sha256(data).hexdigest() != sha256:
                    continue
                put(sha256, data)
                del left[sha256]
