"""Making: what a worker keeps of files from job to job."""

from __future__ import annotations

from pathlib import Path

import pytest

from curate.ledger.job import Job, Target
from curate.ledger.ledger import Ledger
from curate.ledger.making import Held, Making
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
