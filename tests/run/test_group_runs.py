"""Groups in whole runs: killed anywhere, on two nodes of a Ray, and asked about."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import SmallWeb
from test_cluster import free_port
from test_run import CURATE, curate, sums

BIN = Path(sys.executable).parent
SCORE = "  hash: {use: phash}\n  clip: {use: clip, model: demo}\n  sign: {use: minhash, ngram: 2}\n"
GROUP = """group:
  file: {by: raw.sha256, keep: largest}
  near: {by: hash.phash, within: 6, after: {score: quality.contrast, min: 5}, keep: clip.sim}
  again: {by: raw.url, scope: document, kind: image, keep: first}
  pages: {by: sign.signature, jaccard: 0.7, keep: first}
  sem: {by: clip.embedding, eps: 0.02, clusters: 4, keep: hard}
  like: {by: clip.embedding, cosine: 0.97, clusters: 4}
"""


@pytest.fixture(scope="module")
def undisturbed(small_web: SmallWeb, tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("group")
    done = curate("run", small_web.recipe(home / "r.yaml", score=SCORE, extra=GROUP), "--out", home / "run")
    assert done.returncode == 0, done.stderr
    return home / "run"


def files(run: Path) -> dict[Path, bytes]:
    return {path.relative_to(run): path.read_bytes() for path in sorted(run.glob("groups/**/*")) if path.is_file()}


def copied(undisturbed: Path, to: Path, *names: str) -> Path:
    """The run as it was before it was grouped."""
    for name in ("plan.json", "raw", "scores", *names):
        (shutil.copytree if (undisturbed / name).is_dir() else shutil.copy)(undisturbed / name, to / name)
    return to


@pytest.mark.parametrize("point", [0, 1, 2, *(pytest.param(at, marks=pytest.mark.slow) for at in range(3, 8))])
def test_killed_while_grouping_and_restarted_gives_the_same_groups(
    point: int, undisturbed: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    run.mkdir()
    command = [*CURATE, "group", str(undisturbed.parent / "r.yaml"), "--out", str(copied(undisturbed, run))]
    process = subprocess.Popen(command, start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while not (run / "groups").exists() and process.poll() is None:
        time.sleep(0.005)
    time.sleep(random.Random(point).uniform(0, 0.15) + 0.15 * point)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    there = {path: path.stat().st_mtime_ns for path in run.glob("groups/**/*.parquet") if ".part-" not in path.name}
    done = subprocess.run(command, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr
    assert files(run) == files(undisturbed)
    assert {path: path.stat().st_mtime_ns for path in there} == there


def test_duplicates_were_found(undisturbed: Path) -> None:
    done = curate("select", undisturbed.parent / "r.yaml", "--out", undisturbed)
    for name in ("file", "near", "sem"):
        assert f"duplicate ({name})" in done.stdout


def test_a_document_can_be_asked_about(undisturbed: Path, tmp_path: Path) -> None:
    import polars as pl

    table = pl.read_parquet(f"{undisturbed}/groups/near-*/table/*.parquet").drop_nulls("group")
    (recipe, document) = (undisturbed.parent / "r.yaml", table["document"][0])
    done = curate("group", recipe, "--out", undisturbed, "--explain", document, "--pictures", tmp_path / "seen")
    assert done.returncode == 0, done.stderr
    assert "asked about" in done.stdout
    assert "bits" in done.stdout
    assert list((tmp_path / "seen").iterdir())
    nobody = curate("group", recipe, "--out", undisturbed, "--explain", "ffffffffffff")
    assert nobody.returncode == 2
    assert "nothing in common" in nobody.stderr


@pytest.fixture
def two_nodes() -> Iterator[str]:
    """The address of a Ray with two nodes of a core each, both on this machine."""
    address = f"127.0.0.1:{free_port()}"
    homes = [tempfile.mkdtemp(prefix="ray-") for _ in range(2)]
    head = ["--head", "--port", address.rpartition(":")[2], "--include-dashboard=false"]
    processes = []
    try:
        for home, place in zip(homes, (head, ["--address", address]), strict=True):
            command = [BIN / "ray", "start", *place, "--block", "--num-cpus", "1", "--disable-usage-stats"]
            command += ["--temp-dir", home] if place is head else []
            quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "start_new_session": True}
            processes.append(subprocess.Popen([*map(str, command)], **quiet))
            time.sleep(8)
        yield address
    finally:
        for process in reversed(processes):
            os.killpg(process.pid, signal.SIGTERM)
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
        for home in homes:
            shutil.rmtree(home, ignore_errors=True)


@pytest.mark.ray
@pytest.mark.timeout(600)
def test_two_nodes_give_the_same_bytes(two_nodes: str, undisturbed: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    recipe = undisturbed.parent / "r.yaml"
    done = curate("run", recipe, "--out", copied(undisturbed, run), "--ray", two_nodes, "--workers", "2")
    assert done.returncode == 0, done.stderr
    assert files(run) == files(undisturbed)
    assert sums(run) == sums(undisturbed)
