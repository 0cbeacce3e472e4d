"""OmniCorpus' measures of paragraphs and documents: what its human-feedback rules for English look at. Drops nothing.

Li et al. 2024 (arXiv 2406.08418, section 3), and the rules as published in OmniCorpus/human_feedback_textfiltering.
Some rules hold only for short texts, or far from pictures. Such a column is null where the rule does not apply, and the
recipe says ``missing: keep``. ``sign_in``, ``phone``, ``time`` and ``byline`` are the number of words of a text that
has the thing: "no phone number in fewer than 80 words" is ``{text: omni.phone, min: 80, missing: keep}``.
"""

import re

from curate import Document, scores
from curate.filters._words import joined, share

STOPWORDS = frozenset(("the", "is", "are", "am", "to", "of", "and", "that", "have", "with"))
SIGN_IN = re.compile(r"\b(sign[- ]in|sign up|read more|items? in cart)\b", re.IGNORECASE)
COUNTER = re.compile(r"\b(likes|dislikes|followers|subscribes|shares?|comments?[.:]?)$", re.IGNORECASE)
PHONE = re.compile(r"\b\d{3}-\d{3}-\d{4}\b|\(\d{3}\)\s?\d{3}-\d{4}\b")
MONTH = r"(?:jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)[a-z]*\.?"
TIME = re.compile(
    rf"\b(?:{MONTH}\s\d{{1,2}},\s\d{{4}}|\d{{1,2}}\s{MONTH}\s\d{{4}}|(?:[01]?\d|2[0-3])[:.][0-5]\d\s?[ap]\.?m\b"
    r"|(?:[01]?\d|2[0-3]):[0-5]\d(?::[0-5]\d)?|(?:1[0-2]|0?[1-9])\s?[ap]\.?m)\b",
    re.IGNORECASE,
)
BYLINE = re.compile(r"\s*by |.*\(photo: ?[a-z,\s]{0,20}\)", re.IGNORECASE | re.DOTALL)
FURNITURE = re.compile(
    r"all rights reserved|\u00a9|copyright \d{4}|privacy policy|terms (of|and) (use|service|conditions)|cookie policy|"
    r"contact us|back to top|skip to (main )?content|site ?map|powered by|follow us|subscribe (to|now)|log in|"
    r"leave a (comment|reply)|share this|related (posts|articles)|previous post|next post",
    re.IGNORECASE,
)
TOKEN = re.compile(r"\w+(?:['\u2019]\w+)?|[^\w\s]")

Row = dict[str, float | bool | None]


@scores(
    "document",
    text={"words": int, "chars": int, "upper": float, "digits": float, "sign_in": int, "counter": bool,
          "furniture": bool, "phone": int, "time": int, "byline": int},
    batch=256, page_words=int, word_length=float, alphabetic=float, stopwords=int, stopword_count=int,
    words_per_image=float, longest=int, mean=float, mean_if_short=float,
    version=1,
)  # fmt: skip
def omnicorpus_text(documents: list[Document], spare: int = 1, many: int = 2, long: int = 35) -> list[dict[int, Row]]:
    """Texts: ``words`` (white space), ``chars``; ``upper``, ``digits``: shares of its characters.

    White space counts for ``digits``, not for ``upper``; both are null within ``spare`` segments of an image.
    ``counter``: ends with likes, followers, comments and the like; ``furniture``: has words of a header or footer.
    ``sign_in``, ``phone``, ``time``, ``byline``: the number of words of a text that asks to sign in or read more, has
    an American phone number, has a date or time, begins with "by"; null for others.

    Documents: ``page_words``, ``word_length`` (mean characters), ``alphabetic`` (share with a letter): of words and
    punctuation marks, about as NLTK cuts them. ``stopwords``: how many of ten English words it has;
    ``stopword_count``: how often in all, as the published code counts. ``words_per_image``: null for ``many`` images
    or fewer. ``longest``, ``mean``: words of its texts; ``mean_if_short``: null where the longest has ``long`` or more.
    """
    return [rows(document, spare, many, long) for document in documents]


def rows(document: Document, spare: int, many: int, long: int) -> dict[int, Row]:
    """Position -> measurements; -1 is the document."""
    spared = {at + step for at in document.images for step in range(-spare, spare + 1)}
    found = {at: paragraph(text.text, at in spared) for at, text in document.texts.items()}
    lengths = [len(text.text.split()) for text in document.texts.values()]
    longest, mean = max(lengths, default=0), sum(lengths) / len(lengths) if lengths else None
    pictures = len(document.images)
    tokens = TOKEN.findall(joined(document))
    known = [token for token in tokens if token in STOPWORDS]
    page: Row = {
        "page_words": len(tokens),
        "word_length": sum(map(len, tokens)) / len(tokens) if tokens else None,
        "alphabetic": share(sum(any(map(str.isalpha, token)) for token in tokens), len(tokens)),
        "stopwords": len(set(known)),
        "stopword_count": len(known),
        "words_per_image": sum(lengths) / pictures if pictures > many else None,
        "longest": longest,
        "mean": mean,
        "mean_if_short": mean if longest < long else None,
    }
    return {**found, -1: page}


def paragraph(text: str, spared: bool) -> Row:
    """The columns of one text."""
    words, visible = len(text.split()), "".join(text.split())
    return {
        "words": words,
        "chars": len(text),
        "upper": None if spared else share(sum(map(str.isupper, visible)), len(visible)),
        "digits": None if spared else share(sum(map(str.isdigit, text)), len(text)),
        "sign_in": words if SIGN_IN.search(text) else None,
        "counter": bool(COUNTER.search(text.rstrip())),
        "furniture": bool(FURNITURE.search(text)),
        "phone": words if PHONE.search(text) else None,
        "time": words if TIME.search(text) else None,
        "byline": words if BYLINE.match(text) else None,
    }
