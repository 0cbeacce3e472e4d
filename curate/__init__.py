"""curate: turn web-scale image-text corpora into training data for vision-language models."""

from curate.document import DOCUMENT, BadRow, Document, Image, Origin, Reader, Text, pair, reader
from curate.plugin import Encoded, Vector, scores

__all__ = [
    "DOCUMENT",
    "BadRow",
    "Document",
    "Encoded",
    "Image",
    "Origin",
    "Reader",
    "Text",
    "Vector",
    "pair",
    "reader",
    "scores",
]
__version__ = "0.1.0"
