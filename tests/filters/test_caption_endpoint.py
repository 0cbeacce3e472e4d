import base64
import hashlib
import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest

from curate import Image
from curate.filters.caption_endpoint import CaptionEndpoint
from curate.image.codec import decode, encode


def picture(seed, form="png", height=30, width=40):
    data = encode(np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8), form)
    return Image("u", data=data, format=form, sha256=hashlib.sha256(data).hexdigest())


def said(text, finish="stop"):
    return 200, json.dumps({"choices": [{"message": {"content": text}, "finish_reason": finish}]})


class Server(ThreadingHTTPServer):
    """Answers with what ``answers`` says to the number of times this picture was asked about; keeps what it got."""

    daemon_threads = True

    def __init__(self, answers):
        super().__init__(("127.0.0.1", 0), Handler)
        self.answers, self.got, self.lock = answers, [], threading.Lock()
        self.now = self.most = 0
        threading.Thread(target=self.serve_forever, args=(0.02,), daemon=True).start()

    def handle_error(self, *_):
        """A client that went away is no news."""


class Handler(BaseHTTPRequestHandler):
    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        url = body["messages"][0]["content"][0]["image_url"]["url"]
        with self.server.lock:
            before = sum(url == other for *_, other in self.server.got)
            self.server.got.append((self.path, self.headers, body, url))
            self.server.now += 1
            self.server.most = max(self.server.most, self.server.now)
        answer = self.server.answers(before)
        with self.server.lock:
            self.server.now -= 1
        status, text, *headers = answer
        self.send_response(status)
        for name, value in headers:
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(text.encode())))
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, *_):
        """Quiet."""


@pytest.fixture
def serve():
    servers = []

    def start(answers):
        servers.append(Server(answers))
        return servers[-1], f"http://127.0.0.1:{servers[-1].server_port}/v1"

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def endpoint(url, **more):
    return CaptionEndpoint(**{"base_url": url, "model": "m", "backoff": 0.01, **more})


def test_a_request_and_its_caption(serve, monkeypatch):
    server, url = serve(lambda before: said(" A red\n car. "))
    monkeypatch.setenv("CAPTION_KEY", "s3cret")
    image = picture(1, "jpg")
    scorer = endpoint(url, prompt="What is it?", seed=7, max_tokens=9, key="CAPTION_KEY")
    assert scorer([scorer.prepare(image)]) == [{"caption": "A red car.", "finish": "stop", "error": None}]
    ((path, headers, body, sent),) = server.got
    assert (path, headers["Authorization"]) == ("/v1/chat/completions", "Bearer s3cret")
    assert sent == f"data:image/jpeg;base64,{base64.b64encode(image.data).decode()}"
    assert body.pop("messages")[0]["content"][1] == {"type": "text", "text": "What is it?"}
    assert body == {"model": "m", "max_tokens": 9, "temperature": 0, "seed": 7}


def test_a_caption_may_be_cut(serve):
    _, url = serve(lambda before: said("A red", "length"))
    assert endpoint(url)([picture(1)])[0]["finish"] == "length"


@pytest.mark.parametrize(
    "fault", [(500, "oops"), (429, "", ("Retry-After", "0")), (200, "{"), (200, '{"choices": []}')]
)
def test_a_passing_fault_is_tried_again(serve, fault):
    server, url = serve(lambda before: said("ok") if before == 2 else fault)
    assert [row["caption"] for row in endpoint(url)([picture(1), picture(2)])] == ["ok", "ok"]
    assert len(server.got) == 6


@pytest.mark.parametrize(
    ("fault", "asked", "error"),
    [
        ((500, "out\nof memory"), 3, "500: out of memory"),
        ((400, "not an image"), 1, "400: not an image"),
        ((302, "", ("Location", "http://127.0.0.1:1/")), 1, "302: "),
        ((200, "<html>"), 3, "malformed: b'<html>'"),
        ((200, '{"choices": [{"message": "?"}]}'), 3, 'malformed: b\'{"choices": [{"message": "?"}]}\''),
        (said(None), 1, "empty"),
    ],
)
def test_a_lasting_fault_is_the_rows_error(serve, fault, asked, error):
    server, url = serve(lambda before: fault)
    rows = endpoint(url, retries=2)([picture(1)])
    assert rows == [{"caption": None, "finish": None, "error": error}]
    assert len(server.got) == asked


def test_a_slow_answer_is_a_timeout_and_the_others_go_on(serve):
    def answers(before):
        time.sleep(1.5 if len(server.got) == 1 else 0)
        return said("ok")

    server, url = serve(answers)
    scorer = endpoint(url, timeout=0.5, retries=0, concurrency=1)
    assert [row["error"] for row in scorer([picture(seed) for seed in range(3)])] == ["timeout", None, None]


def test_so_many_requests_at_a_time(serve):
    def answers(before):
        time.sleep(0.05)
        return said("ok")

    server, url = serve(answers)
    rows = endpoint(url, concurrency=3)([picture(seed) for seed in range(9)])
    assert [row["caption"] for row in rows] == ["ok"] * 9
    assert server.most == 3


def test_the_server_says_how_long_to_wait(serve):
    _, url = serve(lambda before: said("ok") if before else (503, "", ("Retry-After", "1")))
    began = time.monotonic()
    assert endpoint(url)([picture(1)])[0]["caption"] == "ok"
    assert time.monotonic() - began >= 1


@pytest.mark.parametrize("status", [401, 404])
def test_a_server_that_refuses_everything_ends_the_run(serve, status):
    _, url = serve(lambda before: (status, "no such model"))
    with pytest.raises(ValueError, match=rf"{url}/chat/completions refuses every request: {status}: no such model"):
        endpoint(url)([picture(1), picture(2)])


def test_a_server_that_is_not_there_is_not_the_pictures_fault(serve):
    server, url = serve(lambda before: said("ok"))
    server.shutdown()
    server.server_close()
    with pytest.raises(ConnectionError, match="cannot be reached: connect: "):
        endpoint(url, retries=1)([picture(1)])


def test_large_pictures_are_reduced(serve):
    server, url = serve(lambda before: said("ok"))
    scorer = endpoint(url, side=64)
    scorer([scorer.prepare(picture(1, height=100, width=200)), scorer.prepare(picture(2, height=20, width=10))])
    sizes = {decode(base64.b64decode(sent.removeprefix("data:image/jpeg;base64,"))).shape for *_, sent in server.got}
    assert sizes == {(32, 64, 3), (20, 10, 3)}


def test_a_picture_that_cannot_be_decoded_is_not_sent(serve):
    server, url = serve(lambda before: said("ok"))
    scorer = endpoint(url, side=64)
    broken = Image("u", data=b"\xff\xd8\xff\xe0broken", format="jpg")
    assert [row["error"] for row in scorer([scorer.prepare(broken), scorer.prepare(picture(1))])] == ["decode", None]
    assert len(server.got) == 1


def test_the_environment_names_key_and_address(serve, monkeypatch):
    _, url = serve(lambda before: said("ok"))
    monkeypatch.setenv("CAPTION_URL", f"{url}/")
    assert endpoint("$CAPTION_URL")([picture(1)])[0]["caption"] == "ok"
    with pytest.raises(ValueError, match="the environment variable NOT_THERE is not set"):
        endpoint(url, key="NOT_THERE")
