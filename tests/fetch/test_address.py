from __future__ import annotations

import pytest

from curate.fetch.address import is_address, is_public, parse_url, vet_host
from curate.fetch.response import Refused
from curate.status import Status

CLOSED_ADDRESSES = """
    0.0.0.0 10.1.2.3 100.64.0.1 100.127.255.255 127.0.0.1 127.9.9.9 168.63.129.16 169.254.169.254 172.16.0.1 172.31.9.9
    192.0.0.1 192.0.2.1 192.88.99.1 192.168.1.1 198.18.0.1 198.51.100.1 203.0.113.1 224.0.0.1 240.0.0.1 255.255.255.255
    :: ::1 ::ffff:127.0.0.1 ::ffff:8.8.8.8 ::127.0.0.1 64:ff9b::7f00:1 64:ff9b:1::1 100::1 2001::1 2001:db8::1
    2002:7f00:1::1 3fff::1 fc00::1 fd00:ec2::254 fe80::1 fe80::1%eth0 fec0::1 ff02::1
"""
CLOSED = CLOSED_ADDRESSES.split()


@pytest.mark.parametrize("address", CLOSED)
def test_closed(address):
    assert not is_public(address)


@pytest.mark.parametrize("address", ["8.8.8.8", "100.63.255.255", "100.128.0.1", "172.32.0.1", "2606:4700::1111"])
def test_public(address):
    assert is_public(address)


@pytest.mark.parametrize("text", ["", "localhost", "example.org", "1.2.3", "2130706433", "127.0.0.1:80"])
def test_what_is_no_address_is_not_public(text):
    assert not is_public(text, allow_loopback=True)


def test_loopback_is_admitted_exactly():
    admitted = {one for one in CLOSED if is_public(one, allow_loopback=True)}
    assert admitted == {"127.0.0.1", "127.9.9.9", "::1"}


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "2130706433", "0x7f.1", "0177.0.0.1", "127.1", "127.0.0.1."])
def test_every_spelling_is_an_address(host):
    assert is_address(host)


@pytest.mark.parametrize("host", ["example.org", "1.2.3.4.example.org", "", "xn--bcher-kva.example", "12.34.56.78.90"])
def test_names_are_no_addresses(host):
    assert not is_address(host)


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1", "[::1]", "[::ffff:127.0.0.1]", "2130706433", "0x7f.1", "0177.0.0.1", "127.1", "0", "127.0.0.1.",
        "１２７.0.0.1", "127。0。0。1", "[64:ff9b::7f00:1]", "100.64.0.1", "169.254.169.254", "user@10.0.0.1",  # noqa: RUF001
    ],
)  # fmt: skip
def test_hosts_that_are_closed_addresses(host):
    with pytest.raises(Refused) as refused:
        vet_host(parse_url(f"http://{host}/a.jpg"), allow_loopback=False)
    assert refused.value.status == Status.BLOCKED_ADDRESS


@pytest.mark.parametrize(
    "url",
    [
        "", "None", "a.jpg", "//host/a.jpg", "ftp://h/a", "file:///etc/passwd", "data:image/png;base64,AA", "http://",
        "http:///a.jpg", "http://h:99999/", "http://[::1/", "http://a\nb/", "http://h/a\x00.jpg", "http://h/\ud800",
        "javascript:alert(1)", "http://exa mple.org/",
    ],
)  # fmt: skip
def test_urls_that_cannot_be_asked(url):
    with pytest.raises(Refused) as refused:
        parse_url(url)
    assert refused.value.status == Status.BLOCKED_SCHEME


def test_urls_are_quoted_and_names_encoded():
    assert str(parse_url(" http://bücher.example/ü b.jpg?q=1 2#part ")) == (
        "http://xn--bcher-kva.example/%C3%BC%20b.jpg?q=1+2"
    )
    assert str(parse_url("http://h/a%20b%2Fc.jpg")) == "http://h/a%20b%2Fc.jpg"
    assert str(parse_url("../b.jpg", parse_url("http://h/x/y/a.jpg"))) == "http://h/x/b.jpg"
    assert parse_url("HTTP://EXAMPLE.org/A.jpg").host == "example.org"
    assert len(str(parse_url("http://h/" + "a" * 8192))) == 8201
