import math

import numpy as np
import pyarrow as pa
import pytest

from curate import Vector
from curate.store.table import ARROW, read, score_schema, table, write

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


def round_trip(rows, tmp_path, columns=COLUMNS):
    write(tmp_path / "t.parquet", table(rows, score_schema(columns)))
    return read(tmp_path / "t.parquet").to_dicts()


def key(at):
    return {"document": "d", "position": at}


def test_all_types_come_back(tmp_path):
    (row,) = round_trip([key(0) | FULL], tmp_path)
    assert row == key(0) | FULL | {"v": [0.5, -1.0]}


def test_absent_and_none_are_null_in_every_type(tmp_path):
    first, second, third = round_trip([key(0), key(1) | FULL, key(2) | dict.fromkeys(COLUMNS)], tmp_path)
    assert [first[name] for name in COLUMNS] == [third[name] for name in COLUMNS] == [None] * len(COLUMNS)
    assert (second["l"], second["v"]) == ([0.25, 1.0], [0.5, -1.0])


@pytest.mark.parametrize("value", [math.nan, np.float32("nan"), None])
def test_nan_is_null(value, tmp_path):
    assert round_trip([key(0) | {"f": value}], tmp_path, {"f": float})[0]["f"] is None


def test_an_empty_list_is_not_null(tmp_path):
    rows = round_trip([key(0) | {"l": []}, key(1), key(2) | {"l": [1.0]}], tmp_path, {"l": list[float]})
    assert [row["l"] for row in rows] == [[], None, [1.0]]


@pytest.mark.parametrize("rows", [[], [key(0), key(1)]])
def test_columns_without_any_value_keep_their_types(rows):
    made = table(rows, score_schema(COLUMNS))
    assert [made.schema.field(name).type for name in COLUMNS] == list(ARROW.values())
    assert made.num_rows == len(rows)


def test_floats_are_float32_and_vectors_float16():
    assert (ARROW[float], ARROW[Vector]) == (pa.float32(), pa.list_(pa.float16()))


def test_numpy_values_are_taken_as_they_are(tmp_path):
    rows = [key(0) | {"b": np.bool_(True), "i": np.int16(7), "f": np.float64(0.5), "l": np.ones(2)}]
    (row,) = round_trip(rows, tmp_path, {"b": bool, "i": int, "f": float, "l": list[float]})
    assert (row["b"], row["i"], row["f"], row["l"]) == (True, 7, 0.5, [1.0, 1.0])


@pytest.mark.parametrize(("kind", "value"), [(int, "many"), (float, "much"), (str, 1), (list[float], 1.0)])
def test_a_value_of_another_type_is_an_error(kind, value):
    with pytest.raises((TypeError, ValueError)):
        table([key(0) | {"x": value}], score_schema({"x": kind}))


def test_the_same_rows_are_the_same_bytes(tmp_path):
    for name in ("one", "two"):
        write(tmp_path / name, table([key(at) | FULL for at in range(100)], score_schema(COLUMNS)))
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()


def test_some_columns_are_read(tmp_path):
    write(tmp_path / "t", table([key(0) | FULL], score_schema(COLUMNS)))
    assert read(tmp_path / "t", ["f", "document"]).columns == ["f", "document"]
