import os
import pickle
import subprocess
import uuid

import pytest

from curate.store.store import Store, part_name


@pytest.fixture(params=["local", "memory"])
def store(request, tmp_path):
    return Store(tmp_path if request.param == "local" else f"memory://{uuid.uuid4().hex}")


def write_half(store, name):
    try:
        with store.writing(name) as path:
            path.write_text("half")
            raise OSError("disk full")
    finally:
        assert not path.exists()


def test_what_is_written_is_read(store):
    with store.writing("a/b.txt") as path:
        path.write_bytes(b"data")
    with store.local("a/b.txt") as path:
        assert path.read_bytes() == b"data"
    assert (store.names("a"), store.exists("a/b.txt"), store.size("a/b.txt")) == ({"b.txt"}, True, 4)


def test_a_name_appears_when_the_block_ends(store):
    with store.writing("a.txt") as path:
        path.write_text("all")
        assert not store.exists("a.txt")
    assert store.exists("a.txt")


def test_an_exception_while_writing_leaves_nothing(store):
    with pytest.raises(OSError, match="full"):
        write_half(store, "a/b.txt")
    assert store.names("a") == set()


def test_an_exception_leaves_what_was_there_before(store):
    store.put_text("a.txt", "old")
    with pytest.raises(OSError, match="full"):
        write_half(store, "a.txt")
    assert store.get_text("a.txt") == "old"


def test_writing_again_replaces(store):
    store.put_text("a.txt", "old")
    store.put_text("a.txt", "new")
    assert store.get_text("a.txt") == "new"


def test_json_round_trip(store):
    store.put_json("a.json", {"ä": [1, None]})
    assert store.get_json("a.json") == {"ä": [1, None]}
    assert store.get_text("a.json").endswith("}\n")


def test_names_of_no_folder_are_none(store):
    assert store.names("nowhere") == set()


def test_what_a_kill_left_is_no_name_and_is_swept(tmp_path):
    store = Store(tmp_path)
    store.put_text("a/done", "1")
    (tmp_path / "a" / ".part-123").write_text("half")
    living = tmp_path / "a" / part_name()
    living.write_text("half")
    gone = subprocess.Popen(["true"])
    gone.wait()
    (tmp_path / "a" / living.name.replace(f"-{os.getpid()}-", f"-{gone.pid}-")).write_text("half")
    assert store.names("a") == {"done"}
    store.sweep()
    assert {path.name for path in (tmp_path / "a").iterdir()} == {"done", living.name}


def test_a_store_pickles_to_its_url(store):
    store.put_text("a", "1")
    again = pickle.loads(pickle.dumps(store))
    assert (again.url, again.get_text("a")) == (store.url, "1")


def test_a_relative_folder_means_the_same_from_anywhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert Store("runs/a").url == str(tmp_path / "runs/a")


def test_paths_for_messages(tmp_path):
    assert Store(tmp_path).path("x/y") == f"{tmp_path}/x/y"
    assert Store("memory://m").path("x").startswith("memory://")
    assert (Store(tmp_path).is_local, Store("memory://m").is_local) == (True, False)
