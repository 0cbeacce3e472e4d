"""Record: JSON objects that check themselves, as text that others can read: their last key, ``ledger``, has the notes.

The checksum is of the whole text, taken with the checksum blanked. The notes are those of ``curate.store.table``.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from curate.store import digest
from curate.store.digest import DamagedFile, ForeignFile

LEDGER = "ledger"
BLANK = "0" * 2 * digest.SIZE
_CHECKSUM = re.compile(rb'"checksum": "([0-9a-f]{32})"\s*}\s*}\s*\Z')


def encode(value: Mapping[str, Any], **notes: str) -> bytes:
    """An object as indented JSON, with its notes."""
    whole = {**value, LEDGER: {**notes, "checksum": BLANK}}
    text = (json.dumps(whole, indent=2, ensure_ascii=False) + "\n").encode()
    blank = _CHECKSUM.search(text)
    assert blank is not None
    return text[: blank.start(1)] + digest.of_bytes(text).hex().encode() + text[blank.end(1) :]


def decode(data: bytes) -> tuple[dict[str, Any], dict[str, str]]:
    """An object and its notes.

    Raises:
        DamagedFile: it has changed.
        ForeignFile: it is JSON that somebody else wrote, or a version of curate that noted no checksums.
    """
    said = _CHECKSUM.search(data)
    if said is None:
        try:
            whole = json.loads(data)
        except ValueError:
            raise DamagedFile("it is no JSON") from None
        if isinstance(whole, dict) and LEDGER in whole:
            raise DamagedFile("its checksum has changed")
        raise ForeignFile("it bears no checksum of curate's")
    if digest.of_bytes(data[: said.start(1)], BLANK.encode(), data[said.end(1) :]).hex() != said[1].decode():
        raise DamagedFile("it has changed")
    value = json.loads(data)
    notes = value.pop(LEDGER)
    del notes["checksum"]
    return value, notes


def content(value: Mapping[str, Any]) -> bytes:
    """The digest of what an object says."""
    return digest.of_values(json.dumps(value, sort_keys=True, ensure_ascii=False))
