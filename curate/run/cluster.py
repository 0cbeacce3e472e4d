"""Cluster: the jobs of a phase on Ray actors. The only module that imports Ray; sends jobs and small reports.

Ray starts, places and watches the workers, and scales the cluster to what is asked for. What remains here is a queue of
jobs: Ray Data would re-run a job that kills its worker for ever, or fail all of them (docs/design.md has the
measurements), where we want a bounded number of attempts, a list of what failed, and everything else done.
"""

from __future__ import annotations

import logging
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import ray
from ray import cloudpickle
from ray.exceptions import ActorUnavailableError, RayActorError, RayError, RayTaskError

from curate.ledger.job import Job, Phase, Worker
from curate.recipe.section import RecipeError
from curate.report import Failure, Report, StopRun, described
from curate.run.executor import ATTEMPTS, Queue
from curate.run.inbox import Inbox
from curate.run.resources import fitted, size_of
from curate.score.identity import code_files

log = logging.getLogger(__name__)
PATIENCE = 30
"""Seconds without any worker after which it is said what is being waited for; in which an idle one has to let go."""


class Actor:
    """A worker process: the worker of a phase in a thread of its own, so that it may hold several jobs."""

    def __init__(self) -> None:
        self._inbox = Inbox()

    def start(self, worker: Worker) -> str:
        """Takes up the work of a phase; what the last one held is let go. The id of the node that this runs on."""
        self._inbox.close()
        self._inbox = Inbox()
        threading.Thread(target=self._inbox.serve, args=(worker,), daemon=True).start()
        return str(ray.get_runtime_context().get_node_id())

    def rest(self) -> None:
        """Lets go of the worker, and what it holds, until the next phase."""
        self._inbox.close()

    def do(self, job: Job) -> Report | Failure:
        """Does one job."""
        return self._inbox.ask(job)


@dataclass
class Pool:
    """The actors of a phase: which are starting, which hold which jobs, and which are left from the last phase."""

    create: Callable[[], Any]
    payload: Any
    spare: list[Any]
    least: int
    most: int
    holds: int
    starting: dict[Any, Any] = field(default_factory=dict)
    fresh: set[Any] = field(default_factory=set)
    nodes: dict[Any, str] = field(default_factory=dict)
    held: dict[Any, dict[Any, Job]] = field(default_factory=dict)
    owner: dict[Any, Any] = field(default_factory=dict)
    retired: set[Any] = field(default_factory=set)
    doubtful: dict[Any, tuple[Any, list[Job]]] = field(default_factory=dict)
    alone: set[str] = field(default_factory=set)
    stillborn: int = 0

    def grow(self, wanted: int) -> None:
        """Starts actors until there are as many as there is work for, between ``least`` and ``most``."""
        alive = len(self.starting) + len(self.held)
        for _ in range(max(self.least, min(self.most, -(-wanted // self.holds))) - alive):
            fresh = not self.spare
            actor = self.create() if fresh else self.spare.pop()
            ready = actor.start.remote(self.payload)
            self.starting[ready] = actor
            self.fresh |= {ready} if fresh else set()

    def started(self, ref: Any) -> None:
        """An actor is up, or failed to start; three such failures in a row end the run with their cause."""
        actor = self.starting.pop(ref)
        try:
            self.nodes[actor] = ray.get(ref)
            self.held[actor] = {}
            self.stillborn = 0
        except RayError as error:
            self.stillborn += ref in self.fresh  # one that was left over from the last phase may have died since
            if self.stillborn >= ATTEMPTS:
                raise StopRun(f"workers cannot be started: {described(cause_of(error))}") from None

    def give(self, job: Job) -> bool:
        """Sends a job to an actor that has room for it; False if there is none."""
        most = 1 if job.name in self.alone else self.holds
        for actor, jobs in self.held.items():
            room = len(jobs) < most and not any(each.name in self.alone for each in jobs.values())
            if room and actor not in self.retired:
                ref = actor.do.remote(job)
                jobs[ref], self.owner[ref] = job, actor
                return True
        return False

    def ended(self, ref: Any, retire: bool = False) -> Job:
        """Takes a job from its actor; one that is to retire goes when it holds none."""
        actor = self.owner.pop(ref)
        job = self.held[actor].pop(ref)
        self.retired |= {actor} if retire else set()
        if actor in self.retired and not self.held[actor]:
            self.drop(actor)
        return job

    def drop(self, actor: Any) -> list[Job]:
        """Ends an actor; the jobs that it held."""
        ray.kill(actor)
        return self.take(actor)

    def take(self, actor: Any) -> list[Job]:
        """Takes all jobs from an actor, which gets no more; the jobs."""
        jobs = self.held.pop(actor)
        for ref in jobs:
            del self.owner[ref]
        self.retired.discard(actor)
        return list(jobs.values())

    def doubt(self, actor: Any, jobs: list[Job]) -> None:
        """An actor does not answer. It is asked until Ray knows whether its process died, or its node."""
        time.sleep(0.1)
        self.doubtful[actor.__ray_ready__.remote()] = actor, jobs

    def close(self) -> list[Any]:
        """Ends the actors that are busy or not up yet, and gives back the idle ones."""
        busy = [actor for actor, jobs in self.held.items() if jobs]
        for actor in [*self.starting.values(), *busy, *(actor for actor, _ in self.doubtful.values())]:
            ray.kill(actor)
        resting = {actor.rest.remote(): actor for actor, jobs in self.held.items() if not jobs}
        rested = ray.wait([*resting], num_returns=len(resting), timeout=PATIENCE)[0] if resting else []
        for ref in resting.keys() - set(rested):
            ray.kill(resting[ref])
        return [*self.spare, *(resting[ref] for ref in rested)]


class RayCluster:
    """Runs jobs on the Ray cluster that ``connect`` joined or started."""

    def __init__(self, workers: int | None = None, local: bool = False) -> None:
        self._workers = workers
        self._local = local
        self._spare: tuple[Any, list[Any]] = (None, [])

    def run(self, phase: Phase, jobs: Sequence[Job], done: Callable[[Report], None]) -> list[Failure]:
        """See ``curate.run.executor.Executor``. A job that failed, or whose worker died, is tried on another worker."""
        pool, work = self._pool(phase), Queue(phase, jobs, done, later=True)
        try:
            while work.waiting or pool.owner or pool.doubtful:
                pool.grow(len(work.waiting) + len(pool.owner))
                while work.waiting and pool.give(work.waiting[0]):
                    work.waiting.popleft()
                ready, _ = ray.wait([*pool.starting, *pool.owner, *pool.doubtful], timeout=PATIENCE)
                if not ready and not pool.held:
                    log.warning("%s: no worker could start yet; each takes %s", phase.name, size_of(phase.needs))
                for ref in ready:
                    if ref in pool.starting:
                        pool.started(ref)
                    else:
                        self._ended(pool, work, ref)
        finally:
            self._spare = (self._kind(phase), pool.close())
        return work.failures

    def _ended(self, pool: Pool, work: Queue, ref: Any) -> None:
        """A job is done, or failed, or its worker is gone."""
        doubt = pool.doubtful.pop(ref, None)
        try:
            outcome = ray.get(ref)
        except ActorUnavailableError:
            pool.doubt(*(doubt or (pool.owner[ref], pool.take(pool.owner[ref]))))
        except RayError as error:
            cause = cause_of(error)
            if isinstance(cause, StopRun):
                raise cause from None
            actor, jobs = doubt or (pool.owner[ref], pool.drop(pool.owner[ref]))
            self._lost(pool, work, actor, jobs, error)
        else:
            if doubt:  # it is there again, but what became of its jobs is not known
                ray.kill(doubt[0])
                work.waiting.extend(doubt[1])
            else:
                work.ended(pool.ended(ref, retire=isinstance(outcome, Failure) and not outcome.lasting), outcome)

    def _lost(self, pool: Pool, work: Queue, actor: Any, jobs: list[Job], error: RayError) -> None:
        """A worker died with the jobs that it held.

        Of several nobody knows which one it was: each is tried alone. A death counts against a job only if it was
        alone, and not if the node was lost.
        """
        if len(jobs) > 1:
            pool.alone |= {job.name for job in jobs}
        if len(jobs) > 1 or getattr(error, "preempted", False) or node_is_gone(pool.nodes[actor]):
            work.waiting.extend(jobs)
        else:
            work.ended(jobs[0], Failure("", jobs[0].name, described(cause_of(error))))

    def _kind(self, phase: Phase) -> Any:
        """What an actor must have in common with the last phase's to be used again."""
        return phase.needs.model_copy(update={"workers": None}), phase.holds

    def _pool(self, phase: Phase) -> Pool:
        total = ray.cluster_resources()
        resource = fitted(phase.needs, total) if self._local else phase.needs
        cpus = 1.0 if resource.cpus is None else resource.cpus
        remote = ray.remote(Actor).options(
            num_cpus=cpus,
            num_gpus=resource.gpus,
            memory=resource.memory and int(resource.memory),
            max_restarts=0,
            max_task_retries=0,
            max_concurrency=phase.holds + 1,
        )
        have, size = {"CPU": 1, "GPU": 0} | total, {"CPU": cpus, "GPU": resource.gpus}
        room = (have[kind] / each if each else 64 for kind, each in size.items())
        workers = self._workers or resource.workers or max(1, int(min(room)))
        least, most = workers if isinstance(workers, tuple) else (1, workers)
        spare = self._spares(self._kind(phase))
        return Pool(remote.remote, ray.put(phase.worker), spare, min(least, most), most, phase.holds)

    def _spares(self, kind: Any) -> list[Any]:
        """The last phase's idle workers if they are of the kind that is wanted now; else they go."""
        last, spare = self._spare
        self._spare = (None, [])
        if last == kind:
            return spare
        for actor in spare:
            ray.kill(actor)
        return []


def node_is_gone(node: str) -> bool:
    """Whether a node has left the cluster."""
    return any(each["NodeID"] == node and not each["Alive"] for each in ray.nodes())


def cause_of(error: RayError) -> BaseException:
    """What really went wrong in the worker."""
    cause = getattr(error, "cause", None)
    if isinstance(error, RayTaskError) and isinstance(cause, BaseException):
        return cause
    if isinstance(error, RayActorError):
        return RuntimeError("the worker died (killed, out of memory, or its node was lost)")
    return RuntimeError(str(error))


@contextmanager
def connect(address: str, workers: int | None, plugins: Sequence[Any]) -> Iterator[RayCluster]:
    """Starts a Ray of our own ("local"), or joins the one at an address ("auto" for the surrounding one).

    ``plugins`` that lie outside installed packages travel with the jobs, so that a file beside the recipe also runs on
    other machines.
    """
    for module in {sys.modules[plugin.__module__] for plugin in plugins}:
        if not is_installed(module):
            register(module)
    options: dict[str, Any] = {"include_dashboard": False, "logging_level": "warning", "log_to_driver": False}
    if address == "local":
        options |= {"num_cpus": max(os.cpu_count() or 1, workers or 1)}
    else:
        options = {"logging_level": "warning"}
    try:
        ray.init(address=address, **options)
    except (ConnectionError, ValueError) as error:
        raise RecipeError(f"--ray {address}: {error}") from None
    try:
        yield RayCluster(workers, address == "local")
    finally:
        ray.shutdown()


def register(module: Any) -> None:
    """Has a module, and the modules of its folder that it imports, travel by value."""
    files = code_files(Path(str(module.__file__)))
    for each in list(sys.modules.values()):
        file = getattr(each, "__file__", None)
        if file and Path(file) in files:
            cloudpickle.register_pickle_by_value(each)


def is_installed(module: Any) -> bool:
    """Whether a module comes with an installed package, or with curate, and so exists on every worker."""
    if module.__name__.partition(".")[0] == "curate":
        return True
    return "site-packages" in Path(str(module.__file__)).parts
