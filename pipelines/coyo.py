"""COYO-700M: image URLs with their alt texts and the scores its makers computed; recomputes none of them.

Licence: metadata CC-BY 4.0; the images and texts stay their owners'.
Rows: parquet, one pair each: id url text width height image_phash ... aesthetic_score_laion_v2 (see COLUMNS).
Source: github.com/kakaobrain/coyo-dataset (Byeon et al., 2022).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from curate.document import Document, reader
from curate.pipelines._columns import pair_of

COLUMNS: dict[str, type] = {
    "id": int,
    "width": int,
    "height": int,
    "image_phash": str,  # 16 hex digits
    "text_length": int,
    "word_count": int,
    "num_tokens_bert": int,
    "num_tokens_gpt": int,
    "num_faces": int,
    "clip_similarity_vitb32": float,
    "clip_similarity_vitl14": float,
    "nsfw_score_opennsfw2": float,
    "nsfw_score_gantman": float,
    "watermark_score": float,
    "aesthetic_score_laion_v2": float,
}


@reader(version=1, document=COLUMNS)
def read(row: Mapping[str, Any]) -> Document:
    """An image, then its alt text if there is one."""
    return pair_of(row, COLUMNS)
