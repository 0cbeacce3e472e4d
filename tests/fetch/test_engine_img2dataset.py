from __future__ import annotations

import hashlib
import importlib.util
import json
import shutil

import pytest
from test_download import PICTURE, closed_port
from web import Reply, Site

from curate.fetch.engine_img2dataset import _read, _status, download_with_img2dataset
from curate.fetch.response import Fetched, Request
from curate.image.codec import decode
from curate.recipe.input import Fetch, Resize
from curate.status import Status

pytestmark = pytest.mark.skipif(not importlib.util.find_spec("img2dataset"), reason="needs the extra img2dataset")
SETTINGS = Fetch(engine="img2dataset", allow_loopback=True, timeout=2, retries=0, concurrency=8)


def fetch(scratch, *requests, **settings):
    ended: list[Fetched] = []
    download_with_img2dataset(requests, SETTINGS.model_copy(update=settings), ended.append, scratch)
    assert sorted(one.url for one in ended) == sorted(request.url for request in requests)
    return {one.url: one for one in ended}


@pytest.fixture(scope="module")
def untouched(tmp_path_factory):
    """Pages without resizing: their answers by path, and where the shard lies."""
    scratch = tmp_path_factory.mktemp("img2dataset")
    pages = {
        "/a.jpg": PICTURE,
        "/ü b.jpg": PICTURE,
        "/%C3%BC%20b.jpg": PICTURE,
        "/half.jpg": PICTURE[: len(PICTURE) // 2],
        "/page.jpg": b"<html>",
        "/gone.jpg": Reply(410),
        "/busy.jpg": Reply(503),
        "/short.jpg": Reply(200, PICTURE[:500], (("Content-Length", "9999"), ("Connection", "close"))),
        "/noai.jpg": Reply(200, PICTURE, (("X-Robots-Tag", "noai"),)),
        "/large.jpg": bytes(1_000_001),
        "/right.jpg": PICTURE,
        "/wrong.jpg": PICTURE,
    }
    with Site(pages) as site:
        digests = {"/right.jpg": hashlib.sha256(PICTURE).hexdigest(), "/wrong.jpg": "0" * 64}
        requests = [Request(site.url(path), digests.get(path)) for path in pages if "%" not in path]
        others = ["file:///etc/hostname", "http://10.0.0.1/a.jpg", f"http://127.0.0.1:{closed_port()}/refused.jpg"]
        ended = fetch(scratch, *requests, *map(Request, others), verify="sha256", max_bytes=1_000_000)
    return {url.removeprefix(site.url("")): one for url, one in ended.items()}, scratch


def test_every_url_ends_in_its_status(untouched):
    statuses = {path.rpartition("/")[2] if "1:" in path else path: one.status for path, one in untouched[0].items()}
    assert statuses == {
        "/a.jpg": Status.OK,
        "/ü b.jpg": Status.OK,
        "/half.jpg": Status.DECODE_ERROR,
        "/page.jpg": Status.NOT_AN_IMAGE,
        "/gone.jpg": Status.HTTP_PERMANENT,
        "/busy.jpg": Status.HTTP_TRANSIENT,
        "/short.jpg": Status.TRUNCATED_BODY,
        "/noai.jpg": Status.XROBOTS_OPTOUT,
        "/large.jpg": Status.TOO_LARGE,
        "/right.jpg": Status.OK,
        "/wrong.jpg": Status.HASH_MISMATCH,
        "file:///etc/hostname": Status.BLOCKED_SCHEME,
        "http://10.0.0.1/a.jpg": Status.BLOCKED_ADDRESS,
        "refused.jpg": Status.CONNECT,
    }


def test_bytes_are_stored_untouched(untouched):
    one = untouched[0]["/a.jpg"]
    assert (one.data, one.format, one.width, one.height) == (PICTURE, "jpg", 80, 60)
    assert one.sha256 == hashlib.sha256(PICTURE).hexdigest()
    assert all(other.data is None for other in untouched[0].values() if other.status != Status.OK)


@pytest.mark.parametrize("damage", ["lost row", "short tar", "no stats"])
def test_a_shard_that_does_not_add_up_is_an_error(untouched, damage, tmp_path):
    _, scratch = untouched
    shard = shutil.copytree(scratch / "shard", tmp_path / "shard")
    count = json.loads((shard / "00000_stats.json").read_bytes())["count"]
    assert len(_read(shard, count)) == count
    if damage == "lost row":
        count += 1
    elif damage == "short tar":
        (shard / "00000.tar").write_bytes((shard / "00000.tar").read_bytes()[:4096])
    else:
        (shard / "00000_stats.json").unlink()
    with pytest.raises(RuntimeError):
        _read(shard, count)


def test_resized(tmp_path):
    with Site({"/a.jpg": PICTURE, "/b.jpg": PICTURE[:1000]}) as site:
        requests = [Request(site.url("/a.jpg"), hashlib.sha256(PICTURE).hexdigest()), Request(site.url("/b.jpg"))]
        ended = fetch(tmp_path, *requests, resize=Resize(size=32), verify="sha256")
    one = ended[site.url("/a.jpg")]
    assert (one.status, one.width, one.height, one.original_width, one.original_height) == (Status.OK, 32, 32, 80, 60)
    assert one.sha256 == hashlib.sha256(PICTURE).hexdigest()
    assert decode(one.data).shape == (32, 32, 3)
    assert ended[site.url("/b.jpg")].status == Status.DECODE_ERROR


def test_nothing_to_ask(tmp_path):
    assert fetch(tmp_path / "none", Request("ftp://a/b")) != {}
    assert not (tmp_path / "none").exists()


@pytest.mark.slow
def test_a_crash_is_an_error(tmp_path):
    (tmp_path / "shard").write_text("in the way")
    with pytest.raises(RuntimeError, match="img2dataset"):
        fetch(tmp_path, Request("http://127.0.0.1:1/a.jpg"))


def test_md5_of_resized_pictures_is_refused(tmp_path):
    with pytest.raises(ValueError, match="md5"):
        fetch(tmp_path, verify="md5", resize=Resize())


@pytest.mark.parametrize(
    ("kind", "message", "status"),
    [
        ("failed_to_download", "HTTP Error 429: Too Many Requests", Status.HTTP_TRANSIENT),
        ("failed_to_download", "<urlopen error [Errno -2] Name or service not known>", Status.DNS),
        ("failed_to_download", "<urlopen error [Errno 111] Connection refused>", Status.CONNECT),
        ("failed_to_download", "<urlopen error [SSL: CERTIFICATE_VERIFY_FAILED] failed>", Status.TLS),
        ("failed_to_download", "The read operation timed out", Status.TIMEOUT_TOTAL),
        ("failed_to_resize", "image too small", Status.SIZE_REJECTED),
        ("failed_to_resize", "Image decoding error", Status.DECODE_ERROR),
    ],
)
def test_messages(kind, message, status):
    assert _status(kind, message) == status
