r"""PII: how many e-mail addresses, phone numbers and IP addresses a text holds, and the text without. Drops nothing.

By regular expressions that would rather miss one than take a date, a price, an ISBN or a version for one:

- e-mail: the HTML standard's "valid e-mail address" with fewer special characters (. _ % + - & '), letters of any
  script and a top-level domain. Not found: "me (at) example.com", quoted local parts. No address is ``icon@2x.png``.
- phone: with a plus, 8 to 15 digits (ITU-T E.164) and what E.123 puts between them; without, what has the shape of a
  national number: North America's 212-555-0123 and (212) 555-0123, or a trunk prefix 0 with groups, (020) 7946 0958,
  030/1234567, 03-1234-5678, 01 23 45 67 89. Not found: digits with neither separators nor a plus, local numbers.
- IP: IPv4 and IPv6 addresses that are public; no loopback, private or documentation address says who somebody is. Not
  found: an IPv4 address behind "version" or "Name/", where it is a version.

No names, postal addresses, card or social security numbers are looked for.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from ipaddress import IPv6Network, ip_address
from itertools import chain

from curate import Text, scores

LABEL = r"[^\W_](?:[\w-]{0,61}[^\W_])?"
EMAIL = re.compile(
    rf"(?<![\w.%+-])[\w+](?:[\w.%+'&-]{{0,62}}[\w+])?@(?!\dx\.)(?:{LABEL}\.)+"
    r"(?!(?:png|jpe?g|gif|webp|svg|avif|bmp)\b)(?:xn--[a-z0-9-]{2,59}|[^\W\d_]{2,63})(?![\w-]|\.\w*@)",
    re.IGNORECASE,
)

GAP = r"[ \u00a0\u2009\u202f.\u2010\u2011/-]"
"""What stands between the groups of a phone number: spaces, dot, hyphens, slash."""
PHONE = re.compile(
    rf"""(?<![\w+./=-]) (?<!\d,) (?:
      \+ (?!\d{{1,3}}\.\d{{4}}) (?:                            # +52.520008 is a coordinate
        1 {GAP}? \(? [2-9]\d\d \)? {GAP}? [2-9]\d\d {GAP}? \d{{4}}
      | [2-9] (?: {GAP}? (?: \d | \(\d{{1,5}}\) ) ){{7,14}} )
    | (?:1[ .-])? (?: \([2-9]\d\d\)[ ]? [2-9]\d\d [ .-] | (?P<n>[2-9]\d\d[.-])[2-9]\d\d[.-] ) \d{{4}}
    | \( 0[1-9]\d{{0,4}} \) [ ]? \d{{3,5}} (?:[ -]?\d{{3,5}})
    | 00 [1-9]\d{{0,2}} (?:{GAP}\d{{2,}}){{2,5}}
    | 0[1-9] (?P<p>[ .-])\d\d (?: (?P=p)\d\d ){{3}}
    | 0[1-9]\d{{1,3}} (?: [ ]?/[ ]?|-)\d{{5,8}}
    | 0[1-9]\d{{2,3}} [ ] \d{{6,8}}
    | 0[1-9]\d{{0,3}} (?P<q>[ -]) \d{{3,4}} (?P=q) \d{{3,4}}
    ) (?![-./:,]?\d) (?!\w|[ ]?[%€$£¥]) (?!\.\w)""",
    re.VERBOSE,
)

IPV4 = re.compile(r"(?<![\w.])(?<![^\W_]/)(?<!\bv )(?:\d{1,3}\.){3}\d{1,3}(?![\w-]|\.\d)")
IPV6 = re.compile(
    r"(?<![\w:.])(?:[0-9a-f]{1,4}:){1,7}(?::|[0-9a-f]{1,4})(?::?[0-9a-f]{1,4}){0,6}(?![\w:]|\.\d)", re.IGNORECASE
)
VERSION = re.compile(r"\b(?:versions?|ver\.?|v\.?|release|build|firmware|driver)[ :]*$", re.IGNORECASE)
UNICAST = IPv6Network("2000::/3")
"""Where IPv6 addresses are given out (IANA)."""

Span = tuple[int, int, str]


@scores("text", emails=int, phones=int, ips=int, batch=1024, version=1)
def pii(texts: list[Text]) -> list[dict[str, int]]:
    """How many of each a text holds."""
    rows = (Counter(kind for *_, kind in spans(text.text)) for text in texts)
    return [{"emails": row["email"], "phones": row["phone"], "ips": row["ip"]} for row in rows]


def mask(text: str) -> str:
    """The text with ``<email>``, ``<phone>`` or ``<ip>`` for each that ``pii`` counts; a masked text stays as it is."""
    found = spans(text)
    return replaced(text, found, [f"<{kind}>" for *_, kind in found])


def spans(text: str) -> list[Span]:
    """Where they are, in order: start, end and email, phone or ip. None overlap: what is in an e-mail is no IP."""
    found: list[Span] = []
    for kind, search in (("email", emails), ("ip", ips), ("phone", phones)):
        new = sorted((*match.span(), kind) for match in search(text))
        text = replaced(text, new, ["\0" * (end - start) for start, end, _ in new])
        found += new
    return sorted(found)


def replaced(text: str, found: Sequence[Span], instead: Sequence[str]) -> str:
    """The text with other words at these places, which are in order."""
    starts, ends = [start for start, *_ in found], [end for _, end, _ in found]
    kept = [text[end:start] for end, start in zip([0, *ends], [*starts, len(text)], strict=True)]
    return "".join(chain.from_iterable(zip(kept, [*instead, ""], strict=True)))


def emails(text: str) -> Iterator[re.Match[str]]:
    """The e-mail addresses."""
    return EMAIL.finditer(text) if "@" in text else iter(())


def phones(text: str) -> Iterator[re.Match[str]]:
    """The phone numbers."""
    return PHONE.finditer(text)


def ips(text: str) -> Iterator[re.Match[str]]:
    """The public IP addresses."""
    for match in IPV4.finditer(text):
        if public(match[0]) and not VERSION.search(text, max(0, match.start() - 12), match.start()):
            yield match
    if text.count(":") > 1:
        yield from (match for match in IPV6.finditer(text) if public(match[0]))


def public(address: str) -> bool:
    """Whether it is an address that anybody on the internet may have."""
    try:
        found = ip_address(address)
    except ValueError:
        return False
    return found.is_global and not found.is_multicast and (found.version == 4 or found in UNICAST)
