"""The same runs on a real local Ray: same bytes, bounded retries, plugins that travel, and `ray job submit`."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import SmallWeb
from test_run import CURATE, curate, plugin, sums

pytestmark = [pytest.mark.ray, pytest.mark.timeout(600)]
BIN = Path(sys.executable).parent


@pytest.fixture(scope="module")
def in_process(small_web: SmallWeb, tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("parity")
    done = curate("run", small_web.recipe(home / "clip.yaml", clip=True), "--out", home / "run")
    assert done.returncode == 0, done.stderr
    return home / "run"


@pytest.mark.parametrize("workers", [1, 4])
def test_ray_gives_the_bytes_of_this_process(workers: int, in_process: Path, tmp_path: Path) -> None:
    recipe = in_process.parent / "clip.yaml"
    done = curate("run", recipe, "--out", tmp_path / "run", "--ray", "local", "--workers", str(workers))
    assert done.returncode == 0, done.stderr
    assert sums(tmp_path / "run") == sums(in_process)
    made = (tmp_path / "run").rglob("*.parquet")
    for mine in (path for path in made if path.parent.name != "ledger"):  # a cache, with times of files
        assert mine.read_bytes() == (in_process / mine.relative_to(tmp_path / "run")).read_bytes(), mine


def test_a_driver_killed_on_ray_and_restarted_gives_the_same_bytes(in_process: Path, tmp_path: Path) -> None:
    recipe, run = in_process.parent / "clip.yaml", tmp_path / "run"
    command = [*CURATE, "run", str(recipe), "--out", str(run), "--ray", "local", "--workers", "2"]
    process = subprocess.Popen(command, start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while not list(run.glob("scores/*/00000001.parquet")) and process.poll() is None:
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    done = subprocess.run(command, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr
    assert sums(run) == sums(in_process)


def test_a_recipe_for_a_cluster_also_runs_on_a_small_machine(small_web: SmallWeb, tmp_path: Path) -> None:
    greedy = "resources: {words: {gpus: 8, cpus: 500, memory: 900GB}}\n"
    recipe = small_web.recipe(tmp_path / "r.yaml", extra=greedy)
    done = curate("run", recipe, "--limit", "5", "--out", tmp_path / "run", "--ray", "local")
    assert done.returncode == 0, done.stderr


def test_a_worker_that_dies_once_costs_nothing(small_web: SmallWeb, tmp_path: Path) -> None:
    flag = tmp_path / "died"
    plugin(
        tmp_path,
        "fatal",
        f"    if not Path({str(flag)!r}).exists():\n        Path({str(flag)!r}).touch()\n        os._exit(1)",
    )
    recipe = small_web.recipe(tmp_path / "r.yaml", score="  f: {use: fatal}\n")
    done = curate("run", recipe, "--out", tmp_path / "run", "--ray", "local", "--workers", "2")
    assert done.returncode == 0, done.stderr
    assert flag.exists()


def test_a_shard_that_always_kills_its_worker_is_listed_and_the_others_finish(
    small_web: SmallWeb, tmp_path: Path
) -> None:
    tries = tmp_path / "tries"
    body = "    if any('page-3' == text.text for text in texts):\n"
    body += f"        open({str(tries)!r}, 'a').write('x')\n        os._exit(1)"
    plugin(tmp_path, "fatal", body)
    line = '{"url": "u", "text_list": ["page-%d", "a b c"], "image_info": []}\n'
    (tmp_path / "texts.jsonl").write_text("".join(line % number for number in range(6)))
    recipe = tmp_path / "r.yaml"
    recipe.write_text(
        f"source: {{reader: mmc4, path: {tmp_path}/texts.jsonl, shard: 2}}\nscore: {{f: {{use: fatal}}}}\nempty: keep\n"
    )
    done = curate("run", recipe, "--out", tmp_path / "run", "--ray", "local", "--workers", "2")
    assert done.returncode == 3
    assert "score 00000001" in done.stderr
    assert "died" in done.stderr
    assert len(tries.read_text()) == 3
    written = {path.stem for path in (tmp_path / "run/scores").glob("f-*/*.parquet")}
    assert written == {"00000000", "00000002"}


def test_a_scorer_that_cannot_be_built_ends_the_run_with_its_cause(small_web: SmallWeb, tmp_path: Path) -> None:
    (tmp_path / "broken.py").write_text(
        "from curate import scores\n\n@scores('text', n=int)\nclass Broken:\n"
        "    def __init__(self):\n        raise OSError('no such weights')\n"
        "    def __call__(self, texts):\n        return [{'n': 1} for _ in texts]\n"
    )
    recipe = small_web.recipe(tmp_path / "r.yaml", score="  b: {use: broken}\n")
    done = curate("run", recipe, "--out", tmp_path / "run", "--ray", "local", "--workers", "2")
    assert done.returncode == 1
    assert "no such weights" in done.stderr


EIGHT_LINES = '''from curate import scores


@scores("text", shouting=float)
def shouting(texts):
    """The share of capitals."""
    return [{"shouting": sum(map(str.isupper, text.text)) / max(len(text.text), 1)} for text in texts]
'''


@pytest.mark.parametrize(("use", "ray"), [("mymodule:shouting", ()), ("mymodule:shouting", ("--ray", "local")),
                                          ("mymodule", ()), ("mymodule", ("--ray", "local"))])  # fmt: skip
def test_an_eight_line_filter_outside_the_repository(
    use: str, ray: tuple[str, ...], small_web: SmallWeb, tmp_path: Path
) -> None:
    (tmp_path / "mymodule.py").write_text(EIGHT_LINES)
    recipe = small_web.recipe(
        tmp_path / "r.yaml", score=f"  caps: {{use: '{use}'}}\n", keep="  - {text: caps.shouting, max: 0.5}\n"
    )
    done = curate("run", recipe, "--limit", "20", "--out", tmp_path / "run", *ray, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert list((tmp_path / "run/scores").glob("caps-*/00000001.parquet"))


def free_port() -> int:
    with socket.socket() as sock:
        while True:
            sock.bind(("127.0.0.1", 0))
            port = int(sock.getsockname()[1])
            if not 10002 <= port <= 19999:
                return port


@pytest.fixture
def cluster() -> Iterator[str]:
    """A Ray of the test's own, with a dashboard that takes jobs; ends with the test."""
    dashboard = free_port()
    home = tempfile.mkdtemp(prefix="ray-")  # short: the names of Ray's sockets may have 107 bytes
    process = subprocess.Popen(
        [BIN / "ray", "start", "--head", "--block", "--port", str(free_port()), "--num-cpus", "2", "--num-gpus", "1",
         "--dashboard-host", "127.0.0.1", "--dashboard-port", str(dashboard), "--node-ip-address", "127.0.0.1",
         "--disable-usage-stats", "--temp-dir", home],
        start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    address = f"http://127.0.0.1:{dashboard}"
    try:
        for _ in range(240):
            try:
                with urllib.request.urlopen(f"{address}/api/jobs/", timeout=1):
                    break
            except OSError:
                time.sleep(0.25)
        yield address
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
        shutil.rmtree(home, ignore_errors=True)


def test_ray_job_submit(cluster: str, small_web: SmallWeb, tmp_path: Path) -> None:
    job = tmp_path / "job"
    job.mkdir()
    (job / "mymodule.py").write_text(EIGHT_LINES)
    shares = "resources: {caps: {gpus: 0.5, workers: [1, 2]}, fetch: {workers: 1}}\n"  # two workers on one GPU
    small_web.recipe(job / "small.yaml", score="  caps: {use: mymodule}\n", extra=shares)
    entry = [sys.executable, "-m", "curate.cli", "run", "small.yaml", "--ray", "auto", "--out", str(tmp_path / "run")]
    submit = [BIN / "ray", "job", "submit", "--address", cluster, "--working-dir", job, "--", *entry]
    for _ in range(60):  # the dashboard answers before the node's agent, which takes the job, is up
        done = subprocess.run([*map(str, submit)], capture_output=True, text=True, timeout=240)
        if "No available agent" not in done.stdout + done.stderr:
            break
        time.sleep(1)
    assert done.returncode == 0, done.stdout + done.stderr
    assert list((tmp_path / "run").glob("out/*/index.json"))
    wrong = [*submit[:-1], str(tmp_path / "run"), "--set", "fetch.max_bytes=1MB"]
    assert subprocess.run([*map(str, wrong)], capture_output=True, timeout=240).returncode != 0
