"""Address: which IP addresses may be asked for a picture. Pure tables; resolves no name and opens no connection.

A crawler follows URLs that strangers wrote, so it must not be led to its own machine, its network or a cloud's
metadata service. ``ipaddress.is_global`` is not enough: it calls multicast, 6to4 and NAT64 global, and those lead
back to private IPv4 addresses.
"""

from __future__ import annotations

import ipaddress
import socket

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
