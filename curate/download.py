"""Download: ask the web for pictures. The only module with network access; decides nothing about what to keep.

Every request ends in exactly one ``Fetched`` with a status of the closed list; nothing is raised for what the web
does. Addresses are vetted before every connection, redirects are followed by hand, and bytes, pixels, seconds,
redirects and connections per host all have a limit.
"""

from __future__ import annotations

import asyncio
import os
import random
import re
import socket
import ssl
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from yarl import URL

from curate.address import is_address, is_public
from curate.fetched import Fetch as Fetch
from curate.fetched import Fetched as Fetched
from curate.fetched import Inflater, Refused, examine
from curate.fetched import Request as Request
from curate.politeness import Turns, opted_out, retry_after
from curate.status import Status

TRANSIENT = frozenset({408, 425, 429, 500, 502, 503, 504, 522, 524})
"""HTTP answers that are asked again."""

LOOKAHEAD = 100_000
"""Requests read ahead of the ones being answered, so that one host's many do not hide the others."""

_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_LARGE = 1 << 14  # bytes from which hashing leaves the event loop


class BlockedAddress(OSError):  # noqa: N818 - as above
    """A name that leads to no public address. An OSError, which is what a resolver may raise."""


def download(
    requests: Iterable[Request],
    settings: Fetch,
    on_done: Callable[[Fetched], None],
    resolver: AbstractResolver | None = None,
) -> None:
    """Asks for every request and calls ``on_done`` once for each, in the order they end, in this thread.

    Memory is bounded by ``concurrency`` pictures, however many requests there are. ``resolver`` replaces DNS; what it
    answers is vetted all the same. URLs are expected to be distinct. What ``on_done`` raises ends the download.
    """

    async def run() -> None:
        await _Client(settings, on_done, iter(requests)).run(resolver)

    try:
        with asyncio.Runner(loop_factory=_loop_factory()) as runner:
            runner.run(run())
    except BaseExceptionGroup as group:
        raise group.exceptions[0] from None


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    return None


def status_of(outcome: int | Exception) -> Status:
    """The status of an HTTP code other than success, or of an exception: the one place where that is decided."""
    match outcome:
        case int():
            return Status.HTTP_TRANSIENT if outcome in TRANSIENT else Status.HTTP_PERMANENT
        case Refused():
            return outcome.status
        case BlockedAddress() | aiohttp.ClientConnectorDNSError(os_error=BlockedAddress()):
            return Status.BLOCKED_ADDRESS
        case aiohttp.ClientConnectorDNSError() | socket.gaierror():
            return Status.DNS
        case aiohttp.ClientSSLError() | ssl.SSLError():
            return Status.TLS
        case aiohttp.ServerTimeoutError():  # of the connection: the deadline is ours and below
            return Status.CONNECT
        case TimeoutError():
            return Status.TIMEOUT_TOTAL
        case aiohttp.ClientPayloadError():
            return Status.TRUNCATED_BODY
        case aiohttp.InvalidURL():
            return Status.BLOCKED_SCHEME
        case aiohttp.ClientResponseError():  # what came is not HTTP
            return Status.HTTP_PERMANENT
        case _:
            return Status.CONNECT


def parse_url(text: str, base: URL | None = None) -> URL:
    """A URL that can be asked for: http(s), with a host, quoted, its name in ASCII; relative to ``base`` if given.

    Raises:
        Refused: blocked_scheme for another scheme or an unusable URL.
    """
    text = text.strip()
    if _CONTROL.search(text):
        raise Refused(Status.BLOCKED_SCHEME, "control character in URL")
    try:
        url = URL(text) if base is None else base.join(URL(text))
        host = url.raw_host
    except ValueError as error:
        raise Refused(Status.BLOCKED_SCHEME, f"unusable URL: {error}"[:200]) from None
    if url.scheme not in ("http", "https"):
        raise Refused(Status.BLOCKED_SCHEME, f"scheme {url.scheme[:20]!r}")
    if not host:
        raise Refused(Status.BLOCKED_SCHEME, "no host in URL")
    return url.with_fragment(None)


def vet_host(host: str, settings: Fetch) -> None:
    """Refuses a host that is itself an address and not a public one; names are vetted when they are resolved.

    Raises:
        Refused: blocked_address.
    """
    if is_address(host) and not is_public(host, allow_loopback=settings.allow_loopback):
        raise Refused(Status.BLOCKED_ADDRESS, f"{host} is not a public address")


class VettedResolver(AbstractResolver):
    """Resolves names and hands on public addresses only, which are then the ones connected to."""

    def __init__(self, inner: AbstractResolver, settings: Fetch) -> None:
        self._inner, self._settings = inner, settings

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """The public addresses of a host; BlockedAddress if it has none but others."""
        found = await self._inner.resolve(host, port, family)
        public = [one for one in found if is_public(one["host"], allow_loopback=self._settings.allow_loopback)]
        if found and not public:
            raise BlockedAddress(None, f"{host} leads to {found[0]['host']}, which is not public")
        return public

    async def close(self) -> None:
        """Closes the resolver inside."""
        await self._inner.close()


@dataclass(slots=True)
class _Job:
    request: Request
    url: URL
    left: float  # seconds of this attempt
    attempts: int = 1
    redirects: int = 0
    http: int | None = None

    @property
    def host(self) -> str:
        return self.url.raw_host or ""


class _Client:
    """One download: ``concurrency`` workers that take hosts in turn."""

    def __init__(self, settings: Fetch, on_done: Callable[[Fetched], None], requests: Iterator[Request]) -> None:
        self._settings, self._on_done, self._requests = settings, on_done, requests
        self._turns: Turns[_Job] = Turns(settings.per_host)
        self._open = 0  # requests read and not yet ended

    async def run(self, resolver: AbstractResolver | None) -> None:
        """Answers every request."""
        settings = self._settings
        inner = resolver or aiohttp.AsyncResolver(timeout=settings.connect_timeout, tries=2)
        connector = aiohttp.TCPConnector(limit=0, resolver=VettedResolver(inner, settings), ttl_dns_cache=300)
        session = aiohttp.ClientSession(
            connector=connector,
            headers={"User-Agent": settings.user_agent, "Accept-Encoding": "identity", "Accept": "image/*,*/*;q=0.5"},
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=settings.connect_timeout),
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            trust_env=False,
        )
        with ThreadPoolExecutor(os.cpu_count()) as self._pool:
            try:
                async with session as self._session, asyncio.TaskGroup() as group:
                    for _ in range(settings.concurrency):
                        group.create_task(self._work())
                    self._read()
            finally:
                await inner.close()

    def _read(self) -> None:
        """Reads requests up to the look-ahead; ends the workers when there is nothing left."""
        while self._open < LOOKAHEAD and (request := next(self._requests, None)) is not None:
            self._open += 1
            try:
                url = parse_url(request.url)
                vet_host(url.raw_host or "", self._settings)
            except Refused as error:
                self._open -= 1
                self._on_done(Fetched(request.url, error.status, str(error)))
            else:
                job = _Job(request, url, self._settings.timeout)
                self._turns.offer(job.host, job)
        if not self._open:
            self._turns.close()

    def _end(self, fetched: Fetched) -> None:
        self._open -= 1
        self._on_done(fetched)
        self._read()

    async def _work(self) -> None:
        while (turn := await self._turns.take()) is not None:
            host, job = turn
            started = time.monotonic()
            try:
                async with asyncio.timeout(job.left):
                    answer = await self._ask(job)
            except (Refused, aiohttp.ClientError, OSError) as error:
                self._fail(job, error)
                continue
            finally:
                job.left -= time.monotonic() - started
                self._turns.done(host)
            if isinstance(answer, URL):
                job.url, job.redirects = answer, job.redirects + 1
                self._turns.offer(job.host, job, first=True)
            else:
                await self._examine(job, answer)

    async def _ask(self, job: _Job) -> bytes | URL:
        """One request: the body, or where it redirects to."""
        settings = self._settings
        async with self._session.get(job.url, allow_redirects=False) as response:
            job.http = response.status
            if response.status in _REDIRECTS:
                return self._redirect(job, response)
            if response.status not in (200, 203):
                wait = retry_after(response.headers.get("Retry-After"))
                raise Refused(status_of(response.status), f"HTTP {response.status}", wait)
            directive = opted_out(response.headers.getall("X-Robots-Tag", ()), settings.opt_out, settings.product)
            if directive:
                response.close()
                raise Refused(Status.XROBOTS_OPTOUT, f"X-Robots-Tag: {directive}")
            return await _body(response, settings.max_bytes)

    def _redirect(self, job: _Job, response: aiohttp.ClientResponse) -> URL:
        if job.redirects >= self._settings.max_redirects:
            raise Refused(Status.HTTP_PERMANENT, f"more than {self._settings.max_redirects} redirects")
        if "Location" not in response.headers:
            raise Refused(Status.HTTP_PERMANENT, f"HTTP {response.status} without Location")
        url = parse_url(response.headers["Location"], job.url)
        vet_host(url.raw_host or "", self._settings)
        return url

    def _fail(self, job: _Job, error: Exception) -> None:
        """Ends a job, or has it asked again after a pause in which it holds no worker and no turn."""
        status = status_of(error)
        if job.attempts > self._retries(status, error):
            detail = str(error) or type(error).__name__
            self._end(Fetched(job.request.url, status, detail[:500], job.http, job.attempts, str(job.url)))
            return
        wait = error.wait if isinstance(error, Refused) else 0.0
        pause = self._settings.backoff * 2 ** (job.attempts - 1) * random.uniform(1, 1.5)  # noqa: S311 - jitter
        again = _Job(job.request, parse_url(job.request.url), self._settings.timeout, job.attempts + 1)
        asyncio.get_running_loop().call_later(max(wait, pause), self._turns.offer, again.host, again)

    def _retries(self, status: Status, error: Exception) -> int:
        """How often a failure of this kind is asked again. A passed deadline is not: it would cost as much again."""
        if status is Status.TRUNCATED_BODY:
            return min(1, self._settings.retries)
        if status is Status.DNS and _no_such_name(error):
            return 0
        return self._settings.retries if status in (Status.HTTP_TRANSIENT, Status.CONNECT, Status.DNS) else 0

    async def _examine(self, job: _Job, body: bytes) -> None:
        answer = Fetched(job.request.url, Status.OK, "", job.http, job.attempts, str(job.url))
        if self._settings.resize or len(body) > _LARGE:
            loop = asyncio.get_running_loop()
            self._end(await loop.run_in_executor(self._pool, examine, answer, body, job.request.digest, self._settings))
        else:
            self._end(examine(answer, body, job.request.digest, self._settings))


def _no_such_name(error: Exception) -> bool:
    """Whether DNS says that the name has no address, rather than nothing."""
    cause = getattr(error, "os_error", error)
    code = getattr(cause, "errno", None) or getattr(cause.__cause__, "args", (None,))[0]
    return code in (socket.EAI_NONAME, socket.EAI_NODATA, 1, 4, 8)  # c-ares: no data, not found, bad name


async def _body(response: aiohttp.ClientResponse, limit: int) -> bytes:
    """The body, inflated if need be, never holding more than ``limit`` bytes and a chunk."""
    if (response.content_length or 0) > limit:
        response.close()
        raise Refused(Status.TOO_LARGE, f"Content-Length {response.content_length} > {limit}")
    encoding = response.headers.get("Content-Encoding", "").strip().lower()
    inflater = Inflater(encoding, limit) if encoding in ("gzip", "x-gzip", "deflate") else None
    chunks, size = [], 0
    try:
        async for chunk in response.content.iter_any():
            chunks.append(inflater.feed(chunk) if inflater else chunk)
            size += len(chunks[-1])
            if size > limit:
                response.close()
                raise Refused(Status.TOO_LARGE, f"body > {limit} bytes")
    except (aiohttp.ClientConnectionError, ConnectionError) as error:
        raise Refused(Status.TRUNCATED_BODY, str(error)) from None
    if inflater:
        inflater.finish()
    return b"".join(chunks)
