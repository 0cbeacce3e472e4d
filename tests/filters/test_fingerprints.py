"""Fingerprints: what deduplication compares. Each hash beside the library that defines it."""

import imagehash
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image as Pil
from shards import measure, page, picture, raw_shard, scored, scorers_of

from curate import Image, Text, scores
from curate.demo import world
from curate.document import DOCUMENT
from curate.filters.keys import keys, normal_url
from curate.filters.minhash import minhash
from curate.filters.minhash_text import minhash_text
from curate.filters.pdq import pdq
from curate.filters.phash import phash, thumbnail
from curate.image.codec import decode, encode, luminance, to_pil
from curate.store.store import Store


@scores("pair", it=str)
def seen(pairs):
    return [{"it": text.text} for _, text in pairs]


def grey(values):
    return np.repeat(np.asarray(values, np.uint8)[..., None], 3, axis=2)


def noise(height, width, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def smooth(height, width, seed=0):
    """Blurred colours with the spectrum of a photograph, nearly."""
    small = to_pil(noise(max(2, height // 40), max(2, width // 40), seed)).resize(
        (width, height), Pil.Resampling.BICUBIC
    )
    return (np.asarray(small) * 0.9 + noise(height, width, seed) * 0.1).astype(np.uint8)


def drawn(seed, side=200):
    return world.draw(world.random_scene(np.random.default_rng(seed), side))


SIZES = [1, 2, 5, 8, 16, 31, 32, 33, 47, 63, 64, 65, 96, 100, 127, 200, 256, 333, 512]
FLAT = [grey(np.full((100, 80), level)) for level in (0, 1, 77, 128, 254, 255)]
GRADIENTS = [
    grey(
        np.add.outer(down * np.arange(height), across * np.arange(width)) * 255 / (abs(down) * height + across * width)
    )
    for height, width, down, across in [(256, 256, 0, 1), (256, 256, 1, 0), (300, 200, 1, 1), (64, 512, 1, 3)]
]
CONTENT = [smooth(300, 400, 1), smooth(512, 256, 2), *(drawn(seed) for seed in range(20))]


def hashes(pictures):
    return [row["phash"] for row in phash([Image("u", pixels=each) for each in pictures])]


# --- phash


def is_imagehash(pictures):
    return hashes(pictures) == [str(imagehash.phash(to_pil(each))) for each in pictures]


@pytest.mark.parametrize("seed", range(4))
def test_phash_is_imagehashs_to_the_last_bit(seed):
    rng = np.random.default_rng(seed)
    sizes = rng.choice(SIZES, (150, 2)).tolist()
    assert is_imagehash([make(*size, at) for at, size in enumerate(sizes) for make in (noise, smooth)])


def test_phash_is_imagehashs_where_coefficients_vanish():
    checks = [
        grey(np.indices((h, w)).sum(axis=0) // n % 2 * 255) for h, w, n in [(64, 64, 8), (90, 120, 5), (33, 65, 1)]
    ]
    mirrored = [np.hstack([each, each[:, ::-1]]) for each in CONTENT]
    turned = [np.vstack([each, each[::-1]]) for each in mirrored]
    tilted = [np.ascontiguousarray(each.transpose(1, 0, 2)) for each in CONTENT]
    assert is_imagehash([*FLAT, *GRADIENTS, *CONTENT, *checks, *mirrored, *turned, *tilted])


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 400), st.integers(1, 400), st.integers(0, 2**32))
def test_the_thumbnail_is_pillows(height, width, seed):
    pixels = noise(height, width, seed) // 128 * 255  # black and white, which is clipped
    assert (luminance(pixels) == np.asarray(to_pil(pixels).convert("L"))).all()
    assert (thumbnail(pixels) == np.asarray(to_pil(pixels).convert("L").resize((32, 32), Pil.Resampling.LANCZOS))).all()


def test_a_very_long_picture_is_hashed_too():
    assert is_imagehash([noise(3, 20_000), noise(9_000, 40)])


def test_a_hash_does_not_depend_on_the_batch():
    rows = phash([Image("u"), *(Image("u", pixels=each) for each in CONTENT)])
    assert rows == [None, *(phash([Image("u", pixels=each)])[0] for each in CONTENT)]
    assert phash([]) == []


def detail(pictures):
    return [row["detail"] for row in phash([Image("u", pixels=each) for each in pictures])]


def test_detail_tells_flat_pictures_and_gradients_from_content():
    assert max(detail(FLAT)) < 1e-9
    assert max(detail(GRADIENTS)) < 0.05
    assert max(detail([decode(encode(each, "jpg", 75)) for each in [*FLAT, *GRADIENTS]])) < 0.1
    assert min(detail(CONTENT)) > 0.5


def test_detail_is_the_mean_amplitude_of_49_waves():
    across = np.cos(np.pi * 3 * (np.arange(32) + 0.5) / 32)
    assert detail([grey(128 + 98 * np.outer(across, across))])[0] == pytest.approx(98 / 49, abs=0.05)


# --- pdq


def reference(pixels):
    bits, quality = pytest.importorskip("pdqhash").compute(pixels)
    return {"pdq": np.packbits(bits).tobytes().hex(), "quality": quality}


def apart(one, other):
    return (int(one, 16) ^ int(other, 16)).bit_count()


@pytest.mark.parametrize("make", [noise, smooth])
def test_pdq_is_the_references(make):
    pictures = [make(*size, at) for at, size in enumerate(np.random.default_rng(5).choice(SIZES[5:], (60, 2)).tolist())]
    pairs = list(zip(pdq([Image("u", pixels=each) for each in pictures]), map(reference, pictures), strict=True))
    assert [ours["quality"] for ours, _ in pairs] == [theirs["quality"] for _, theirs in pairs]
    far = [apart(ours["pdq"], theirs["pdq"]) for ours, theirs in pairs if theirs["quality"] >= 50]
    assert max(far) <= 2  # a coefficient on the median
    assert far.count(0) >= 0.95 * len(far)


def test_pdq_of_drawings_is_the_references():
    assert pdq([Image("u", pixels=each) for each in CONTENT]) == [reference(each) for each in CONTENT]


def test_a_flat_picture_has_no_quality():
    assert {row["quality"] for row in pdq([Image("u", pixels=each) for each in FLAT])} == {0}


def test_pdq_stays_close_when_resized_and_differs_between_pictures():
    small = np.asarray(to_pil(drawn(1, 512)).resize((300, 300)))
    same, copy, other = (
        row["pdq"] for row in pdq([Image("u", pixels=p) for p in (drawn(1, 512), small, drawn(2, 512))])
    )
    assert apart(same, copy) <= 31 < 80 < apart(same, other)


def test_no_pdq_without_a_picture_or_of_a_very_small_one():
    assert pdq([Image("u"), Image("u", pixels=noise(4, 50))]) == [None, None]
    assert len(pdq([Image("u", pixels=noise(5, 50))])[0]["pdq"]) == 64


# --- keys


@pytest.mark.parametrize(
    ("url", "normal"),
    [
        ("HTTP://Ex.ORG:80", "http://ex.org/"),
        ("https://ex.org:443/A.jpg#top", "https://ex.org/A.jpg"),
        ("https://ex.org:80/a.jpg", "https://ex.org:80/a.jpg"),
        ("http://ex.org/%7ea%2fb%c3%a9", "http://ex.org/~a%2Fb%C3%A9"),
        ("http://ex.org/é b.jpg", "http://ex.org/%C3%A9%20b.jpg"),
        ("http://ex.org/100%.jpg", "http://ex.org/100%25.jpg"),
        ("http://ex.org/a?b=2&UTM_source=x&a=1&fbclid=9", "http://ex.org/a?b=2&a=1"),
        ("http://ex.org/a?utm_campaign", "http://ex.org/a"),
        ("http://ex.org/a?utmost=1", "http://ex.org/a?utmost=1"),
        ("http://ex.org/a?q=a%26b+c", "http://ex.org/a?q=a%26b+c"),
        ("http://Me:Pw@[::1]:8080/x/../y", "http://Me:Pw@[::1]:8080/x/../y"),
        (" data:image/png,x ", "data:image/png,x"),
        ("http://[broken", "http://[broken"),
        ("", ""),
    ],
)
def test_normal_url(url, normal):
    assert normal_url(url) == normal


@given(st.text(max_size=30).map("http://ex.org/".__add__))
def test_normal_urls_are_fixed_points(url):
    assert normal_url(normal_url(url)) == normal_url(url)


def rows(*segments, **parameters):
    return keys([page(*segments)], **parameters)[0]


def text_key(text, **parameters):
    return rows(text, **parameters)[0]["text"]


def test_white_space_is_collapsed_as_in_coyo():
    assert text_key("  a \t red\n car ") == text_key("a red car") != text_key("a redcar")


def test_texts_are_compared_after_nfc():
    assert text_key("cafe\u0301") == text_key("caf\u00e9") != text_key("cafe")


def test_fold_drops_case_punctuation_and_digits():
    assert text_key("A red car, 2019 — $5!", fold=True) == text_key("a RED car", fold=True)
    assert text_key("A red car") != text_key("a red car")
    assert text_key("हिन्दी", fold=True) != text_key("हनद", fold=True)  # vowel signs


@pytest.mark.parametrize(("text", "fold"), [("", False), (" \n", False), ("12.5!", True)])
def test_nothing_has_no_key(text, fold):
    found = rows(text, Image("", alt="alt"), fold=fold)
    assert (found[0]["text"], found[DOCUMENT], found[1]["url"]) == (None, {"words": None, "pictures": None}, None)


@given(st.text(), st.booleans())
def test_a_key_is_32_hex_digits(text, fold):
    key = text_key(text, fold=fold)
    assert key is None or (len(key) == 32 and int(key, 16) >= 0)


def test_the_caption_is_the_only_text_or_else_the_alt_text():
    image = Image("http://ex.org/a.jpg", alt="b")
    assert rows("a", image)[1]["caption"] == text_key("a")
    assert rows(image)[0]["caption"] == rows("x", image, "y")[1]["caption"] == text_key("b")
    assert rows("", image)[1]["caption"] is None
    assert rows(Image("u"))[0]["caption"] is None


def test_captions_are_those_of_the_view_pair(tmp_path):
    urls = ["http://ex.org/a.png", "http://ex.org/b.png"]
    pages = [page("one", Image(urls[0], alt="two")), page("x", Image(urls[1], alt="three"), "y"), page(Image(urls[0]))]
    raw_shard(Store(tmp_path), pages, {url: picture(at) for at, url in enumerate(urls)})
    scorers = scorers_of(tmp_path, {"seen": {"use": "test_fingerprints:seen"}, "keys": {"use": "keys"}})
    measure(Store(tmp_path), scorers)
    seen, ours = scorers
    captions = [each for each in scored(Store(tmp_path), ours, "caption") if each]
    assert captions == [text_key(each) for each in scored(Store(tmp_path), seen, "it") if each]


def test_words_are_the_texts_in_order():
    words = rows("a b", "c")[DOCUMENT]["words"]
    assert rows(" a  b", Image("u"), "", "c")[DOCUMENT]["words"] == words
    others = [("c", "a b"), ("a", "b c"), ("a b c",), ("a b", "c", "c")]
    assert words not in {rows(*other)[DOCUMENT]["words"] for other in others}


def pictures(*urls):
    return rows(*map(Image, urls))[DOCUMENT]["pictures"]


def test_pictures_are_a_set_of_urls_whose_key_is_unambiguous():
    assert pictures("a", "bc") != pictures("ab", "c")
    assert pictures("a", "bc") == pictures("bc", "a", "a")
    assert pictures("http://ex.org/a") == pictures("http://EX.org:80/a#b")
    assert pictures() is None


def test_coyos_pairs_of_phash_and_text():
    same = drawn(3)
    shown = [(same, "a red  car"), (same, " a red car"), (same, "a blue car"), (drawn(4), "a red car")]
    found = [(hashes([pixels])[0], text_key(text)) for pixels, text in shown]
    assert found[0] == found[1]
    assert len(set(found)) == 3


# --- minhash

WORDS = [f"word{at}" for at in range(5000)]


def signature(*texts, **parameters):
    return (minhash([page(*texts)], **parameters)[0] or {}).get("signature")


def similarity(one, other):
    return float((np.frombuffer(one, "<u4") == np.frombuffer(other, "<u4")).mean())


def test_a_signature_is_num_perm_little_endian_numbers():
    assert len(signature("a b c d e f")) == 4 * 128
    assert len(signature("a b c", ngram=2, num_perm=16)) == 4 * 16


@pytest.mark.parametrize("jaccard", [0.2, 0.5, 0.8, 0.95])
@pytest.mark.parametrize("size", [30, 300, 2000])
def test_the_estimate_is_unbiased(jaccard, size):
    rng, shared = np.random.default_rng(7), round(2 * size * jaccard / (1 + jaccard))
    off = []
    for _ in range(60):
        words = rng.permutation(WORDS)[: 2 * size - shared].tolist()
        one, other = (minhash_text([Text(" ".join(part))], 1)[0] for part in (words[:size], words[size - shared :]))
        off.append(similarity(one["signature"], other["signature"]) - shared / (2 * size - shared))
    error = (jaccard * (1 - jaccard) / 128) ** 0.5
    assert abs(np.mean(off)) < 4 * error / 60**0.5
    assert np.std(off) < 1.3 * error


def test_equal_words_have_equal_signatures():
    assert signature("The cat, it sat.", "On a mat!") == signature("the CAT it sat on a mat")
    assert signature("the cat it sat on a mat") != signature("the cat it sat on a rug")


def test_ngrams_mind_the_order_of_words():
    text = " ".join(WORDS[:400])
    assert similarity(signature(text), signature(" ".join(reversed(text.split())))) < 0.1


def test_no_ngram_reaches_over_two_documents():
    together_ = minhash([page("a b c d e f"), page("g h i j k"), page("x")])
    assert together_ == [{"signature": signature("a b c d e f")}, {"signature": signature("g h i j k")}, None]


@pytest.mark.parametrize(
    ("text", "ngram", "unit"), [("a b c d", 5, "word"), ("...", 1, "word"), ("", 1, "char"), ("ab", 3, "char")]
)
def test_a_text_of_fewer_than_n_has_none(text, ngram, unit):
    assert minhash([page(text)], ngram, unit=unit) == minhash_text([Text(text)], ngram, unit=unit) == [None]


def test_characters_serve_scripts_without_spaces():
    one, other = "今天天气很好我们去公园散步吧" * 3, "今天天气很好我们去公园跑步吧" * 3
    assert signature(one) is None
    assert 0.5 < similarity(signature(one, ngram=3, unit="char"), signature(other, ngram=3, unit="char")) < 1
    assert signature(" a\n b", ngram=2, unit="char") == signature("A b", ngram=2, unit="char")


def test_another_seed_gives_another_signature():
    assert signature("a b c d e", seed=1) != signature("a b c d e", seed=2)


@pytest.mark.parametrize("wrong", [{"unit": "byte"}, {"ngram": 0}, {"num_perm": 0}])
def test_parameters_that_make_no_signature_are_refused(wrong):
    with pytest.raises(ValueError, match="unit is word or char"):
        signature("a", **wrong)


def test_all_are_found_by_name_and_stored(tmp_path):
    names = ("phash", "pdq", "keys", "minhash", "minhash_text")
    raw_shard(Store(tmp_path), [page("a b c d e", Image("http://ex.org/a.png"))], {"http://ex.org/a.png": picture()})
    scorers = scorers_of(tmp_path, {name: {"use": name} for name in names})
    measure(Store(tmp_path), scorers)
    found = {each.name: scored(Store(tmp_path), each, next(iter(each.all_columns))) for each in scorers}
    assert [len([value for value in found[name] if value]) for name in names] == [1, 1, 1, 1, 1]
    assert [value for value in found["minhash"] if value] == [signature("a b c d e")]
