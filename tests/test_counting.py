import threading
from concurrent.futures import ThreadPoolExecutor

import fsspec
import pyarrow as pa
import pytest
from counting import CountingFileSystem, Request

from curate.store import table
from curate.store.files import Files
from curate.store.store import Store

RUN = "counting://bucket/run"


@pytest.fixture
def bill():
    CountingFileSystem.clear()
    yield CountingFileSystem.bill
    CountingFileSystem.clear()


@pytest.fixture
def files(bill):
    return fsspec.filesystem("counting")


def in_threads(*calls):
    """Each in a thread of its own, all alive at once, so that no two have the same number."""
    together = threading.Barrier(len(calls))
    with ThreadPoolExecutor(len(calls)) as pool:
        for done in [pool.submit(lambda call=call: (together.wait(), call())) for call in calls]:
            done.result()


def test_a_store_reads_what_another_wrote(bill):
    with Store(RUN).writing("a/b.txt") as path:
        path.write_bytes(b"data")
    store = Store(RUN)
    with store.local("a/b.txt") as path:
        assert path.read_bytes() == b"data"
    store.put_json("a.json", {"ä": [1, None]})
    assert (store.get_json("a.json"), set(store.listing("a")), store.listing("none")) == (
        {"ä": [1, None]},
        {"b.txt"},
        {},
    )
    assert (store.exists("a/b.txt"), store.exists("a/c.txt"), store.stat("a/b.txt").size) == (True, False, 4)
    assert not store.is_local


def test_tables_are_read_in_ranges(bill):
    store = Store(RUN)
    for name in ("a.parquet", "b.parquet"):
        with store.writing(name) as path:
            path.write_bytes(table.encode(pa.table({"x": [1, 2]}), content="00" * 16))
    bill.reset()
    assert Files(store).rows(["a.parquet", "b.parquet"])["x"].to_list() == [1, 2, 1, 2]
    assert set(bill.counts) == {"head", "range"}


@pytest.mark.parametrize(("names", "requests"), [(1, 1), (1000, 1), (1001, 2), (2500, 3)])
def test_a_listing_costs_a_request_for_a_thousand_names(bill, files, names, requests):
    CountingFileSystem.fill({f"bucket/run/{n:04d}": b"" for n in range(names)})
    CountingFileSystem.fill({"bucket/run2/x": b"", "bucket/a": b""})
    assert (len(Store(RUN).listing("")), bill.counts) == (names, {"list": requests})
    assert [entry["name"] for entry in files.ls("bucket")] == ["bucket/a", "bucket/run", "bucket/run2"]
    bill.reset()
    assert (len(files.find("bucket/run")), bill.counts) == (names, {"list": requests})


def test_a_request_has_a_kind_a_path_and_a_size(bill, files):
    files.pipe_file("bucket/a", b"0123456789")
    assert [files.cat_file("bucket/a", *part) for part in [(), (2, 4), (-3,)]] == [b"0123456789", b"23", b"789"]
    files.mv(["bucket/a"], ["bucket/b"])
    kinds = [("put", 10), ("get", 10), ("range", 2), ("range", 3), ("copy", 0), ("delete", 0)]
    assert bill.requests == [Request(kind, "bucket/a", size) for kind, size in kinds]
    assert (bill.paths("range"), bill.size("range")) == ({"bucket/a": 2}, 5)
    assert files.ls("bucket", detail=False) == ["bucket/b"]


def test_an_open_file_asks_for_ranges(bill, files):
    CountingFileSystem.fill({"bucket/a": bytes(10_000_000) + b"end"})
    with files.open("bucket/a", "rb") as file:
        assert (file.read(2), file.seek(-3, 2), file.read()) == (b"\0\0", 10_000_000, b"end")
    assert bill.counts == {"head": 1, "range": 2}
    with files.open("bucket/b", "wb") as file:
        assert [file.write(bytes(6_000_000)) for _ in "ab"] == [6_000_000, 6_000_000]
        assert not files.exists("bucket/b")
    assert (bill.counts["put"], files.size("bucket/b")) == (1, 12_000_000)


def test_an_etag_says_what_an_object_holds(files):
    def etag(data):
        files.pipe_file("bucket/a", data)
        return files.info("bucket/a")["ETag"]

    assert etag(b"x") == etag(b"x") != etag(b"y")
    assert files.ls("bucket") == [files.info("bucket/a")]


@pytest.mark.parametrize("call", ["info", "ls", "cat_file", "open"])
def test_what_is_missing_is_not_found(files, call):
    with pytest.raises(FileNotFoundError, match="bucket/none"):
        getattr(files, call)("bucket/none")
    assert not files.exists("bucket/none")


def test_what_is_created_is_not_replaced(bill, files):
    files.pipe_file("bucket/a", b"x", mode="create")
    with pytest.raises(FileExistsError):
        files.pipe_file("bucket/a", b"y", mode="create")
    assert (files.cat_file("bucket/a"), bill.counts["put"]) == (b"x", 2)


def test_folders_are_names_with_a_common_start(bill, files):
    CountingFileSystem.fill({f"bucket/run/{n}/{n}.json": b"" for n in range(1200)})
    assert (files.isdir("bucket/run"), files.isfile("bucket/run/7")) == (True, False)
    assert bill.counts == {"head": 2, "list": 2}
    one = ["bucket/run/7/7.json"]
    assert files.glob("bucket/run/*/7.json") == files.glob("bucket/**/7.json") == files.ls(*one, detail=False) == one
    bill.reset()
    files.rm("bucket/run", recursive=True)
    assert (bill.counts, files.exists("bucket/run")) == ({"list": 2, "delete": 3}, False)


def test_the_clock_counts_requests_and_bytes(bill, files):
    CountingFileSystem.fill({"bucket/a": bytes(80_000_000)})
    files.cat_file("bucket/a")
    assert bill.seconds == pytest.approx(1.05)


def test_threads_overlap_and_the_main_thread_waits(bill, files):
    CountingFileSystem.fill({"bucket/a": bytes(8_000_000)})

    def get(times):
        return lambda: [files.cat_file("bucket/a") for _ in range(times)]

    get(1)()
    in_threads(get(1), get(2))
    assert bill.seconds == pytest.approx(3 * 0.15)
    get(1)()
    in_threads(get(1), get(1))
    bill.join()
    in_threads(get(1), get(1))
    assert bill.seconds == pytest.approx(6 * 0.15)
