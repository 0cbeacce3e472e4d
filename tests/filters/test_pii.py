import re
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from shards import measure, page, raw_shard, scored, scorers_of

from curate import Text
from curate.filters.pii import mask, pii, spans
from curate.store.store import Store


def kinds(text):
    return [(text[start:end], kind) for start, end, kind in spans(text)]


@pytest.mark.parametrize(
    "address",
    [
        "jane.doe@example.com", "j+news@mail.example.co.uk", "x@y.museum", "o'neil@example.ie", "_root@example.org",
        "jürgen@müller.de", "山田@例え.jp", "a@xn--bcher-kva.example", "a@b.xn--p1ai", "UPPER@EXAMPLE.COM", "1@2.de",
        f"{'a' * 64}@example.com",
    ],
)  # fmt: skip
@pytest.mark.parametrize("around", ["{}", "Write to {}.", "<{}>", "mailto:{}?subject=x", "({}),", "'{}'", "a;{};b"])
def test_an_email_is_found_as_a_whole(address, around):
    assert kinds(around.format(address)) == [(address, "email")]


@pytest.mark.parametrize(
    "text",
    [
        "@jane", "jane@localhost", "icon@2x.png", "photo-1@3x.jpeg", "logo@home.png", "at 5 @ example.com", "a@b",
        "a@.com",
        "jane (at) example.com", "medium.com/@jane.doe/post", "flickr.com/photos/123@N00/", "jquery@3.6.0", "a@b.c",
        f"{'a' * 65}@example.com",
    ],
)  # fmt: skip
def test_what_is_no_email(text):
    assert kinds(text) == []


@pytest.mark.parametrize(
    "number",
    [
        "+49 30 1234567", "+49 (0)30 123456-78", "+44 20 7946 0958", "+1 (212) 555-0123", "+1-212-555-0123",
        "+12125550123",
        "+33 1 23 45 67 89", "+81-3-1234-5678", "+55 (11) 91234-5678", "+34 612 345 678", "+4915112345678",
        "+86 138 1234 5678", "+358 40 1234567", "+7 (495) 123-45-67", "+49\u00a030\u00a01234567",
        "(212) 555-0123", "212-555-0123", "212.555.0123", "1-800-555-0199", "1 (800) 555-0199",
        "(020) 7946 0958", "020 7946 0958", "07700 900123", "030/1234567", "030 / 1234567", "0170 1234567",
        "089-123456",
        "01 23 45 67 89", "01.23.45.67.89", "03-1234-5678", "0049 30 1234567", "(030) 1234567",
    ],
)  # fmt: skip
@pytest.mark.parametrize("around", ["{}", "Call {}.", "tel:{},", "({})", "Tel. {} or write", "☎{}\nToday"])
def test_a_phone_number_is_found_as_a_whole(number, around):
    assert kinds(around.format(number)) == [(number, "phone")]


@pytest.mark.parametrize(
    "text",
    [
        "2020-01-02", "01.02.2020", "01/02/2020", "1/2/20", "01-02-2020 - 03-04-2020", "01.02.-03.04.2020", "1998-2004",
        "1998\u20132004", "2019/2020", "2020-01-02 03:04:05", "2020-01-02T03:04:05+0100", "01/02/2020 12:30",
        "03.04.2020 1200 h",
        "$1,234,567.89", "1.299,00 €", "€ 1.234.567,89", "£10,000-12,000", "100 000 000", "1 234 567", "300 400 5000",
        "+500 000 000 €", "+100 000 000", "+12,345,678", "+15 %", "+52.520008, +13.404954", "52.520008, 13.404954",
        "ISBN 978-0-306-40615-7", "ISBN 9780306406157", "ISBN 0-306-40615-2", "ISBN-10: 0306406152",
        "978 3 16 148410 0",
        "ISSN 2049-3630", "EAN 4006381333931", "4111 1111 1111 1111", "123-45-6789", "12345-6789", "10.1000/182",
        "v1.2.3", "2.10.3-beta", "1.2.3.4567", "Chrome/120.0.6099.109", "3.14159265", "0.123456789", "1e10", "12:30:45",
        "1024x768", "IMG_20200102_030405.jpg", "DSC-0123-4567.jpg", "https://ex.org/2020/01/02/030-1234567.html",
        "?id=0170-1234567", "call 911", "110", "2125550123", "15:00-17:00", "Psalm 119:105", "3:2", "00:00:01", "007",
        "1-2-3", "10-20-30", "192-168-1-1", "No. 12345678", "#0123456", "USB 3.0", "2001:2002", "a::b", "std::cout",
    ],
)  # fmt: skip
@pytest.mark.parametrize("around", ["{}", "It is {}.", "({}),"])
def test_dates_prices_books_versions_and_years_stay(text, around):
    assert kinds(around.format(text)) == []


@pytest.mark.parametrize(
    "address",
    [
        "8.8.8.8", "163.36.107.25", "1.1.1.1", "223.255.255.254", "2606:4700:4700::1111", "2a00:1450:4001:81b::200e",
        "2606:4700:4700:0000:0000:0000:0000:1111", "2a00::", "2620:FE::FE", "2606:4700::",
    ],
)  # fmt: skip
@pytest.mark.parametrize("around", ["{}", "from {}.", "[{}]", "http://{}/x", "{},", "ip={} port"])
def test_an_ip_address_is_found_as_a_whole(address, around):
    assert kinds(around.format(address)) == [(address, "ip")]


@pytest.mark.parametrize(
    "text",
    [
        "127.0.0.1", "192.168.1.2", "10.0.0.1", "172.16.0.9", "169.254.1.1", "192.0.2.1", "224.0.0.1", "255.255.255.0",
        "999.8.8.8", "108.0.0.01", "8.8.8", "8.8.8.8.8", "8.8.8.8a", "v8.8.8.8", "version 8.8.8.8", "Firefox/8.8.8.8",
        "driver: 31.0.15.4601", "::1", "fe80::1", "fd00::1", "2001:db8::1", "2001::db8::1", "00:1B:44:11:3A:B7",
        "12:30:45",
        "dead::beef", "1:2:3:4:5:6:7", "2606:4700:4700::11111",
    ],
)  # fmt: skip
@pytest.mark.parametrize("around", ["{}", "It is {}.", "({})"])
def test_what_is_no_public_address(text, around):
    assert kinds(around.format(text)) == []


def test_masking():
    text = "Jane <jane@example.com>, +49 30 1234567 (8.8.8.8), since 2004-05-06."
    masked = "Jane <<email>>, <phone> (<ip>), since 2004-05-06."
    assert mask(text) == masked
    assert mask("jane@example.com\n8.8.8.8") == "<email>\n<ip>"
    assert mask("2606::1 is not 8.8.8.8, jane.8.8.8.8@example.com") == "<ip> is not <ip>, <email>"
    assert mask("Nothing here.") == "Nothing here."
    assert pii([Text(text), Text(masked), Text("")]) == [
        {"emails": 1, "phones": 1, "ips": 1}, *[{"emails": 0, "phones": 0, "ips": 0}] * 2
    ]  # fmt: skip


@given(st.text("0123456789+-./:()@ abcdefx\n", max_size=80))
def test_what_stays_is_the_text_and_a_masked_text_stays(text):
    masked, found = mask(text), spans(text)
    assert all(before[1] <= after[0] for before, after in pairwise(found))
    pieces = re.split("<(?:email|phone|ip)>", masked)
    assert len(pieces) == len(found) + 1
    assert sum(map(len, pieces)) + sum(end - start for start, end, _ in found) == len(text)
    assert mask(masked) == masked


@pytest.mark.parametrize("hostile", ["1-" * 50_000, "+9" * 50_000, "a." * 50_000 + "@", "a@" * 50_000, "1:" * 50_000,
                                     "+2(3)" * 20_000, "a@" + "b." * 50_000, "0" * 100_000, "1." * 50_000])  # fmt: skip
@pytest.mark.timeout(20)
def test_no_text_takes_long(hostile):
    mask(hostile)


def test_in_a_recipe(tmp_path):
    store = Store(tmp_path)
    raw_shard(store, [page("jane@example.com or +49 30 1234567", "nothing")], {})
    scorers = scorers_of(tmp_path, {"pii": {"use": "pii"}})
    measure(store, scorers)
    assert [scored(store, scorers[0], name) for name in ("emails", "phones", "ips")] == [[1, 0], [1, 0], [0, 0]]
