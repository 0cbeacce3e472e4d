"""Inbox: how a worker in a process of its own gets jobs, and how calls for them are answered. Knows no cluster."""

from __future__ import annotations

import queue
import threading
from concurrent.futures import Future

from curate.ledger.job import WAITS, Job, Worker
from curate.report import Failure, Report, StopRun, described


class Inbox:
    """See ``curate.ledger.job.Jobs``: between the thread that a worker runs in and the threads that ask for jobs."""

    def __init__(self) -> None:
        self._jobs: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self._asked: dict[str, Future[Report | Failure]] = {}
        self._error: StopRun | None = None
        self._lock = threading.Lock()
        self._held = 0

    def take(self, wait: bool = True) -> Job | None:
        """The next job that the driver sent."""
        if wait and self._held:
            raise RuntimeError(WAITS)
        try:
            job = self._jobs.get(block=wait)
        except queue.Empty:
            return None
        if job is None:
            self._jobs.put(None)  # there will be none, however often it is asked
        self._held += job is not None
        return job

    def done(self, job: Job, outcome: Report | Failure) -> None:
        """Answers the driver's call."""
        self._held -= 1
        self._asked.pop(job.name).set_result(outcome)

    def ask(self, job: Job) -> Report | Failure:
        """Hands the worker a job and waits until it is done; raises what the worker raised, whatever job it was at."""
        ended: Future[Report | Failure] = Future()
        with self._lock:
            if self._error is not None:
                raise self._error
            self._asked[job.name] = ended
        self._jobs.put(job)
        return ended.result()

    def serve(self, worker: Worker) -> None:
        """Runs the worker; what it raises is the answer to all that it was asked."""
        try:
            worker(self)
            self._error = StopRun("the worker ended before its jobs did")
        except BaseException as error:
            self._error = error if isinstance(error, StopRun) else StopRun(described(error))
        for ended in [*self._asked.values()]:
            ended.set_exception(self._error)

    def close(self) -> None:
        """Lets the worker end once it has done what it holds."""
        self._jobs.put(None)
