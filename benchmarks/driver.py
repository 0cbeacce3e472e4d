"""What the driver takes for a job: ten thousand trivial jobs, in this process and on a local Ray.

    python benchmarks/driver.py [--quick]

No peer is beside it: the limit is Ray's own round trip, which is measured as so many calls of an empty method of one
actor, two under way at a time. CPU is that of the driver's process alone; each side is run with a store that is empty.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import common
from clip_score import Quiet

from curate.ledger.job import Job, Phase, Target
from curate.ledger.ledger import Ledger
from curate.ledger.making import OneByOne
from curate.report import Report
from curate.run.executor import Executor, InProcess
from curate.run.scheduler import Scheduler
from curate.store.store import Store


def nothing(job: Job) -> Report:
    return Report(job.name)


def phase(executor: Executor, count: int) -> None:
    """Does so many jobs that write nothing."""
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        store = Store(Path(name))
        jobs = [Job(f"{at:08d}", (Target(f"x/{at:08d}"),)) for at in range(count)]
        scheduler = Scheduler(store, Ledger(store), executor, Quiet())
        if not scheduler.run([Phase("score", jobs, OneByOne(nothing))]):
            raise RuntimeError(str(scheduler.failures[:3]))


def calls(count: int) -> None:
    """So many empty calls of an actor, two under way."""
    import ray

    @ray.remote(num_cpus=0, max_concurrency=2)
    class Empty:
        def call(self) -> None: ...

    actor = Empty.remote()
    ray.get(actor.call.remote())
    waiting = [actor.call.remote(), actor.call.remote()]
    for _ in range(count - 2):
        (done, *_), waiting = ray.wait(waiting)
        ray.get(done)
        waiting.append(actor.call.remote())
    ray.get(waiting)


def main() -> None:
    given = common.arguments(__doc__).parse_args()
    count = 500 if given.quick else 10_000
    from curate.run.cluster import RayCluster, connect

    shown = common.Table(["where", "driver's CPU, ms a job", "clock, ms a job"])

    def measured(where: str, work: Callable[[], None]) -> None:
        cpu, clock = time.process_time(), time.perf_counter()
        work()
        each = [(time.process_time() - cpu) / count * 1000, (time.perf_counter() - clock) / count * 1000]
        shown.add(where, *(f"{value:.2f}" for value in each))

    measured("in process", lambda: phase(InProcess(), count))
    with connect("local", common.CORES, [nothing]):
        measured(f"local Ray, {common.CORES} workers", lambda: phase(RayCluster(common.CORES, local=True), count))
        measured("limit: empty calls of an actor", lambda: calls(count))
    shown.show(f"{count:,} trivial jobs")


if __name__ == "__main__":
    main()
