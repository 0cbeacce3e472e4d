"""Status: the closed list of ways an image URL can end. Every URL ends in exactly one."""

from __future__ import annotations

from enum import StrEnum


class Status(StrEnum):
    """How a URL ended. ``OK`` alone has a picture; the others are failures with their class."""

    OK = "ok"
    HTTP_PERMANENT = "http_permanent"  # 4xx and other answers that asking again will not change
    HTTP_TRANSIENT = "http_transient"  # 408, 425, 429, 5xx after the last retry
    DNS = "dns"
    CONNECT = "connect"  # refused, reset, closed without an answer, connect timeout
    TLS = "tls"
    TIMEOUT_TOTAL = "timeout_total"  # the total deadline passed, however slowly bytes came
    TOO_LARGE = "too_large"  # by Content-Length, or while streaming (after inflation)
    TRUNCATED_BODY = "truncated_body"
    NOT_AN_IMAGE = "not_an_image"  # by magic bytes, whatever the name or Content-Type says
    DECODE_ERROR = "decode_error"
    TOO_MANY_PIXELS = "too_many_pixels"  # from the header, before any decoding
    BLOCKED_ADDRESS = "blocked_address"  # an address that is not public
    BLOCKED_SCHEME = "blocked_scheme"  # not http(s), or no URL at all
    ROBOTS_DISALLOW = "robots_disallow"
    XROBOTS_OPTOUT = "xrobots_optout"
    HASH_MISMATCH = "hash_mismatch"
    SIZE_REJECTED = "size_rejected"  # resize's min side, max area or max aspect ratio
    QUARANTINED = "quarantined"  # set aside after it killed its worker again and again
