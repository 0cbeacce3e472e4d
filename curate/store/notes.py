"""Notes: what a file says of how it was made, as text in its footer and as an entry of the ledger. Opens no file."""

from __future__ import annotations

import json
from collections.abc import Mapping

from curate.report import Beside, Entry
from curate.store import digest


def spelled(entry: Entry) -> dict[str, str]:
    """The notes of a file."""
    found = {"content": entry.content.hex()}
    found |= {"by": entry.by} if entry.by else {}
    found |= {"made_from": entry.made_from.hex()} if entry.made_from else {}
    return found | ({"files": files_text(entry.beside)} if entry.beside else {})


def notes_of(notes: Mapping[str, str], name: str = "", size: int = 0, stamp: str = "") -> Entry:
    """What the notes of a file say."""
    made_from, content = (bytes.fromhex(notes.get(each, "")) for each in ("made_from", "content"))
    return Entry(name, size, stamp, notes.get("by", ""), made_from, content, files_of(notes.get("files", "")))


def files_text(beside: tuple[Beside, ...]) -> str:
    """Files that lie beside another, as text: the same wherever and whenever they were written."""
    return json.dumps([[each.name, each.size, each.digest.hex()] for each in beside]) if beside else ""


def files_of(text: str) -> tuple[Beside, ...]:
    """The files in such a text."""
    return tuple(Beside(name, size, bytes.fromhex(value)) for name, size, value in json.loads(text or "[]"))


def mark(name: str, content: bytes) -> bytes:
    """4 bytes of a file by name and content: by those a job knows what it may read."""
    return digest.of_values(name, content)[:4]


def marks_of(marks: bytes) -> frozenset[bytes]:
    """The marks of several files, which were written one after the other."""
    return frozenset(marks[at : at + 4] for at in range(0, len(marks), 4))
