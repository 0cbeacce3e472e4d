from __future__ import annotations

import email.utils
import gzip
import hashlib
import io
import socket
import struct
import threading
import time
import zlib

import aiohttp
import numpy as np
import pytest
from aiohttp.abc import AbstractResolver
from PIL import Image
from pydantic import ValidationError
from web import Reply, Site

from curate.fetch.download import download, status_of
from curate.fetch.politeness import opted_out, retry_after
from curate.fetch.response import Fetched, Refused, Request
from curate.image.codec import encode
from curate.recipe.input import Fetch, Resize
from curate.status import Status

PICTURE = encode(np.random.default_rng(0).integers(0, 256, (60, 80, 3), np.uint8))
QUICK = {"allow_loopback": True, "backoff": 0.05, "timeout": 3}


def fetch(*urls, resolver=None, **settings):
    """One Fetched for each URL or Request, by URL; fails if any request ends more or less than once."""
    requests = [url if isinstance(url, Request) else Request(url) for url in urls]
    ended: list[Fetched] = []
    download(requests, Fetch(**{**QUICK, **settings}), ended.append, resolver)
    assert sorted(one.url for one in ended) == sorted(request.url for request in requests)
    return {one.url: one for one in ended}


def ask(page, **settings):
    """What becomes of a site's one page, and how often it was asked for."""
    with Site({"/a.jpg": page}) as site:
        (one,) = fetch(site.url("/a.jpg"), **settings).values()
    return one, site.hits["/a.jpg"]


def in_turn(*pages):
    """A page that answers otherwise each time; the last answer stays."""
    left = list(pages)
    return lambda _: left.pop(0) if len(left) > 1 else left[0]


def test_a_picture_comes_with_all_that_is_known_of_it():
    one, hits = ask(PICTURE)
    assert (one.status, one.data, hits) == (Status.OK, PICTURE, 1)
    assert (one.format, one.width, one.height, one.original_width, one.frames) == ("jpg", 80, 60, 80, 1)
    assert (one.http, one.attempts, one.final_url) == (200, 1, one.url)
    assert one.sha256 == hashlib.sha256(PICTURE).hexdigest()


def test_we_say_who_we_are_and_keep_no_cookies():
    with Site({"/a": Reply(302, b"", (("Location", "/b"), ("Set-Cookie", "a=1"))), "/b": PICTURE}) as site:
        fetch(site.url("/a"))
    assert [seen.headers["User-Agent"].split("/")[0] for seen in site.seen] == ["curate", "curate"]
    assert "Cookie" not in site.seen[1].headers
    assert site.seen[0].headers["Accept-Encoding"] == "identity"


def test_a_resized_picture_keeps_the_hash_of_the_original():
    one, _ = ask(PICTURE, resize=Resize(size=32))
    assert (one.width, one.height, one.original_width, one.original_height) == (32, 32, 80, 60)
    assert one.sha256 == hashlib.sha256(PICTURE).hexdigest()
    assert ask(PICTURE, resize=Resize(min_side=61))[0].status == Status.SIZE_REJECTED


def test_unknown_settings_are_errors():
    with pytest.raises(ValidationError):
        Fetch(timeuot=3)
    with pytest.raises(ValidationError):
        Fetch(user_agent="curate\r\nCookie: a=1")
    assert Fetch(max_bytes="2MB").max_bytes == 2_000_000
    assert all(field.description for field in Fetch.model_fields.values())


# A1 - A5: bodies


def drip(handler):
    handler.send_response(200)
    handler.end_headers()
    for _ in range(100):
        handler.wfile.write(b"\xff")
        time.sleep(0.05)


def test_a_dripping_server_meets_the_deadline_and_holds_up_nobody():
    with Site({"/drip": drip, "/a.jpg": PICTURE}) as site:
        start, ended = time.monotonic(), {}
        urls = [Request(site.url("/drip")), Request(site.url("/a.jpg"))]
        download(urls, Fetch(**{**QUICK, "timeout": 1}), lambda one: ended.update({one.url: (one, time.monotonic())}))
    (slow, late), (quick, soon) = ended[site.url("/drip")], ended[site.url("/a.jpg")]
    assert slow.status == Status.TIMEOUT_TOTAL
    assert 1 <= late - start < 1.3
    assert quick.status == Status.OK
    assert soon - start < 0.8
    assert site.hits["/drip"] == 1


def test_redirects_share_one_deadline():
    def slow(handler):
        time.sleep(0.4)
        return Reply(302, b"", (("Location", handler.path + "x"),))

    class Endless(dict):
        def get(self, path, default=None):
            return slow

    with Site(Endless()) as site:
        (one,) = fetch(site.url("/"), timeout=1, max_redirects=50).values()
    assert one.status == Status.TIMEOUT_TOTAL
    assert sum(site.hits.values()) == 3


def endless(handler):
    handler.send_response(200)
    handler.send_header("Transfer-Encoding", "chunked")
    handler.end_headers()
    sent = 0
    while sent < 200_000_000:
        handler.wfile.write(b"10000\r\n" + bytes(0x10000) + b"\r\n")
        sent += 0x10000
    handler.server.all_was_sent = True


def test_an_endless_body_stops_at_the_limit():
    with Site({"/a": endless}) as site:
        (one,) = fetch(site.url("/a"), max_bytes=1_000_000).values()
        assert not hasattr(site._server, "all_was_sent")
    assert (one.status, site.hits["/a"]) == (Status.TOO_LARGE, 1)


def test_a_huge_content_length_is_refused_before_the_body():
    one, hits = ask(Reply(200, b"x", (("Content-Length", "10000000000"),)))
    assert (one.status, hits) == (Status.TOO_LARGE, 1)
    assert "Content-Length" in one.detail


def hang_up(handler):
    handler.close_connection = True
    return Reply(200, PICTURE[:500], (("Content-Length", str(len(PICTURE))),))


def test_a_short_body_is_asked_for_once_more():
    one, hits = ask(hang_up, retries=3)
    assert (one.status, one.data, hits) == (Status.TRUNCATED_BODY, None, 2)


@pytest.mark.parametrize("encoding", ["gzip", "x-gzip", "deflate", "raw"])
def test_compressed_bodies_are_inflated(encoding):
    packed = {"deflate": zlib.compress(PICTURE), "raw": zlib.compress(PICTURE)[2:-4]}.get(
        encoding, gzip.compress(PICTURE)
    )
    name = "deflate" if encoding == "raw" else encoding
    one, _ = ask(Reply(200, packed, (("Content-Encoding", name),)))
    assert (one.status, one.data) == (Status.OK, PICTURE)
    assert one.sha256 == hashlib.sha256(PICTURE).hexdigest()


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (gzip.compress(bytes(50_000_000)), Status.TOO_LARGE),
        (gzip.compress(PICTURE)[:-20], Status.TRUNCATED_BODY),
        (PICTURE, Status.DECODE_ERROR),
    ],
)
def test_bad_gzip(body, status):
    one, _ = ask(Reply(200, body, (("Content-Encoding", "gzip"),)), max_bytes=1_000_000)
    assert one.status == status


# A6 - A12: what is no picture


def bomb():
    chunk = struct.pack(">IIBBBBB", 20_000, 20_000, 1, 0, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + b"IHDR" + chunk + struct.pack(">I", zlib.crc32(b"IHDR" + chunk))
    )


def animation():
    frames = [Image.new("L", (8, 8), grey) for grey in (0, 90, 180, 250)]
    frames[0].save(file := io.BytesIO(), "GIF", save_all=True, append_images=frames[1:])
    return file.getvalue()


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (bomb(), Status.TOO_MANY_PIXELS),
        (PICTURE[: len(PICTURE) // 2], Status.DECODE_ERROR),
        (b"<html><body>not found", Status.NOT_AN_IMAGE),
        (b'{"error": 1}', Status.NOT_AN_IMAGE),
        (b'<svg xmlns="http://www.w3.org/2000/svg"/>', Status.NOT_AN_IMAGE),
        (b"%!PS-Adobe-3.0 EPSF-3.0", Status.NOT_AN_IMAGE),
        (b"%PDF-1.7", Status.NOT_AN_IMAGE),
        (b"", Status.NOT_AN_IMAGE),
    ],
)
def test_bodies_that_are_refused(body, status):
    for resize in (None, Resize(size=32)):
        one, hits = ask(Reply(200, body, (("Content-Type", "image/jpeg"),)), resize=resize)
        assert (one.status, one.data, hits) == (status, None, 1)


def test_animations_are_recorded():
    assert ask(animation())[0].frames == 2
    assert ask(animation(), resize=Resize(size=8))[0].frames == 2


# A13, A14: HTTP codes and retries


@pytest.mark.parametrize("code", [204, 206, 304, 400, 401, 403, 404, 410, 451, 501])
def test_permanent_answers_are_asked_for_once(code):
    one, hits = ask(Reply(code))
    assert (one.status, one.http, one.attempts, hits) == (Status.HTTP_PERMANENT, code, 1, 1)


@pytest.mark.parametrize("code", [408, 425, 429, 500, 502, 503, 504, 522, 524])
def test_transient_answers_are_asked_for_again(code):
    one, hits = ask(Reply(code), retries=1, backoff=0.01)
    assert (one.status, one.http, one.attempts, hits) == (Status.HTTP_TRANSIENT, code, 2, 2)


def test_retries_wait_longer_each_time_and_succeed():
    with Site({"/a": in_turn(Reply(503), Reply(500), PICTURE)}) as site:
        (one,) = fetch(site.url("/a"), backoff=0.1).values()
    first, second, third = (seen.at for seen in site.seen)
    assert (one.status, one.attempts) == (Status.OK, 3)
    assert second - first >= 0.1
    assert third - second >= 0.2


def test_retry_after_is_obeyed():
    with Site({"/a": in_turn(Reply(429, b"", (("Retry-After", "1"),)), PICTURE), "/b": PICTURE}) as site:
        ended = fetch(site.url("/a"), site.url("/b"), concurrency=1)
    asked = {seen.path: seen.at for seen in site.seen}
    assert ended[site.url("/a")].attempts == 2
    assert asked["/a"] - site.seen[0].at >= 1
    assert asked["/b"] - site.seen[0].at < 0.5  # the pause holds no worker


@pytest.mark.parametrize(
    ("value", "low", "high"),
    [(None, 0, 0), ("7", 7, 7), ("-7", 0, 0), ("soon", 0, 0), ("1e9", 0, 0), ("9" * 400, 0, 30), ("3600", 30, 30)],
)
def test_retry_after_values(value, low, high):
    assert low <= retry_after(value) <= high


def test_retry_after_date():
    assert 8 < retry_after(email.utils.formatdate(time.time() + 10, usegmt=True)) <= 10
    assert retry_after("Fri, 31 Dec 1999 23:59:59 GMT") == 0


def closed_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def test_a_refused_connection_is_tried_again():
    (one,) = fetch(f"http://127.0.0.1:{closed_port()}/a", retries=1, backoff=0.01).values()
    assert (one.status, one.attempts, one.http) == (Status.CONNECT, 2, None)


def test_a_server_that_says_nothing_or_nonsense():
    def silent(handler):
        handler.close_connection = True

    def nonsense(handler):
        handler.wfile.write(b"\x00\x01 nonsense\r\n\r\n")
        handler.close_connection = True

    assert ask(silent, retries=1, backoff=0.01)[0].status == Status.CONNECT
    assert ask(nonsense)[0].status == Status.HTTP_PERMANENT


def test_tls_with_a_server_that_has_none():
    with Site({"/a": PICTURE}) as site:
        (one,) = fetch(site.url("/a").replace("http:", "https:")).values()
    assert (one.status, one.attempts) == (Status.TLS, 1)


def test_every_failure_has_a_status():
    assert status_of(418) == Status.HTTP_PERMANENT
    assert status_of(Refused(Status.TOO_LARGE, "")) == Status.TOO_LARGE
    assert status_of(aiohttp.ConnectionTimeoutError()) == Status.CONNECT
    assert status_of(TimeoutError()) == Status.TIMEOUT_TOTAL
    assert status_of(aiohttp.ClientPayloadError()) == Status.TRUNCATED_BODY
    assert status_of(ConnectionResetError()) == Status.CONNECT


# A15, A17: redirects


def to(location, code=302):
    return Reply(code, b"", (("Location", location),))


def test_redirects_are_followed_relative_and_across_hosts():
    with Site({"/b.jpg": PICTURE}, host="127.0.0.2") as other:
        pages = {"/x/a": to("../c", 301), "/c": to("/d", 307), "/d": to(other.url("/b.jpg"), 308)}
        with Site(pages) as site:
            (one,) = fetch(site.url("/x/a")).values()
    assert (one.status, one.final_url, one.attempts) == (Status.OK, other.url("/b.jpg"), 1)


def test_redirects_end():
    with Site({"/a": to("/b"), "/b": to("/a"), "/c": Reply(302)}) as site:
        ended = fetch(site.url("/a"), site.url("/c"), max_redirects=4)
    assert {one.status for one in ended.values()} == {Status.HTTP_PERMANENT}
    assert site.hits == {"/a": 3, "/b": 2, "/c": 1}


@pytest.mark.parametrize(
    ("location", "status"),
    [
        ("file:///etc/hostname", Status.BLOCKED_SCHEME),
        ("ftp://127.0.0.1/a", Status.BLOCKED_SCHEME),
        ("data:image/png;base64,AA", Status.BLOCKED_SCHEME),
        ("http://169.254.169.254/latest/meta-data", Status.BLOCKED_ADDRESS),
        ("http://0x7f.1/", Status.BLOCKED_ADDRESS),
        ("http://[::ffff:127.0.0.1]/", Status.BLOCKED_ADDRESS),
    ],
)
def test_redirects_are_vetted(location, status):
    one, hits = ask(to(location))
    assert (one.status, hits) == (status, 1)


# A16, A18: addresses


class Names(AbstractResolver):
    """Answers each time with the next list of addresses; the last one stays."""

    def __init__(self, *answers):
        self.answers, self.asked = list(answers), []

    async def resolve(self, host, port=0, family=socket.AF_INET):
        self.asked.append(host)
        hosts = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(hosts, Exception):
            raise hosts
        return [
            {"hostname": host, "host": one, "port": port, "family": socket.AF_INET, "proto": 0, "flags": 0}
            for one in hosts
        ]

    async def close(self):
        pass


@pytest.mark.parametrize("host", ["127.0.0.1", "2130706433", "0x7f.1", "0177.0.0.1", "１２７.0.0.1", "localhost"])  # noqa: RUF001
def test_the_loopback_is_not_asked(host):
    with Site({"/a": PICTURE}) as site:
        names = Names(["127.0.0.1"])
        (one,) = fetch(f"http://{host}:{site.port}/a", allow_loopback=False, resolver=names).values()
    assert (one.status, sum(site.hits.values())) == (Status.BLOCKED_ADDRESS, 0)


def test_names_that_lead_inside_are_not_asked():
    with Site({"/a": PICTURE}) as site:
        names = Names(["10.0.0.1", "127.0.0.1", "169.254.169.254"])
        (one,) = fetch(f"http://inside.example:{site.port}/a", allow_loopback=False, resolver=names).values()
    assert (one.status, one.attempts, sum(site.hits.values())) == (Status.BLOCKED_ADDRESS, 1, 0)


def test_only_the_vetted_address_is_connected_to():
    with Site({"/a": PICTURE, "/b": PICTURE}) as site:
        names = Names(["10.0.0.1", "127.0.0.1"], ["10.0.0.1"])  # rebinding: the second answer would lead inside
        url = f"http://rebind.example:{site.port}"
        ended = fetch(f"{url}/a", f"{url}/b", resolver=names)
    assert {one.status for one in ended.values()} == {Status.OK}
    assert names.asked == ["rebind.example"]


def test_redirect_to_a_name_that_leads_inside():
    with Site({"/a": to("http://inside.example/")}) as site:
        (one,) = fetch(site.url("/a"), resolver=Names(["192.168.0.1"])).values()
    assert one.status == Status.BLOCKED_ADDRESS


def test_dns_failures():
    no_such_name, later = socket.gaierror(socket.EAI_NONAME, "no"), socket.gaierror(socket.EAI_AGAIN, "later")
    (one,) = fetch("http://gone.example/a", resolver=Names(no_such_name)).values()
    assert (one.status, one.attempts) == (Status.DNS, 1)
    with Site({"/a": PICTURE}) as site:
        (one,) = fetch(f"http://busy.example:{site.port}/a", resolver=Names(later, ["127.0.0.1"])).values()
    assert (one.status, one.attempts) == (Status.OK, 2)


@pytest.mark.parametrize("host", ["a" * 70 + ".example", "a..example", "x" * 300])
def test_names_that_cannot_be_resolved_end_as_rows(host):
    (one,) = fetch(f"http://{host}/a.jpg", retries=0).values()
    assert one.status in (Status.DNS, Status.BLOCKED_SCHEME)


# A20: opt-out


@pytest.mark.parametrize(
    ("headers", "refused"),
    [
        (["noai"], True), (["NoAI"], True), (["none"], True), (["noml"], True), (["noimageindex"], True),
        (["all"], False), (["nofollow"], False), ([""], False), (["max-snippet: 5"], False),
        (["nofollow, noai"], True), (["nofollow", "noai"], True),
        (["otherbot: noai"], False), (["otherbot: nofollow, noai"], False), (["otherbot: noai", "noai"], True),
        (["curate: noai"], True), (["Curate: nofollow, noai"], True), (["otherbot: noai, curate: noindex"], True),
        (["*: noai"], True),
        (["unavailable_after: 25 Jun 2010 15:00:00 PST, noai"], True),
        (["unavailable_after: Friday, 25-Jun-10 15:00:00 UTC, noai"], True),
        (["unavailable_after: 2010-06-25T15:00:00+00:00, nofollow"], False),
        (["otherbot: unavailable_after: 25 Jun 2010 15:00:00 PST, noai"], False),
    ],
)  # fmt: skip
def test_x_robots_tag(headers, refused):
    assert bool(opted_out(headers, Fetch().opt_out, Fetch().product)) is refused


def test_a_refusal_costs_one_request_and_no_body():
    page = Reply(200, PICTURE, (("X-Robots-Tag", "nofollow"), ("X-Robots-Tag", "curate: noai")))
    one, hits = ask(page)
    assert (one.status, one.detail, one.sha256, hits) == (Status.XROBOTS_OPTOUT, "X-Robots-Tag: noai", "", 1)
    assert ask(page, opt_out=())[0].status == Status.OK
    assert ask(page, user_agent="other/1")[0].status == Status.OK


# A21 - A23


@pytest.mark.parametrize("kind", ["sha256", "md5"])
def test_a_wrong_hash_costs_its_picture_only(kind):
    right = hashlib.new(kind, PICTURE).hexdigest()
    with Site({f"/{n}": PICTURE for n in range(10)}) as site:
        requests = [Request(site.url(f"/{n}"), "0" * len(right) if n == 3 else right.upper()) for n in range(9)]
        ended = fetch(*requests, Request(site.url("/9")), verify=kind)
        assert fetch(*requests)[site.url("/3")].status == Status.OK  # not asked to verify
    failed = [one for one in ended.values() if one.status != Status.OK]
    assert [(one.url, one.status, one.data) for one in failed] == [(site.url("/3"), Status.HASH_MISMATCH, None)]


def test_one_slow_host_holds_up_no_other():
    def slow(_):
        time.sleep(0.02)
        return PICTURE

    big = Site({f"/{n}": slow for n in range(100)})
    small = [Site({"/a": PICTURE}, host=f"127.0.0.{n}") for n in range(2, 7)]
    for site in (big, *small):
        site.__enter__()
    urls = [big.url(f"/{n}") for n in range(100)] + [site.url("/a") for site in small]
    order: list[str] = []
    settings = Fetch(**QUICK, per_host=4, concurrency=8)
    download([Request(url) for url in urls], settings, lambda one: order.append(one.url))
    for site in (big, *small):
        site.__exit__(None, None, None)
    assert big.peak <= 4
    assert max(order.index(site.url("/a")) for site in small) < 25
    assert sorted(order) == sorted(urls)


def test_bad_urls_end_as_rows():
    bad = [
        "",
        "  ",
        "None",
        "a,b",
        '"',
        "http://",
        "http://h/\x07",
        "http://" + "é" * 300 + "/",
        "file:///etc/hostname",
    ]
    with Site({"/ü b.jpg": PICTURE, "/%C3%BC%20b.jpg": PICTURE, "/" + "a" * 8000: PICTURE}) as site:
        good = [site.url("/ü b.jpg"), site.url("/" + "a" * 8000)]
        ended = fetch(*bad, *good, resolver=Names(["127.0.0.1"]))
    assert {ended[url].status for url in bad} == {Status.BLOCKED_SCHEME}
    assert {ended[url].status for url in good} == {Status.OK}


def test_no_requests():
    assert fetch() == {}


def test_more_requests_than_workers_and_a_lazy_iterator():
    with Site({f"/{n}": PICTURE for n in range(300)}) as site:
        ended: list[Fetched] = []
        lazily = (Request(site.url(f"/{n}")) for n in range(300))
        download(lazily, Fetch(**QUICK, concurrency=3), ended.append)
    assert len({one.url for one in ended}) == len(ended) == 300
    assert site.peak <= 3


def test_a_bug_in_the_caller_ends_the_download():
    class BugError(Exception):
        pass

    def on_done(_):
        raise BugError

    with Site({"/a": PICTURE}) as site, pytest.raises(BugError):
        download([Request(site.url("/a"))], Fetch(**QUICK), on_done)
    with pytest.raises(BugError):
        download([Request("no url")], Fetch(**QUICK), on_done)


def test_results_come_in_the_calling_thread():
    threads = set()
    with Site({"/a": PICTURE}) as site:
        settings = Fetch(**QUICK, resize=Resize(size=16))
        download([Request(site.url("/a"))], settings, lambda _: threads.add(threading.get_ident()))
    assert threads == {threading.get_ident()}
