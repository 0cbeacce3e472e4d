import pytest

from curate.document import DOCUMENT, BadRow, Image
from curate.pipelines import coyo, laion, mmc4

BUS, DOG = "http://ex.org/bus.jpg", "http://ex.org/dog.jpg"


def page(**changes):
    return {
        "url": "http://ex.org/a",
        "text_list": ["A red bus.", "It is raining.", "A dog sleeps."],
        "image_info": [
            {"raw_url": DOG, "matched_text_index": 2, "matched_sim": 0.2769, "face_detections": None},
            {"raw_url": BUS, "matched_text_index": 0, "matched_sim": 0.3234, "face_detections": [[0, 0, 9, 9]]},
        ],
        "similarity_matrix": [[0.24, 0.11, 0.2769], [0.3234, 0.22, 0.12]],
        "could_have_url_duplicate": 0,
    } | changes


def order(document):
    return [item.url if isinstance(item, Image) else item.text for item in document.segments]


def test_mmc4_puts_each_image_before_its_matched_sentence():
    found = mmc4.read(page())
    assert order(found) == [BUS, "A red bus.", "It is raining.", DOG, "A dog sleeps."]
    assert found.origin.url == "http://ex.org/a"
    assert found.scores == {
        DOCUMENT: {"url_duplicate": 0},
        0: {"matched": 0, "matched_sim": 0.3234, "sims": [0.3234, 0.22, 0.12], "faces": 1},
        3: {"matched": 2, "matched_sim": 0.2769, "sims": [0.24, 0.11, 0.2769], "faces": 0},
    }


def test_mmc4_images_of_one_sentence_keep_their_order_and_those_without_a_match_come_last():
    images = [{"raw_url": str(at), "matched_text_index": match} for at, match in enumerate([1, None, 0, 1])]
    found = mmc4.read({"text_list": ["a", "b"], "image_info": images})
    assert order(found) == ["2", "a", "0", "3", "b", "1"]
    assert found.scores[5] == {"matched": None, "matched_sim": None, "sims": None, "faces": None}
    assert (found.scores[DOCUMENT], found.origin.url) == ({"url_duplicate": None}, "")


def test_mmc4_keeps_the_order_of_the_page_where_it_is_known():
    dom = [["text", 1], ["image", 0], ["text", 2], ["text", 0], ["image", 1]]
    found = mmc4.read(page(dom_order=dom))
    assert order(found) == ["It is raining.", DOG, "A dog sleeps.", "A red bus.", BUS]
    # the scores count the texts as they stand in the document
    assert (found.scores[1]["matched"], found.scores[1]["sims"]) == (1, [0.11, 0.2769, 0.24])
    assert (found.scores[4]["matched"], found.scores[4]["sims"]) == (2, [0.22, 0.12, 0.3234])


@pytest.mark.parametrize("url", [None, 7])
def test_mmc4_image_without_url_keeps_its_place(url):
    found = mmc4.read({"text_list": ["a"], "image_info": [{"raw_url": url, "matched_text_index": 0}]})
    assert order(found) == ["", "a"]


def test_mmc4_pages_of_images_or_texts_alone_are_documents():
    assert order(mmc4.read({"text_list": ["a"], "image_info": [], "similarity_matrix": []})) == ["a"]
    assert order(mmc4.read({"text_list": [], "image_info": [{"raw_url": "u"}], "similarity_matrix": [[]]})) == ["u"]


def test_mmc4_similarities_with_a_hole_are_not_measured():
    found = mmc4.read(page(similarity_matrix=[[0.1, None, 0.2], [1, 0, 0]]))
    assert (found.scores[3]["sims"], found.scores[0]["sims"]) == (None, [1.0, 0.0, 0.0])


@pytest.mark.parametrize("found", [{"boxes": [[1, 2, 3, 4]]}, True])
def test_mmc4_faces_of_unknown_form_are_faces(found):
    images = [{"raw_url": "u", "face_detections": found}]
    assert mmc4.read({"text_list": [], "image_info": images}).scores[0]["faces"] == 1


def image(**changes):
    return [page()["image_info"][0], page()["image_info"][1] | changes]


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"text_list": None}, "text_list is missing"),
        ({"text_list": "A bus."}, "text_list is str, not list"),
        ({"text_list": ["a", 7]}, "text_list[1] is int, not str"),
        ({"text_list": ["a", None]}, "text_list[1] is null"),
        ({"image_info": None}, "image_info is missing"),
        ({"image_info": {}}, "image_info is dict, not list"),
        ({"image_info": ["a.jpg"]}, "image_info[0] is str, not an object"),
        ({"text_list": [], "image_info": [], "similarity_matrix": []}, "no text and no image"),
        ({"image_info": image(matched_text_index="2")}, "image_info[1].matched_text_index is str, not int"),
        ({"image_info": image(matched_text_index=True)}, "image_info[1].matched_text_index is bool, not int"),
        ({"image_info": image(matched_text_index=3)}, "image_info[1].matched_text_index is 3, but text_list has 3"),
        ({"image_info": image(matched_text_index=-1)}, "image_info[1].matched_text_index is -1, but text_list has 3"),
        ({"image_info": image(matched_sim="high")}, "image_info[1].matched_sim is str, not float"),
        ({"similarity_matrix": [[0, 0, 0]]}, "similarity_matrix has 1 rows for 2 images"),
        ({"similarity_matrix": [[0, 0, 0], [0, 0]]}, "similarity_matrix[1] has 2 values for 3 texts"),
        ({"similarity_matrix": [[0, 0, 0], [0, 0, "0"]]}, "similarity_matrix[1] is str, not float"),
        ({"could_have_url_duplicate": "no"}, "could_have_url_duplicate is str, not int"),
        ({"url": 7}, "url is int, not str"),
        ({"dom_order": "page"}, "dom_order is str, not list"),
        ({"dom_order": [["text", "0"]]}, 'dom_order[0] is not ["text" or "image", index]'),
        ({"dom_order": [["text", 0]]}, "dom_order has image 0 0 times, not 1"),
        (
            {"dom_order": [["text", 0], ["text", 1], ["text", 2], ["image", 0], ["image", 0], ["image", 1]]},
            "dom_order has image 0 2 times, not 1",
        ),
        (
            {"dom_order": [["text", 0], ["text", 1], ["text", 2], ["image", 0], ["image", 1], ["image", 2]]},
            "dom_order has image 2 1 times, not 0",
        ),
    ],
)
def test_mmc4_bad_rows_say_what_is_wrong(changes, reason):
    with pytest.raises(BadRow) as raised:
        mmc4.read(page(**changes))
    assert str(raised.value) == reason


LAION_400M = {
    "SAMPLE_ID": 7, "URL": BUS, "TEXT": "red bus", "HEIGHT": 480, "WIDTH": 640, "LICENSE": "?", "NSFW": "UNLIKELY",
    "similarity": 0.3312,
}  # fmt: skip
LAION_5B = {
    "URL": BUS, "TEXT": "red bus", "WIDTH": 640.0, "HEIGHT": None, "similarity": 0.291, "hash": -307760807354579069,
    "punsafe": 0.003, "pwatermark": 0.11, "LANGUAGE": "en",
}  # fmt: skip
RE_LAION = {"url": BUS, "caption": "red bus", "similarity": 0.3, "width": 384, "height": 288, "original_width": 640}
DATACOMP = {
    "uid": "0123456789abcdef0123456789abcdef", "url": BUS, "text": "red bus", "original_width": 640,
    "original_height": 480, "clip_b32_similarity_score": 0.31, "clip_l14_similarity_score": 0.27,
    "face_bboxes": [[0.1, 0.1, 0.2, 0.2]], "sha256": "ab" * 32,
}  # fmt: skip
COYO = {
    "id": 841814333321, "url": BUS, "text": "red bus", "width": 640, "height": 480, "image_phash": "e069b2709d9a569e",
    "text_length": 7, "word_count": 2, "num_tokens_bert": 4, "num_tokens_gpt": 3, "num_faces": 0,
    "clip_similarity_vitb32": 0.29, "clip_similarity_vitl14": 0.25, "nsfw_score_opennsfw2": 0.01,
    "nsfw_score_gantman": 0.02, "watermark_score": 0.07, "aesthetic_score_laion_v2": 5.1,
}  # fmt: skip


@pytest.mark.parametrize(
    ("read", "row", "scores"),
    [
        (laion.read, LAION_400M, {"sample_id": "7", "license": "?", "nsfw": "UNLIKELY", "width": 640, "height": 480}),
        (laion.read, LAION_5B, {"width": 640, "height": None, "hash": -307760807354579069, "language": "en"}),
        (laion.read, RE_LAION, {"width": 640, "height": 288, "similarity": 0.3, "punsafe": None}),
        (laion.read, DATACOMP, {"uid": DATACOMP["uid"], "width": 640, "height": 480, "sha256": "ab" * 32}),
        (laion.read, {"image_url": BUS, "ALT_TEXT": "red bus"}, dict.fromkeys(laion.COLUMNS)),
        (coyo.read, COYO, {name: value for name, value in COYO.items() if name not in ("url", "text")}),
    ],
)
def test_pair_corpora_have_the_same_document_whatever_their_columns_are_called(read, row, scores):
    found = read(row)
    assert order(found) == [BUS, "red bus"]
    assert (found.origin.url, found.segments[1].source) == (BUS, "alt")
    assert found.scores[DOCUMENT].keys() == read.columns["document"].keys()
    assert found.scores[DOCUMENT].items() >= scores.items()


@pytest.mark.parametrize("text", [None, "", " \n"])
def test_null_text_is_an_image_alone(text):
    assert order(laion.read({"URL": BUS, "TEXT": text})) == [BUS]


def test_null_width_and_nan_similarity_are_null():
    scores = laion.read({"URL": BUS, "TEXT": "a", "WIDTH": float("nan"), "similarity": float("nan")}).scores[DOCUMENT]
    assert (scores["width"], scores["similarity"]) == (None, None)


def test_a_hash_that_went_through_a_float_is_null():
    assert laion.read({"URL": BUS, "TEXT": "a", "hash": -3.0776080735457907e17}).scores[DOCUMENT]["hash"] is None


@pytest.mark.parametrize("read", [laion.read, coyo.read])
@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"url": None}, "null URL"),
        ({"url": ""}, "null URL"),
        ({"url": "  "}, "null URL"),
        ({"url": 7}, "url is int, not str"),
        ({"text": 7}, "text is int, not str"),
        ({"text": ["a"]}, "text is list, not str"),
        ({"width": "640"}, "width is str, not int"),
        ({"width": 640.5}, "width is 640.5, not a whole number"),
        ({"width": 2**63}, "width is out of range"),
    ],
)
def test_bad_pairs_say_what_is_wrong(read, changes, reason):
    with pytest.raises(BadRow) as raised:
        read({"url": BUS, "text": "a"} | changes)
    assert str(raised.value) == reason


def test_columns_that_are_not_there_are_named():
    with pytest.raises(BadRow, match="no column url or image_url"):
        laion.read({"link": BUS, "text": "a"})
    with pytest.raises(BadRow, match="no column text or caption or alt_text"):
        laion.read({"url": BUS, "title": "a"})
    with pytest.raises(BadRow, match="nsfw is float, not str"):
        laion.read({"url": BUS, "text": "a", "nsfw": 0.5})
