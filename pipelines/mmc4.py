"""MMC4: web pages as sentences and images. Reads all its releases; assigns nothing anew, fetches nothing.

Licence: ODC-BY 1.0 for what MMC4 adds; Common Crawl's terms for the rest.
Rows: JSON lines, one page each (full docs_shard_N_v2, core docs_shard_N_v3, fewer faces docs_no_face_shard_N_v2/_v3):
    {"url": "http://…", "text_list": ["A sentence.", …], "could_have_url_duplicate": 0,
     "image_info": [{"raw_url": "http://…", "matched_text_index": 2, "matched_sim": 0.28, "face_detections": null}, …],
     "similarity_matrix": [[0.24, …], …]}
``similarity_matrix`` (images x sentences, cosines of CLIP ViT-L/14) may be absent. ``image_info`` is in no order, and
the published files do not say where on the page an image stood; ours may, in ``dom_order``: [["image", 0], ["text", 0],
…], naming each text and image once.
Paper: arXiv:2304.06939.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from curate.document import DOCUMENT, BadRow, Document, Image, Row, Segment, Text, document, reader
from curate.pipelines._columns import string, typed


@reader(
    version=1,
    document={"url_duplicate": int},  # 1: the page may stand in the corpus twice
    image={
        "matched": int,  # which of the document's texts, counted from 0
        "matched_sim": float,
        "sims": list[float],  # with each of the document's texts
        "faces": int,  # null where the row does not say
    },
)
def read(row: Mapping[str, Any]) -> Document:
    """Sentences and images in page order if it is known, else each image before its matched sentence.

    Images without a match stand at the end. An image without a URL stays, for its position; it will fail to be fetched.
    """
    texts = [_sentence(at, text) for at, text in enumerate(_list("text_list", row.get("text_list")))]
    images = [_image(at, image, len(texts)) for at, image in enumerate(_list("image_info", row.get("image_info")))]
    sims = _matrix(row.get("similarity_matrix"), len(images), len(texts))
    if row.get("dom_order") is None:
        order = _by_match([scores["matched"] for _, scores in images], len(texts))
    else:
        order = _by_page(row["dom_order"], len(images), len(texts))
    sentences = [index for kind, index in order if kind == "text"]
    rank = {index: at for at, index in enumerate(sentences)}

    segments: list[Segment] = []
    scores: dict[int, Row] = {
        DOCUMENT: {"url_duplicate": typed("could_have_url_duplicate", row.get("could_have_url_duplicate"), int)}
    }
    for at, (kind, index) in enumerate(order):
        if kind == "text":
            segments.append(Text(texts[index]))
            continue
        url, measured = images[index]
        near = sims[index]
        segments.append(Image(url))
        scores[at] = {
            **measured,
            "matched": rank.get(measured["matched"]),
            "sims": None if near is None else [near[sentence] for sentence in sentences],
        }
    if not segments:
        raise BadRow("no text and no image")
    return document(string("url", row.get("url")) or "", segments, scores)


def _list(name: str, value: Any) -> list[Any]:
    if isinstance(value, list):
        return value
    raise BadRow(f"{name} is missing" if value is None else f"{name} is {type(value).__name__}, not list")


def _sentence(at: int, value: Any) -> str:
    text = string(f"text_list[{at}]", value)
    if text is None:
        raise BadRow(f"text_list[{at}] is null")
    return text


def _image(at: int, info: Any, sentences: int) -> tuple[str, dict[str, Any]]:
    """An image's URL, or "" for none, and its scores; ``matched`` is still the index in text_list."""
    here = f"image_info[{at}]"
    if not isinstance(info, dict):
        raise BadRow(f"{here} is {type(info).__name__}, not an object")
    matched = typed(f"{here}.matched_text_index", info.get("matched_text_index"), int)
    if matched is not None and not 0 <= matched < sentences:
        raise BadRow(f"{here}.matched_text_index is {matched}, but text_list has {sentences}")
    url = info.get("raw_url")
    return url if isinstance(url, str) else "", {
        "matched": matched,
        "matched_sim": typed(f"{here}.matched_sim", info.get("matched_sim"), float),
        "faces": _faces(info["face_detections"]) if "face_detections" in info else None,
    }


def _faces(found: Any) -> int:
    """How many faces were detected; null means none. What is no list has no published form: it counts as one."""
    return len(found) if isinstance(found, list) else int(bool(found))


def _matrix(value: Any, images: int, sentences: int) -> list[list[float] | None]:
    """For each image its similarity with each sentence; None for an image where one of them is null."""
    if value is None:
        return [None] * images
    if len(_list("similarity_matrix", value)) != images:
        raise BadRow(f"similarity_matrix has {len(value)} rows for {images} images")
    result: list[list[float] | None] = []
    for at, line in enumerate(value):
        here = f"similarity_matrix[{at}]"
        if len(_list(here, line)) != sentences:
            raise BadRow(f"{here} has {len(line)} values for {sentences} texts")
        values = [typed(here, value, float) for value in line]
        result.append(None if None in values else values)
    return result


def _by_match(matched: list[int | None], sentences: int) -> list[tuple[str, int]]:
    before: list[list[tuple[str, int]]] = [[] for _ in range(sentences + 1)]
    for image, sentence in enumerate(matched):
        before[sentences if sentence is None else sentence].append(("image", image))
    return [item for at, group in enumerate(before) for item in (*group, ("text", at))][:-1]


def _by_page(given: Any, images: int, sentences: int) -> list[tuple[str, int]]:
    order: list[tuple[str, int]] = []
    for at, item in enumerate(_list("dom_order", given)):
        pair = isinstance(item, list) and len(item) == 2
        if not pair or item[0] not in ("text", "image") or type(item[1]) is not int:
            raise BadRow(f'dom_order[{at}] is not ["text" or "image", index]')
        order.append((item[0], item[1]))
    times = Counter(order)
    wanted = Counter([("text", at) for at in range(sentences)] + [("image", at) for at in range(images)])
    for kind, index in sorted(times | wanted):
        if times[kind, index] != wanted[kind, index]:
            raise BadRow(f"dom_order has {kind} {index} {times[kind, index]} times, not {wanted[kind, index]}")
    return order
