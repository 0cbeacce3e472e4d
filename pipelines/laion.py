"""LAION: image URLs with their alt texts. Reads LAION-400M, LAION-5B, Re-LAION and DataComp; joins no other file.

Licence: metadata CC-BY 4.0 (LAION, DataComp), Apache-2.0 (Re-LAION-5B); the images and texts stay their owners'.
Rows: parquet, one pair each. Names and types differ between releases, hence the aliases; absent columns are null.
    LAION-400M  SAMPLE_ID URL TEXT HEIGHT WIDTH LICENSE NSFW similarity
    LAION-5B    URL TEXT WIDTH HEIGHT similarity hash punsafe pwatermark [aesthetic] [LANGUAGE]
    Re-LAION    url caption similarity width height ...
    DataComp    uid url text original_width original_height clip_b32_similarity_score clip_l14_similarity_score sha256
Papers: arXiv:2111.02114 (LAION-400M), arXiv:2210.08402 (LAION-5B), arXiv:2304.14108 (DataComp).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from curate.document import Document, reader
from curate.pipelines._columns import pair_of

COLUMNS: dict[str, type] = {
    "similarity": float,  # cosine of CLIP ViT-B/32
    "width": int,  # of the picture when it was crawled
    "height": int,
    "nsfw": str,  # LAION-400M: UNLIKELY, UNSURE, NSFW
    "punsafe": float,
    "pwatermark": float,
    "aesthetic": float,
    "language": str,
    "license": str,
    "uid": str,  # DataComp
    "sample_id": str,
    "hash": int,  # mmh3.hash64(url + text)[0]; null where it went through a float
    "sha256": str,
    "md5": str,
    "clip_b32_similarity_score": float,
    "clip_l14_similarity_score": float,
}
ALIASES = {"aesthetic": ("aesthetic", "aesthetic_score")}


@reader(version=1, document=COLUMNS)
def read(row: Mapping[str, Any]) -> Document:
    """An image, then its alt text if there is one."""
    return pair_of(row, COLUMNS, ALIASES)
