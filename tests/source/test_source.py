import gzip
import json
import pickle
import zipfile
from dataclasses import replace

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pydantic import ValidationError

from curate.document import BadRow, Document, Reader, document, pair, reader
from curate.recipe.input import Source
from curate.run.bind import Resolved
from curate.run.plan import fingerprint
from curate.source import corpus, formats
from curate.source import rows as source_rows
from curate.source.corpus import Reject, documents, load_reader, plan
from curate.source.formats import jsonl
from curate.source.inputs import named
from curate.source.rows import BadFile, Slice, measure, rows

ROWS = [{"url": f"http://ex.org/{at}.jpg", "text": f"picture {at}"} for at in range(25)]


@reader(document={"note": str})
def read(row):
    if not isinstance(row.get("url"), str):
        raise BadRow("null URL")
    return pair(row["url"], row.get("text"), {"note": row.get("note")}, row.get("alt", ""))


def lines(items=ROWS):
    return b"".join(json.dumps(item).encode() + b"\n" for item in items)


def zipped(path, *members):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members:
            archive.writestr(name, content)


def write(path, data):
    if path.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(ROWS), path, row_group_size=7)
    elif path.suffix == ".zip":
        half = lines(ROWS[:11]).rstrip(b"\n")  # its last line has no end
        zipped(
            path, ("a.jsonl", half), ("__MACOSX/._a.jsonl", b"\0"), ("README", b"hello"), ("b.jsonl", lines(ROWS[11:]))
        )
    else:
        path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
    return str(path)


def slices(path, shard=10, limit=None):
    return [Slice(f"{at:08d}", "f", path, *part) for at, part in enumerate(measure(path, shard, limit))]


def read_all(path, **options):
    source = Source(reader="mmc4", path=path, **options)
    return [found for part in slices(path, source.shard) for found in documents(part, read, source)]


@pytest.mark.parametrize("name", ["a.jsonl", "a.jsonl.gz", "a.jsonl.zip", "a.parquet"])
@pytest.mark.parametrize("shard", [1, 10, 1000])
def test_every_format_gives_the_same_rows_for_every_shard_size(tmp_path, name, shard):
    parts = slices(write(tmp_path / name, lines()), shard)
    assert [part.start for part in parts] == list(range(0, 25, shard))
    found = [item for part in parts for item in rows(pickle.loads(pickle.dumps(part)))]
    assert found == list(enumerate(ROWS))


@pytest.mark.parametrize("name", ["a.jsonl", "a.jsonl.gz", "a.jsonl.zip", "a.parquet"])
def test_measure_stops_at_the_limit(tmp_path, name):
    path = write(tmp_path / name, lines())
    assert [part[:2] for part in measure(path, 10, 12)] == [(0, 10), (10, 2)]
    assert measure(path, 10, 0) == []


def test_parquet_reads_only_the_row_groups_it_needs_and_damage_in_them_is_a_bad_file(tmp_path):
    path = tmp_path / "a.parquet"
    write(path, b"")
    column = pq.read_metadata(path).row_group(1).column(0)  # rows 7 to 13
    data, at = bytearray(path.read_bytes()), column.dictionary_page_offset
    data[at : at + 20] = b"\xff" * 20
    path.write_bytes(data)
    assert [number for number, _ in rows(Slice("0", "f", str(path), 5, 2, 0))] == [5, 6]
    assert [number for number, _ in rows(Slice("0", "f", str(path), 14, 8, 0))] == list(range(14, 22))
    with pytest.raises(BadFile, match=r"a\.parquet"):
        list(rows(Slice("0", "f", str(path), 6, 2, 0)))


def test_blank_lines_are_no_rows_and_line_ends_do_not_matter(tmp_path):
    path = write(tmp_path / "a.jsonl", b'\xef\xbb\xbf{"a": 1}\r\n\n  \r\n{"a": 2}\n\n{"a": NaN}')
    assert measure(path, 2) == [(0, 2, 0), (2, 1, 28)]
    assert [row for part in slices(path, 2) for row in rows(part)] == [(0, {"a": 1}), (1, {"a": 2}), (2, {"a": None})]


def test_empty_files_have_no_shards(tmp_path):
    assert measure(write(tmp_path / "a.jsonl", b"\n"), 10) == []
    assert measure(write(tmp_path / "a.jsonl.gz", b""), 10) == []


BAD = {
    "not json": (b'{"url": ', "not JSON: Expecting value"),
    "list": (b"[1, 2]", "the line is JSON, but a list, not an object"),
    "number": (b"7", "the line is JSON, but a int, not an object"),
    "not utf-8": (b'{"url": "\xff"}', "not UTF-8: invalid start byte at byte 9 of the line"),
    "deep": (b"[" * 100_000, "not JSON: maximum recursion depth"),
    "long number": (b'{"url": ' + b"9" * 5000 + b"}", "not JSON: Exceeds the limit"),
    "null url": (b'{"url": null}', "null URL"),
    "5 MB text": (b'{"url": "u", "text": "' + b"x" * 5_000_000 + b'"}', "text at position 1: 5000000 bytes, more than"),
    "bytes count": (b'{"url": "u", "text": "' + "é".encode() * 500_001 + b'"}', "text at position 1: 1000002 bytes"),
    "text": (rb'{"url": "u", "text": "\ud800"}', "text at position 1: lone surrogate"),
    "alt": (rb'{"url": "u", "text": "t", "alt": "\udfff"}', "alt at position 0: lone surrogate"),
    "url": (rb'{"url": "http://\ud800"}', "document url: lone surrogate"),
    "column": (rb'{"url": "u", "text": "t", "note": "\ud800"}', "column note: lone surrogate"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_row_is_a_reject_with_its_reason_and_the_others_are_read(tmp_path, name):
    bad, reason = BAD[name]
    path = write(tmp_path / "a.jsonl", lines(ROWS[:1]) + bad + b"\n" + lines(ROWS[1:2]))
    first, reject, last = read_all(path)
    assert (first.texts[1].text, last.texts[1].text) == ("picture 0", "picture 1")
    assert (reject.file, reject.row) == ("f", 1)
    assert reject.reason.startswith(reason)
    assert len(reject.reason) <= 300


def test_a_line_too_long_to_hold_is_one_bad_row(tmp_path, monkeypatch):
    monkeypatch.setattr(jsonl, "LONGEST_LINE", 1000)
    path = write(tmp_path / "a.jsonl", lines(ROWS[:1]) + b"x" * 9999 + b"\n" + lines(ROWS[1:2]))
    assert [part[:2] for part in measure(path, 1)] == [(0, 1), (1, 1), (2, 1)]
    reasons = [getattr(found, "reason", None) for found in read_all(path, shard=1)]
    assert reasons == [None, "line of more than 1000 bytes", None]


def test_bad_values_in_parquet_cost_their_row_alone(tmp_path):
    text = pa.array([b"ok", b"\xff", b"\xed\xa0\x80", b"fine"]).view(pa.string())
    path = str(tmp_path / "a.parquet")
    pq.write_table(pa.table({"url": ["a", "b", "c", "d"], "text": text, "sim": [1.0, float("nan"), 2.0, None]}), path)
    found = read_all(path)
    assert [type(item) for item in found] == [Document, Reject, Reject, Document]
    assert found[1].reason.startswith("not UTF-8: ")
    assert [row["sim"] for at, row in rows(slices(path)[0]) if at in (0, 3)] == [1.0, None]


def test_nan_is_null_however_deep(tmp_path):
    path = str(tmp_path / "a.parquet")
    pq.write_table(pa.Table.from_pylist([{"a": float("nan"), "b": [{"c": float("nan")}], "d": [1.0]}]), path)
    assert list(rows(slices(path)[0])) == [(0, {"a": None, "b": [{"c": None}], "d": [1.0]})]


@pytest.mark.parametrize(
    ("name", "data", "cause"),
    [
        ("a.jsonl.gz", gzip.compress(lines())[:99], "ended before"),
        ("a.jsonl.gz", b"", "empty"),
        ("a.jsonl.gz", lines(), "Not a gzipped file"),
        ("a.jsonl.zip", lines(), "not a zip file"),
        ("a.parquet", b"", "size is 0 bytes"),
        ("a.parquet", b"PAR1 nonsense PAR1", "arquet"),
        ("a.csv", b"a,b", r"a\.csv: not one of \.jsonl, \.jsonl\.gz, \.jsonl\.zip, \.parquet$"),
    ],
)
def test_a_bad_file_is_named_with_its_cause(tmp_path, name, data, cause):
    path = tmp_path / name
    path.write_bytes(data)
    with pytest.raises(BadFile, match=cause) as raised:
        measure(str(path), 10)
    assert str(path) in str(raised.value)


CSV = """
from curate.source.rows import Format, opened

def count(path, file, shard_rows, limit):
    total = len(file.readlines()[:limit])
    return total, [0] * -(-total // shard_rows)

def read(part):
    with opened(part.path) as file:
        for line in file.readlines()[part.start : part.start + part.count]:
            yield dict(zip(("url", "text"), line.decode().strip().split(",")))

FORMAT = Format((".csv",), count, read, (UnicodeDecodeError,))
"""


def test_a_new_format_is_one_file(tmp_path, monkeypatch):
    (tmp_path / "csv_lines.py").write_text(CSV)
    monkeypatch.setattr(formats, "__path__", [*formats.__path__, str(tmp_path)])
    monkeypatch.setattr(source_rows, "formats", source_rows.formats.__wrapped__)
    path = write(tmp_path / "A.CSV", b"u,red\nv,blue\nw,green\n")
    assert [found.texts[1].text for found in read_all(path, shard=2)] == ["red", "blue", "green"]
    (tmp_path / "a.csv").write_bytes(b"\xff\n")
    with pytest.raises(BadFile, match=r"a\.csv: .*invalid start byte"):
        read_all(str(tmp_path / "a.csv"))
    with pytest.raises(BadFile, match=r"not one of \.csv, \.jsonl"):
        measure("a.tsv", 1)


def test_a_zip_that_is_damaged_or_holds_no_rows_is_a_bad_file(tmp_path):
    zipped(tmp_path / "a.jsonl.zip", ("a.txt", b"hello"))
    with pytest.raises(BadFile, match=r"no \.jsonl file"):
        measure(str(tmp_path / "a.jsonl.zip"), 10)
    zipped(tmp_path / "b.jsonl.zip", ("a.jsonl", lines()))
    data = bytearray((tmp_path / "b.jsonl.zip").read_bytes())
    data[100] ^= 255
    (tmp_path / "b.jsonl.zip").write_bytes(data)
    with pytest.raises(BadFile):
        measure(str(tmp_path / "b.jsonl.zip"), 10)


def test_a_file_that_is_gone_is_no_bad_file(tmp_path):
    with pytest.raises(FileNotFoundError):
        measure(str(tmp_path / "a.jsonl"), 10)


@pytest.mark.parametrize("name", ["a.jsonl", "a.jsonl.gz", "a.jsonl.zip", "a.parquet"])
def test_a_file_with_fewer_rows_than_planned_stops_the_shard(tmp_path, name):
    part = replace(slices(write(tmp_path / name, lines()))[-1], count=6)
    with pytest.raises(BadFile, match="6 rows were planned from row 20 on, now there are 5"):
        list(rows(part))


def test_a_bug_in_a_reader_is_not_a_bad_row(tmp_path):
    path = write(tmp_path / "a.jsonl", lines())
    broken = Reader(lambda row: row["no such"], {}, "broken")
    with pytest.raises(KeyError):
        list(documents(slices(path)[0], broken, Source(reader="x", path=path)))


def test_a_document_without_segments_is_a_reject(tmp_path):
    path = write(tmp_path / "a.jsonl", lines(ROWS[:1]))
    empty = Reader(lambda row: document("u", []), {}, "empty")
    found = list(documents(slices(path)[0], empty, Source(reader="x", path=path)))
    assert found == [Reject("f", 0, "no text and no image")]


def test_columns_are_renamed_for_the_reader(tmp_path):
    path = write(tmp_path / "a.jsonl", lines([{"link": "a", "text": "old", "words": "new"}, {"link": "b"}]))
    good, bad = read_all(path, columns={"url": "link", "text": "words"})
    assert (good.origin.url, good.texts[1].text, bad.reason) == ("a", "new", "no column words")


def test_ids_are_unique_over_files_with_the_same_rows_and_the_same_in_every_run(tmp_path):
    for name in ("a.jsonl", "b.jsonl"):
        write(tmp_path / name, lines())
    source = Source(reader="x", path="*.jsonl", shard=10)

    def ids(source, base):
        return [
            found.id
            for part in corpus.slices(plan(source, base).inputs, source.shard)
            for found in documents(part, read, source)
        ]

    once = ids(source, str(tmp_path))
    assert len(once) == len(set(once)) == 50
    assert once == ids(source.model_copy(update={"shard": 7}), str(tmp_path))
    moved = tmp_path.rename(tmp_path.with_name("moved"))
    assert once == ids(Source(reader="x", path=str(moved / "*.jsonl")), "")


def test_globs_find_files_sorted_once_and_leave_out_folders(tmp_path):
    for name in ("s_2.jsonl", "s_0.jsonl", "other.txt"):
        (tmp_path / name).write_bytes(b"")
    (tmp_path / "s_folder.jsonl").mkdir()
    (tmp_path / "s_3.jsonl").symlink_to("s_0.jsonl")
    source = Source(reader="x", path=("s_*.jsonl", "s_0.jsonl"))
    assert [each.path for each in named(source, str(tmp_path))] == [
        str(tmp_path / name) for name in ("s_0.jsonl", "s_2.jsonl", "s_3.jsonl")
    ]


@pytest.mark.parametrize("pattern", ["nothing_*.jsonl", "nothing.jsonl", "."])
def test_a_pattern_without_a_file_is_an_error_that_names_it(tmp_path, pattern):
    with pytest.raises(FileNotFoundError, match=r"source\.path"):
        named(Source(reader="x", path=pattern), str(tmp_path))


def test_names_are_below_the_fixed_folder_unless_two_would_be_the_same(tmp_path):
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "x.jsonl").write_bytes(b"")

    def names(*path):
        return [each.file for each in named(Source(reader="x", path=path), str(tmp_path))]

    assert names("*/x.jsonl") == ["a/x.jsonl", "b/x.jsonl"]
    assert names("a/*") == ["x.jsonl"]
    assert names("a/*", "b/x.jsonl") == ["a/x.jsonl", "b/x.jsonl"]


def test_urls_are_found_planned_and_read():
    memory = fsspec.filesystem("memory")
    for name in ("0", "2"):
        memory.pipe(f"/corpus/s_{name}.jsonl.gz", gzip.compress(lines()))
    source = Source(reader="x", path="s_*.jsonl.gz", shard=20)
    inputs, bad = plan(source, "memory://corpus", limit=30)
    parts = corpus.slices(inputs, source.shard)
    assert [(part.shard, part.file, part.start, part.count) for part in parts] == [
        ("00000000", "s_0.jsonl.gz", 0, 20),
        ("00000001", "s_0.jsonl.gz", 20, 5),
        ("00000002", "s_2.jsonl.gz", 0, 5),
    ]
    assert parts[0].path.startswith("memory://")
    assert not bad
    assert sum(1 for part in parts for _ in documents(part, read, source)) == 30


def test_plan_reports_bad_files_and_goes_on(tmp_path):
    write(tmp_path / "b.jsonl", lines())
    (tmp_path / "a.jsonl.gz").write_bytes(b"nonsense")
    inputs, bad = plan(Source(reader="x", path="*"), str(tmp_path))
    assert [(part.shard, part.file) for part in corpus.slices(inputs, 100)] == [("00000000", "b.jsonl")]
    assert "a.jsonl.gz" in str(bad[0])


def test_source_options_are_checked():
    assert Source(reader="x", path="a", max_text="2MB").max_text == 2_000_000
    for wrong in ({"shard": 0}, {"path": ()}, {"paths": "b"}):
        with pytest.raises(ValidationError):
            Source(**{"reader": "x", "path": "a", **wrong})


def test_readers_are_found_by_name():
    assert load_reader("mmc4").corpus == "mmc4"
    assert load_reader("curate.pipelines.laion:read").corpus == "laion"
    with pytest.raises(LookupError, match=r"no reader 'mmc'; did you mean 'mmc4'\? Readers: coyo, laion, mmc4"):
        load_reader("mmc")
    with pytest.raises(TypeError, match="is no reader"):
        load_reader("json:loads")


@reader()
def unversioned(row): ...


unversioned.read.__module__ = "curate.pipelines.unversioned"


def test_built_in_readers_have_versions():
    assert all(load_reader(name).version for name in ("coyo", "laion", "mmc4", "obelics"))
    with pytest.raises(TypeError, match=r"is built in: give it a version, as in @reader\(version=1"):
        load_reader("test_source:unversioned")


READER = "from curate import reader\n@reader()\ndef read(row): {}\n"


def test_a_plan_knows_built_in_readers_by_version_and_others_by_code(tmp_path):
    def found(name):
        (tmp_path / "r.yaml").write_text(f"source: {{reader: {name}, path: x.jsonl}}")
        parts = fingerprint(Resolved(tmp_path / "r.yaml"), None)
        return {key: value for key, value in parts.items() if key.startswith("source.reader's")}

    assert found("mmc4") == {"source.reader's version": 1}
    (tmp_path / "rows_beside.py").write_text(READER.format("pass"))
    before = found("rows_beside:read")
    (tmp_path / "rows_beside.py").write_text(READER.format("return None"))
    assert before.keys() == {"source.reader's code"}
    assert found("rows_beside:read") != before
