"""Making: what a job reads of what it wrote, and what a worker keeps of files from job to job."""

from __future__ import annotations

import pickle
from pathlib import Path

import pyarrow as pa
import pytest

from curate.ledger.job import FileSet, Job, Target
from curate.ledger.ledger import Ledger
from curate.ledger.making import Held, Making, done
from curate.report import Report
from curate.store.files import ChangedFile, Files
from curate.store.store import Store


def put(store: Store, name: str, value: int) -> None:
    with Making(store, Job(name, (Target(name),))) as making:
        making.write_json(name, {"value": value})
        making.commit()


def handed(store: Store) -> Job:
    ledger, job = Ledger(store), Job("0", (Target("made.json", ("a.json", "b.json")),))
    assert ledger.blocked([job]) == {}
    return ledger.handed(job)


def total(files: Files) -> int:
    return sum(files.json(name)["value"] for name in ("a.json", "b.json"))


@pytest.fixture
def store(tmp_path: Path) -> Store:
    put(Store(tmp_path), "a.json", 1)
    put(Store(tmp_path), "b.json", 2)
    return Store(tmp_path)


def test_what_is_held_is_read_once_and_counts_as_read(store: Store) -> None:
    held, looks = Held[int]("a.json", "b.json"), []
    for _ in range(3):
        with Making(store, handed(store)) as making:
            assert held.get(making.files, lambda files: looks.append(files) or total(files)) == 3
            making.write_json("made.json", {})
            making.commit()
    assert len(looks) == 1
    assert Ledger(store).state(Target("made.json", ("a.json", "b.json"))) == ("good", "")


def test_what_is_held_is_read_again_once_it_says_something_else(store: Store) -> None:
    held = Held[int]("a.json", "b.json")
    assert held.get(Making(store, handed(store)).files, total) == 3
    old = handed(store)
    put(store, "b.json", 5)
    assert held.get(Making(store, old).files, total) == 3  # the job still expects the old one
    assert held.get(Making(store, handed(store)).files, total) == 6
    with pytest.raises(ChangedFile):
        held.get(Making(store, old).files, total)


def test_what_is_held_is_compared_where_a_job_has_one_digest(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("curate.ledger.ledger.MARKS", 0)
    held = Held[int]("a.json", "b.json")
    with Making(store, handed(store)) as making:
        held.get(making.files, total)
        making.commit()
    put(store, "b.json", 5)
    with Making(store, handed(store)) as making:
        held.get(making.files, total)  # nothing tells yet
        with pytest.raises(ChangedFile):
            making.commit()


def table(value: int) -> pa.Table:
    return pa.table({"value": [value]})


def test_what_a_job_wrote_is_read_as_it_was_written_before_it_is_there_and_after(store: Store) -> None:
    done(store, Job("0", (Target("t.parquet"),)), lambda job, making: write(making, 1))
    with Making(store, Job("1", (Target("t.parquet", ("a.json",)),))) as making:
        for value in (2, 3):
            making.write("t.parquet", table(value))
            for _ in range(2):
                assert making.files.read("t.parquet")["value"].to_list() == [value]
                assert making.files.rows(["t.parquet"])["value"].to_list() == [value]
                assert making.files.count("t.parquet") == 1
                making.commit(early=True)


def write(making: Making, value: int) -> Report:
    making.write("t.parquet", table(value))
    return Report("")


def test_what_a_job_wrote_and_somebody_changed_is_not_read(store: Store) -> None:
    with Making(store, Job("1", (Target("t.parquet"),))) as making:
        write(making, 1)
        making.commit(early=True)
        done(store, Job("0", (Target("t.parquet"),)), lambda job, making: write(making, 2))
        with pytest.raises(ChangedFile, match=r"t.parquet changed while this run went on"):
            making.files.read("t.parquet")


def test_what_a_target_is_made_from_is_looked_at_if_it_was_not_read(store: Store) -> None:
    both = FileSet("both", ("a.json", "t.parquet"))
    job = Job("0", (Target("t.parquet"), Target("made.json", ("b.json", "t.parquet", both))))
    with Making(store, pickle.loads(pickle.dumps(Ledger(store).handed(job)))) as making:
        write(making, 1)
        making.write_json("made.json", {})
        making.commit()
    assert Ledger(store).state(job.targets[1]) == ("good", "")
