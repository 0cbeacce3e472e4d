"""A node that leaves the cluster with a job: two nodes of a Ray of this machine."""

from __future__ import annotations

import threading
import time
from collections import Counter
from pathlib import Path

import pytest

from curate.ledger.job import Job, Phase, Target
from curate.ledger.ledger import Ledger
from curate.ledger.making import OneByOne
from curate.report import Report
from curate.run.scheduler import Scheduler
from curate.store.store import Store


class Nobody:
    """Watches no progress."""

    def start(self, phase: str, total: int, done: int) -> None: ...
    def advance(self, report: Report) -> None: ...
    def end(self, phase: str, counts: Counter[str], seconds: float) -> None: ...


def here(job: Job) -> Report:
    return Report(job.name)


@pytest.mark.ray
@pytest.mark.slow  # Ray takes half a minute to believe it
def test_a_lost_node_counts_against_no_job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from ray.cluster_utils import Cluster

    from curate.run.cluster import connect

    store, tries = Store(tmp_path), tmp_path / "tries"

    def patient(job: Job) -> Report:
        with tries.open("a") as file:
            file.write("x")
        if not (tmp_path / "lost").exists():
            time.sleep(120)
        return Report(job.name)

    monkeypatch.setattr("curate.run.executor.ATTEMPTS", 1)
    nodes = Cluster(initialize_head=True, head_node_args={"num_cpus": 0})
    doomed = nodes.add_node(num_cpus=1)

    phase = Phase("score", [Job("00000000", (Target("x/00000000"),))], OneByOne(patient))
    try:
        with connect(nodes.address, 1, [here]) as there:
            scheduler = Scheduler(store, Ledger(store), there, Nobody())
            running = threading.Thread(target=scheduler.run, args=([phase],))
            running.start()
            while not tries.exists():
                time.sleep(0.1)
            (tmp_path / "lost").touch()
            nodes.add_node(num_cpus=1)
            nodes.remove_node(doomed, allow_graceful=False)
            running.join()
    finally:
        nodes.shutdown()
    assert scheduler.failures == []
    assert tries.read_text() == "xx"
