"""Writer: what an output format is, and the formats that there are, by name. Writes no sample itself.

A format is a module in ``writers/`` with a ``Writer`` named ``WRITER``; its file's name is what a recipe names in
``pack.format``. An installed package may offer one as an entry point of the group ``curate.writers``.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any

import curate.pack.writers
from curate.pack.sample import Curated
from curate.recipe.section import RecipeError, nearest
from curate.store.raw_shard import add_member, open_tar

GROUP = "curate.writers"
"""The entry points of packages that offer a format."""


def whole(document: Curated) -> Sequence[Curated]:
    """A document that is one sample."""
    return [document]


@dataclass(frozen=True)
class Writer:
    """An output format.

    ``files``: the files of one output shard, each with a place for its number, such as ``{:06d}.tar``; the first is the
    one that the index lists. ``write``: writes them. It gets a path for each (a temporary one, without its suffix), the
    shard's number, the samples one at a time, and the type of every column "score.column" that a sample may have; equal
    samples must give equal bytes. ``split``: the samples that a document becomes. ``per_image``: it becomes one for
    each image, or for each image and text, not one.
    """

    files: Sequence[str]
    write: Callable[[Sequence[Path], int, Iterator[Curated], Mapping[str, Any]], None]
    split: Callable[[Curated], Sequence[Curated]] = whole
    per_image: bool = False


def built_in() -> list[str]:
    """The formats in ``writers/``."""
    return sorted(module.name for module in pkgutil.iter_modules(curate.pack.writers.__path__))


def installed() -> dict[str, EntryPoint]:
    """The formats of other packages."""
    return {entry.name: entry for entry in entry_points(group=GROUP)}


def names() -> list[str]:
    """The formats that a recipe can name in ``pack.format``."""
    return [*built_in(), *installed()]


def writer(name: str, where: str = "pack.format") -> Writer:
    """The writer of a format.

    Raises:
        RecipeError: there is none of that name; with the names there are.
    """
    others = installed()
    if name in built_in():
        found: Writer = importlib.import_module(f"{curate.pack.writers.__name__}.{name}").WRITER
    elif name in others:
        found = others[name].load()
    else:
        raise RecipeError(f"{where}: no format {name!r}{nearest(name, names())}")
    return found


def write_tar(path: Path, members: Iterable[tuple[str, bytes]]) -> None:
    """A tar of (name, content), one at a time, in this order, with fixed owner, mode and time."""
    with open_tar(path) as tar:
        for name, data in members:
            add_member(tar, name, data)
