"""Repair: what is damaged goes, so that the next run makes it again. Judges nothing, and makes nothing itself.

What is foreign or unused is not touched, and what was made from a damaged file stays: it is made again only if the
file, once it is made again, says something else.
"""

from __future__ import annotations

from collections.abc import Sequence

from curate.fetch.salvage import set_aside
from curate.inspect.targets import home
from curate.inspect.verify import Finding, stem
from curate.store.raw_shard import RAW
from curate.store.store import Store


def repair(store: Store, damaged: Sequence[Finding]) -> list[tuple[str, str]]:
    """Takes damaged files away; the files that went, each with what became of it."""
    done = list[tuple[str, str]]()
    for name in dict.fromkeys(each.name for each in damaged):
        if home(name) == RAW and name.endswith(".tar"):
            set_aside(store, stem(name))
            done.append((name, "set aside: the next fetch keeps every picture in it that is good"))
        else:
            store.remove(name)
            done.append((name, "removed"))
    for folder in {home(name) for name, _ in done if name.startswith("out/")}:
        index = f"{folder}/index.json"
        if store.exists(index):
            store.remove(index)
            done.append((index, "removed, as it says that the output is complete"))
    return done
