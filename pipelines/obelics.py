"""OBELICS: web pages as paragraphs and images, in the order of the page. Repeats none of its filters, fetches nothing.

Licence: CC-BY 4.0 for what OBELICS adds; the texts and images stay their owners'.
Rows: parquet, one page each (HuggingFaceM4/OBELICS; pages that were extracted in the same way):
    images            list of URLs or null
    texts             list of texts or null: at each index exactly one of the two
    metadata          JSON, a list of that length, null at texts: {document_url, unformatted_src, src, alt_text?,
                      rendered_width?, rendered_height?, original_width, original_height, format}
    general_metadata  JSON: {url, warc_filename, warc_record_offset, warc_record_length}
The last two may be structs, as in OmniCorpus-CC. Paper: arXiv:2306.16527.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from curate.document import DOCUMENT, BadRow, Document, Image, Row, Segment, Text, document, reader
from curate.pipelines._columns import string, typed

BOUNDARY = "END_OF_DOCUMENT_TOKEN_TO_BE_REPLACED"
"""A paragraph that OBELICS puts where the page had a "more" link, and another post begins."""
BLANK = re.compile(r"\n\s*\n")
LENGTH = re.compile(r"\s*(\d{1,9}(?:\.\d{0,9})?)\s*(px|%)?\s*", re.ASCII)
SIZES = ("original_width", "original_height", "rendered_width", "rendered_height")


@reader(
    version=1,
    document={"warc_filename": str, "warc_record_offset": int, "warc_record_length": int},
    image={
        "format": str,  # as the crawl found it; raw.format is what we found
        **dict.fromkeys(SIZES, int),  # rendered: as the page asked for it, null where it did not
        "part": int,
    },
    text={"part": int},  # how many boundaries stand before it on the page
)
def read(row: Mapping[str, Any]) -> Document:
    """Each paragraph (texts are cut at blank lines) is a text of its own, so that rules on paragraphs are text rules.

    A BOUNDARY is no text, and becomes no segment: rules would have to spare it. ``source.part`` of the segments counts
    those before them, so that a boundary outlives what stood beside it; where it changes, a trainer puts its EOS.
    """
    texts, images = (_list(name, row.get(name)) for name in ("texts", "images"))
    if len(texts) != len(images):
        raise BadRow(f"texts has {len(texts)} items, images has {len(images)}")
    about = _parsed("metadata", row.get("metadata"), list) or [None] * len(images)
    if len(about) != len(images):
        raise BadRow(f"metadata has {len(about)} items, images has {len(images)}")
    page = _parsed("general_metadata", row.get("general_metadata"), dict) or {}

    segments: list[Segment] = []
    scores: dict[int, Row] = {
        DOCUMENT: {
            "warc_filename": string("warc_filename", page.get("warc_filename")),
            "warc_record_offset": typed("warc_record_offset", page.get("warc_record_offset"), int),
            "warc_record_length": typed("warc_record_length", page.get("warc_record_length"), int),
        }
    }
    part = 0
    for at, (text, image) in enumerate(zip(texts, images, strict=True)):
        if (text is None) == (image is None):
            raise BadRow(f"texts[{at}] and images[{at}] are both {'null' if text is None else 'given'}")
        if image is not None:
            known = _object(f"metadata[{at}]", about[at])
            scores[len(segments)] = {**_measured(at, known), "part": part}
            alt = string(f"metadata[{at}].alt_text", known.get("alt_text"))
            segments.append(Image(string(f"images[{at}]", image) or "", alt or ""))
        for paragraph in BLANK.split(string(f"texts[{at}]", text) or ""):
            part += paragraph.strip() == BOUNDARY
            if paragraph.strip() not in ("", BOUNDARY):
                scores[len(segments)] = {"part": part}
                segments.append(Text(paragraph.strip()))
    if not segments:
        raise BadRow("no text and no image")
    return document(string("url", page.get("url")) or "", segments, scores)


def _measured(at: int, known: Mapping[str, Any]) -> dict[str, Any]:
    """What the metadata says of an image: its format and sizes."""
    original = {side: typed(f"metadata[{at}].{side}", known.get(side), int) for side in SIZES[:2]}
    rendered = {side: _length(known.get(side), original[side.replace("rendered", "original")]) for side in SIZES[2:]}
    return {"format": string(f"metadata[{at}].format", known.get("format")), **original, **rendered}


def _length(value: Any, whole: int | None) -> int | None:
    """Pixels of "150", "150px", 150 or "50%" of the whole picture; None for anything else that pages say ("auto")."""
    found = LENGTH.fullmatch(str(value))
    if not found or (found[2] == "%" and whole is None):
        return None
    return round(float(found[1]) * (whole or 0) / 100) if found[2] == "%" else round(float(found[1]))


def _list(name: str, value: Any) -> list[Any]:
    if isinstance(value, list):
        return value
    raise BadRow(f"{name} is missing" if value is None else f"{name} is {type(value).__name__}, not list")


def _object(name: str, value: Any) -> Mapping[str, Any]:
    """What is known of an image; nothing where it is null."""
    if value is None or isinstance(value, dict):
        return value or {}
    raise BadRow(f"{name} is {type(value).__name__}, not an object")


def _parsed(name: str, value: Any, kind: type) -> Any:
    """A value that is JSON in a string, or what that stands for; None for null."""
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            raise BadRow(f"{name} is not JSON") from None
    if value is None or isinstance(value, kind):
        return value
    raise BadRow(f"{name} is {type(value).__name__}, not {kind.__name__}")
