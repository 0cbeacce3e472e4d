"""The files of a corpus: what is known of them, and how it is said what became of them."""

from __future__ import annotations

import gzip
import json
import os
import zipfile
from dataclasses import replace
from pathlib import Path

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from curate.recipe.input import Source
from curate.source.inputs import Input, compare, matching, named, survey
from curate.source.rows import BadFile, Slice, rows, stat_of_path
from curate.store import digest

ROWS = [{"url": f"http://ex.org/{at:02}.jpg", "text": f"picture {at:02}"} for at in range(25)]


def lines(items=ROWS):
    return b"".join(json.dumps(item).encode() + b"\n" for item in items)


def write(path: Path, items=ROWS) -> Path:
    if path.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(items), path, row_group_size=7)
    elif path.suffix == ".zip":
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr(zipfile.ZipInfo("a.jsonl"), lines(items))
    else:
        path.write_bytes(gzip.compress(lines(items), mtime=0) if path.suffix == ".gz" else lines(items))
    return path


def source(folder: Path, pattern: str = "*") -> Source:
    return Source(reader="x", path=str(folder / pattern))


def planned(folder: Path, pattern: str = "*", limit: int | None = None) -> list[Input]:
    return [survey(each, 10, limit)[0] for each in named(source(folder, pattern))]


def told(folder: Path, before: list[Input], pattern: str = "*", all_planned: bool = True) -> dict[str, str]:
    return compare(before, matching(source(folder, pattern))[0], all_planned).changed


@pytest.mark.parametrize("name", ["a.jsonl", "a.jsonl.gz", "a.jsonl.zip"])
def test_a_file_that_is_read_to_count_its_rows_is_hashed_whole(name: str, tmp_path: Path) -> None:
    path = write(tmp_path / name)
    (found,) = planned(tmp_path)
    assert (found.rows, found.hashed, found.size) == (25, path.stat().st_size, path.stat().st_size)
    assert found.digest == digest.of_path(path).hex()


def test_with_a_limit_a_file_is_hashed_no_farther_than_it_is_read(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(lines(ROWS * 200_000)[: 32 << 20])
    (found,) = planned(tmp_path, limit=3)
    assert found.rows == 3
    assert 0 < found.hashed <= 1 << 20
    assert found.digest == digest.of_bytes(path.read_bytes()[: found.hashed]).hex()
    os.utime(path, (1, 1))
    assert told(tmp_path, [found], all_planned=False) == {}


def test_a_damaged_file_is_hashed_whole_too(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl.gz"
    path.write_bytes(gzip.compress(lines())[:99])
    (found,) = planned(tmp_path)
    assert (found.rows, found.hashed, found.digest) == (-1, 99, digest.of_path(path).hex())
    write(path)
    assert told(tmp_path, [found])["a.jsonl.gz"].endswith("; it could not be read when shards were planned)")


@pytest.mark.parametrize("name", ["a.jsonl", "a.jsonl.gz", "a.jsonl.zip", "a.parquet"])
def test_what_was_only_touched_is_what_it_was_and_rows_in_another_order_are_not(name: str, tmp_path: Path) -> None:
    path = write(tmp_path / name)
    before = planned(tmp_path)
    os.utime(path, (1, 1))
    assert told(tmp_path, before) == {}
    size = path.stat().st_size
    write(path, ROWS[::-1])
    (said,) = told(tmp_path, before).values()
    assert ("as before" in said) or path.stat().st_size != size


def test_parquet_of_equal_size_and_footer_differs_by_its_first_page(tmp_path: Path) -> None:
    def write(numbers):
        column = pa.array(numbers, pa.int64())
        pq.write_table(pa.table({"n": column}), tmp_path / "a.parquet", compression="none", use_dictionary=False)
        return (tmp_path / "a.parquet").read_bytes()

    first = write([*range(1000)])
    before = planned(tmp_path)
    second = write([*range(1000)][::-1])
    assert len(first) == len(second)
    assert first[-300:] == second[-300:]
    assert told(tmp_path, before) == {"a.parquet": "changed (other content, 1,000 rows as before)"}


def test_how_files_differ_is_said_in_words(tmp_path: Path) -> None:
    for name in ("edited.jsonl", "grown.jsonl", "less.parquet", "more.parquet", "short.jsonl", "torn.parquet"):
        write(tmp_path / name)
    before = planned(tmp_path)
    (tmp_path / "edited.jsonl").write_bytes(lines().replace(b"picture 03", b"picture 30"))
    (tmp_path / "grown.jsonl").write_bytes(lines() + b"{}\n")
    (tmp_path / "short.jsonl").write_bytes(lines()[:-4])
    write(tmp_path / "less.parquet", ROWS[:20])
    write(tmp_path / "more.parquet", ROWS * 2)
    (tmp_path / "torn.parquet").write_bytes(b"PAR1")
    write(tmp_path / "extra.jsonl")
    size = len(lines())
    said = told(tmp_path, before)
    assert said.pop("torn.parquet").startswith("replaced by what cannot be read (")
    assert said == {
        "edited.jsonl": f"changed (other content, {size:,} bytes as before)",
        "grown.jsonl": f"grown ({size:,} bytes -> {size + 3:,})",
        "short.jsonl": f"shrunk ({size:,} bytes -> {size - 4:,})",
        "less.parquet": "shrunk (25 rows -> 20)",
        "more.parquet": "grown (25 rows -> 50)",
        "extra.jsonl": "new",
    }
    assert "extra.jsonl" not in told(tmp_path, before, all_planned=False)


def test_a_file_is_found_where_it_lies_now_by_its_name(tmp_path: Path) -> None:
    old, new = tmp_path / "old", tmp_path / "new"
    old.mkdir()
    write(old / "a.jsonl")
    before = planned(old)
    old.rename(new)
    compared = compare(before, matching(source(new))[0], True)
    assert (compared.changed, compared.gone) == ({}, [])
    assert compared.here["a.jsonl"].path == str(new / "a.jsonl")
    (new / "a.jsonl").unlink()
    found, nothing = matching(source(new))
    assert len(nothing) == 1
    assert compare(before, found, True).gone == ["a.jsonl"]


def test_a_link_is_what_it_leads_to(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    write(tmp_path / "real/a.jsonl")
    (tmp_path / "a.jsonl").symlink_to("real/a.jsonl")
    before = planned(tmp_path, "*.jsonl")
    assert before[0].size == len(lines())
    (tmp_path / "real/a.jsonl").write_bytes(lines().replace(b"03", b"30"))
    assert told(tmp_path, before, "*.jsonl")["a.jsonl"].startswith("changed")


def test_a_listing_is_believed_where_it_says_enough() -> None:
    memory = fsspec.filesystem("memory")
    memory.pipe("/inputs/a.jsonl", lines())
    corpus = Source(reader="x", path="memory://inputs/*.jsonl")
    before = [survey(each, 10)[0] for each in named(corpus)]
    assert before[0].stamp
    assert compare(before, matching(corpus)[0], True).changed == {}
    forged = [replace(before[0], digest="0" * 32)]
    assert compare(forged, matching(corpus)[0], True).changed == {}  # not opened
    forged = [replace(forged[0], stamp="")]
    assert list(compare(forged, matching(corpus)[0], True).changed) == ["a.jsonl"]


def test_a_worker_refuses_a_file_that_changed_since_the_run_began(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl")
    part = Slice("00000000", "a.jsonl", str(path), 0, 10, 0, stat=stat_of_path(str(path)))
    assert len(list(rows(part))) == 10
    path.write_bytes(lines() + b"\n")
    with pytest.raises(BadFile, match=r"a\.jsonl changed while this run went on"):
        list(rows(part))
    path.write_bytes(lines())
    os.utime(path, (1, 1))
    with pytest.raises(BadFile, match="changed while this run"):
        list(rows(part))
