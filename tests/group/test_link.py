from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curate.group.hamming import Band, deal, hamming_links, hamming_pieces, plan_hamming, split
from curate.group.jaccard import crowd, jaccard_links, plan_jaccard
from curate.group.union_find import candidates, components, components_in_pieces, left_of, spanning_forest

SEEDS = st.integers(0, 2**32 - 1)


# --- Hamming


def planted(rng, n, bits, within):
    """Distinct fingerprints, most of them another one with within - 1, within or within + 1 bits turned."""
    values = rng.integers(0, 2**64, (n, bits // 64), dtype=np.uint64)
    for at in range(1, n):
        if rng.random() < 0.7:
            values[at] = values[rng.integers(at)]
            turned = rng.choice(bits, min(bits, max(0, within + int(rng.integers(-1, 2)))), replace=False)
            for bit in turned.tolist():
                values[at, bit // 64] ^= np.uint64(1 << bit % 64)
    return np.unique(values, axis=0)


def brute(values, within):
    """{(i, j): distance}, by Python's own integers."""
    whole = [sum(int(word) << 64 * at for at, word in enumerate(row)) for row in values]
    apart = {(i, j): (whole[i] ^ whole[j]).bit_count() for i, j in combinations(range(len(whole)), 2)}
    return {pair: distance for pair, distance in apart.items() if distance <= within}


def tuples(columns):
    return list(zip(*(column.tolist() for column in columns), strict=True))


def joined(pieces):
    return [np.concatenate(column) for column in zip(*pieces, strict=True)]


def found(values, within, jobs):
    """{(i, j): distance} of all jobs; no pair comes twice."""
    links = [link for job in jobs for link in tuples(hamming_links(values, within, job))]
    pairs = {(i, j): distance for i, j, distance in links}
    assert len(pairs) == len(links)
    return pairs


@settings(max_examples=60, deadline=None)
@given(SEEDS, st.integers(0, 120), st.sampled_from([*((64, within) for within in range(13)), (256, 31), (128, 9)]))
def test_every_pair_is_found_once(seed, n, kind):
    bits, within = kind
    values = planted(np.random.default_rng(seed), n, bits, within)
    assert found(values, within, plan_hamming(len(values), bits, within)) == brute(values, within)


def shapes():
    """Every number of bands whose masks are few enough for a test."""
    for bits, limits in ((64, range(13)), (256, [31])):
        for within in limits:
            for m in range(1, within + 2):
                if (within - m + 1) // m < 2:
                    yield bits, within, m, (m * 5 + within) % 6


@pytest.mark.parametrize(("bits", "within", "m", "extra"), shapes())
def test_every_split_is_complete(bits, within, m, extra):
    shape = split(bits, within, m, extra)
    assert sum(width for width, _ in shape) == bits
    assert sum(flips + 1 for _, flips in shape) == within + 1
    values = planted(np.random.default_rng(within * 100 + m), 60, bits, within)
    expected = brute(values, within)
    assert {within - 1, within} & set(expected.values()) or within == 0
    assert found(values, within, deal(len(values), shape)) == expected


def test_one_band_of_many_flips():
    values = planted(np.random.default_rng(3), 40, 64, 3)
    assert found(values, 3, deal(40, split(64, 3, 1))) == brute(values, 3)
    assert deal(40, split(64, 3, 1))[0].flips == 3


def test_errors_that_pile_up_in_all_bands_but_one():
    """Zero and all numbers of two bits: each way of spreading two differences over the bands."""
    values = np.array([[0], *([1 << low | 1 << high] for low, high in combinations(range(64), 2))], np.uint64)
    for within, m in ((1, 2), (2, 2), (2, 3), (3, 2), (3, 3)):
        assert found(values, within, deal(len(values), split(64, within, m))) == found(values, within, [Band()])


@pytest.mark.parametrize("parts", [1, 2, 7, 200])
@pytest.mark.parametrize("m", [None, 3])
def test_parts_divide_a_band(parts, m):
    values = planted(np.random.default_rng(0), 90, 64, 5)
    whole = [Band()] if m is None else deal(90, split(64, 5, m))
    jobs = [Band(job.bits, job.flips, part, parts, job.earlier) for job in whole for part in range(parts)]
    assert found(values, 5, jobs) == brute(values, 5)


def test_many_fingerprints_against_all_pairs():
    rng = np.random.default_rng(1)
    values = rng.integers(0, 2**64, (20_000, 1), dtype=np.uint64)
    values[10_000:] = values[:10_000] ^ (np.uint64(1) << rng.integers(0, 64, (10_000, 1), dtype=np.uint64))
    plan = plan_hamming(20_000, 64, 5)
    assert len(plan) > 1
    assert found(values, 5, plan) == found(values, 5, [Band()])


@pytest.mark.parametrize("words", [1, 4])
@pytest.mark.parametrize("n", [0, 1])
def test_nothing_to_link(n, words):
    values = np.zeros((n, words), np.uint64)
    assert plan_hamming(n, 64 * words, 5) == [Band()]
    for job in [Band(), *deal(n, split(64 * words, 5, 3))]:
        i, j, distance = hamming_links(values, 5, job)
        assert (len(i), i.dtype, j.dtype, distance.dtype) == (0, np.int64, np.int64, np.int16)


def test_all_bits_may_differ():
    values = np.array([[0] * 4, [2**64 - 1] * 4], np.uint64)
    assert found(values, 256, [Band()]) == {(0, 1): 256}
    assert found(values, 255, [Band()]) == {}


def test_links_are_the_same_whatever_was_done_before():
    values = planted(np.random.default_rng(5), 3000, 64, 5)
    job = deal(3000, split(64, 5, 3))[0]
    first, again = hamming_links(values, 5, job), hamming_links(np.asfortranarray(values.copy()), 5, job)
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    assert (np.lexsort((first[1], first[0])) == np.arange(len(first[0]))).all()


def test_a_crowded_band_stays_small():
    """20,000 share the bits of a band: 2e8 candidates, which must not be held at once."""
    import tracemalloc

    rng = np.random.default_rng(2)
    job = deal(20_000, split(64, 5, 3))[0]
    mask = np.uint64(sum(1 << bit for bit in job.bits))
    values = np.unique(rng.integers(0, 2**64, 20_000, dtype=np.uint64) & ~mask)[:, None]
    tracemalloc.start()
    pairs = found(values, 5, [job])
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert pairs == found(values, 5, [Band()])
    assert peak < 60e6


def test_a_cluster_whose_links_are_not_held_at_once():
    values = np.arange(2048, dtype=np.uint64)[:, None] * np.uint64(1 << 20)  # 11 bits
    pieces = list(hamming_pieces(values, 12, Band()))
    assert sum(len(piece[0]) for piece in pieces) == 2048 * 2047 // 2
    assert len(pieces) == 2
    i, j, distance = spanning_forest(2048, iter(pieces))
    assert len(i) == 2047
    assert not components(2048, i, j).any()
    assert (np.bitwise_count(values[i, 0] ^ values[j, 0]) == distance).all()


# --- Jaccard


def texts(rng, n, k, alphabet=1 << 32):
    """Signatures, most of them another one with some positions drawn anew."""
    rows = rng.integers(0, alphabet, (n, k), dtype=np.uint32)
    for at in range(1, n):
        if rng.random() < 0.7:
            rows[at] = np.where(rng.random(k) < rng.choice([0.02, 0.1, 0.3]), rows[at], rows[rng.integers(at)])
    return rows


def near(rows, threshold, plan):
    """{(i, j): share} of the pairs that agree in the rows of a band."""
    pairs = {}
    for i, j in combinations(range(len(rows)), 2):
        same = rows[i] == rows[j]
        share = int(same.sum()) / len(same)
        if share >= threshold and any(same[job.number * job.rows : (job.number + 1) * job.rows].all() for job in plan):
            pairs[i, j] = share
    return pairs


@settings(max_examples=60, deadline=None)
@given(SEEDS, st.integers(0, 60), st.sampled_from([1, 5, 16, 128]), st.sampled_from([0.0, 0.5, 0.7, 0.8, 1.0]))
def test_every_pair_that_shares_a_band(seed, n, k, threshold):
    rows = texts(np.random.default_rng(seed), n, k)
    plan = plan_jaccard(k, threshold)
    links = [link for job in plan for link in tuples(jaccard_links(rows, threshold, job))]
    expected = near(rows, threshold, plan)
    assert len(links) == len({link[:2] for link in links})
    assert {(i, j): share for i, j, share in links} == {pair: np.float32(share) for pair, share in expected.items()}


@pytest.mark.parametrize(
    ("k", "threshold", "bands", "rows"), [(128, 0.5, 32, 4), (128, 0.7, 20, 6), (112, 0.8, 12, 9), (256, 0.9, 13, 19)]
)
def test_bands_are_those_of_datasketch_with_weights_a_tenth_and_nine(k, threshold, bands, rows):
    plan = plan_jaccard(k, threshold)
    assert (len(plan), plan[0].rows) == (bands, rows)


def test_the_threshold_is_met():
    rows = np.zeros((3, 10), np.uint32)
    rows[1, 7:] = 1  # 0.7 of the first's positions
    rows[2, 6:] = 2
    plan = plan_jaccard(10, 0.7)
    pairs = {(i, j) for job in plan for i, j, _ in tuples(jaccard_links(rows, 0.7, job))}
    assert pairs == {(0, 1)}


def test_a_crowd_gives_a_forest_of_its_pairs():
    """2,000 texts share a band's rows: 20 groups, whose members agree in 90 of 100 positions or more."""
    rng = np.random.default_rng(0)
    rows = rng.integers(0, 1 << 32, (20, 100), dtype=np.uint32)[rng.integers(0, 20, 2000)]
    rows[np.arange(2000)[:, None], rng.integers(9, 100, (2000, 5))] = rng.integers(0, 1 << 32, (2000, 5))
    job = plan_jaccard(100, 0.8)[0]
    rows[:, : job.rows] = 7
    i, j, share = jaccard_links(rows, 0.8, job)
    assert len(i) == 2000 - 20
    assert (i < j).all()
    assert ((rows[i] == rows[j]).mean(axis=1).astype(np.float32) == share).all()
    assert share.min() >= 0.8
    same = np.array([(rows == row).mean(axis=1) >= 0.8 for row in rows])
    assert (components(2000, i, j) == components(2000, *np.nonzero(same))).all()


def test_a_chain_in_a_crowd_is_not_torn():
    rows = np.array([[0] * (100 - at) + [1] * at for at in range(101)], np.uint32)  # neighbours agree in 99
    a, b, _ = joined(crowd(rows, 0.99))
    assert not components(101, a, b).any()
    assert len(a) == 100


def test_a_cut_keeps_hold_of_what_was_reached():
    """The chain again: 37 links, then what is left and its last reached are three blocks of 30 at most."""
    rows = np.array([[0] * (100 - at) + [1] * at for at in range(101)], np.uint32)
    a, b, _ = joined(crowd(rows, 0.99, patience=30))
    assert len(np.unique(components(101, a, b))) == 3


def test_a_crowd_of_strangers_is_cut():
    """Each of 300 has a twin and agrees with no other. Twins sort alike, so blocks of 20 part few of them."""
    rng = np.random.default_rng(0)
    rows = np.repeat(rng.integers(0, 1 << 32, (300, 50), dtype=np.uint32), 2, axis=0)
    rows[1::2, 49] += 1
    rows = rows[rng.permutation(600)]
    a, b, _ = joined(crowd(rows, 0.9, patience=20))
    labels = components(600, a, b)
    assert 270 + 1 <= 600 - len(np.unique(labels)) <= 300
    assert ((rows[a] == rows[b]).mean(axis=1) >= 0.9).all()


# --- Candidates and components


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), max_size=12), st.integers(1, 7))
def test_candidates_in_pieces(ranges, most):
    first, counts = np.array(ranges, np.int64).reshape(-1, 2).T
    pairs = []
    for right, span, repeats in candidates(first, counts, most):
        assert 0 < len(right) <= most
        left = np.repeat(np.arange(len(counts))[span], repeats)
        assert (left_of(np.arange(len(right)), repeats) + span.start == left).all()
        pairs += zip(left.tolist(), right.tolist(), strict=True)
    assert pairs == [(at, lo + more) for at, (lo, count) in enumerate(ranges) for more in range(count)]


def test_the_lefts_of_few_hits():
    repeats = np.array([100, 0, 50, 200])
    assert left_of(np.array([0, 99, 100, 349]), repeats).tolist() == [0, 0, 2, 3]


def least(n, links):
    """Components the slow way: the least label flows along the links until nothing changes."""
    labels = list(range(n))
    for _ in range(n):
        for i, j in links:
            labels[i] = labels[j] = min(labels[i], labels[j])
    return labels


LINKS = st.integers(1, 15).flatmap(
    lambda n: st.tuples(st.just(n), st.lists(st.tuples(st.integers(0, n - 1), st.integers(0, n - 1)), max_size=25))
)


@settings(deadline=None)
@given(LINKS, st.randoms(use_true_random=False), st.integers(1, 8))
def test_components_have_their_least_item(graph, random, size):
    n, links = graph
    expected = least(n, links)
    shuffled = [random.choice([(i, j), (j, i)]) for i, j in random.sample(links, len(links))]
    i, j = np.array(shuffled, np.int64).reshape(-1, 2).T
    assert components(n, i, j).tolist() == expected
    pieces = [
        (i[at : at + size], j[at : at + size], np.arange(at, at + size)[: len(i) - at]) for at in range(0, len(i), size)
    ]
    assert components_in_pieces(n, pieces).tolist() == expected
    kept = spanning_forest(n, pieces)
    if kept:
        assert len(kept[0]) == n - len(set(expected))
        assert components(n, kept[0], kept[1]).tolist() == expected
        assert (i[kept[2]] == kept[0]).all()
    else:
        assert not links


def test_no_items():
    nothing = np.empty(0, np.int64)
    assert components(0, nothing, nothing).tolist() == components_in_pieces(0, []).tolist() == []
    pieces = [(nothing, nothing)]
    assert components(3, nothing, nothing).tolist() == components_in_pieces(3, pieces).tolist() == [0, 1, 2]
    assert spanning_forest(3, []) is None
