"""Counting equal keys through files beside Ray Data's group-by: time, and what a kill in the middle costs.

    python benchmarks/shuffle.py [--quick]

Both sides run on a Ray of two cores and write the keys that several members have. Killed (SIGKILL to the driver and its
workers) after three quarters of its own time, each is started again on the same folder; "in all" is both runs together.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import common
import numpy as np
import polars as pl

from curate.group.grouping import Grouping
from curate.group.keys import SCHEMA
from curate.ledger.job import FileSet, Job, Phase, Target
from curate.ledger.ledger import Ledger
from curate.ledger.making import Making, OneByOne
from curate.recipe.measures import Group
from curate.store.chunks import ROW_GROUP, range_count, range_names, shard_name
from curate.store.columns import Column
from curate.store.files import Files
from curate.store.store import Store

GROUPING = Grouping("same", Group(by=("raw.url",)), "image", (Column("raw", "url", "image", str),), (), None, "", "x")
KEYS = tuple(GROUPING.file("keys", shard_name(64 * at)) for at in range(32))


def build(folder: Path, count: int) -> None:
    """Sorted key files of ``count`` members in all; a key has two of them on average."""
    rng = np.random.default_rng(0)
    pool = rng.integers(0, 256, (count // 2, 16), np.uint8)
    for at, name in enumerate(KEYS):
        keys = [row.tobytes() for row in pool[rng.integers(0, len(pool), count // len(KEYS))]]
        frame = pl.DataFrame({"key": keys}).with_columns(
            shard=pl.lit(shard_name(64 * at)),
            document=pl.lit(f"{at:032x}"),
            position=pl.int_range(pl.len(), dtype=pl.Int32),
        )
        with Making(Store(folder), Job(name, (Target(name),))) as making:
            making.write(name, frame.sort("key").select(SCHEMA.names).to_arrow().cast(SCHEMA), ROW_GROUP)
            making.commit()


def ours(folder: Path) -> None:
    """The ranges that are missing, on Ray."""
    from curate.group.matching import GroupRange
    from curate.run.cluster import connect

    store, ledger, keys = Store(folder), Ledger(Store(folder)), FileSet("keys", KEYS)
    names = range_names(range_count([Files(store).count(name) for name in KEYS], len(KEYS), 250_000))
    targets = [Target(GROUPING.file("groups", name), (keys,), f"{name} of {len(names)}") for name in names]
    jobs = [Job(name, (target,), at) for at, (name, target) in enumerate(zip(names, targets, strict=True))]
    phase = Phase("group same", jobs, OneByOne(store, GroupRange(GROUPING, KEYS, len(jobs))))
    todo = [ledger.handed(job) for job in ledger.unfinished(jobs)]
    with connect("local", 2, []) as executor:
        failures = executor.run(phase, todo, lambda _: None)
    assert not failures


def theirs(folder: Path) -> None:
    """Ray Data's hash shuffle."""
    import ray

    ray.init(num_cpus=2, include_dashboard=False, logging_level="error", log_to_driver=False)
    ray.data.DataContext.get_current().enable_progress_bars = False
    files = sorted(str(path) for path in (folder / GROUPING.home / "keys").glob("*.parquet"))
    counts = ray.data.read_parquet(files, columns=["key"]).groupby("key").count().rename_columns(["key", "n"])
    counts.filter(expr="n > 1").write_parquet(str(folder / "theirs"))


def repeated(folder: Path, side: str) -> int:
    """How many keys a side found that several members have."""
    if side == "curate":
        return (
            pl.scan_parquet(folder / GROUPING.home / "groups/*.parquet")
            .select(pl.col("group").n_unique())
            .collect()
            .item()
        )
    return sum(
        pl.scan_parquet(file).select(pl.len()).collect().item() for file in (folder / "theirs").glob("*.parquet")
    )


def start(side: str, folder: Path) -> subprocess.Popen[bytes]:
    """A side in a process group of its own."""
    command = [sys.executable, __file__, "--side", side, "--folder", str(folder)]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    return subprocess.Popen(command, start_new_session=True, **quiet)  # type: ignore[call-overload, no-any-return]


def fresh(keys: Path, to: Path) -> Path:
    """The keys in a folder of their own."""
    shutil.copytree(keys, to)
    return to


def main() -> None:
    parser = common.arguments(__doc__)
    parser.add_argument("--side")
    parser.add_argument("--folder", type=Path)
    given = parser.parse_args()
    if given.side:
        {"curate": ours, "Ray Data": theirs}[given.side](given.folder)
        return
    count = 400_000 if given.quick else 4_000_000
    rows = common.Table(("", "keys", "s", "repeated keys", "killed, and again: s in all", "files left by the kill"))
    with tempfile.TemporaryDirectory() as home:
        build(Path(home) / "keys", count)
        for side in ("curate", "Ray Data"):
            common.note(side)
            whole = fresh(Path(home) / "keys", Path(home) / f"{side} whole")
            began = time.monotonic()
            assert start(side, whole).wait() == 0, side
            took = time.monotonic() - began
            again = fresh(Path(home) / "keys", Path(home) / f"{side} again")
            began = time.monotonic()
            process = start(side, again)
            time.sleep(took * 0.75)
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            kept = len([path for path in again.rglob("*.parquet") if "keys" not in path.parts[-2]])
            assert start(side, again).wait() == 0, side
            total = time.monotonic() - began
            rows.add(side, f"{count:,}", f"{took:.1f}", f"{repeated(again, side):,}", f"{total:.1f}", f"{kept}")
    rows.show("Equal keys counted")


if __name__ == "__main__":
    main()
