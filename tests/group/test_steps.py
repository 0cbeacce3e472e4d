"""Steps: what a group's files are made from, what is made again, and how much is read and carried for it."""

from __future__ import annotations

import pickle
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from shards import Nobody, done, read

from curate import Vector
from curate.group import steps
from curate.group.grouping import Grouping, Reference, range_files, reference
from curate.group.matching import GroupRange
from curate.ledger.job import Job, Target
from curate.ledger.ledger import MARKS, Ledger
from curate.ledger.making import Making
from curate.ledger.making import done as done_job
from curate.recipe.measures import Group
from curate.recipe.recipe import Resource
from curate.run.executor import InProcess
from curate.run.scheduler import Scheduler
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
    several[1::10] = several[::10]  # within a document
    return [f"{each:016x}" for each in several]


def put_scores(store: Store, shard: str, texts: list[str]) -> None:
    """What would be measured of the texts."""
    key = {
        "document": [f"{shard}-{at // 2}" for at in range(len(texts))],
        "position": pl.Series([at % 2 for at in range(len(texts))], dtype=pl.Int32),
    }
    signatures = [np.array([int(digit, 16) for digit in text], "<u4").tobytes() for text in texts]
    angles = np.array([int(text[:3], 16) / 500 for text in texts])
    vectors = pl.Series(np.stack([np.cos(angles), np.sin(angles)], 1).tolist(), dtype=pl.List(pl.Float32))
    scores = {"bits": texts, "signature": signatures, "weight": [int(text[3], 16) for text in texts]}
    put(store, f"scores/h/{shard}.parquet", key | scores)
    put(store, f"scores/h/{shard}.vectors.parquet", key | {"vector": vectors.cast(pl.List(pl.Float16))})


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return filled(tmp_path)


def filled(folder: Path, own: bool = False) -> Store:
    """A run with raw tables and scores; or one whose ``own`` texts are others, but for the first shard."""
    store = Store(folder)
    for at, shard in enumerate(SHARDS):
        texts = other_texts(at) if own and at else texts_of(shard)
        put_raw(store, shard, texts)
        put_scores(store, shard, texts)
    return store


def other_texts(at: int) -> list[str]:
    """Texts that no run has twice, or nearly so."""
    return [f"{each:016x}" for each in np.random.default_rng([at, 1]).integers(0, 1 << 63, 40, np.uint64)]


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


@pytest.mark.parametrize(
    "name", ["keys/00000000.parquet", "table/00000000.parquet", "groups/00000.parquet", "ranges.json", "group.json"]
)
def test_a_damaged_file_is_named_and_not_touched(name: str, store: Store) -> None:
    group(store, "same")
    path = Path(store.path(f"groups/same-0/{name}"))
    damaged = flipped(path)
    store.remove(f"groups/same-0/table/{SHARDS[3]}.parquet")  # so that all files are looked at
    failures = failing(store, grouping_of("same"))
    assert failures
    assert all(f"{path} is damaged" in failure for failure in failures)
    assert path.read_bytes() == damaged


def flipped(path: Path) -> bytes:
    """Changes a bit of a file; what it holds then."""
    data = bytearray(path.read_bytes())
    data[-40] ^= 1
    path.write_bytes(data)
    return bytes(data)


def failing(store: Store, grouping: Grouping) -> list[str]:
    """Why jobs of a grouping cannot be done."""
    scheduler = Scheduler(store, Ledger(store), InProcess(), Nobody())
    assert not scheduler.run(steps.phases(store, grouping, SHARDS, Resource()))
    return [failure.cause for failure in scheduler.failures]


# --- against another run


def owning(old: Store, name: str = "same") -> Grouping:
    """A grouping against what another run has grouped by now."""
    entry = grouping_of(name, against=()).entry
    found = reference(old.url, f"keys of {name}", entry, "r.yaml: group.x")
    return replace(grouping_of(name), against=(found,))


@pytest.fixture
def old(tmp_path: Path) -> Store:
    """A run that has a text of the other's first shard."""
    store = filled(tmp_path / "old", own=True)
    group(store, "same", "near", "words")
    return store


def owned(store: Store, name: str) -> int:
    """How many members another run has."""
    return sum(read(store, f"groups/{name}-0/table/{shard}.parquet")["owned"].sum() for shard in SHARDS)


@pytest.mark.parametrize("name", ["same", "near", "words"])
def test_what_another_run_has_is_owned_until_it_has_something_else(name: str, old: Store, store: Store) -> None:
    assert group_one(store, owning(old, name))
    before = owned(store, name)
    assert before > 0
    assert group_one(store, owning(old, name)) == {}
    put_raw(old, SHARDS[0], other_texts(0))
    put_scores(old, SHARDS[0], other_texts(0))
    group(old, name)
    keys = {path: each for path, each in files(store, name).items() if "/keys/" in path or path.endswith("group.json")}
    assert group_one(store, owning(old, name))
    assert owned(store, name) == 0
    assert keys.items() <= files(store, name).items()
    assert group_one(store, owning(old, name)) == {}


@pytest.mark.parametrize("name", ["same", "near"])
def test_keys_of_another_run_that_changed_under_its_summary_are_refused(name: str, old: Store, store: Store) -> None:
    grouping = owning(old, name)
    put_raw(old, SHARDS[0], other_texts(0))
    put_scores(old, SHARDS[0], other_texts(0))
    group(old, name)
    (why,) = set(failing(store, grouping))
    assert why.endswith(f"old/groups/{name}-0/keys has other keys than its group.json says: run `curate group` there")


@pytest.mark.parametrize("name", ["same", "near"])
def test_damaged_keys_of_another_run_are_named(name: str, old: Store, store: Store) -> None:
    grouping = owning(old, name)
    path = Path(old.path(f"groups/{name}-0/keys/00000000.parquet"))
    flipped(path)
    (why,) = set(failing(store, grouping))
    assert f"{path} is damaged" in why
    assert f"`curate verify {old.url} --repair`" in why


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
    keys = tuple(sorted(f"groups/same-0/keys/{path.name}" for path in tmp_path.glob("groups/same-0/keys/*")))
    total, grouping = sum(store.stat(name).size for name in keys), grouping_of("same")
    ranges = range_files(Files(store), grouping)
    assert len(ranges) == 20
    before, counted = read(store, ranges[3]), Counted(store)
    job = Job("3", (Target(ranges[3], keys),), 3)
    done_job(counted, job, GroupRange(grouping, keys, len(ranges)))  # type: ignore[arg-type]
    assert read(store, ranges[3]).equals(before)
    assert 0 < counted.count < total / 4


@pytest.mark.parametrize("name", ["page", "same", "near", "sem"])
def test_a_job_of_64_tables_is_small(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store, shards = Store(tmp_path), [shard_name(at) for at in range(64)]
    for shard in shards:
        put_raw(store, shard, texts_of(shard, 4))
        put_scores(store, shard, texts_of(shard, 4))
    grouping = replace(grouping_of(name), name="n" * 60, identity="0123456789abcdef")
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
    full = len(pickle.dumps(handed)) - len(handed.expected.marks) + 4 * MARKS
    assert full < 4096
    assert pickle.loads(pickle.dumps(handed)).targets == tuple(
        Target(each.name, by=each.by, digest=each.digest) for each in handed.targets
    )
