"""Download: ask the web for pictures. The only module with network access; decides nothing about what to keep.

Every request ends in exactly one ``Fetched`` with a status of the closed list; nothing is raised for what the web
does. Addresses are vetted before every connection, and bytes, pixels, seconds, redirects and turns per host limited.
"""

from __future__ import annotations

import asyncio
import os
import random
import socket
import ssl
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from yarl import URL

from curate.fetch.address import BlockedAddress, is_address, is_public, parse_url, vetted
from curate.fetch.politeness import Turns, opted_out, retry_after
from curate.fetch.response import Fetched as Fetched
from curate.fetch.response import Refused, examine, read_body
from curate.fetch.response import Request as Request
from curate.recipe.input import Fetch as Fetch
from curate.status import Status

TRANSIENT = frozenset({408, 425, 429, 500, 502, 503, 504, 522, 524})
"""HTTP answers that are asked again."""

LOOKAHEAD = 100_000
"""Requests read ahead of the ones being answered, so that one host's many do not hide the others."""
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_LARGE = 1 << 14  # bytes from which hashing leaves the event loop


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
        asyncio.run(run())
    except BaseExceptionGroup as group:
        raise group.exceptions[0] from None


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


class VettedResolver(AbstractResolver):
    """Resolves names and hands on public addresses only, which are then the ones connected to."""

    def __init__(self, inner: AbstractResolver, settings: Fetch) -> None:
        self._inner, self._settings = inner, settings

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """The public addresses of a host; BlockedAddress if it has none but others."""
        try:
            found = await self._inner.resolve(host, port, family)
        except UnicodeError as error:  # a label is empty or too long
            raise socket.gaierror(socket.EAI_NONAME, str(error)) from None
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
        settings, inner = self._settings, resolver or _resolver(self._settings)
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
                url = vetted(request.url, self._settings.allow_loopback)
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
                raise Refused(Status.XROBOTS_OPTOUT, f"X-Robots-Tag: {directive}")
            encoding = response.headers.get("Content-Encoding", "").strip().lower()
            try:
                return await read_body(
                    response.content.iter_any(), response.content_length, encoding, settings.max_bytes
                )
            except (aiohttp.ClientConnectionError, ConnectionError) as error:
                raise Refused(Status.TRUNCATED_BODY, str(error)) from None

    def _redirect(self, job: _Job, response: aiohttp.ClientResponse) -> URL:
        if job.redirects >= self._settings.max_redirects:
            raise Refused(Status.HTTP_PERMANENT, f"more than {self._settings.max_redirects} redirects")
        if "Location" not in response.headers:
            raise Refused(Status.HTTP_PERMANENT, f"HTTP {response.status} without Location")
        return vetted(response.headers["Location"], self._settings.allow_loopback, job.url)

    def _fail(self, job: _Job, error: Exception) -> None:
        """Ends a job, or has it asked again after a pause in which it holds no worker and no turn."""
        status = status_of(error)
        if job.attempts > _retries(status, error, self._settings.retries):
            detail = str(error) or type(error).__name__
            self._end(Fetched(job.request.url, status, detail[:500], job.http, job.attempts, str(job.url)))
            return
        wait = getattr(error, "wait", 0.0)
        pause = self._settings.backoff * 2 ** (job.attempts - 1) * random.uniform(1, 1.5)  # noqa: S311 - jitter
        again = _Job(job.request, parse_url(job.request.url), self._settings.timeout, job.attempts + 1)
        asyncio.get_running_loop().call_later(max(wait, pause), self._turns.offer, again.host, again)

    async def _examine(self, job: _Job, body: bytes) -> None:
        answer = Fetched(job.request.url, Status.OK, "", job.http, job.attempts, str(job.url))
        if self._settings.resize or len(body) > _LARGE:
            loop = asyncio.get_running_loop()
            self._end(await loop.run_in_executor(self._pool, examine, answer, body, job.request.digest, self._settings))
        else:
            self._end(examine(answer, body, job.request.digest, self._settings))


def _retries(status: Status, error: Exception, most: int) -> int:
    """How often a failure of this kind is asked again. A passed deadline is not: it would cost as much again."""
    if status is Status.TRUNCATED_BODY:
        return min(1, most)
    if status is Status.DNS and _no_such_name(error):
        return 0
    return most if status in (Status.HTTP_TRANSIENT, Status.CONNECT, Status.DNS) else 0


def _no_such_name(error: Exception) -> bool:
    """Whether DNS says that the name has no address, rather than nothing."""
    cause = getattr(error, "os_error", error)
    code = getattr(cause, "errno", None) or getattr(cause.__cause__, "args", (None,))[0]
    return code in (socket.EAI_NONAME, socket.EAI_NODATA, 1, 4, 8)  # c-ares: no data, not found, bad name


def vet(urls: Iterable[str], settings: Fetch, resolver: AbstractResolver | None = None) -> dict[str, URL | Fetched]:
    """For a downloader that vets nothing itself: each URL as it may be asked for, or how it ends unasked.

    That downloader resolves names again, so this does not stop a name that leads elsewhere the second time.
    """
    answers: dict[str, URL | Fetched] = {}
    for text in urls:
        try:
            answers[text] = vetted(text, settings.allow_loopback)
        except Refused as error:
            answers[text] = Fetched(text, error.status, str(error))
    hosts = {answer.raw_host or "" for answer in answers.values() if isinstance(answer, URL)}
    closed = asyncio.run(_closed([host for host in hosts if not is_address(host)], settings, resolver))
    for text, answer in answers.items():
        if isinstance(answer, URL) and (why := closed.get(answer.raw_host or "")):
            answers[text] = Fetched(text, status_of(why), str(why))
    return answers


async def _closed(hosts: list[str], settings: Fetch, resolver: AbstractResolver | None) -> dict[str, Exception]:
    """The names that lead to no public address, and why."""
    inner, slots = resolver or _resolver(settings), asyncio.Semaphore(settings.concurrency)
    names = VettedResolver(inner, settings)

    async def why(host: str) -> Exception | None:
        try:
            async with slots:
                await names.resolve(host)
        except BlockedAddress as error:
            return error
        except OSError as error:
            return socket.gaierror(str(error))
        return None

    try:
        found = await asyncio.gather(*(why(host) for host in hosts))
    finally:
        await inner.close()
    return {host: error for host, error in zip(hosts, found, strict=True) if error}


def _resolver(settings: Fetch) -> AbstractResolver:
    return aiohttp.AsyncResolver(timeout=settings.connect_timeout, tries=2)
