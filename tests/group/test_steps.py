"""Steps: what a group's files are made from, what is made again, and how much is read and carried for it."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from shards import Nobody, done

from curate import Vector
from curate.group import matching, steps
from curate.group.grouping import Grouping, Reference, range_files, reference
from curate.group.matching import GroupRange
from curate.ledger.job import Job, Target
from curate.ledger.ledger import Ledger
from curate.ledger.making import Making
from curate.ledger.making import done as done_job
from curate.recipe.measures import Group
from curate.recipe.recipe import Resource
from curate.recipe.section import RecipeError
from curate.run.executor import InProcess
from curate.run.scheduler import Scheduler
from curate.store import digest
from curate.store.chunks import chunk_of, shard_name
from curate.store.columns import Column
from curate.store.files import Files
from curate.store.store import Store

SHARDS = [shard_name(40 * at) for at in range(4)]  # three chunks
TEXT, BITS = Column("raw", "text", "text", str), Column("scores/h", "bits", "text", str)
SIGNATURE, VECTOR = Column("scores/h", "signature", "text", bytes), Column("scores/h", "vector", "text", Vector)
WEIGHT = Column("scores/h", "weight", "text", int)
EVERY = {
    "same": (TEXT, {}),
    "site": (TEXT, {"scope": "domain"}),
    "page": (BITS, {"within": 1, "scope": "document"}),
    "region": (BITS, {"within": 1, "scope": "domain"}),
    "near": (BITS, {"within": 2, "after": {"score": "h.weight", "min": 1}}),
    "words": (SIGNATURE, {"jaccard": 0.8}),
    "like": (VECTOR, {"cosine": 0.99, "clusters": 3}),
    "sem": (VECTOR, {"eps": 0.01, "clusters": 3, "keep": "hard"}),
}
"""Every kind of grouping: what it compares, and how."""


def grouping_of(name: str, identity: str = "0", against: tuple[Reference, ...] = (), **more: Any) -> Grouping:
    column, how = EVERY[name]
    entry = Group(by=("h.x",), **how, **more)
    gates = (WEIGHT,) if entry.after else ()
    return Grouping(name, entry, "text", (column,), gates, None, f"keys of {name}", identity, against)


def put(store: Store, name: str, columns: dict[str, Any], says: list[str] | None = None) -> None:
    """A table that was made from nothing."""
    with Making(store, Job(name, (Target(name),))) as making:
        making.write(name, pl.DataFrame(columns).to_arrow(), says=says)
        making.commit()


def put_raw(store: Store, shard: str, texts: list[str], attempts: int = 1) -> None:
    """A raw table, two texts a document; how often was asked is not its content."""
    heads = [(f"{shard}-{at}", -1, "document", None, f"http://{at % 3}.org/{at}") for at in range(len(texts) // 2)]
    rows = [(f"{shard}-{at // 2}", at % 2, "text", text, None) for at, text in enumerate(texts)]
    names = ["document", "position", "kind", "text", "url"]
    columns = dict(zip(names, zip(*sorted(heads + rows, key=lambda row: row[:2]), strict=True), strict=True))
    put(store, f"raw/{shard}.parquet", columns | {"attempts": [attempts] * len(heads + rows)}, names)


def texts_of(shard: str, count: int = 40) -> list[str]:
    """Texts of 16 hex digits, some of them equal and more of them nearly so."""
    rng = np.random.default_rng(int(shard))
    pool = np.random.default_rng(0).integers(0, 1 << 63, 60, np.uint64)
    several = pool[rng.integers(0, len(pool), count)] ^ (np.uint64(1) << rng.integers(0, 3, count).astype(np.uint64))
    return [f"{each:016x}" for each in several]


def put_scores(store: Store, shard: str, texts: list[str]) -> None:
    """What would be measured of the texts."""
    key = {
        "document": [f"{shard}-{at // 2}" for at in range(len(texts))],
        "position": pl.Series([at % 2 for at in range(len(texts))], dtype=pl.Int32),
    }
    signatures = [np.array([int(digit, 16) for digit in text], "<u4").tobytes() for text in texts]
    angles = np.array([int(text[:3], 16) / 500 for text in texts])
    vectors = pl.Series(np.stack([np.cos(angles), np.sin(angles)], 1).tolist(), dtype=pl.List(pl.Float32)).cast(pl.List(pl.Float16))
    scores = {"bits": texts, "signature": signatures, "weight": [int(text[3], 16) for text in texts]}
    put(store, f"scores/h/{shard}.parquet", key | scores)
    put(store, f"scores/h/{shard}.vectors.parquet", key | {"vector": vectors})


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return filled(tmp_path)


def filled(folder: Path) -> Store:
    store = Store(folder)
    for shard in SHARDS:
        put_raw(store, shard, texts_of(shard))
        put_scores(store, shard, texts_of(shard))
    return store


def group(store: Store, *names: str) -> int:
    """Makes what is not good of some groupings, all by default; how many jobs that took."""
    return sum(sum(group_one(store, grouping_of(name)).values()) for name in names or EVERY)


def group_one(store: Store, grouping: Grouping) -> dict[str, int]:
    return done(store, steps.phases(store, grouping, SHARDS, Resource()))


def files(store: Store, name: str = "") -> dict[str, tuple[bytes, int]]:
    """What lies below groups/, and when it was written."""
    folder = Path(store.path("groups"))
    found = [path for path in sorted(folder.glob(f"{name}*/**/*")) if path.is_file()]
    return {path.relative_to(folder).as_posix(): (path.read_bytes(), path.stat().st_mtime_ns) for path in found}


def bytes_only(several: dict[str, tuple[bytes, int]]) -> dict[str, bytes]:
    return {name: data for name, (data, _) in several.items()}


def test_a_second_look_makes_nothing(store: Store) -> None:
    assert group(store) > len(EVERY)
    assert group(store) == 0


def test_groups_are_the_same_where_a_job_has_one_digest_of_all_it_reads(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would be refused if it read anything else than it says, or less."""
    small_ranges(monkeypatch)
    group(store)
    monkeypatch.setattr("curate.ledger.ledger.MARKS", 0)
    other = filled(tmp_path / "other")
    group(other)
    assert bytes_only(files(other)) == bytes_only(files(store))
    assert len([name for name in files(store, "same") if "/groups/" in name]) > 1
    assert len([name for name in files(store, "sem") if "/groups/" in name]) > 1


def small_ranges(monkeypatch: pytest.MonkeyPatch) -> None:
    """Has few rows fill a range."""
    monkeypatch.setattr(steps, "PER_JOB", 60)
    monkeypatch.setattr(steps, "RANGE", 60)


def test_a_raw_table_that_says_the_same_again_makes_nothing(store: Store) -> None:
    group(store)
    put_raw(store, SHARDS[1], texts_of(SHARDS[1]), attempts=3)
    assert group(store) == 0


def test_a_raw_table_that_says_something_else_makes_its_keys_and_what_follows(store: Store, tmp_path: Path) -> None:
    group(store)
    before = files(store)
    texts = [*texts_of(SHARDS[1])[:-1], texts_of(SHARDS[0])[0]]
    put_raw(store, SHARDS[1], texts)
    assert group(store) > 0
    after = files(store)
    made = {name for name in after if after[name] != before[name]}
    assert {name.partition("-")[0] for name in made} == {"same", "site", "region"}  # what reads raw
    assert [name for name in sorted(made) if "/keys/" in name] == [
        f"{name}-0/keys/{chunk_of(SHARDS[1])}.parquet" for name in ("region", "same", "site")
    ]
    assert {f"same-0/table/{shard}.parquet" for shard in SHARDS} < made
    fresh = filled(tmp_path / "fresh")
    put_raw(fresh, SHARDS[1], texts)
    group(fresh)
    assert bytes_only(files(fresh)) == bytes_only(after)


def test_scores_that_say_the_same_again_make_nothing(store: Store) -> None:
    group(store)
    put_scores(store, SHARDS[2], texts_of(SHARDS[2]))
    assert group(store) == 0


@pytest.mark.parametrize("step", ["keys", "table", "groups", "group.json"])
def test_a_damaged_file_is_named_and_not_touched(step: str, store: Store) -> None:
    group(store, "same")
    (path, *_) = sorted(Path(store.path(f"groups/same-0/{step}")).rglob("*")) or [Path(store.path(f"groups/same-0/{step}"))]
    damaged = bytearray(path.read_bytes())
    damaged[-40] ^= 1
    path.write_bytes(damaged)
    Path(store.path(f"groups/same-0/table/{SHARDS[3]}.parquet")).unlink()
    scheduler = Scheduler(store, Ledger(store), InProcess(), Nobody())
    assert not scheduler.run(steps.phases(store, grouping_of("same"), SHARDS, Resource()))
    assert all(f"{path} is damaged" in failure.cause for failure in scheduler.failures)
    assert path.read_bytes() == damaged


# --- how much is read and carried


class Counted:
    """A store that counts the bytes that are read."""

    def __init__(self, store: Store) -> None:
        self._store, self.count = store, 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def bytes_of(self, name: str) -> bytes:
        data = self._store.bytes_of(name)
        self.count += len(data)
        return data

    def range_of(self, name: str, start: int, end: int) -> bytes:
        data = self._store.range_of(name, start, end)
        self.count += len(data)
        return data


def test_a_range_job_reads_its_part_of_the_keys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store, rng = Store(tmp_path), np.random.default_rng(0)
    for shard in SHARDS:
        put_raw(store, shard, [f"{each:016x}" for each in rng.integers(0, 1 << 63, 60_000, np.uint64)])
    monkeypatch.setattr(steps, "RANGE", 12_000)
    group(store, "same")
    keys = tuple(f"groups/same-0/{name}" for name in files(store, "same-0/keys"))
    keys = tuple(sorted(f"groups/same-0/keys/{path.name}" for path in tmp_path.glob("groups/same-0/keys/*")))
    total, grouping = sum(store.size(name) for name in keys), grouping_of("same")
    ranges = range_files(Files(store), grouping)
    assert len(ranges) == 20
    counted = Counted(store)
    job = Job("3", (Target(ranges[3], keys),), 3)
    before = files(store, "same")
    done_job(counted, job, GroupRange(grouping, keys, len(ranges)))  # type: ignore[arg-type]
    assert bytes_only(files(store, "same"))[ranges[3].removeprefix("groups/")]
    assert 0 < counted.count < total / 4
    del before


@pytest.mark.parametrize("name", ["page", "same", "near", "sem"])
def test_a_job_of_64_tables_is_small(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store, shards = Store(tmp_path), [shard_name(at) for at in range(64)]
    for shard in shards:
        put_raw(store, shard, texts_of(shard, 4))
        put_scores(store, shard, texts_of(shard, 4))
    EVERY["n" * 60] = EVERY[name]
    try:
        grouping = grouping_of("n" * 60, identity="0123456789abcdef")
    finally:
        del EVERY["n" * 60]
    (job,) = steps.tables(store, grouping, shards, Resource()).jobs
    if name != "page":
        done(store, steps.phases(store, grouping, shards, Resource()))
        for shard in shards:
            store.remove(grouping.file("table", shard))
    ledger = Ledger(store)
    (todo,) = ledger.unfinished([job])
    assert ledger.blocked([todo]) == {}
    handed = ledger.handed(todo)
    assert handed.expected is not None
    assert len(handed.expected.marks) >= 4 * 64
    print("SIZE", name, len(pickle.dumps(handed)), len(handed.expected.marks))
    assert len(pickle.dumps(handed)) < 4096
    assert pickle.loads(pickle.dumps(handed)).targets == tuple(
        Target(each.name, by=each.by, digest=each.digest) for each in handed.targets
    )
