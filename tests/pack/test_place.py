from itertools import permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from curate.pack.place import Spot, arrange, assign, match
from curate.recipe.output import Place

README = [[0.24363446, 0.31758785, 0.27694184], [0.22331068, 0.32349196, 0.26118797]]
SIMS = Place(by="clip.sims")
SHAPES = st.tuples(st.integers(1, 6), st.integers(1, 6))


def total(sims, places):
    pairs = places.items() if isinstance(places, dict) else enumerate(places)
    return sum(sims[image][text] for image, text in pairs)


def test_the_matrix_of_mmc4s_readme():
    assert assign(README) == [2, 1]
    assert total(README, [2, 1]) == pytest.approx(0.60043, abs=1e-5)


def test_mmc4s_own_unit_test():
    assert assign([[1, 1], [1.5, 1], [3, 2.6]]) == [0, 0, 1]


def test_the_matching_leaves_images_over():
    assert match([[1, 1], [1.5, 1], [3, 2.6]]) == {1: 0, 2: 1}


def test_a_text_takes_as_many_as_it_may():
    sims = [[0.9, 0.1], [0.8, 0.1], [0.7, 0.1]]
    assert list(match(sims).values()).count(0) == 1
    assert match(sims, per_text=2) == {0: 0, 1: 0, 2: 1}
    assert assign(sims, per_text=3) == [0, 0, 0]


@pytest.mark.parametrize("shape", [(0, 3), (0, 0)])
def test_nothing_to_assign(shape):
    assert assign(np.empty(shape)) == []


def best(sims):
    """The largest total of any assignment of one image to one text."""
    images, texts = sims.shape
    wide = sims if images <= texts else sims.T
    return max(
        sum(wide[at, text] for at, text in enumerate(order))
        for order in permutations(range(max(images, texts)), min(images, texts))
    )


@settings(max_examples=100, deadline=None)
@given(SHAPES.flatmap(lambda shape: arrays(np.float32, shape, elements=st.floats(-1, 1, width=32))))
def test_no_other_assignment_is_better(sims):
    places = match(sims)
    used = list(places.values())
    assert len(used) == len(set(used)) == min(sims.shape)
    assert total(sims, places) >= best(sims) - 1e-4
    everywhere = assign(sims)
    assert all(
        text == places.get(at, int(row.argmax())) for at, (text, row) in enumerate(zip(everywhere, sims, strict=True))
    )


@settings(max_examples=50, deadline=None)
@given(SHAPES.flatmap(lambda shape: arrays(np.float32, shape, elements=st.floats(-1, 1, width=32))), st.integers(1, 3))
def test_no_text_takes_more_than_it_may(sims, per_text):
    places = list(match(sims, per_text).values())
    assert max(places.count(text) for text in range(sims.shape[1])) <= per_text
    assert len(places) == min(len(sims), per_text * sims.shape[1])


# --- arrange


def order(place, images, texts, all_texts=None, **scores):
    """Positions in output order; ``i3={...}`` are the scores of the image at 3."""
    scores = {int(name[1:]): value for name, value in scores.items()}
    return [spot.position for spot in arrange(place, images, texts, all_texts or texts, scores)]


def test_dom_is_the_order_of_the_page():
    assert order(Place(), [3, 0], [2, 5], i0={"sims": [0, 1]}) == [0, 2, 3, 5]


def test_images_stand_before_their_texts():
    spots = arrange(SIMS, [0, 1], [2, 3], [2, 3], {0: {"sims": [0.1, 0.9]}, 1: {"sims": [0.8, 0.2]}})
    assert [spot.position for spot in spots] == [1, 2, 0, 3]
    assert spots[0] == Spot(1, 2, pytest.approx(0.8))
    assert spots[1] == Spot(2)


def test_images_at_one_text_keep_the_order_of_the_page():
    assert order(SIMS, [0, 4], [2], i0={"sims": [0.1]}, i4={"sims": [0.9]}) == [0, 4, 2]
    assert order(SIMS, [0, 4], [2], i4={"sims": [0.9]}) == [0, 4, 2]


def test_similarities_are_counted_among_all_texts_of_the_page():
    scores = {"i0": {"sims": [0.9, 0.3, 0.1]}, "i4": {"sims": [0.9, 0.1, 0.3]}}
    assert order(SIMS, [0, 4], [2, 3], [1, 2, 3], **scores) == [0, 2, 4, 3]


def test_the_dropped_images_text_is_free_for_another():
    scores = {"i0": {"sims": [0.9, 0.1]}, "i1": {"sims": [0.8, 0.7]}}
    assert order(SIMS, [0, 1], [2, 3], **scores) == [0, 2, 1, 3]
    assert order(SIMS, [1], [2, 3], **scores) == [1, 2, 3]


@pytest.mark.parametrize("nothing", [{}, {"sims": None}, {"sims": [float("nan"), 0.5]}])
def test_an_image_without_similarities_stays_where_it_stood(nothing):
    assert order(SIMS, [0, 2, 4], [1, 3], i0={"sims": [0.1, 0.9]}, i2=nothing, i4={"sims": [0.8, 0.2]}) == [
        4,
        1,
        0,
        2,
        3,
    ]
    assert order(SIMS, [0, 4], [1, 3], i0={"sims": [0.1, 0.9]}, i4=nothing) == [1, 0, 3, 4]


def test_leftover_images_go_to_their_best_text():
    scores = {"i0": {"sims": [0.5]}, "i1": {"sims": [0.6]}}
    assert order(SIMS, [0, 1], [2], **scores) == [0, 1, 2]


def test_no_texts_are_no_reason_to_lose_images():
    assert order(SIMS, [0, 1], [], [2], i0={"sims": [0.5]}) == [0, 1]


def test_the_corpus_own_match():
    scores = {"i0": {"matched": 1, "matched_sim": 0.3}, "i1": {"matched": 0, "matched_sim": 0.2}}
    spots = arrange(Place(by="matched"), [0, 1], [2, 3], [2, 3], {int(key[1:]): value for key, value in scores.items()})
    assert [(spot.position, spot.text, spot.similarity) for spot in spots] == [
        (1, 2, 0.2),
        (2, None, None),
        (0, 3, 0.3),
        (3, None, None),
    ]


@pytest.mark.parametrize("match", [{}, {"matched": None}, {"matched": 7}, {"matched": 0}])
def test_a_match_whose_text_is_gone_leaves_the_image_where_it_stood(match):
    assert order(Place(by="matched"), [2], [1, 3], [0, 1, 3], i2=match) == [1, 2, 3]
