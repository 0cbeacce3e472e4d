"""Rows, items, and the index between them."""

import numpy as np
import polars as pl
import pytest
from shards import page, picture, raw_shard, scorers_of

from curate import Image, scores
from curate.score.tables import merged, parts_of, tabulated
from curate.score.view import Measured, Owed, Segments, distinct, view_of
from curate.store.files import Files
from curate.store.raw_shard import open_shard
from curate.store.store import Store

A, B, DEAD = (Image(f"http://ex.org/{name}.png") for name in ("a", "b", "dead"))


@scores("image", side=int)
def sides(images):
    return [{"side": image.height} for image in images]


@pytest.fixture
def segments(tmp_path):
    """Row numbers: document 0 and its segments 1 to 3; document 4 and its segments 5 and 6."""
    raw_shard(Store(tmp_path), [page("x", A, DEAD), "reject", page(B, A)], {A.url: picture(1), B.url: picture(2, 50)})
    with open_shard(Files(Store(tmp_path)), "00000000") as raw:
        yield Segments(raw)


def owed(segments, tmp_path, *rows, **more):
    (scorer,) = scorers_of(tmp_path, {"s": {"use": "test_view:sides"}})
    return Owed(scorer, segments, np.array(rows), np.zeros(segments.frame.height, bool), **more)


def test_items_are_numbered_in_order_of_appearance():
    items, index = distinct(pl.DataFrame({"a": ["y", "x", None, "y", "x"], "b": [1, 1, 1, 1, 2]}))
    assert items.rows() == [("y", 1), ("x", 1), (None, 1), ("x", 2)]
    assert index.tolist() == [0, 1, 2, 0, 3]


def test_what_is_not_wanted_is_no_item():
    items, index = distinct(pl.DataFrame({"a": ["z", "x", "y", "x"]}), np.array([False, True, False, True]))
    assert items.rows() == [("x",)]
    assert index.tolist() == [-1, 0, -1, 0]


def test_rows_are_numbered_by_document_and_position(segments):
    assert (segments.starts.tolist(), segments.owner.tolist()) == ([0, 4], [0, 0, 0, 0, 1, 1, 1])
    keys = segments.frame.select("document", "position")[[6, 0]]
    assert segments.numbers(pl.concat([keys, keys[:1].with_columns(position=pl.lit(9, pl.Int32))])).tolist() == [
        6,
        0,
        -1,
    ]
    assert segments.spread(keys.with_columns(value=pl.Series([7, 8]))).to_list() == [8, *[None] * 5, 7]


def test_a_row_that_is_owed_knows_its_place(segments, tmp_path):
    task = owed(segments, tmp_path, 2, 3, 6)
    assert task.place.tolist() == [-1, -1, 0, 1, -1, -1, 2]
    assert task.good.tolist() == [True, False, True]


def test_results_are_taken_to_rows_and_columns_may_go_by_an_index_of_their_own(segments, tmp_path):
    task = owed(segments, tmp_path, 2, 3, 5)
    measured = Measured([{"side": 3}, None, {"side": 5}], np.array([2, -1, 1]))
    assert tabulated(task, measured)["side"].to_pylist() == [5, None, None]
    assert measured.present.tolist() == [True, False, False]
    other = Measured(measured.results, measured.index, {"side": np.array([-1, 0, -1])})
    assert tabulated(task, other)["side"].to_pylist() == [None, 3, None]
    assert other.present.tolist() == [True, True, False]


def test_what_is_known_stands_among_what_was_measured(segments, tmp_path):
    known = tabulated(owed(segments, tmp_path, 2, 6), Measured([{"side": 2}, {"side": 6}], np.arange(2)))
    task = owed(segments, tmp_path, 3, 5, known=known, known_rows=np.array([2, 6]))
    whole = merged(task, tabulated(task, Measured([{"side": 3}, {"side": 5}], np.arange(2))))
    assert whole["side"].to_pylist() == [2, 3, 5, 6]
    assert whole["position"].to_pylist() == [1, 2, 0, 1]
    assert list(parts_of(task.scorer, "00000000", whole)) == [f"{task.scorer.folder}/00000000.parquet"]


def test_a_view_of_images_wants_the_good_ones_once(segments, tmp_path):
    view = view_of(owed(segments, tmp_path, 2, 3, 5, 6), sides)
    assert view.viewer.wanted == {sha256 for sha256 in segments.frame["sha256"] if sha256}
    for sha256 in sorted(view.viewer.wanted):
        view.viewer.see(sha256, segments.raw.stored[sha256].image)
    measured = view.measured()
    assert len(measured.results) == 2
    assert measured.index.tolist() == [0, -1, 1, 0]
