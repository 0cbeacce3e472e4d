import os
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curate.group import semantic
from curate.group.clusters import assign, fit
from curate.group.semantic import duplicates, near, order

DEGREES = np.radians([0, 10, 20, 90])
CIRCLE = np.stack([np.cos(DEGREES), np.sin(DEGREES)], axis=1).astype(np.float32)
TO_CENTROID = np.cos(DEGREES).astype(np.float32)
EPS = st.sampled_from([0.003, 0.05, 0.3, 0.77])


def kept(vectors, by, eps):
    return set(np.flatnonzero(np.isnan(duplicates(np.asarray(vectors), by, eps)[0])).tolist())


def drawn(count, width=64, seed=0, noise=0.03, type_=np.float16):
    """Vectors around one direction; half of them near-duplicates of others."""
    rng = np.random.default_rng(seed)
    vectors = rng.standard_normal((count, width)) + 1.2
    copies, sources = rng.integers(0, count, (2, count // 2))
    vectors[copies] = vectors[sources] + noise * rng.standard_normal((len(copies), width))
    return vectors.astype(type_)


def cosines(left, right):
    left, right = (side.astype(np.float64) for side in (left, right))
    lengths = np.linalg.norm(left, axis=1)[:, None] * np.linalg.norm(right, axis=1)
    return np.divide(left @ right.T, lengths, where=lengths > 0, out=np.zeros_like(lengths))


def brute(vectors, by, limit, most):
    """By item: the cosine and the witnesses of SemDeDup as in the paper."""
    sims = cosines(vectors[by], vectors[by])
    result = {}
    for later, item in enumerate(by):
        before = sims[later, :later]
        ranks = np.lexsort((np.arange(later), -before))[:most]
        result[item] = [(by[at], before[at]) for at in ranks if before[at] > limit]
    return result


def agrees(vectors, by, eps, most):
    nearest, links = duplicates(vectors, by, eps, most)
    for item, expected in brute(vectors, by, 1 - eps, most).items():
        span = slice(links.start[item], links.start[item + 1])
        assert len(links.item[span]) == len(expected)
        assert links.similarity[span] == pytest.approx([sim for _, sim in expected], abs=2e-7)
        own = cosines(vectors[[item]], vectors[links.item[span]])[0]
        assert links.similarity[span] == pytest.approx(own, abs=2e-7)
        assert np.isnan(nearest[item]) if not expected else nearest[item] == links.similarity[span][0]
    return links


# --- what the paper says


@pytest.mark.parametrize(
    ("keep", "eps", "expected"),
    [
        ("hard", 0.0151, {0, 1, 2, 3}),
        ("easy", 0.0151, {0, 1, 2, 3}),
        ("hard", 0.0153, {2, 3}),
        ("easy", 0.0153, {0, 3}),
    ],
)
def test_four_directions(keep, eps, expected):
    assert kept(CIRCLE, order(TO_CENTROID, list("abcd"), keep), eps) == expected


@pytest.mark.parametrize("pair", [[[1, 0], [0.5, 0.75**0.5]], [[1, 1, 0, 0], [1, 0, 1, 0]]])
def test_exactly_one_minus_eps_is_kept(pair):
    vectors = np.array(pair, np.float32)
    assert kept(vectors, [0, 1], 0.5) == {0, 1}
    assert kept(vectors, [0, 1], 0.5000001) == {0}


def test_one_alone_is_kept():
    assert kept(CIRCLE[:1], [0], 0.9) == {0}
    assert kept(CIRCLE[:0], [], 0.9) == set()


@pytest.mark.parametrize("eps", [1e-6, 1e-7])
@pytest.mark.parametrize("count", [3, 700])
def test_of_equals_the_first_is_kept(eps, count):
    vectors = np.tile(drawn(1, 512, type_=np.float32), (count, 1))
    assert kept(vectors, np.arange(count)[::-1], eps) == {count - 1}


def test_what_is_dropped_still_drops():
    assert kept(CIRCLE[:3], [0, 1, 2], 0.0153) == {0}


def test_clusters_are_never_compared():
    vectors, clusters = np.repeat(CIRCLE[:1], 4, axis=0), np.array([0, 0, 1, 1])
    left = [
        members[sorted(kept(vectors[members], [0, 1], 0.1))]
        for members in (np.flatnonzero(clusters == n) for n in (0, 1))
    ]
    assert np.concatenate(left).tolist() == [0, 2]


@pytest.mark.parametrize("bad", [0, np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("type_", [np.float16, np.float32])
def test_what_has_no_direction_is_near_nothing(bad, type_):
    vectors = drawn(4, type_=type_)
    vectors[1:3] = vectors[0]
    vectors[:2] = 0
    vectors[0, 5] = vectors[1, 5] = bad
    vectors[3] = vectors[2] * type_(2)
    assert kept(vectors, range(4), 0.1) == {0, 1, 2}
    assert assign(vectors, drawn(3, type_=np.float32))[1][:2].tolist() == [0, 0]


@pytest.mark.parametrize("keep", ["hard", "easy", "random"])
def test_the_order_of_the_input_does_not_matter(keep):
    vectors, ids = drawn(900, noise=0.2), np.array([f"{n:04d}" for n in range(900)])
    similarity = assign(vectors, vectors[:1].astype(np.float32))[1].round(2)  # with ties
    shuffled = np.random.default_rng(1).permutation(900)
    nearest, links = duplicates(vectors, order(similarity, ids, keep), 0.05)
    other, others = duplicates(vectors[shuffled], order(similarity[shuffled], ids[shuffled], keep), 0.05)
    assert np.array_equal(other, nearest[shuffled], equal_nan=True)
    assert 0 < np.isnan(nearest).sum() < 900
    for new, old in enumerate(shuffled):
        witnesses = ids[shuffled[others.item[others.start[new] : others.start[new + 1]]]]
        assert witnesses.tolist() == ids[links.item[links.start[old] : links.start[old + 1]]].tolist()


# --- against brute force


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 80), st.integers(1, 40), st.integers(0, 1000), EPS, st.integers(1, 5))
def test_as_brute_force(count, width, seed, eps, most):
    agrees(drawn(count, width, seed), np.random.default_rng(seed).permutation(count), eps, most)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 1000), EPS, st.sampled_from([np.float16, np.float32]))
def test_as_brute_force_in_small_blocks(seed, eps, type_):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(semantic, "ROWS", 16)
        patch.setattr(semantic, "COLUMNS", 32)
        patch.setattr(semantic, "TILE", 8)
        patch.setattr(semantic, "CHUNK", 5)
        vectors = drawn(150, 48, seed, 0.2, type_)
        agrees(vectors, np.random.default_rng(seed).permutation(150), eps, 2)
        assert pairs(vectors, 1 - eps) == all_pairs(vectors, 1 - eps)


@pytest.mark.parametrize(("width", "noise"), [(512, 0.15), (512, 0.01), (24, 0.2)])
def test_as_brute_force_with_sketches(width, noise):
    vectors = drawn(1300, width, 3, noise)
    assert (semantic._sketch(semantic.unit_vectors(vectors), np.float32(0.95)) is not None) == (width == 512)
    links = agrees(vectors, np.random.default_rng(0).permutation(1300), 0.05, 16)
    assert len(links.item) > 100


def test_a_sketch_is_never_below_the_cosine():
    vectors = drawn(300, 512, 3)
    sketch = semantic._sketch(semantic.unit_vectors(vectors), np.float32(0.95))
    assert (sketch @ sketch.T + semantic.margin(512) > cosines(vectors, vectors)).all()


def test_equals_are_witnesses_in_order():
    vectors, by = np.repeat(drawn(1), 40, axis=0), np.random.default_rng(0).permutation(40)
    _, links = duplicates(vectors, by, 0.05, 3)
    assert links.item[links.start[by[20]] : links.start[by[20] + 1]].tolist() == by[:3].tolist()


def test_a_large_cluster_of_near_equals_is_done_early():
    rng = np.random.default_rng(0)
    vectors = (1 + 1e-4 * rng.standard_normal((3000, 64))).astype(np.float32)
    nearest, links = duplicates(vectors, np.arange(3000), 0.05)
    assert np.flatnonzero(np.isnan(nearest)).tolist() == [0]
    assert (np.diff(links.start)[16:] == 16).all()
    assert links.item.max() < 3 * semantic.TILE
    assert (nearest[1:] >= semantic.CLOSED).all()


def test_near_but_not_equal_is_compared_to_the_end():
    vectors = (1 + 0.05 * np.random.default_rng(0).standard_normal((1500, 32))).astype(np.float16)
    agrees(vectors, np.arange(1500), 0.05, 4)


def pairs(vectors, cosine):
    found = [pair for i, j, _ in near(vectors, cosine) for pair in zip(i.tolist(), j.tolist(), strict=True)]
    assert len(set(found)) == len(found)
    return set(found)


def all_pairs(vectors, cosine):
    sims = np.triu(cosines(vectors, vectors) + 3, 1) - 3
    return set(zip(*(each.tolist() for each in np.nonzero(sims >= cosine)), strict=True))


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 80), st.integers(1, 40), st.integers(0, 1000), st.sampled_from([0.1, 0.7, 0.95, 0.999]))
def test_near_as_brute_force(count, width, seed, cosine):
    vectors = drawn(count, width, seed)
    assert pairs(vectors, cosine) == all_pairs(vectors, cosine)


def test_near_on_blocks_and_its_cosines():
    vectors = drawn(1300, 512, 5)
    assert pairs(vectors, 0.95) == all_pairs(vectors, 0.95)
    i, j, similarity = (np.concatenate(each) for each in zip(*near(vectors, 0.95), strict=True))
    assert similarity == pytest.approx(cosines(vectors, vectors)[i, j], abs=2e-7)


def test_near_takes_the_threshold_itself():
    assert pairs(np.array([[1, 1, 0, 0], [1, 0, 1, 0]], np.float16), 0.5) == {(0, 1)}


# --- centroids


def test_assign_as_brute_force():
    vectors, centroids = drawn(3000), drawn(50, seed=1, type_=np.float32)
    cluster, similarity = assign(vectors, centroids)
    sims = cosines(vectors, centroids)
    assert cluster.dtype == np.int32
    assert np.array_equal(cluster, sims.argmax(axis=1))
    assert similarity == pytest.approx(sims.max(axis=1), abs=2e-7)


def test_assign_does_not_depend_on_the_neighbours():
    vectors, centroids = drawn(300, 512), drawn(37, 512, 1, type_=np.float32)
    together = assign(vectors, centroids)
    alone = [assign(vectors[n : n + 1], centroids) for n in range(300)]
    assert [int(cluster[0]) for cluster, _ in alone] == together[0].tolist()
    assert np.array([each[0] for _, each in alone]).tobytes() == together[1].tobytes()


def test_assign_takes_the_first_of_equal_centroids():
    centroids = drawn(5, type_=np.float32)[[4, 0, 0, 1, 0]]
    assert assign(drawn(1), centroids)[0].tolist() == [1]


def test_assign_of_nothing():
    assert [len(each) for each in assign(drawn(0), CIRCLE.repeat(32, axis=1))] == [0, 0]


def test_fit_finds_the_clusters():
    rng = np.random.default_rng(0)
    centres = rng.standard_normal((5, 32))
    vectors = (centres.repeat(40, axis=0) + 0.1 * rng.standard_normal((200, 32))).astype(np.float32)
    centroids = fit(vectors, 20, 20, 1)
    assert centroids.shape == (20, 32)
    assert np.linalg.norm(centroids, axis=1) == pytest.approx(1, abs=1e-6)
    assert assign(centres.astype(np.float32), centroids)[1].min() > 0.99


@pytest.mark.parametrize(("count", "clusters"), [(1, 1), (1, 5), (6, 6), (6, 100)])
def test_no_more_centroids_than_vectors(count, clusters):
    vectors = drawn(count, noise=1, type_=np.float32)
    centroids = fit(vectors.repeat(3, axis=0), clusters, 5, 0)
    distinct = np.unique(vectors, axis=0)
    assert len(centroids) == len(distinct)
    assert assign(vectors, centroids)[1] == pytest.approx(1)


def test_clusters_that_become_empty():
    vectors = np.concatenate([np.ones((500, 8)), np.eye(8)]).astype(np.float32)
    centroids = fit(vectors, 8, 10, 0)
    assert 1 <= len(centroids) <= 8
    assert np.linalg.norm(centroids, axis=1) == pytest.approx(1, abs=1e-6)


def test_fit_says_nothing(capfd):
    fit(drawn(100, type_=np.float32), 60, 3, 0)
    assert capfd.readouterr() == ("", "")


BITS = """
import hashlib
import numpy as np
from curate.group.clusters import assign, fit
from curate.group.semantic import duplicates, order
vectors = np.random.default_rng(0).standard_normal((3000, 96)).astype(np.float16) + np.float16(1.5)
vectors[::3] = vectors[1::3] + vectors[::3] / 9
centroids = fit(vectors.astype(np.float32), 40, 8, 7)
cluster, similarity = assign(vectors, centroids)
nearest, links = duplicates(vectors, order(similarity, np.arange(3000), 'hard'), 0.05)
digest = hashlib.sha256()
for each in (centroids, cluster, similarity, nearest, links.item, links.similarity):
    digest.update(each.tobytes())
print(digest.hexdigest())
"""


def test_the_same_bits_with_one_thread_and_with_two():
    found = set()
    for threads in ("1", "2", "2"):
        environment = os.environ | {"OMP_NUM_THREADS": threads, "OPENBLAS_NUM_THREADS": threads}
        found.add(subprocess.check_output([sys.executable, "-c", BITS], env=environment))
    assert len(found) == 1


def test_orders():
    similarity = np.array([0.5, 0.9, 0.5, 0.1], np.float32)
    assert order(similarity, ["d", "c", "b", "a"], "hard").tolist() == [3, 2, 0, 1]
    assert order(similarity, ["d", "c", "b", "a"], "easy").tolist() == [1, 2, 0, 3]
    ids = np.arange(100)
    mixed = order(np.zeros(100, np.float32), ids, "random", 1)
    assert sorted(mixed) == ids.tolist() != mixed.tolist()
    assert order(np.zeros(100, np.float32), ids, "random", 2).tolist() != mixed.tolist()
    assert ids[::-1][order(np.zeros(100, np.float32), ids[::-1], "random", 1)].tolist() == ids[mixed].tolist()
