import math
import uuid

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from shards import done

from curate.ledger.job import Job, Target
from curate.ledger.making import Making
from curate.recipe.recipe import Resource
from curate.recipe.rules import Rule
from curate.select import top
from curate.select.binding import Decision
from curate.select.decide import BoundRule
from curate.store import schema
from curate.store.chunks import chunks
from curate.store.files import Files
from curate.store.store import Store

FLOATS = st.floats(width=32, allow_nan=False) | st.sampled_from([0.0, -0.0, 0.25, -1.5, math.inf, -math.inf])
GAPS = ["00000000", "00000001", "00000063", "00000064", "00000200"]


def thresholds(columns, *rules, kind=float):
    """What each (column, fraction) comes to; ``columns``: name -> shard -> values."""
    store = Store(f"memory://{uuid.uuid4().hex}")
    names = sorted({name for shards in columns.values() for name in shards})
    for column, shards in columns.items():
        for shard in names:
            values = enumerate(shards.get(shard, ()))
            rows = [{"document": shard, "position": at, "value": value} for at, value in values]
            write(store, f"scores/{column}/{shard}.parquet", schema.table(rows, schema.score_schema({"value": kind})))
    bound = tuple(
        BoundRule(Rule(image=f"{column}.value", min=0, top=fraction), f"scores/{column}", kind)
        for column, fraction in rules
    )
    decision = Decision("verdicts/x", bound)
    done(store, top.phases(store, decision, chunks(names), Resource()))
    found = [each.threshold for each in top.with_thresholds(Files(store), decision)]
    assert store.get_json("verdicts/x/rules.json") == {"keep": [str(each.rule) for each in bound], "top": found}
    return found


def write(store, name, rows):
    """Writes a table that is made from nothing."""
    with Making(store, Job("", (Target(name),))) as making:
        making.write(name, rows)
        making.commit()


def threshold(shards, fraction, kind=float):
    values = {f"{at:08d}": values for at, values in enumerate(shards)}
    return thresholds({"a": values}, ("a", fraction), kind=kind)[0]


def by_sorting(values, fraction):
    """DataComp's rule, by hand."""
    measured = np.array([value for value in values if value is not None and not math.isnan(value)], np.float32)
    return float(-np.sort(-measured)[min(int(len(measured) * fraction), len(measured) - 1)])


@settings(max_examples=60, deadline=None)
@given(st.lists(st.lists(FLOATS, max_size=20), min_size=1, max_size=4), st.floats(0.001, 1))
def test_top_is_datacomps_rule(shards, fraction):
    values = [value for shard in shards for value in shard]
    if values:
        assert threshold(shards, fraction) == by_sorting(values, fraction)


VALUES = st.sampled_from([None, math.nan, 0.1, 0.1, -0.1, 0.25, 1e-40, 3e38, math.inf, -math.inf]) | FLOATS


@settings(max_examples=20, deadline=None)
@given(st.lists(st.lists(VALUES, max_size=8), min_size=10, max_size=10), st.lists(st.floats(0.001, 1), min_size=3))
def test_several_rules_are_counted_at_once_whatever_chunk_a_shard_lies_in(parts, fractions):
    columns = {name: dict(zip(GAPS, parts[at : at + 5], strict=True)) for name, at in (("a", 0), ("b", 5))}
    rules = [("ab"[at % 2], fraction) for at, fraction in enumerate(fractions)]
    found = thresholds(columns, *rules, ("a", None))
    assert found.pop() is None
    for (column, fraction), value in zip(rules, found, strict=True):
        values = [value for shard in columns[column].values() for value in shard]
        measured = [each for each in values if each is not None and not math.isnan(each)]
        assert value == (by_sorting(values, fraction) if measured else -math.inf)


def test_a_hundred_shards_of_many_equal_values():
    rng = np.random.default_rng(0)
    shards = [[round(float(value), 1) for value in rng.normal(size=30)] for _ in range(100)]
    for fraction in (0.01, 0.3, 1.0):
        assert threshold(shards, fraction) == by_sorting([value for shard in shards for value in shard], fraction)


def test_top_by_hand():
    assert threshold([[0.1, 0.5, 0.3], [0.2, 0.4, None, math.nan]], 0.4) == pytest.approx(0.3)
    assert threshold([[7, 9], [8]], 0.5, int) == 8


def test_top_of_nothing_keeps_nothing_out():
    assert threshold([[None], []], 0.5) == -math.inf


def test_top_keeps_values_of_at_least_its_threshold_and_any_other_limit():
    each = BoundRule(Rule(image="a.b", top=0.5, min=0.4), "x", float, 0.3)
    assert each.condition.comparisons() == {"min": 0.4}
    assert BoundRule(each.rule, "x", float, 0.5).condition.comparisons() == {"min": 0.5}
