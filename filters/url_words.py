"""URL words: does an image's address say that it is furniture (a logo, a button, an icon)?

MMC4 (Zhu et al. 2023) drops addresses with one of five words as a token; OBELICS (Laurencon et al. 2023) looks for
the same words and three more anywhere in the address.
"""

import re

from curate import scores

FURNITURE = ("logo", "button", "icon", "plugin", "widget")


@scores("raw.url", hits=int, word=str, batch=4096, version=1)
def url_words(
    urls: list[str], words: tuple[str, ...] = FURNITURE, match: str = "token"
) -> list[dict[str, int | str | None]]:
    """How many of the words an address has (``hits``), and the first of them.

    ``match: token`` compares with the runs of letters in the address, in lower case; ``match: substring`` looks
    anywhere and minds capitals.
    """
    if match not in {"token", "substring"}:
        raise ValueError(f"match: {match!r} is neither token nor substring")
    rows: list[dict[str, int | str | None]] = []
    for url in urls:
        tokens = url if match == "substring" else set(re.findall(r"[^\W\d_]+", url.lower()))
        found = [word for word in words if word in tokens]
        rows.append({"hits": len(found), "word": found[0] if found else None})
    return rows
