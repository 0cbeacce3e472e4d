"""Sample: a document as it goes out, which is what writers get, and what they share to write it. Opens no file."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from curate.document import Document, Image, Text


@dataclass(frozen=True)
class Entry:
    """A segment in output order, images with their data.

    ``scores`` maps "score.column" to a scalar. An image that was assigned to a text has that text's index among the
    entries and the similarity. ``made``: a scorer wrote this text for the image before it, and ``add`` put it here.
    """

    segment: Image | Text
    position: int
    scores: Mapping[str, Any]
    text: int | None = None
    similarity: float | None = None
    made: bool = False


@dataclass(frozen=True)
class Curated:
    """A document as it goes out: its surviving segments in order, and its own scores."""

    document: Document
    entries: Sequence[Entry]
    scores: Mapping[str, Any] = field(default_factory=dict)


def images_of(sample: Curated) -> list[tuple[int, Image]]:
    """The images with their index among the entries."""
    return [(at, entry.segment) for at, entry in enumerate(sample.entries) if isinstance(entry.segment, Image)]


def plain(value: Any) -> Any:
    """A score as JSON: float32 in its shortest decimal form, null for infinities."""
    if isinstance(value, float):
        return float(str(np.float32(value))) if math.isfinite(value) else None
    return value


def dump(value: Any) -> bytes:
    """JSON with keys in the order given."""
    return json.dumps(value, ensure_ascii=False, allow_nan=False).encode("utf-8")
