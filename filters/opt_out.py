"""Opt-out: whether a picture's address, its domain or its bytes stand on a list that the recipe names. Asks no service.

Entries are held as sorted 64-bit hashes, 80 MB for 10 million. Of 1.8 million million addresses that are not on a list
of that length, one is taken for listed.
"""

from __future__ import annotations

import gzip
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow.parquet as pq

from curate import Document, scores

Hashes = npt.NDArray[np.uint64]
AT_ONCE = 200_000
"""Entries of a list that are in memory as strings at a time."""


@scores("document", image={"listed": bool, "by": str, "decision": str}, batch=1024, version=1)
class OptOut:
    """``listed``: on a list; ``by``: the first of url, domain and sha256; ``decision``: a table's, for the address.

    A list is a text file with an entry on each line (# begins a comment), the same as .gz, or a column of a parquet
    file. Addresses are compared letter by letter, domains with the host and all that it is a part of: ex.org stands
    for a.b.ex.org too, and not for bex.org.

    Args:
        urls: a list of addresses; in parquet, the column ``url``.
        domains: a list of domains; in parquet, the column ``domain``.
        sha256: a list of the sha256 of pictures as downloaded, in hex; in parquet, the column ``sha256``.
        table: a parquet file with the columns ``url`` and ``decision``; of several rows of an address the first counts.
        columns: other names of these columns, as ``{url: image_url}``.
    """

    def __init__(
        self, urls: str = "", domains: str = "", sha256: str = "", table: str = "", columns: Mapping[str, str] = {}
    ) -> None:
        name = {each: columns.get(each, each) for each in ("url", "domain", "sha256", "decision")}
        self.urls = listed(urls, name["url"])
        self.domains = listed(domains, name["domain"], as_domain)
        self.sha256 = listed(sha256, name["sha256"], as_digest)
        self.table, self.decisions = decided(table, name["url"], name["decision"])

    @staticmethod
    def weights(
        urls: str = "", domains: str = "", sha256: str = "", table: str = "", columns: Mapping[str, str] = {}
    ) -> list[Path]:
        """The lists."""
        files = [Path(file) for file in (urls, domains, sha256, table) if file]
        if not files or columns.keys() - {"url", "domain", "sha256", "decision"}:
            raise ValueError("opt_out takes urls, domains, sha256 or table; columns: url, domain, sha256, decision")
        if missing := [str(file) for file in files if not file.is_file()]:
            raise FileNotFoundError(f"opt_out: there is no list {', '.join(missing)}")
        return files

    def __call__(self, documents: list[Document]) -> list[dict[int, dict[str, Any]]]:
        """The rows of each document's images, fetched or not."""
        images = [image for document in documents for image in document.images.values()]
        urls = hashed([image.url for image in images])
        hosts = [suffixes(image.url) for image in images]
        on_domain = iter(isin(hashed([host for several in hosts for host in several]), self.domains).tolist())
        flags = {
            "url": isin(urls, self.urls).tolist(),
            "domain": [any(list(islice(on_domain, len(several)))) for several in hosts],
            "sha256": isin(hashed([image.sha256 for image in images]), self.sha256).tolist(),
        }
        by = [next((name for name, on in flags.items() if on[at]), None) for at in range(len(images))]
        places = np.searchsorted(self.table, urls).tolist()
        known = isin(urls, self.table).tolist()
        decisions = [self.decisions[place] if there else None for place, there in zip(places, known, strict=True)]
        pairs = zip(by, decisions, strict=True)
        rows = iter([{"listed": name is not None, "by": name, "decision": said} for name, said in pairs])
        return [{at: next(rows) for at in document.images} for document in documents]


def hashed(entries: Sequence[str] | pl.Series) -> Hashes:
    """64 bits for each string."""
    return pl.Series(entries, dtype=pl.String).hash(seed=0).to_numpy()


def isin(hashes: Hashes, known: Hashes) -> npt.NDArray[np.bool_]:
    """Which hashes are among the sorted ones."""
    return np.searchsorted(known, hashes, "right") > np.searchsorted(known, hashes)


def listed(file: str, column: str, canonical: Callable[[str], str] | None = None) -> Hashes:
    """The sorted hashes of a list's entries, each in the form in which it is compared."""
    parts = [np.empty(0, np.uint64)]
    for lines in (chunk.str.strip_chars() for chunk in chunks(file, column)):
        entries = lines.filter((lines != "") & ~lines.str.starts_with("#"))
        try:
            parts.append(hashed([canonical(entry) for entry in entries] if canonical else entries))
        except ValueError as error:
            raise ValueError(f"{file}: {error}") from error
    return np.unique(np.concatenate(parts))


def chunks(file: str, column: str) -> Iterator[pl.Series]:
    """The lines of a text file, or the values of a column, some at a time."""
    if file.endswith(".parquet"):
        yield from (frame[column] for frame in frames(file, [column]))
    elif file:
        with gzip.open(file, "rt", encoding="utf-8") if file.endswith(".gz") else open(file, encoding="utf-8") as text:
            while some := list(islice(text, AT_ONCE)):
                yield pl.Series(some)


def frames(file: str, columns: list[str]) -> Iterator[pl.DataFrame]:
    """The rows of a parquet file without nulls, some at a time, as strings."""
    with pq.ParquetFile(file) as parquet:
        if missing := set(columns) - set(parquet.schema_arrow.names):
            raise ValueError(f"{file} has no column {missing.pop()}; it has {', '.join(parquet.schema_arrow.names)}")
        for batch in parquet.iter_batches(AT_ONCE, columns=columns):
            yield pl.DataFrame(batch).drop_nulls().cast(pl.String)


def decided(file: str, url: str, decision: str) -> tuple[Hashes, list[str]]:
    """The sorted hashes of a table's addresses, and what it says of each."""
    keys, said = [np.empty(0, np.uint64)], list[str]()
    same: dict[str, str] = {}  # so that a row costs a pointer, not a string
    for frame in frames(file, [url, decision]) if file else ():
        keys.append(hashed(frame[url].str.strip_chars()))
        said += [same.setdefault(each, each) for each in frame[decision]]
    found, first = np.unique(np.concatenate(keys), return_index=True)
    return found, [said[at] for at in first]


def suffixes(url: str) -> list[str]:
    """The host of an address, and the domains that it is a part of."""
    try:
        parts = as_domain(urlsplit(url).hostname or "").split(".")
    except ValueError:
        return []
    return [".".join(parts[at:]) for at in range(len(parts))]


def as_domain(entry: str) -> str:
    """A domain in the form in which domains are compared; ValueError for an address."""
    if re.search(r"[/@:\s]", entry):
        raise ValueError(f"{entry!r} is no domain")
    name = entry.lower().removeprefix("*").strip(".")
    return name if name.isascii() else name.encode("idna").decode()


def as_digest(entry: str) -> str:
    """A sha256 in lower case; ValueError for anything else."""
    if not re.fullmatch("[0-9a-fA-F]{64}", entry):
        raise ValueError(f"{entry!r} is no sha256: 64 hex digits")
    return entry.lower()
