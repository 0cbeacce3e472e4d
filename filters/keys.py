"""Keys: equal keys are equal addresses, captions, texts or documents. Reads no pixels and groups nothing.

COYO (Byeon et al. 2022) drops pairs of equal picture and equal text, and texts that stand in more than ten rows;
OBELICS (Laurencon et al. 2023) drops documents with the same set of image addresses, images whose address and
paragraphs whose text come again and again.
"""

import hashlib
import re
import unicodedata
from urllib.parse import quote, unquote_to_bytes, urlsplit, urlunsplit

from curate import scores
from curate.document import DOCUMENT, Document, Row

TRACKING = re.compile(r"(utm_[^=]*|gclid|dclid|fbclid|msclkid|yclid|mc_cid|mc_eid|igshid)(=|$)", re.IGNORECASE)
"""Parameters of a query that say who followed a link, and not where it leads."""
PORTS = {"http": 80, "https": 443}
RESERVED = "!#$&'()*+,/:;=?@[]"
ESCAPE = re.compile(r"((?:%[0-9A-Fa-f]{2})+)")


@scores(
    "document", image={"url": str, "caption": str}, text={"text": str}, words=str, pictures=str, batch=1024, version=1
)
def keys(documents: list[Document], fold: bool = False) -> list[dict[int, Row]]:
    """Hashes of 128 bits as 32 hex digits, and addresses; null where there is nothing to compare.

    url: an image's address, normalised (``normal_url``).
    caption: an image's caption as the view ``pair`` has it: the only text of the document, else the alt text.
    text: a text. Both after Unicode's NFC, with white space collapsed to single spaces as in COYO.
    words: the document's texts in order, without empty ones.
    pictures: the document's set of image addresses, failed images included.

    ``fold: true`` compares texts (text, words; not captions) without case, punctuation, symbols and digits.
    """
    return [_rows(document, fold) for document in documents]


def _rows(document: Document, fold: bool) -> dict[int, Row]:
    whole = {at: collapsed(text.text) for at, text in document.texts.items()}
    texts = {at: digest(folded(text) if fold else text) for at, text in whole.items()}
    only = next(iter(whole.values())) if len(whole) == 1 else None
    urls = {at: normal_url(image.url) for at, image in document.images.items()}
    images = {
        at: {"url": urls[at] or None, "caption": digest(collapsed(image.alt) if only is None else only)}
        for at, image in document.images.items()
    }
    words = together([text for text in texts.values() if text])
    pictures = together(sorted(digest(url) or "" for url in set(urls.values()) if url))
    return {
        **images,
        **{at: {"text": text} for at, text in texts.items()},
        DOCUMENT: {"words": words, "pictures": pictures},
    }


def digest(text: str) -> str | None:
    """32 hex digits of BLAKE2b; None for the empty text. Unpaired surrogates are hashed as they are."""
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest() if text else None


def together(digests: list[str]) -> str | None:
    """One hash of several; all are of one length, so that {"a", "bc"} and {"ab", "c"} differ."""
    return digest("".join(digests))


def collapsed(text: str) -> str:
    """NFC, runs of white space as one space, none at the ends."""
    return " ".join(unicodedata.normalize("NFC", text).split())


class _Plain(dict[int, str | None]):
    """Code point -> itself, or None for punctuation, symbols and digits (Unicode's P*, S* and N*), found on demand."""

    def __missing__(self, point: int) -> str | None:
        self[point] = None if unicodedata.category(chr(point))[0] in "PSN" else chr(point)
        return self[point]


_PLAIN = _Plain()


def folded(text: str) -> str:
    """Casefolded letters and marks, with single spaces between the words that are left."""
    return collapsed(text.casefold().translate(_PLAIN))


def normal_url(url: str) -> str:
    """An address in the one form of all that are sure to mean the same (RFC 3986, 6.2.2), without tracking.

    Scheme and host in lower case; no default port, no fragment, no empty query, ``/`` for an empty path; escaped
    letters, digits and ``-._~`` as they are, other escapes in capitals, what may not stand in an address escaped;
    parameters in ``TRACKING`` dropped. All others stay in their order, and so do user, dots in paths, ``www.`` and
    the difference of http and https. What is no address stays as it is.
    """
    url = url.strip()
    try:
        parts = urlsplit(url)
        host, port = (parts.hostname or "").lower(), parts.port
    except ValueError:
        return url
    if not parts.scheme or not host:
        return url
    place = f"[{host}]" if ":" in host else host
    place += f":{port}" if port and port != PORTS.get(parts.scheme) else ""
    user, at, _ = parts.netloc.rpartition("@")
    query = "&".join(each for each in parts.query.split("&") if not TRACKING.match(each))
    return urlunsplit((parts.scheme, user + at + place, _escaped(parts.path) or "/", _escaped(query), ""))


def _escaped(part: str) -> str:
    """Each character in the one way to write it; a percent sign that begins no escape is one itself."""

    def again(escapes: str) -> str:
        return "".join(chr(byte) if chr(byte) in _UNRESERVED else f"%{byte:02X}" for byte in unquote_to_bytes(escapes))

    pieces = ESCAPE.split(part)
    return "".join(again(p) if at % 2 else quote(p, RESERVED, errors="surrogatepass") for at, p in enumerate(pieces))


_UNRESERVED = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~")
