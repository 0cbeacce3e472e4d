"""Store: the folder of a run, local or remote (fsspec). A name exists only when its content is complete."""

from __future__ import annotations

import json
import os
import platform
import tempfile
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

import fsspec
import pyarrow.dataset as ds
from fsspec.implementations.local import LocalFileSystem

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
        filesystem, root = fsspec.core.url_to_fs(self.url)
        return filesystem, root.rstrip("/")

    @property
    def is_local(self) -> bool:
        """Whether the files lie on this machine's file system."""
        return isinstance(self._place[0], LocalFileSystem)

    def path(self, name: str) -> str:
        """Where a name lies, for messages and for readers that take a path or URL."""
        filesystem, root = self._place
        return f"{root}/{name}" if self.is_local else filesystem.unstrip_protocol(f"{root}/{name}")

    def names(self, folder: str) -> set[str]:
        """The complete files directly in a folder; empty if there is no such folder."""
        filesystem, root = self._place
        try:
            found = filesystem.ls(f"{root}/{folder}", detail=False, refresh=True)
        except FileNotFoundError:
            return set()
        names = {str(entry).rstrip("/").rpartition("/")[2] for entry in found}
        return {name for name in names if not name.startswith(PART)}

    def exists(self, name: str) -> bool:
        """Whether the file is there, and therefore complete."""
        filesystem, root = self._place
        return bool(filesystem.exists(f"{root}/{name}"))

    def size(self, name: str) -> int:
        """The length of a file in bytes."""
        filesystem, root = self._place
        return int(filesystem.size(f"{root}/{name}"))

    @contextmanager
    def writing(self, name: str) -> Iterator[Path]:
        """A local path to write to; the name appears, whole, when the block ends without an error."""
        filesystem, root = self._place
        target = f"{root}/{name}"
        if self.is_local:
            folder = Path(target).parent
            folder.mkdir(parents=True, exist_ok=True)
            part = folder / part_name()
        else:
            part = Path(tempfile.gettempdir()) / part_name()
        try:
            yield part
            if self.is_local:
                with part.open("rb") as written:
                    os.fsync(written.fileno())
                part.replace(target)
            else:
                filesystem.makedirs(target.rpartition("/")[0], exist_ok=True)
                filesystem.put_file(str(part), target)
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

    def dataset(self, names: Iterable[str]) -> ds.Dataset:
        """Parquet files of one schema as a dataset, of which only the wanted columns and row groups are read."""
        filesystem, root = self._place
        return ds.dataset([f"{root}/{name}" for name in names], format="parquet", filesystem=filesystem)

    def sweep(self) -> None:
        """Removes what killed runs left half-written in a local folder; what a living one writes stays."""
        if self.is_local:
            for part in Path(self._place[1]).rglob(f"{PART}*"):
                if not is_alive(part.name):
                    part.unlink(missing_ok=True)

    def put_text(self, name: str, text: str) -> None:
        """Writes a small text file, whole or not at all."""
        with self.writing(name) as path:
            path.write_text(text, encoding="utf-8")

    def get_text(self, name: str) -> str:
        """Reads a small text file."""
        filesystem, root = self._place
        return str(filesystem.cat_file(f"{root}/{name}").decode("utf-8"))

    def put_json(self, name: str, value: Any) -> None:
        """Writes a value as indented JSON."""
        self.put_text(name, json.dumps(value, indent=2, ensure_ascii=False) + "\n")

    def get_json(self, name: str) -> Any:
        """Reads a JSON file."""
        return json.loads(self.get_text(name))
