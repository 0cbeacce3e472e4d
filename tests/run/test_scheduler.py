"""The mechanism under all stages: targets, jobs, phases and workers, in process and on Ray."""

from __future__ import annotations

import os
import pickle
import time
import weakref
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from curate.ledger.job import FileSet, Job, Jobs, Phase, Ref, Target
from curate.ledger.ledger import Ledger
from curate.ledger.making import Making, OneByOne, done
from curate.recipe.recipe import Resource
from curate.report import Failure, Report, StopRun
from curate.run.executor import Executor, InProcess
from curate.run.inbox import Inbox
from curate.run.scheduler import Scheduler
from curate.store.digest import DamagedFile
from curate.store.files import Expected
from curate.store.store import Store


class Watching:
    """Remembers what it was told."""

    def __init__(self) -> None:
        self.told: list[tuple[str, int, int]] = []

    def start(self, phase: str, total: int, done: int) -> None:
        self.told.append((phase, total, done))

    def advance(self, report: Report) -> None: ...
    def end(self, phase: str, counts: Counter[str], seconds: float) -> None: ...


@dataclass(frozen=True)
class Write:
    """Writes each target of a job, and a line into a log for it."""

    def __call__(self, job: Job, making: Making) -> Report:
        for target in job.targets:
            making.write_json(target.name, {"name": target.name})
            with Path(making.store.path("log")).open("a") as log:
                log.write(f"{target.name}\n")
        return Report(job.name, Counter(written=len(job.targets)))


def file(folder: str, name: str | int) -> str:
    return f"{folder}/{name:08d}.json" if isinstance(name, int) else f"{folder}/{name}.json"


def jobs(folder: str, count: int, *reads: Ref) -> list[Job]:
    return [Job(f"{at:08d}", (Target(file(folder, at), reads),)) for at in range(count)]


def put(store: Store, *names: str) -> None:
    """Makes files as jobs without inputs do."""
    done(store, Job("put", tuple(Target(name) for name in names)), Write())
    Path(store.path("log")).unlink()


def run(store: Store, *phases: Phase, executor: Executor | None = None) -> tuple[Scheduler, Watching]:
    watching = Watching()
    scheduler = Scheduler(store, Ledger(store), executor or InProcess(), watching)
    scheduler.run(phases)
    return scheduler, watching


def log(store: Store) -> list[str]:
    path = Path(store.path("log"))
    return path.read_text().split() if path.exists() else []


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path)


def test_only_what_is_missing_is_made(store: Store) -> None:
    two = [Job(name, (Target(file("x", name)), Target(file("y", name)))) for name in ("a", "b")]
    put(store, "x/a.json", "x/b.json", "y/b.json")
    _, watching = run(store, Phase("score", two, OneByOne(store, Write())))
    assert log(store) == ["y/a.json"]
    assert watching.told == [("score", 2, 1)]


def test_what_is_temporary_is_made_only_if_something_needs_it(store: Store) -> None:
    keys, parts = (tuple(file(name, at) for at in range(count)) for name, count in (("keys", 2), ("parts", 1)))

    def first() -> Iterator[Phase]:
        yield Phase("group keys", jobs("keys", 2), OneByOne(store, Write()))
        yield Phase("group parts", jobs("parts", 1, *keys), OneByOne(store, Write()))

    made = [Job(f"{at}", (Target(file("table", at), parts, made_from=()),)) for at in range(2)]
    tables = Phase("group", made, OneByOne(store, Write()), first=first)
    run(store, tables)
    assert log(store) == [*keys, *parts, file("table", 0), file("table", 1)]
    for name in (*keys, *parts):
        Path(store.path(name)).unlink()
    _, watching = run(store, tables)
    assert watching.told == [("group", 2, 2)]
    Path(store.path(file("table", 1))).unlink()
    run(store, tables)
    assert log(store)[5:] == [*keys, *parts, file("table", 1)]


def test_a_job_whose_input_is_missing_is_listed_and_the_others_are_done(store: Store) -> None:
    put(store, "raw/1.json")
    several = [Job(name, (Target(file("x", name), (file("raw", name),)),)) for name in ("0", "1")]
    scheduler, _ = run(store, Phase("score", several, OneByOne(store, Write())))
    assert log(store) == ["x/1.json"]
    assert scheduler.failures == [Failure("score", "0", "reads raw/0.json, which is not there")]


def test_a_set_of_which_a_file_is_missing_is_missing(store: Store) -> None:
    put(store, "keys/0.json")
    keys = FileSet("keys", ("keys/0.json", "keys/1.json"))
    scheduler, _ = run(store, Phase("group", jobs("table", 1, keys), OneByOne(store, Write())))
    assert [failure.cause for failure in scheduler.failures] == ["reads keys/1.json, which is not there"]


def test_what_says_that_others_are_complete_goes_before_they_are_made_again(store: Store) -> None:
    put(store, "x/00000000.json", "index.json")
    phase = Phase("pack", jobs("x", 2), OneByOne(store, Write()), spoils=("index.json",))
    run(store, phase)
    assert not store.exists("index.json")
    put(store, "index.json")
    run(store, phase)
    assert store.exists("index.json")


def test_a_stage_ends_after_a_phase_with_a_failure(store: Store) -> None:
    def fails(job: Job, making: Making) -> Report:
        raise OSError("no disk")

    scheduler, watching = run(
        store,
        Phase("select a", jobs("a", 2), OneByOne(store, fails)),
        Phase("select b", jobs("b", 1), OneByOne(store, Write())),
    )
    assert [told[0] for told in watching.told] == ["select a"]
    assert {failure.cause for failure in scheduler.failures} == {"OSError: no disk"}


def test_a_failed_job_is_tried_three_times(store: Store) -> None:
    tries = Counter[str]()

    def moody(job: Job, making: Making) -> Report:
        tries[job.name] += 1
        if job.name == "00000001" or tries[job.name] < 3:
            raise OSError("moody")
        return Write()(job, making)

    scheduler, _ = run(store, Phase("score", jobs("x", 2), OneByOne(store, moody)))
    assert tries == {"00000000": 3, "00000001": 3}
    assert [failure.job for failure in scheduler.failures] == ["00000001"]


def damaged(job: Job, making: Making) -> Report:
    """Notes who tried a job, and says that a file of it is damaged, but for the last."""
    with Path(making.store.path(f"tries-{job.name}")).open("a") as file:
        file.write(f"{os.getpid()} ")
    if job.name != "00000006":
        raise DamagedFile(f"raw/{job.name}.tar is damaged")
    return Write()(job, making)


def test_a_job_whose_file_is_damaged_is_tried_once_and_the_others_are_done(store: Store) -> None:
    scheduler, _ = run(store, Phase("score", jobs("x", 7), OneByOne(store, damaged)))
    assert [failure.cause for failure in scheduler.failures] == [
        f"DamagedFile: raw/{at:08d}.tar is damaged" for at in range(6)
    ]
    assert {len(path.read_text().split()) for path in Path(store.path("")).glob("tries-*")} == {1}
    assert log(store) == [file("x", 6)]


def test_a_bug_stops_the_run(store: Store) -> None:
    def bug(job: Job, making: Making) -> Report:
        raise StopRun("a bug")

    with pytest.raises(StopRun, match="a bug"):
        run(store, Phase("score", jobs("x", 2), OneByOne(store, bug)))


def test_nothing_succeeds(store: Store) -> None:
    def fails(job: Job, making: Making) -> Report:
        raise OSError("no disk")

    with pytest.raises(StopRun, match="first 5 jobs all failed 3 times"):
        run(store, Phase("score", jobs("x", 9), OneByOne(store, fails)))


@dataclass(frozen=True)
class Pairs:
    """A worker that takes two jobs before it ends the first, and ends the later one first."""

    store: Store

    def __call__(self, jobs: Jobs) -> None:
        while (first := jobs.take()) is not None:
            second = jobs.take(wait=False)
            for job in (second, first):
                if job is not None:
                    jobs.done(job, done(self.store, job, Write()))


def test_a_worker_may_hold_several_jobs_and_end_them_in_any_order(store: Store) -> None:
    run(store, Phase("fetch", jobs("x", 5), Pairs(store), holds=2))
    assert [name[-6] for name in log(store)] == ["1", "0", "3", "2", "4"]


def test_a_worker_that_leaves_jobs_is_a_bug(store: Store) -> None:
    with pytest.raises(StopRun, match="the worker ended with 2 jobs left"):
        run(store, Phase("fetch", jobs("x", 2), lambda jobs: None))


def test_a_job_is_small_and_leaves_behind_what_it_reads() -> None:
    names = [f"groups/{'n' * 60}-81c0a1b2/table/{at:08d}.parquet" for at in range(64)]
    targets = [Target(name, (f"raw/{name}", f"scores/{name}"), digest=os.urandom(16)) for name in names]
    chunk = Job("00000000", tuple(targets), expected=Expected(os.urandom(4 * 3 * 64)))
    sent = pickle.dumps(chunk)
    assert len(sent) < 4096
    there = pickle.loads(sent)
    assert there.targets == tuple(replace(target, reads=()) for target in targets)
    assert (there.name, there.expected) == (chunk.name, chunk.expected)


def greedy(jobs: Jobs) -> None:
    """Waits for a second job while it holds the first."""
    jobs.take()
    jobs.take()


def test_a_worker_must_not_wait_while_it_holds_a_job(store: Store) -> None:
    with pytest.raises(RuntimeError, match="must not wait for another"):
        run(store, Phase("fetch", jobs("x", 3), greedy, holds=2))


def test_what_a_worker_raised_answers_every_call() -> None:
    inbox = Inbox()
    inbox.serve(lambda jobs: 1 / 0)
    with pytest.raises(StopRun, match="division by zero"):
        inbox.ask(jobs("x", 1)[0])


# --- on Ray


@pytest.fixture(scope="module")
def cluster() -> Iterator[Callable[[int], Executor]]:
    import ray

    from curate.run.cluster import RayCluster, connect

    with connect("local", 2, [trivial]):  # what stands in this file travels by value
        yield lambda workers: RayCluster(workers, local=True)
    assert not ray.is_initialized()


@dataclass(frozen=True)
class Deadly:
    """Kills its process at one job, each time or the first time; leaves a mark for every try."""

    store: Store
    poison: str
    always: bool = True

    def __call__(self, job: Job, making: Making) -> Report:
        tries = Path(self.store.path(f"tries-{job.name}"))
        with tries.open("a") as file:
            file.write("x")
        if job.name == self.poison and (self.always or tries.stat().st_size == 1):
            os._exit(1)
        return Write()(job, making)


@dataclass(frozen=True)
class DeadlyPairs:
    """Holds two jobs, and does them with ``Deadly``."""

    work: Deadly

    def __call__(self, jobs: Jobs) -> None:
        held: list[Job] = []
        while (job := jobs.take(wait=not held)) is not None or held:
            if job is not None:
                held.append(job)
            if len(held) == 2 or job is None:
                time.sleep(0.05)
                for each in held:
                    jobs.done(each, done(self.work.store, each, self.work))
                held.clear()


def tries(store: Store) -> dict[str, int]:
    return {path.name[-1]: path.stat().st_size for path in Path(store.path("")).glob("tries-*")}


@pytest.mark.ray
def test_jobs_on_ray(store: Store, cluster: Callable[[int], Executor]) -> None:
    scheduler, _ = run(store, Phase("score", jobs("x", 20), OneByOne(store, Write())), executor=cluster(2))
    assert sorted(log(store)) == [file("x", at) for at in range(20)]
    assert scheduler.counts["score"]["written"] == 20
    _, watching = run(store, Phase("score", jobs("x", 20), OneByOne(store, Write())), executor=cluster(2))
    assert watching.told == [("score", 20, 20)]


@pytest.mark.ray
def test_a_job_that_always_kills_its_worker_is_given_up(store: Store, cluster: Callable[[int], Executor]) -> None:
    worker = OneByOne(store, Deadly(store, "00000001"))
    scheduler, _ = run(store, Phase("score", jobs("x", 4), worker), executor=cluster(2))
    assert [failure.job for failure in scheduler.failures] == ["00000001"]
    assert "died" in scheduler.failures[0].cause
    assert tries(store)["1"] == 3
    assert len(log(store)) == 3


@pytest.mark.ray
def test_of_jobs_that_die_together_only_a_death_alone_counts(store: Store, cluster: Callable[[int], Executor]) -> None:
    worker = DeadlyPairs(Deadly(store, "00000000"))
    scheduler, _ = run(store, Phase("fetch", jobs("x", 6), worker, holds=2), executor=cluster(1))
    assert [failure.job for failure in scheduler.failures] == ["00000000"]
    assert tries(store)["0"] == 4  # once beside another, then three times alone
    assert len(set(log(store))) == 5


@pytest.mark.ray
def test_a_failed_job_is_tried_on_another_worker(store: Store, cluster: Callable[[int], Executor]) -> None:
    def moody(job: Job, making: Making) -> Report:
        with Path(store.path(f"tries-{job.name}")).open("a") as file:
            file.write(f"{os.getpid()} ")
        raise OSError("no memory on the card")

    several = [*jobs("x", 1)]
    scheduler, _ = run(store, Phase("score", several, OneByOne(store, moody), Resource(workers=1)), executor=cluster(1))
    assert [failure.cause for failure in scheduler.failures] == ["OSError: no memory on the card"]
    assert len(set(Path(store.path("tries-00000000")).read_text().split())) == 3


@pytest.mark.ray
def test_a_worker_whose_file_is_damaged_goes_on(store: Store, cluster: Callable[[int], Executor]) -> None:
    worker = OneByOne(store, damaged)
    scheduler, _ = run(store, Phase("score", jobs("x", 7), worker, Resource(workers=1)), executor=cluster(1))
    assert len(scheduler.failures) == 6
    assert len(Counter(path.read_text() for path in Path(store.path("")).glob("tries-*"))) == 1


@pytest.mark.ray
def test_a_bug_in_a_worker_on_ray_stops_the_run(store: Store, cluster: Callable[[int], Executor]) -> None:
    def bug(jobs: Jobs) -> None:
        jobs.take()
        raise ZeroDivisionError("a bug")

    with pytest.raises(StopRun, match="ZeroDivisionError: a bug"):
        run(store, Phase("score", jobs("x", 3), bug), executor=cluster(1))


@pytest.mark.ray
def test_a_worker_on_ray_must_not_wait_while_it_holds_a_job(store: Store, cluster: Callable[[int], Executor]) -> None:
    with pytest.raises(StopRun, match="must not wait for another"):
        run(store, Phase("fetch", jobs("x", 3), greedy, holds=2), executor=cluster(1))


@dataclass
class Holding:
    """Leaves a mark when it is let go."""

    store: Store

    def __call__(self, job: Job, making: Making) -> Report:
        weakref.finalize(self, Path(self.store.path(f"free-{os.getpid()}")).touch)
        time.sleep(0.3)
        return Report(job.name)


@pytest.mark.ray
def test_idle_workers_let_go_of_what_they_hold(store: Store, cluster: Callable[[int], Executor]) -> None:
    where = cluster(2)
    run(store, Phase("score", jobs("x", 4), OneByOne(store, Holding(store))), executor=where)
    for _ in range(100):
        if len(list(Path(store.path("")).glob("free-*"))) == 2:
            return
        time.sleep(0.1)
    pytest.fail("a worker still holds what the last phase built")


def trivial(job: Job, making: Making) -> Report:
    return Report(job.name)


def driver_seconds(store: Store, executor: Executor, several: Sequence[Job]) -> float:
    """Seconds of this process' CPU for a job."""
    began = time.process_time()
    run(store, Phase("score", several, OneByOne(store, trivial)), executor=executor)
    return (time.process_time() - began) / len(several)


@pytest.mark.ray
def test_the_driver_takes_little_for_a_job(store: Store, cluster: Callable[[int], Executor]) -> None:
    assert driver_seconds(store, InProcess(), jobs("x", 10_000)) < 0.005
    assert driver_seconds(store, cluster(2), jobs("x", 1_000)) < 0.005


@pytest.mark.ray
@pytest.mark.slow
def test_the_driver_takes_little_for_ten_thousand_jobs_on_ray(store: Store, cluster: Callable[[int], Executor]) -> None:
    assert driver_seconds(store, cluster(2), jobs("x", 10_000)) < 0.005
