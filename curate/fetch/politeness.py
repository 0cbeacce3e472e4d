"""Politeness: whose turn it is, how long to wait, and who has opted out. Pure rules; touches no network."""

from __future__ import annotations

import asyncio
import email.utils
import re
import time
from collections import defaultdict, deque
from collections.abc import Collection, Iterable
from typing import Generic, TypeVar

LONGEST_WAIT = 30.0
"""Seconds that a server's Retry-After can make us wait."""

_VALUED_RULES = frozenset({"unavailable_after", "max-snippet", "max-image-preview", "max-video-preview"})
_TOKEN = re.compile(r"[A-Za-z*][\w.*-]*")
Job = TypeVar("Job")


class Turns(Generic[Job]):
    """Jobs by host, handed out host by host in turn, at most ``per_host`` of one host at a time.

    A job waits for its host here, before it takes one of the limited workers, so a slow host never holds up others.
    """

    def __init__(self, per_host: int) -> None:
        self._per_host = per_host
        self._waiting: defaultdict[str, deque[Job]] = defaultdict(deque)
        self._busy: defaultdict[str, int] = defaultdict(int)  # turns of a host that are out or in the queue
        self._turns: asyncio.Queue[str | None] = asyncio.Queue()

    def offer(self, host: str, job: Job, *, first: bool = False) -> None:
        """Adds a job; ``first`` puts it before the others of its host."""
        if first:
            self._waiting[host].appendleft(job)
        else:
            self._waiting[host].append(job)
        if self._busy[host] < self._per_host:
            self._busy[host] += 1
            self._turns.put_nowait(host)

    async def take(self) -> tuple[str, Job] | None:
        """The next host and job, or None after ``close``. The host is busy until ``done``."""
        while (host := await self._turns.get()) is not None:
            if self._waiting[host]:
                return host, self._waiting[host].popleft()
            self.done(host)
        self._turns.put_nowait(None)  # the next worker is to see it too
        return None

    def done(self, host: str) -> None:
        """Ends one turn of a host; the next job of that host gets it, after the hosts that wait already."""
        if self._waiting[host]:
            self._turns.put_nowait(host)
            return
        self._busy[host] -= 1
        if self._busy[host] == 0:
            del self._busy[host], self._waiting[host]

    def close(self) -> None:
        """Lets every ``take`` return None."""
        self._turns.put_nowait(None)


def opted_out(headers: Iterable[str], directives: Collection[str], product: str) -> str | None:
    """The directive of an X-Robots-Tag header that forbids us the picture, or None.

    A rule may be addressed ("otherbot: noai"): it then holds for that robot and the rules that follow it in the
    header. ``product`` is the lower-case product token of our user agent. Dates may hold commas and colons.
    """
    for header in headers:
        robot = "*"
        for part in header.lower().split(","):
            name, colon, rule = (piece.strip() for piece in part.partition(":"))
            if colon and (name in _VALUED_RULES or not _TOKEN.fullmatch(name)):
                continue
            if colon:
                robot, name = name, rule
            if robot in ("*", product) and name in directives:
                return name
    return None


def retry_after(value: str | None) -> float:
    """The seconds a Retry-After header asks for (a number or an HTTP date), 0 to 30; 0 where it says nothing."""
    if not value:
        return 0.0
    try:
        seconds = float(value) if value.strip().isdigit() else _until(value)
    except (ValueError, OverflowError):
        return 0.0
    return min(max(seconds, 0.0), LONGEST_WAIT)


def _until(date: str) -> float:
    return email.utils.parsedate_to_datetime(date).timestamp() - time.time()
