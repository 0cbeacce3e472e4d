"""C4's measures of lines and pages: how lines end, and what says that a page is no prose. Removes no line.

Raffel et al. 2020, section 2.2. C4 keeps lines (here: texts) that end in a terminal punctuation mark, have at least 3
words, and do not mention Javascript or a policy; and pages of at least 3 sentences, without "lorem ipsum", a curly
bracket or a flagged word (``text_quality.page_flagged``).
"""

import re

from curate import Document, scores
from curate.filters._words import joined

TERMINAL = (".", "!", "?", '"', "\u201d")
SENTENCE_END = re.compile(r"[.!?]+[\"'\u201d\u2019)\]]*(?=\s|$)")
POLICY = re.compile(r"terms of use|privacy policy|cookie policy|uses cookies|use of cookies|use cookies", re.IGNORECASE)

Row = dict[str, int | bool]


@scores(
    "document", text={"words": int, "terminal": bool, "javascript": bool, "policy": bool}, batch=256, sentences=int,
    lorem_ipsum=bool, curly=bool,
    version=1,
)  # fmt: skip
def c4(documents: list[Document]) -> list[dict[int, Row]]:
    """Of texts, the words (white space), and whether it ends like a sentence, mentions Javascript, or a policy.

    ``terminal``: the last character is a full stop, an exclamation or question mark or a closing quotation mark, and no
    ellipsis stands there. ``policy``: terms of use, privacy or cookies are mentioned. Of documents: ``sentences``; a
    line without an end counts as one; whether ``lorem_ipsum`` or a ``curly`` bracket stands in it.
    """
    return [{**{at: line(text.text) for at, text in each.texts.items()}, -1: page(joined(each))} for each in documents]


def line(text: str) -> Row:
    """The columns of a text."""
    return {
        "words": len(text.split()),
        "terminal": text.rstrip().endswith(TERMINAL) and not text.rstrip().endswith("..."),
        "javascript": "javascript" in text.lower(),
        "policy": bool(POLICY.search(text)),
    }


def page(text: str) -> Row:
    """The columns of a document."""
    lines = [each for each in text.splitlines() if each.strip()]
    return {
        "sentences": sum(max(1, len(SENTENCE_END.findall(each))) for each in lines),
        "lorem_ipsum": "lorem ipsum" in text.lower(),
        "curly": "{" in text or "}" in text,
    }
