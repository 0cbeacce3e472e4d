"""A web site of one's own on the loopback: what each path answers, and how often and how it was asked."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Self


@dataclass
class Reply:
    """An answer with its status and headers; Content-Length is added unless given."""

    status: int = 200
    body: bytes = b""
    headers: tuple[tuple[str, str], ...] = ()


Page = bytes | Reply | Callable[[BaseHTTPRequestHandler], "bytes | Reply | None"]
"""What a path answers. A callable gets the handler: it returns the answer, or writes it itself and returns None."""


@dataclass
class Seen:
    """One request: when it came (monotonic seconds), for what, with which headers."""

    at: float
    path: str
    headers: Mapping[str, str]


@dataclass
class Site:
    """``with Site({"/a.jpg": data}) as site`` serves 127.0.0.1; other paths are 404. A query is ignored."""

    pages: Mapping[str, Page]
    host: str = "127.0.0.1"
    hits: Counter[str] = field(default_factory=Counter)
    seen: list[Seen] = field(default_factory=list)
    peak: int = 0  # most requests under way at once

    def url(self, path: str) -> str:
        return f"http://{self.host}:{self.port}{path}"

    @property
    def port(self) -> int:
        return int(self._server.server_address[1])

    def __enter__(self) -> Self:
        self._lock, self._now = threading.Lock(), 0
        self._server = _Server((self.host, 0), self._handler())
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._server.shutdown()
        self._server.server_close()

    def _note(self, handler: BaseHTTPRequestHandler) -> Page:
        path = handler.path.partition("?")[0]
        with self._lock:
            self.hits[path] += 1
            self.seen.append(Seen(time.monotonic(), handler.path, dict(handler.headers)))
            self._now += 1
            self.peak = max(self.peak, self._now)
        return self.pages.get(path, Reply(404))

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        site = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def do_GET(self) -> None:
                page = site._note(self)
                try:
                    answer = page(self) if callable(page) else page
                    if answer is not None:
                        self._send(answer if isinstance(answer, Reply) else Reply(body=answer))
                except OSError:  # the client has hung up
                    self.close_connection = True
                finally:
                    with site._lock:
                        site._now -= 1

            def _send(self, reply: Reply) -> None:
                self.send_response(reply.status)
                for name, value in reply.headers:
                    self.send_header(name, value)
                if "content-length" not in {name.lower() for name, _ in reply.headers}:
                    self.send_header("Content-Length", str(len(reply.body)))
                self.end_headers()
                self.wfile.write(reply.body)

            def log_message(self, *args: object) -> None:
                pass

        return Handler


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 256
