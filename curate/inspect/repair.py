"""Repair: what is damaged goes, so that the next run makes it again. Judges nothing, and makes nothing itself.

What is foreign or unused is not touched, and what was made from a damaged file stays: it is made again only if the
file, once it is made again, says something else.
"""

from __future__ import annotations

from collections.abc import Sequence

from curate.fetch.salvage import set_aside
from curate.inspect.targets import home
from curate.inspect.verify import Finding, stem
from curate.run.plan import PLAN
from curate.store.raw_shard import RAW
from curate.store.store import Store

ROWS = "plan.parquet"


def repair(store: Store, damaged: Sequence[Finding]) -> list[tuple[str, str]]:
    """Takes damaged files away; the files that went, each with what became of it."""
    names = dict.fromkeys(each.name for each in damaged)
    done = list[tuple[str, str]]()
    for name in names:
        folder, kept = home(name), ""
        if folder == RAW and name.endswith(".tar") and f"{RAW}/{stem(name)}.parquet" not in names:
            set_aside(store, stem(name))
            kept = "set aside: the next fetch keeps every picture in it that is good"
        else:
            store.remove(name)
        done.append((name, kept or "removed"))
        for more in also(name, folder):
            if more not in names and store.exists(more):
                store.remove(more)
                done.append((more, f"removed, as it speaks of {name.rpartition('/')[2]}"))
    return done


def also(name: str, folder: str) -> list[str]:
    """What cannot stay without a file: what says that others are complete."""
    if folder.startswith("out/"):
        return [f"{folder}/index.json"]
    return [PLAN] if name == ROWS else []
