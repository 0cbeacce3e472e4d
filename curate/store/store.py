"""Store: the folder of a run, local or remote (fsspec). A name exists only when its content is complete."""

from __future__ import annotations

import os
import platform
import tempfile
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import fsspec
from fsspec.implementations.local import LocalFileSystem

from curate.store import record
from curate.store.digest import DamagedFile, ForeignFile


class Stat(NamedTuple):
    """What a listing says of a file: its length in bytes, and what changes when it does (ETag, or time of change)."""

    size: int
    stamp: str


STAMPS = ("ETag", "etag", "md5Hash", "mtime", "LastModified", "last_modified", "Last-Modified", "blob_id", "created")
"""What file systems call that which changes when a file does; the first that they have is taken."""


def stat_of(info: Mapping[str, Any]) -> Stat:
    """What a file system says of a file."""
    stamp = next((info[name] for name in STAMPS if info.get(name) is not None), "")
    return Stat(int(info["size"]), str(stamp.timestamp() if isinstance(stamp, datetime) else stamp))


def _stat(info: Mapping[str, Any]) -> Stat:
    """The same of a file of a run; of a local one with its inode: another may take its place in a tick of the clock."""
    found = stat_of(info)
    return found._replace(stamp=f"{found.stamp} {info['ino']}") if "ino" in info else found


def file_name(path: str) -> str:
    """The last part of a path."""
    return path.rstrip("/").rpartition("/")[2]


PART = ".part-"
"""Prefix of files that are being written. Whatever bears it after a kill is rubbish."""


def part_name() -> str:
    """A name for a file that this process is writing."""
    return f"{PART}{platform.node()}-{os.getpid()}-{uuid.uuid4().hex}"


def is_alive(name: str) -> bool:
    """Whether the process that a part is named after may still be writing it; of other machines one cannot know."""
    host, _, process = name.removeprefix(PART).rpartition("-")[0].rpartition("-")
    if host != platform.node():
        return bool(host)
    try:
        os.kill(int(process), 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True


class Store:
    """Files by name below one URL (``runs/a``, ``s3://bucket/run``); pickles to the URL alone."""

    def __init__(self, url: str | Path) -> None:
        self.url = str(url) if "://" in str(url) else str(Path(url).absolute())

    def __reduce__(self) -> tuple[type[Store], tuple[str]]:
        return Store, (self.url,)

    @cached_property
    def _place(self) -> tuple[Any, str]:
        filesystem, root = fsspec.core.url_to_fs(self.url, use_listings_cache=False)
        return filesystem, root.rstrip("/")

    @property
    def is_local(self) -> bool:
        """Whether the files lie on this machine's file system."""
        return isinstance(self._place[0], LocalFileSystem)

    def path(self, name: str) -> str:
        """Where a name lies, for messages and for readers that take a path or URL."""
        filesystem, root = self._place
        return f"{root}/{name}" if self.is_local else filesystem.unstrip_protocol(f"{root}/{name}")

    def _entries(self, folder: str) -> list[Any]:
        filesystem, root = self._place
        with suppress(FileNotFoundError):
            return list(filesystem.ls(f"{root}/{folder}".rstrip("/"), detail=True, refresh=True))
        return []

    def listing(self, folder: str) -> dict[str, Stat]:
        """The complete files directly in a folder; empty if there is no such folder."""
        files = {file_name(each["name"]): each for each in self._entries(folder) if each["type"] != "directory"}
        return {name: _stat(each) for name, each in files.items() if not name.startswith(PART)}

    def folders(self, folder: str) -> set[str]:
        """The folders directly in a folder."""
        return {file_name(each["name"]) for each in self._entries(folder) if each["type"] == "directory"}

    def exists(self, name: str) -> bool:
        """Whether the file is there, and therefore complete."""
        return bool(self._place[0].exists(f"{self._place[1]}/{name}"))

    def part(self, name: str) -> Path:
        """A local path to write a file to; it has no name until it is published."""
        if not self.is_local:
            return Path(tempfile.gettempdir()) / part_name()
        folder = Path(f"{self._place[1]}/{name}").parent
        folder.mkdir(parents=True, exist_ok=True)
        return folder / part_name()

    def publish(self, part: Path, name: str) -> Stat:
        """Gives a part its name: it is there, whole, from now on."""
        filesystem, root = self._place
        target = f"{root}/{name}"
        if self.is_local:
            with part.open("rb") as written:
                os.fsync(written.fileno())
            part.replace(target)
        else:
            filesystem.makedirs(target.rpartition("/")[0], exist_ok=True)
            filesystem.put_file(str(part), target)
            part.unlink()
        return self.stat(name)

    @contextmanager
    def writing(self, name: str) -> Iterator[Path]:
        """A local path to write to; the name appears, whole, when the block ends without an error."""
        part = self.part(name)
        try:
            yield part
            self.publish(part, name)
        finally:
            part.unlink(missing_ok=True)

    @contextmanager
    def local(self, name: str) -> Iterator[Path]:
        """A local path to read from: the file itself, or a copy for the length of the block."""
        filesystem, root = self._place
        if self.is_local:
            yield Path(f"{root}/{name}")
            return
        with tempfile.TemporaryDirectory() as folder:
            copy = Path(folder) / "copy"
            filesystem.get_file(f"{root}/{name}", str(copy))
            yield copy

    def bytes_of(self, name: str) -> bytes:
        """All bytes of a file."""
        filesystem, root = self._place
        return Path(f"{root}/{name}").read_bytes() if self.is_local else bytes(filesystem.cat_file(f"{root}/{name}"))

    def range_of(self, name: str, start: int, end: int) -> bytes:
        """The bytes of a file from a place up to another."""
        return bytes(self._place[0].cat_file(f"{self._place[1]}/{name}", start, end))

    def stat(self, name: str) -> Stat:
        """What a listing says of a file."""
        return _stat(self._place[0].info(f"{self._place[1]}/{name}"))

    def remove(self, name: str) -> None:
        """Removes a file, if it is there."""
        with suppress(FileNotFoundError):
            self._place[0].rm_file(f"{self._place[1]}/{name}")

    def move(self, name: str, to: str) -> None:
        """Gives a file another name."""
        filesystem, root = self._place
        filesystem.mv(f"{root}/{name}", f"{root}/{to}")

    def put_json(self, name: str, value: Mapping[str, Any]) -> None:
        """Writes an object as JSON that checks itself, whole or not at all."""
        with self.writing(name) as path:
            path.write_bytes(record.encode(value))

    def get_json(self, name: str) -> dict[str, Any]:
        """Reads what ``put_json`` wrote; DamagedFile if it is something else, with what to do."""
        with blaming(self, name):
            return record.decode(self.bytes_of(name))[0]


def sweep(store: Store) -> None:
    """Removes what killed runs left half-written in a local folder; what a living one writes stays."""
    if store.is_local:
        for part in Path(store.path("")).rglob(f"{PART}*"):
            if not is_alive(part.name):
                part.unlink(missing_ok=True)


def damage(store: Store, name: str, why: str) -> str:
    """What to say of a file that is damaged."""
    remedy = f"`curate verify {store.url} --repair` removes it, then run the same command again"
    return f"{store.path(name)} is damaged ({why}): {remedy}"


@contextmanager
def blaming(store: Store, name: str) -> Iterator[None]:
    """Says of which file it is that something is wrong there, and what to do."""
    try:
        yield
    except DamagedFile as error:
        raise DamagedFile(damage(store, name, str(error))) from None
    except ForeignFile as error:
        raise ForeignFile(f"{store.path(name)} is foreign ({error}): remove it, or use another folder") from None
