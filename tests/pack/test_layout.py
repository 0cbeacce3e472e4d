"""Which document goes into which output shard."""

from __future__ import annotations

import time
import uuid
from itertools import groupby

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from shards import done, put, read, recipe_of

from curate.pack.layout import END, LAYOUT, RECKONED, cut, layout_file, phases, runs_of_tars, sizes_of
from curate.pack.output_folder import Output
from curate.recipe.output import Pack
from curate.recipe.recipe import Resource
from curate.store.store import Store

SCHEMA = {"shard": pl.String, "needed": pl.Int64, "samples": pl.Int64}


def one_by_one(documents, shard_bytes, shard_count):
    """What ``cut`` does, a document at a time: (tar, shard, first, count) of (shard, needed, samples)."""
    tar, size, count, runs = 0, END, 0, []
    for shard, several in groupby(documents, lambda each: each[0]):
        start = at = 0
        for at, (_, needed, samples) in enumerate(several):
            if count and (size + needed > shard_bytes or count + samples > shard_count):
                runs += [(tar, shard, start, at - start)] if at > start else []
                tar, size, count, start = tar + 1, END, 0, at
            size, count = size + needed, count + samples
        runs.append((tar, shard, start, at + 1 - start))
    return runs


def runs(frames, shard_bytes, shard_count):
    pack = Pack(shard_bytes=shard_bytes, shard_count=shard_count)
    return [row for frame in cut(frames, pack) for row in frame.iter_rows()]


document = st.tuples(st.integers(0, 9) | st.integers(0, 40_000), st.sampled_from([0, 0, 1, 1, 1, 2, 5]))
shard = st.lists(document, max_size=12)


@given(
    st.lists(st.lists(shard, max_size=4), max_size=4),
    st.sampled_from([1, END, END + 10, END + 30, 30_000, 10**30]),
    st.sampled_from([1, 2, 3, 7, 10**30]),
)
def test_documents_are_cut_as_if_one_by_one(chunks, shard_bytes, shard_count):
    frames, numbers = [], iter(range(100))
    for chunk in chunks:
        named = [(next(numbers), several) for several in chunk]
        rows = [(f"{number:08d}", *each) for number, several in named for each in several]
        frames.append(pl.DataFrame(rows, SCHEMA, orient="row"))
    documents = [row for frame in frames for row in frame.iter_rows()]
    assert runs(frames, shard_bytes, shard_count) == one_by_one(documents, shard_bytes, shard_count)


@pytest.mark.parametrize(
    ("documents", "found"),
    [
        ([("a", 9, 1), ("a", 30_000, 1), ("a", 9, 1)], [(0, "a", 0, 1), (1, "a", 1, 1), (2, "a", 2, 1)]),
        ([("a", 9, 9), ("b", 9, 1)], [(0, "a", 0, 1), (1, "b", 0, 1)]),
        ([("a", 20_000, 0), ("a", 9, 0), ("a", 9, 1), ("a", 9, 0)], [(0, "a", 0, 3), (1, "a", 3, 1)]),
        ([], []),
    ],
    ids=["too large for any", "too many samples for any", "nothing in it yet", "nothing"],
)
def test_cutting(documents, found):
    frame = pl.DataFrame(documents, SCHEMA, orient="row")
    assert runs([frame], 20_000, 3) == found == one_by_one(documents, 20_000, 3)


def test_ten_million_documents_take_seconds():
    rng = np.random.default_rng(0)
    shards = [f"{number // 1000:08d}" for number in range(100_000)]
    sizes = {"needed": rng.integers(1000, 400_000, 100_000), "samples": rng.integers(0, 4, 100_000)}
    frame = pl.DataFrame({"shard": shards, **sizes}, SCHEMA)
    began = time.process_time()
    tars = sum(found["tar"].n_unique() for found in cut((frame for _ in range(100)), Pack()))
    assert tars > 2000
    assert time.process_time() - began < 10


def verdicts(*kept):
    """The verdicts on a shard: (kind, state, bytes, added) of each row."""
    document, rows = 0, []
    for kind, state, size, added in kept:
        document += kind == "document"
        rows.append({"document": str(document), "kind": kind, "state": state, "bytes": size, "added": added})
    return pl.DataFrame(rows, schema_overrides={"added": pl.Int32})


RECKON = RECKONED["document"] + RECKONED["image"] + RECKONED["text"]
TWICE = 2 * (5 + RECKONED["image"])


@pytest.mark.parametrize(
    ("per_image", "first"),
    [(False, (7 + RECKON + 2 * RECKONED["text"], 1)), (True, (7 + RECKON + 2 * RECKONED["text"] + TWICE, 3))],
)
def test_what_a_document_takes(per_image, first):
    """An image with two made texts and the page's own is written three times, where each pair is a sample."""
    rows = verdicts(
        ("document", "kept", 7, 0), ("image", "kept", 5, 3), ("text", "kept", 2, 0), ("text", "dropped", 0, 0),
        ("document", "dropped", 0, 0), ("image", "dropped", 0, 0),
        ("document", "kept", 2, 0), ("text", "kept", 2, 0),
    )  # fmt: skip
    last = (2 + RECKONED["document"] + RECKONED["text"], 0 if per_image else 1)
    assert list(sizes_of(rows, per_image).iter_rows()) == [first, last]


def test_a_layout_is_of_runs_of_kept_documents():
    store = Store(f"memory://{uuid.uuid4().hex}")
    shards = {"00000000": ["kept", "dropped", "kept"], "00000064": ["kept"], "00000065": ["dropped"]}
    for shard, states in shards.items():
        put(store, f"v/{shard}.parquet", verdicts(*(("document", state, 1, 0) for state in states)))

    def layout(folder, **pack):
        output = Output(folder, recipe_of(pack=pack), "v", {}, {})
        done(store, phases(store, output, [*shards], Resource()))
        return list(read(store, layout_file(folder)).iter_rows()), runs_of_tars(store, folder)

    assert layout("one", shard_count=1) == (
        [(0, "00000000", 0, 1), (1, "00000000", 1, 1), (2, "00000064", 0, 1)],
        [[("00000000", 0, 1)], [("00000000", 1, 1)], [("00000064", 0, 1)]],
    )
    assert layout("all") == (
        [(0, "00000000", 0, 2), (0, "00000064", 0, 1)],
        [[("00000000", 0, 2), ("00000064", 0, 1)]],
    )


def test_no_shard_is_an_empty_layout():
    store = Store(f"memory://{uuid.uuid4().hex}")
    output = Output("x", recipe_of(), "v", {}, {})
    assert done(store, phases(store, output, [], Resource())) == {"pack layout": 1}
    assert read(store, layout_file("x")).to_arrow().cast(LAYOUT).num_rows == 0
    assert runs_of_tars(store, "x") == []


def test_a_layout_is_made_again_for_other_verdicts_only_and_the_index_goes_first():
    store = Store(f"memory://{uuid.uuid4().hex}")
    shards, output = ["00000000", "00000064"], Output("x", recipe_of(), "v", {}, {})

    def layout(*states):
        put(store, "v/00000064.parquet", verdicts(*(("document", state, 1, 0) for state in states)))
        return done(store, phases(store, output, shards, Resource()))

    put(store, "v/00000000.parquet", verdicts(("document", "kept", 1, 0)))
    assert layout("kept") == {"pack sizes": 2, "pack layout": 1}
    store.put_json("x/index.json", {})
    assert layout("kept") == {}
    assert store.exists("x/index.json")
    assert layout("kept", "kept") == {"pack sizes": 1, "pack layout": 1}
    assert not store.exists("x/index.json")
    for name in store.listing("x/meta/layout"):
        store.remove(f"x/meta/layout/{name}")
    assert layout("kept", "kept") == {}
    assert read(store, layout_file("x"))["count"].to_list() == [1, 2]
