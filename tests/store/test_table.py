import io
import math

import numpy as np
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest

from curate import Vector
from curate.store import digest
from curate.store.digest import DamagedFile, ForeignFile
from curate.store.schema import ARROW, score_schema, table
from curate.store.table import CheckedFile, checked, dataset, decode, encode

COLUMNS = {"b": bool, "i": int, "f": float, "s": str, "y": bytes, "l": list[float], "v": Vector}
FULL = {
    "b": True,
    "i": 2**40,
    "f": 0.5,
    "s": "ä",
    "y": b"\0\xff",
    "l": [0.25, 1.0],
    "v": np.array([0.5, -1.0], np.float32),
}


def round_trip(rows, columns=COLUMNS):
    return decode(encode(table(rows, score_schema(columns)))).to_dicts()


def key(at):
    return {"document": "d", "position": at}


def test_all_types_come_back():
    (row,) = round_trip([key(0) | FULL])
    assert row == key(0) | FULL | {"v": [0.5, -1.0]}


def test_absent_and_none_are_null_in_every_type():
    first, second, third = round_trip([key(0), key(1) | FULL, key(2) | dict.fromkeys(COLUMNS)])
    assert [first[name] for name in COLUMNS] == [third[name] for name in COLUMNS] == [None] * len(COLUMNS)
    assert (second["l"], second["v"]) == ([0.25, 1.0], [0.5, -1.0])


@pytest.mark.parametrize("value", [math.nan, np.float32("nan"), None])
def test_nan_is_null(value):
    assert round_trip([key(0) | {"f": value}], {"f": float})[0]["f"] is None


def test_an_empty_list_is_not_null():
    rows = round_trip([key(0) | {"l": []}, key(1), key(2) | {"l": [1.0]}], {"l": list[float]})
    assert [row["l"] for row in rows] == [[], None, [1.0]]


@pytest.mark.parametrize("rows", [[], [key(0), key(1)]])
def test_columns_without_any_value_keep_their_types(rows):
    made = table(rows, score_schema(COLUMNS))
    assert [made.schema.field(name).type for name in COLUMNS] == list(ARROW.values())
    assert made.num_rows == len(rows)


def test_floats_are_float32_and_vectors_float16():
    assert (ARROW[float], ARROW[Vector]) == (pa.float32(), pa.list_(pa.float16()))


def test_numpy_values_are_taken_as_they_are():
    rows = [key(0) | {"b": np.bool_(True), "i": np.int16(7), "f": np.float64(0.5), "l": np.ones(2)}]
    (row,) = round_trip(rows, {"b": bool, "i": int, "f": float, "l": list[float]})
    assert (row["b"], row["i"], row["f"], row["l"]) == (True, 7, 0.5, [1.0, 1.0])


@pytest.mark.parametrize(("kind", "value"), [(int, "many"), (float, "much"), (str, 1), (list[float], 1.0)])
def test_a_value_of_another_type_is_an_error(kind, value):
    with pytest.raises((TypeError, ValueError)):
        table([key(0) | {"x": value}], score_schema({"x": kind}))


def test_the_same_rows_are_the_same_bytes():
    one, two = (encode(table([key(at) | FULL for at in range(100)], score_schema(COLUMNS)), by="x") for _ in range(2))
    assert one == two


def test_some_columns_are_read():
    data = encode(table([key(0) | FULL], score_schema(COLUMNS)))
    assert decode(data, ["f", "document"]).columns == ["f", "document"]


# --- what a file says of itself

ROWS = table([key(at) | FULL | {"i": at} for at in range(1000)], score_schema(COLUMNS))


def test_notes_come_back():
    assert checked(encode(ROWS, by="3 of 7", content="ab")).notes == {"by": "3 of 7", "content": "ab"}


@pytest.mark.parametrize("row_group", [100, 1000])
def test_every_flipped_bit_is_noticed(row_group):
    data, rng = encode(ROWS, row_group, by="x"), np.random.default_rng(0)
    tail = len(data) - len(checked(data).tail)
    places = {*rng.integers(0, 8 * len(data), 2000).tolist(), *rng.integers(8 * tail, 8 * len(data), 2000).tolist()}
    for place in places:
        changed = bytearray(data)
        changed[place // 8] ^= 1 << place % 8
        with pytest.raises(DamagedFile):
            checked(bytes(changed))


@pytest.mark.parametrize("text", ["checksum\x18 " + "0" * 32, "checksum\x18 " + "f" * 32])
def test_a_text_that_looks_like_a_checksum_is_a_text(text):
    rows = table([key(0) | {"s": text}, key(1) | {"s": text}], score_schema({"s": str}))
    data = encode(rows)
    assert text.encode() in data[-2000:]  # the footer has the least and the greatest value
    checked(data)
    assert decode(data)["s"].to_list() == [text, text]


@pytest.mark.parametrize("length", [0, 1, 8, 12, -1, -9])
def test_a_file_that_was_cut_is_damaged(length):
    data = encode(ROWS)
    with pytest.raises(DamagedFile):
        checked(data[:length])
    with pytest.raises(DamagedFile):
        checked(data + data[:100])


def test_a_file_of_others_is_foreign():
    sink = io.BytesIO()
    pq.write_table(ROWS, sink)
    with pytest.raises(ForeignFile):
        checked(sink.getvalue())


def opened(data, read):
    """A file that notes in ``read`` which bytes were fetched."""

    def fetch(start, end):
        read.append((start, end))
        return data[start:end]

    return CheckedFile(checked(data), len(data), fetch)


def test_whoever_reads_a_range_reads_and_checks_only_its_pieces():
    data, read = encode(ROWS, 100), []
    found = dataset([opened(data, read)]).to_table(filter=ds.field("i") < 50, columns=["i"])
    assert found["i"].to_pylist() == list(range(50))
    assert read == [(0, checked(data).pieces[0][0])]
    end = checked(data).pieces[0][0]
    damaged = data[: end + 9] + bytes([data[end + 9] ^ 1]) + data[end + 10 :]
    file = CheckedFile(checked(data), len(data), lambda start, end: damaged[start:end])
    assert dataset([file]).to_table(filter=ds.field("i") < 50).num_rows == 50
    with pytest.raises(DamagedFile, match="have changed"):
        dataset([file]).to_table(filter=ds.field("i") < 150)


def test_the_digest_of_a_table_is_of_its_values():
    parts = pa.concat_tables([ROWS.slice(0, 7), ROWS.slice(7)])
    assert digest.of_table(parts) == digest.of_table(ROWS) == digest.of_table(parts.combine_chunks())
    others = [ROWS.slice(1), ROWS.rename_columns([f"{name}x" for name in ROWS.column_names]), ROWS.slice(0, 0)]
    for at, field in enumerate(ROWS.schema):
        if field.nullable:
            others.append(ROWS.set_column(at, field, pa.nulls(len(ROWS), field.type)))
    assert len({digest.of_table(each) for each in (ROWS, *others)}) == 1 + len(others)


def test_what_lies_in_the_place_of_a_null_does_not_count():
    hidden = pa.Array.from_buffers(pa.int64(), 2, [pa.py_buffer(b"\x01"), pa.array([1, 77]).buffers()[1]])
    assert digest.of_table(pa.table({"x": hidden})) == digest.of_table(pa.table({"x": pa.array([1, None])}))
