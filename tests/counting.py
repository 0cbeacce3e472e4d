"""Counting: an object store for tests, with a bill of what it was asked for. Never sleeps, and serves one process.

``counting://bucket/key`` is an fsspec file system whose objects lie in memory, the same for all instances; folders are
prefixes, as on S3. A call makes the requests that it needs. s3fs (2026.9) makes more: ``cat_file`` of a whole object
and ``cp_file`` ask for the size first, ``ls`` of a folder that is not there lists its parent, ``isdir`` lists the
folder, ``makedirs`` asks for the bucket, and files above 50 MB go in parts.
"""

from __future__ import annotations

import hashlib
import threading
from bisect import bisect_left
from collections import Counter
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import fsspec
from fsspec.spec import AbstractBufferedFile, AbstractFileSystem

LATENCY = 0.05
"""Seconds from a request to its first byte."""
RATE = 80e6
"""Bytes a second of one stream."""
PAGE = 1000
"""Names in one answer of a listing, and in one request to delete; both are S3's."""


class Request(NamedTuple):
    """``kind``: list, head, get, range, put, copy or delete; ``size``: the bytes sent or received."""

    kind: str
    path: str
    size: int


class Bill:
    """The requests since the last reset, and how long they take on a clock of their own.

    Each thread makes its requests one after the other; threads run side by side. The main thread waits for all others
    before each of its requests, and they for it: what a pool asks adds to what the main thread asked before and after.
    So the time is too long if the main thread asks while a pool works, and too short if it asks nothing between two
    pools and does not call ``join``. Left out: work and disks on this side, what streams side by side lose to each
    other, the bytes of listings, limits of requests a second, retries.
    """

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self.reset()

    def reset(self) -> None:
        """Forgets all requests; the clock is at 0."""
        with self._lock:
            self.requests: list[Request] = []
            self._main, self._others = 0.0, dict[int, float]()  # the others: those that asked since the main thread did

    def charge(self, kind: str, path: str, size: int = 0) -> None:
        """Notes a request of the calling thread."""
        with self._lock:
            self.requests.append(Request(kind, path, size))
            took, thread = LATENCY + size / RATE, threading.get_ident()
            if thread == threading.main_thread().ident:
                self.join()
                self._main += took
            else:
                self._others[thread] = self._others.get(thread, self._main) + took

    def join(self) -> None:
        """Whatever is asked from now on starts after all that was asked before."""
        with self._lock:
            self._main = self.seconds
            self._others.clear()

    @property
    def seconds(self) -> float:
        """When the last thread has its last answer."""
        with self._lock:
            return max(self._others.values(), default=self._main)

    @property
    def counts(self) -> Counter[str]:
        """Kind -> how many requests."""
        return Counter(request.kind for request in self.requests)

    def paths(self, kind: str) -> Counter[str]:
        """Path -> how many requests of a kind; a listing's path is the prefix."""
        return Counter(request.path for request in self.requests if request.kind == kind)

    def size(self, kind: str) -> int:
        """The bytes of all requests of a kind."""
        return sum(request.size for request in self.requests if request.kind == kind)


class Body(NamedTuple):
    """An object. The same bytes have the same ETag whenever they are put; times are whole seconds, as on S3."""

    data: bytes
    etag: str
    modified: datetime


def body(data: bytes) -> Body:
    etag = hashlib.md5(data, usedforsecurity=False).hexdigest()
    return Body(data, f'"{etag}"', datetime.now(UTC).replace(microsecond=0))


def folder(path: str) -> dict[str, Any]:
    return {"name": path, "type": "directory", "size": 0}


class CountingFileSystem(AbstractFileSystem):
    """See above. Nothing is cached; to make a folder, or to delete what is not there, does nothing.

    Not here: transactions, appending, and ``get`` or ``put`` of whole folders.
    """

    protocol = "counting"
    bill: ClassVar[Bill] = Bill()
    _bodies: ClassVar[dict[str, Body]] = {}
    _sorted: ClassVar[list[str]] = []  # the keys of _bodies, or empty after a key came or went
    _lock: ClassVar[threading.RLock] = threading.RLock()

    @classmethod
    def clear(cls) -> None:
        """Forgets all objects, and resets the bill."""
        cls._change({}, gone=list(cls._bodies))
        cls.bill.reset()

    @classmethod
    def fill(cls, objects: Mapping[str, bytes]) -> None:
        """Adds objects by ``bucket/key``, uncounted; a million takes some seconds."""
        bodies = {data: body(data) for data in set(objects.values())}
        cls._change({path: bodies[data] for path, data in sorted(objects.items())})

    @classmethod
    def _change(cls, bodies: Mapping[str, Body], gone: list[str] | None = None, create: bool = False) -> None:
        with cls._lock:
            if create and (there := bodies.keys() & cls._bodies.keys()):
                raise FileExistsError(*there)
            before = len(cls._bodies)
            cls._bodies.update(bodies)
            removed = [path for path in gone or () if cls._bodies.pop(path, None)]
            if removed or len(cls._bodies) != before:
                cls._sorted.clear()

    def _entries(self, path: str) -> list[dict[str, Any]]:
        """What a listing says of an object; none if there is none."""
        if (found := self._bodies.get(path)) is None:
            return []
        size, etag, modified = len(found.data), found.etag, found.modified
        return [{"name": path, "type": "file", "size": size, "ETag": etag, "LastModified": modified}]

    def _below(self, path: str, flat: bool = False, most: int | None = None) -> list[dict[str, Any]]:
        """The objects below a folder, by name; unless flat, folders in it stand for what is in them."""
        prefix = f"{path}/" if path else ""
        found: list[dict[str, Any]] = []
        with self._lock:
            if not self._sorted:
                self._sorted.extend(sorted(self._bodies))
            at = bisect_left(self._sorted, prefix)
            while at < len(self._sorted) and self._sorted[at].startswith(prefix) and len(found) != most:
                first, slash, _ = self._sorted[at].removeprefix(prefix).partition("/")
                if slash and not flat:
                    found.append(folder(f"{prefix}{first}"))
                    at = bisect_left(self._sorted, f"{prefix}{first}0", at)  # "0" is the character after "/"
                else:
                    found += self._entries(self._sorted[at])
                    at += 1
        for _ in range(0, max(1, len(found)), PAGE):
            self.bill.charge("list", prefix)
        return found

    def ls(self, path: str, detail: bool = True, **kwargs: Any) -> list[Any]:
        path = self._strip_protocol(path)
        found = self._below(path) or self._entries(path)
        if not found:
            raise FileNotFoundError(path)
        return found if detail else [entry["name"] for entry in found]

    def find(self, path: str, maxdepth: Any = None, withdirs: bool = False, detail: bool = False, **kwargs: Any) -> Any:
        """All that lies below is one listing, as in s3fs; with a depth, there is one for each folder."""
        if maxdepth is not None:
            return super().find(path, maxdepth, withdirs, detail, **kwargs)
        path = self._strip_protocol(path)
        found = {entry["name"]: entry for entry in self._below(path, flat=True) or self._entries(path)}
        for name in list(found) if withdirs else ():
            while len(name := self._parent(name)) >= max(1, len(path)) and name not in found:
                found[name] = folder(name)
        return dict(sorted(found.items())) if detail else sorted(found)

    def info(self, path: str, **kwargs: Any) -> dict[str, Any]:
        """One request for an object; where there is none, a second one: is it a folder?"""
        path = self._strip_protocol(path)
        self.bill.charge("head", path)
        found = self._entries(path)
        if not found and path and not self._below(path, most=1):
            raise FileNotFoundError(path)
        return found[0] if found else folder(path)

    def cat_file(self, path: str, start: int | None = None, end: int | None = None, **kwargs: Any) -> bytes:
        """One request; but a negative ``end``, or a negative ``start`` with an end, takes another one for the size."""
        path = self._strip_protocol(path)
        if end is not None and min(start or 0, end) < 0:
            self.bill.charge("head", path)
        found = self._bodies.get(path)
        data = found.data[start:end] if found else b""
        self.bill.charge("get" if start is None and end is None else "range", path, len(data))
        if found is None:
            raise FileNotFoundError(path)
        return data

    def get_file(self, rpath: str, lpath: str | Path, callback: Any = None, **kwargs: Any) -> None:
        data = self.cat_file(rpath)
        Path(lpath).parent.mkdir(parents=True, exist_ok=True)
        Path(lpath).write_bytes(data)

    def pipe_file(self, path: str, value: bytes, mode: str = "overwrite", **kwargs: Any) -> None:
        """One request; with ``mode="create"``, too, which fails if the object is there."""
        path, made = self._strip_protocol(path), body(bytes(value))
        self.bill.charge("put", path, len(value))
        self._change({path: made}, create=mode == "create")

    def put_file(self, lpath: str | Path, rpath: str, callback: Any = None, mode: str = "overwrite", **kw: Any) -> None:
        self.pipe_file(rpath, Path(lpath).read_bytes(), mode)

    def cp_file(self, path1: str, path2: str, **kwargs: Any) -> None:
        """One request; no bytes pass."""
        path1, path2 = self._strip_protocol(path1), self._strip_protocol(path2)
        self.bill.charge("copy", path1)
        if path1 not in self._bodies:
            raise FileNotFoundError(path1)
        self._change({path2: body(self._bodies[path1].data)})

    def rm_file(self, path: str) -> None:
        self.rm([path])

    def rm(self, path: str | list[str], recursive: bool = False, maxdepth: int | None = None) -> None:
        """One request for a thousand names."""
        paths = self.expand_path(path, recursive=recursive, maxdepth=maxdepth)
        for at in range(0, len(paths), PAGE):
            self.bill.charge("delete", paths[at])
        self._change({}, gone=paths)

    def _open(self, path: str, mode: str = "rb", block_size: int | None = None, *args: Any, **kwargs: Any) -> Any:
        return CountedFile(self, path, mode, block_size, *args, **kwargs)


class CountedFile(AbstractBufferedFile):
    """Asks for the size, then for ranges, up to 5 MB longer than what is read; puts what was written when closed."""

    def _upload_chunk(self, final: bool = False) -> bool:
        if final:
            self.fs.pipe_file(self.path, self.buffer.getvalue(), "create" if "x" in self.mode else "overwrite")
        return final  # False: the buffer is kept


fsspec.register_implementation("counting", CountingFileSystem, clobber=True)
