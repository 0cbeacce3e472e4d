"""Reading: every byte of every file of a run, read, and compared with what the file says of itself. Writes nothing.

No listing is believed and no summary asked; what a file lies beside, and who made it, is not looked at here.
"""

from __future__ import annotations

import hashlib
import time
from collections import Counter
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

from curate.ledger.inventory import Fault, told
from curate.report import Entry, Report
from curate.run.scheduler import Progress
from curate.store import digest, record, table
from curate.store.store import Stat, Store

READERS = 8
"""Files that are read at a time."""
BLOCK = 1 << 20
STAGE = "verify"
SUMMED = "out/"
"""Where files lie of which strangers know the sha256."""


class Reading(NamedTuple):
    """What was read of a file; ``says``: its notes, or what is wrong with them, or None where it can have none."""

    stat: Stat
    digest: bytes
    sha256: str
    says: Entry | Fault | None


def walked(store: Store, folder: str = "") -> dict[str, Stat]:
    """All files of a store by name, but for those that are still being written, or were when a run was killed."""
    within = f"{folder}/" if folder else ""
    found = {f"{within}{name}": stat for name, stat in sorted(store.listing(folder).items())}
    for each in sorted(store.folders(folder)):
        found |= walked(store, f"{within}{each}")
    return found


def read_all(store: Store, files: Mapping[str, Stat], watch: Progress) -> dict[str, Reading]:
    """What was read of these files; one that has gone in the meantime is left out."""
    found, began = dict[str, Reading](), time.monotonic()
    watch.start(STAGE, len(files), 0)
    counts = Counter[str]()
    with ThreadPoolExecutor(READERS) as pool:
        for name, reading in zip(files, pool.map(lambda each: read(store, *each), files.items()), strict=True):
            if reading is not None:
                found[name] = reading
            report = Report(name, Counter(bytes=files[name].size))
            counts.update(report.counts)
            watch.advance(report)
    watch.end(STAGE, counts, time.monotonic() - began)
    return found


def read(store: Store, name: str, stat: Stat) -> Reading | None:
    """Reads a file; None if it is not there any more."""
    try:
        if not name.endswith((".json", ".parquet")):
            return Reading(stat, *sums(store, name), None)
        data = store.bytes_of(name)
    except FileNotFoundError:
        return None
    sha256 = hashlib.sha256(data).hexdigest() if name.startswith(SUMMED) else ""
    return Reading(stat._replace(size=len(data)), digest.of_bytes(data), sha256, said(name, stat, data))


def said(name: str, stat: Stat, data: bytes) -> Entry | Fault:
    """What a table or a record says of itself."""
    return told(name, stat, lambda: record.decode(data)[1] if name.endswith(".json") else table.checked(data).notes)


def sums(store: Store, name: str) -> tuple[bytes, str]:
    """The digest of a file, and its sha256 if that is known to others."""
    whole, sha256 = digest.Running(), hashlib.sha256()
    known = name.startswith(SUMMED)
    with store.local(name) as path, path.open("rb") as file:
        while block := file.read(BLOCK):
            whole.update(block)
            if known:
                sha256.update(block)
    return whole.digest(), sha256.hexdigest() if known else ""
