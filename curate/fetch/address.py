"""Address: which URLs and IP addresses may be asked for a picture. Resolves no name and opens no connection.

A crawler follows URLs that strangers wrote, so it must not be led to its own machine, its network or a cloud's
metadata service. ``ipaddress.is_global`` is not enough: it calls multicast, 6to4 and NAT64 global, and those lead
back to private IPv4 addresses.
"""

from __future__ import annotations

import ipaddress
import re
import socket

from yarl import URL

from curate.fetch.response import Refused
from curate.status import Status

_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_HOST = re.compile(r"[A-Za-z0-9._:%-]+")
_LOOPBACK = tuple(ipaddress.ip_network(net) for net in ("127.0.0.0/8", "::1/128"))

# IANA's special-purpose registry, without the blocks that are reachable by everyone.
_CLOSED_IPV4 = tuple(
    ipaddress.IPv4Network(net)
    for net in (
        "0.0.0.0/8",  # this network
        "10.0.0.0/8",
        "100.64.0.0/10",  # carrier-grade NAT; clouds put services here
        "127.0.0.0/8",
        "168.63.129.16/32",  # Azure's metadata and DNS, on a public address
        "169.254.0.0/16",  # link-local; cloud metadata
        "172.16.0.0/12",
        "192.0.0.0/24",  # protocol assignments
        "192.0.2.0/24",  # documentation
        "192.88.99.0/24",  # 6to4 relays
        "192.168.0.0/16",
        "198.18.0.0/15",  # benchmarks
        "198.51.100.0/24",  # documentation
        "203.0.113.0/24",  # documentation
        "224.0.0.0/4",  # multicast
        "240.0.0.0/4",  # reserved, broadcast
    )
)
# Global unicast alone is open: no ::1, ::ffff:0:0/96, 64:ff9b::/96, fc00::/7, fe80::/10, fec0::/10 or ff00::/8 ...
_OPEN_IPV6 = ipaddress.IPv6Network("2000::/3")
_CLOSED_IPV6 = tuple(
    ipaddress.IPv6Network(net)
    for net in (
        "2001::/23",  # protocol assignments: Teredo, ORCHID, benchmarks
        "2001:db8::/32",  # documentation
        "2002::/16",  # 6to4: carries an IPv4 address
        "3fff::/20",  # documentation
    )
)


class BlockedAddress(OSError):  # noqa: N818 - it is we who block
    """A name that leads to no public address. An OSError, which is what a resolver may raise."""


def is_public(address: str, *, allow_loopback: bool = False) -> bool:
    """Whether an IP address belongs to the public internet; False for anything that is no address.

    ``allow_loopback`` (for tests) admits exactly 127.0.0.0/8 and ::1, not ::ffff:127.0.0.1.
    """
    try:
        ip = ipaddress.ip_address(address)
    except ValueError:
        return False
    if allow_loopback and any(ip in net for net in _LOOPBACK):
        return True
    if isinstance(ip, ipaddress.IPv4Address):
        return not any(ip in net for net in _CLOSED_IPV4)
    return ip in _OPEN_IPV6 and not any(ip in net for net in _CLOSED_IPV6)


def is_address(host: str) -> bool:
    """Whether the host of a URL is an IP address, in any spelling that a C library understands (2130706433, 0x7f.1)."""
    if ":" in host:
        return True  # no name has one: an IPv6 address, however odd its scope
    try:
        ipaddress.ip_address(host)
    except ValueError:
        pass
    else:
        return True
    try:
        socket.inet_aton(host.rstrip("."))
    except (OSError, UnicodeError, ValueError):
        return False
    return True


def parse_url(text: str, base: URL | None = None) -> URL:
    """A URL that can be asked for: http(s), with a host, quoted, its name in ASCII; relative to ``base`` if given.

    Raises:
        Refused: blocked_scheme for another scheme or an unusable URL.
    """
    text = text.strip()
    if _CONTROL.search(text):
        raise Refused(Status.BLOCKED_SCHEME, "control character in URL")
    try:
        text.encode()  # lone surrogates cannot be sent
        url = URL(text) if base is None else base.join(URL(text))
        host = url.raw_host
    except ValueError as error:
        raise Refused(Status.BLOCKED_SCHEME, f"unusable URL: {error}"[:200]) from None
    if url.scheme not in ("http", "https"):
        raise Refused(Status.BLOCKED_SCHEME, f"scheme {url.scheme[:20]!r}")
    if not host or not _HOST.fullmatch(host):
        raise Refused(Status.BLOCKED_SCHEME, "no usable host in URL")
    return url.with_fragment(None)


def vet_host(url: URL, allow_loopback: bool) -> None:
    """Refuses a URL whose host is itself an address and not a public one; names are vetted when they are resolved.

    Raises:
        Refused: blocked_address.
    """
    host = url.raw_host or ""
    if is_address(host) and not is_public(host, allow_loopback=allow_loopback):
        raise Refused(Status.BLOCKED_ADDRESS, f"{host} is not a public address")


def vetted(text: str, allow_loopback: bool, base: URL | None = None) -> URL:
    """``parse_url`` and ``vet_host`` in one; raises what they raise."""
    url = parse_url(text, base)
    vet_host(url, allow_loopback)
    return url
