import os
import pickle
import subprocess
import time
import uuid

import pytest

from curate.store.digest import DamagedFile, ForeignFile
from curate.store.store import Store, part_name, sweep


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
    assert (store.listing("a")["b.txt"].size, store.exists("a/b.txt"), store.stat("a/b.txt").size) == (4, True, 4)
    assert (store.bytes_of("a/b.txt"), store.range_of("a/b.txt", 1, 3)) == (b"data", b"at")


def test_a_listing_tells_files_from_folders(store):
    for name in ("a", "b/c", "b/d/e"):
        store.put_json(name, {})
    assert (set(store.listing("")), store.folders(""), set(store.listing("b")), store.folders("b")) == (
        {"a"}, {"b"}, {"c"}, {"d"},
    )  # fmt: skip


def test_a_stamp_changes_when_a_file_does(store):
    store.put_json("a/b", {"x": 1})
    before = store.listing("a")["b"]
    assert store.listing("a")["b"] == before
    time.sleep(0.01)
    store.put_json("a/b", {"x": 2})
    assert store.listing("a")["b"] != before


def test_what_is_published_is_as_it_is_listed(store):
    part = store.part("a/b")
    part.write_bytes(b"data")
    assert store.listing("a") == {}
    assert store.publish(part, "a/b") == store.listing("a")["b"]
    assert not part.exists()


def test_files_are_moved_and_removed(store):
    store.put_json("a/b", {"x": 1})
    store.move("a/b", "a/c")
    assert set(store.listing("a")) == {"c"}
    store.remove("a/c")
    store.remove("a/c")
    assert not store.exists("a/c")


def test_a_name_appears_when_the_block_ends(store):
    with store.writing("a.txt") as path:
        path.write_text("all")
        assert not store.exists("a.txt")
    assert store.exists("a.txt")


def test_an_exception_while_writing_leaves_nothing(store):
    with pytest.raises(OSError, match="full"):
        write_half(store, "a/b.txt")
    assert store.listing("a") == {}


def test_an_exception_leaves_what_was_there_before(store):
    store.put_json("a.txt", {"is": "old"})
    with pytest.raises(OSError, match="full"):
        write_half(store, "a.txt")
    assert store.get_json("a.txt") == {"is": "old"}


def test_writing_again_replaces(store):
    store.put_json("a.json", {"is": "old"})
    store.put_json("a.json", {"ä": [1, None]})
    assert store.get_json("a.json") == {"ä": [1, None]}
    assert store.bytes_of("a.json").endswith(b"}\n")


def test_a_changed_object_is_named_with_what_mends_it(store):
    store.put_json("a/b.json", {"x": 1})
    with store.writing("a/b.json") as path:
        path.write_bytes(store.bytes_of("a/b.json").replace(b'"x": 1', b'"x": 3'))
    with pytest.raises(DamagedFile, match=r"a/b.json is damaged .* `curate verify .* --repair` removes it"):
        store.get_json("a/b.json")
    with store.writing("a/b.json") as path:
        path.write_text("{}")
    with pytest.raises(ForeignFile, match=r"a/b\.json is foreign"):
        store.get_json("a/b.json")


def test_names_of_no_folder_are_none(store):
    assert store.listing("nowhere") == {}


def test_what_a_kill_left_is_no_name_and_is_swept(tmp_path):
    store = Store(tmp_path)
    store.put_json("a/done", {})
    (tmp_path / "a" / ".part-123").write_text("half")
    living = tmp_path / "a" / part_name()
    living.write_text("half")
    gone = subprocess.Popen(["true"])
    gone.wait()
    (tmp_path / "a" / living.name.replace(f"-{os.getpid()}-", f"-{gone.pid}-")).write_text("half")
    assert set(store.listing("a")) == {"done"}
    sweep(store)
    assert {path.name for path in (tmp_path / "a").iterdir()} == {"done", living.name}


def test_a_store_pickles_to_its_url(store):
    store.put_json("a", {"x": 1})
    again = pickle.loads(pickle.dumps(store))
    assert (again.url, again.get_json("a")) == (store.url, {"x": 1})


def test_a_relative_folder_means_the_same_from_anywhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert Store("runs/a").url == str(tmp_path / "runs/a")


def test_paths_for_messages(tmp_path):
    assert Store(tmp_path).path("x/y") == f"{tmp_path}/x/y"
    assert Store("memory://m").path("x").startswith("memory://")
    assert (Store(tmp_path).is_local, Store("memory://m").is_local) == (True, False)
