"""Cluster: the jobs of a stage on Ray actors. The only module that imports Ray; sends names and small reports.

Ray starts, places and watches the workers, and scales the cluster to what is asked for. What remains here is a queue of
shards: Ray Data would re-run a shard that kills its worker for ever, or fail the whole job (docs/design.md has the
measurements), where we want a bounded number of attempts, a list of what failed, and everything else done.
"""

from __future__ import annotations

import logging
import os
import sys
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import ray
from ray import cloudpickle
from ray.exceptions import RayActorError, RayError, RayTaskError

from curate.recipe.recipe import Resource
from curate.recipe.section import RecipeError
from curate.report import Report, StopRun
from curate.run.executor import ATTEMPTS, Failure, Worker, give_up, name_of, spell
from curate.score.identity import code_files

log = logging.getLogger(__name__)
PATIENCE = 30
"""Seconds without any worker after which it is said what is being waited for."""


def needs(resource: Resource) -> str:
    """A worker's size in words."""
    parts = {"CPU": 1 if resource.cpus is None else resource.cpus, "GPU": resource.gpus, "memory": resource.memory}
    return ", ".join(f"{value:g} {name}" for name, value in parts.items() if value)


class Actor:
    """A worker process: holds a stage's worker, and so its models."""

    def __init__(self) -> None:
        self._worker: Worker | None = None

    def take(self, worker: Worker) -> None:
        """Takes up the work of a stage; what the last one held is let go."""
        self._worker = worker

    def work(self, job: Any) -> Report:
        """Does one job."""
        assert self._worker is not None
        return self._worker(job)


@dataclass
class Pool:
    """The actors of a stage: which are starting, idle, or busy with which job."""

    start: Callable[[], Any]
    least: int
    most: int
    starting: dict[Any, Any] = field(default_factory=dict)
    fresh: set[Any] = field(default_factory=set)
    idle: list[Any] = field(default_factory=list)
    busy: dict[Any, tuple[Any, Any]] = field(default_factory=dict)
    stillborn: int = 0

    def grow(self, wanted: int) -> None:
        """Starts actors until there are as many as there is work for, between ``least`` and ``most``."""
        alive = len(self.starting) + len(self.idle) + len(self.busy)
        for _ in range(max(self.least, min(self.most, wanted)) - alive):
            actor, ready, fresh = self.start()
            self.starting[ready] = actor
            self.fresh |= {ready} if fresh else set()

    def close(self) -> list[Any]:
        """Ends the actors that are busy or not up yet, and gives back the idle ones."""
        for actor in [*self.starting.values(), *(actor for actor, _ in self.busy.values())]:
            ray.kill(actor)
        return self.idle


def fitted(resource: Resource, total: Mapping[str, float]) -> Resource:
    """A worker's size cut down to this machine, so that a recipe for a cluster also runs here."""
    cpus = None if resource.cpus is None else min(resource.cpus, total.get("CPU", 1))
    return resource.model_copy(update={"cpus": cpus, "gpus": min(resource.gpus, total.get("GPU", 0)), "memory": None})


class RayCluster:
    """Runs jobs on the Ray cluster that ``connect`` joined or started."""

    def __init__(self, workers: int | None = None, local: bool = False) -> None:
        self._workers = workers
        self._local = local
        self._spare: tuple[Resource, list[Any]] = (Resource(), [])

    def run(
        self, stage: str, jobs: Sequence[Any], worker: Worker, resource: Resource, done: Callable[[Report], None]
    ) -> list[Failure]:
        """See ``curate.executor.Executor``. A job whose worker dies, or raises, is tried on a fresh worker."""
        pool = self._pool(worker, resource)
        queue, attempts, failures, succeeded = deque(jobs), Counter[str](), list[Failure](), 0
        try:
            while queue or pool.busy:
                pool.grow(len(queue) + len(pool.busy))
                while queue and pool.idle:
                    actor, job = pool.idle.pop(), queue.popleft()
                    pool.busy[actor.work.remote(job)] = actor, job
                ready, _ = ray.wait([*pool.starting, *pool.busy], timeout=PATIENCE)
                if not ready and not pool.busy:
                    log.warning("%s: no worker could start yet; each takes %s", stage, needs(resource))
                for ref in ready:
                    if ref in pool.starting:
                        self._started(pool, ref)
                        continue
                    actor, job = pool.busy.pop(ref)
                    try:
                        done(ray.get(ref))
                        succeeded += 1
                        pool.idle.append(actor)
                    except RayError as error:
                        cause = as_cause(error)
                        if isinstance(cause, StopRun):
                            raise cause from None
                        ray.kill(actor)
                        attempts[name_of(job)] += not getattr(error, "preempted", False)
                        if attempts[name_of(job)] < ATTEMPTS:
                            queue.append(job)
                        else:
                            failures.append(Failure(stage, name_of(job), spell(cause)))
                            give_up(failures, succeeded)
        finally:
            self._spare = (resource.model_copy(update={"workers": None}), pool.close())
        return failures

    def _pool(self, worker: Worker, resource: Resource) -> Pool:
        total = ray.cluster_resources()
        if self._local:
            resource = fitted(resource, total)
        cpus = 1.0 if resource.cpus is None else resource.cpus
        remote = ray.remote(Actor).options(
            num_cpus=cpus,
            num_gpus=resource.gpus,
            memory=resource.memory and int(resource.memory),
            max_restarts=0,
            max_task_retries=0,
        )
        room = [
            total.get("CPU", 1) / cpus if cpus else 64,
            total.get("GPU", 0) / resource.gpus if resource.gpus else 64,
        ]
        workers = self._workers or resource.workers or (1, max(1, int(min(room))))
        least, most = workers if isinstance(workers, tuple) else (workers, workers)
        payload = ray.put(worker)
        spare = self._spares(resource)

        def start() -> tuple[Any, Any, bool]:
            fresh = not spare
            actor = remote.remote() if fresh else spare.pop()
            return actor, actor.take.remote(payload), fresh

        return Pool(start, min(least, most), most)

    def _spares(self, resource: Resource) -> list[Any]:
        """The last stage's idle workers if they are of the size that is wanted now; else they go."""
        size, spare = self._spare
        self._spare = (Resource(), [])
        if size == resource.model_copy(update={"workers": None}):
            return spare
        for actor in spare:
            ray.kill(actor)
        return []

    def _started(self, pool: Pool, ref: Any) -> None:
        """An actor is up, or failed to start; three such failures in a row end the run with their cause."""
        actor = pool.starting.pop(ref)
        try:
            ray.get(ref)
            pool.idle.append(actor)
            pool.stillborn = 0
        except RayError as error:
            pool.stillborn += ref in pool.fresh  # one that was left over from the last stage may have died since
            if pool.stillborn >= ATTEMPTS:
                raise StopRun(f"workers cannot be started: {spell(as_cause(error))}") from None


def as_cause(error: RayError) -> BaseException:
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
