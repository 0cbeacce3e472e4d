"""What the benchmarks share: a web server on loopback, photo-like pictures, clocks, memory of processes, tables.

Measures nothing by itself. All traffic stays on 127.0.0.1, and whatever is started here is stopped here.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

CORES = len(os.sched_getaffinity(0))
CLI = [sys.executable, "-m", "curate.cli"]
WORDS = [
    "a",
    "an",
    "old",
    "new",
    "red",
    "green",
    "small",
    "wide",
    "photo",
    "view",
    "of",
    "the",
    "house",
    "garden",
    "river",
    "street",
    "with",
    "two",
    "people",
    "at",
    "dusk",
]

NGINX = """
{user}
daemon off;
worker_processes 1;
pid {folder}/nginx.pid;
error_log {folder}/error.log;
events {{ worker_connections 4096; }}
http {{
  types {{ image/jpeg jpg; }}
  log_format bench '$msec $status $uri';
  access_log {folder}/access.log bench;
  client_body_temp_path {folder}/a; proxy_temp_path {folder}/b; fastcgi_temp_path {folder}/c;
  uwsgi_temp_path {folder}/d; scgi_temp_path {folder}/e;
  sendfile on;
  keepalive_requests 1000000;
  open_file_cache max=10000;
  server {{ listen 127.0.0.1:{port} backlog=4096; root {root}; }}
}}
"""


def arguments(doc: str | None) -> argparse.ArgumentParser:
    """The parser that every benchmark starts from: ``--quick`` for small sizes."""
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="small sizes: shows that it runs, its figures mean little")
    return parser


@dataclass(frozen=True)
class Web:
    """A server that runs: its address, and the log of what it was asked."""

    base: str
    log: Path

    def asked(self, since: float = 0.0) -> list[tuple[float, str]]:
        """The requests after a moment, as (seconds since 1970, path)."""
        lines = (line.split() for line in self.log.read_text().splitlines())
        return [(float(when), path) for when, _, path in lines if float(when) >= since]

    def repeated(self, since: float = 0.0) -> int:
        """How many requests after a moment were for something that had been asked for before."""
        counts = Counter(path for _, path in self.asked(since))
        return sum(counts.values()) - len(counts)


@contextmanager
def serve(root: Path) -> Iterator[Web]:
    """Nginx on a free loopback port, for the length of the block."""
    with tempfile.TemporaryDirectory(prefix="bench-nginx-") as name:
        folder = Path(name)
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        user = "user root;" if os.geteuid() == 0 else ""
        (folder / "nginx.conf").write_text(NGINX.format(folder=folder, root=root, port=port, user=user))
        server = subprocess.Popen(["/usr/sbin/nginx", "-c", str(folder / "nginx.conf")], stderr=subprocess.DEVNULL)
        try:
            wait_for(lambda: connects(port), 10)
            yield Web(f"http://127.0.0.1:{port}", folder / "access.log")
        finally:
            server.terminate()
            server.wait(10)


def connects(port: int) -> bool:
    """Whether something listens on a loopback port."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def wait_for(condition: Callable[[], Any], seconds: float) -> Any:
    """The condition's value once it is true.

    Raises:
        TimeoutError: it did not come true.
    """
    end = time.monotonic() + seconds
    while not (value := condition()):
        if time.monotonic() > end:
            raise TimeoutError(f"waited {seconds} s in vain")
        time.sleep(0.02)
    return value


@lru_cache(16)
def scene(side: int, seed: int) -> Any:
    """A large picture (side, side, 3), BGR: 1/f noise (the spectrum of natural pictures), shapes, a sensor's grain."""
    rng = np.random.default_rng(seed)
    across, down = np.fft.rfftfreq(side)[None, :], np.fft.fftfreq(side)[:, None]
    amplitude = np.maximum(np.hypot(across, down), 1 / side) ** -1.15
    planes = []
    for gain, mean in ((52, 125), (10, 128), (10, 128)):  # luminance, and less of the colours
        phase = np.exp(1j * rng.uniform(0, 2 * np.pi, amplitude.shape))
        plane = np.fft.irfft2(phase * amplitude, (side, side))
        planes.append(((plane - plane.mean()) * (gain / plane.std()) + mean).astype(np.float32))
    ycc = np.stack(planes, axis=2)
    for _ in range(side // 40):
        centre, size = rng.integers(side, size=2), rng.integers(side // 100, side // 12, 2)
        mask = np.zeros((side, side), np.uint8)
        cv2.ellipse(mask, centre.tolist(), size.tolist(), float(rng.uniform(0, 180)), 0, 360, 1, -1)
        cv2.add(ycc, (*rng.normal(0, (35, 14, 14)), 0), ycc, mask)
    ycc[:, :, 0] += 2 * rng.standard_normal((side, side), np.float32)
    return cv2.cvtColor(ycc.clip(0, 255).astype(np.uint8), cv2.COLOR_YCrCb2BGR)


def photo(width: int, height: int, seed: int) -> Any:
    """A photo-like picture (height, width, 3), BGR: a part of a scene in its own light, mirrored or not."""
    rng = np.random.default_rng(seed)
    large = max(width, height) > 1500
    whole = scene(4096, seed % 2) if large else scene(1536, seed % 8)
    top, left = (int(rng.integers(whole.shape[0] - side + 1)) for side in (height, width))
    part = whole[top : top + height, left : left + width]
    lit = cv2.convertScaleAbs(part, alpha=rng.uniform(0.7, 1.2), beta=rng.uniform(-20, 30))
    return cv2.flip(lit, 1) if rng.random() < 0.5 else lit


def jpeg(pixels: Any, quality: int) -> bytes:
    """A baseline JPEG, 4:2:0."""
    return bytes(cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, quality])[1])


@lru_cache(4)
def quality_for(width: int, height: int, goal: int) -> int:
    """The quality at which pictures of this size come closest to ``goal`` bytes on average."""
    sample = [photo(width, height, 10_000 + seed) for seed in range(8)]
    low, high = 20, 98
    while low < high:
        middle = (low + high) // 2
        if np.mean([len(jpeg(each, middle)) for each in sample]) < goal:
            low = middle + 1
        else:
            high = middle
    return low


def draw(folder: Path, count: int, width: int = 600, height: int = 700, goal: int = 124_000) -> list[Path]:
    """``count`` different photo-like JPEGs of about ``goal`` bytes on average."""
    folder.mkdir(parents=True, exist_ok=True)
    quality = quality_for(width, height, goal)
    paths = []
    for number in range(count):
        path = folder / f"{number:06d}.jpg"
        path.write_bytes(jpeg(photo(width, height, number), quality))
        paths.append(path)
    return paths


def sentence(seed: int) -> str:
    """A caption of some words."""
    rng = np.random.default_rng(seed)
    return " ".join(str(word) for word in rng.choice(WORDS, int(rng.integers(4, 12)))) + f" {seed}"


def manifest(path: Path, urls: Sequence[str], captions: Sequence[str] | None = None) -> Path:
    """A parquet table url, caption."""
    captions = captions or [sentence(seed) for seed in range(len(urls))]
    pq.write_table(pa.table({"url": list(urls), "caption": list(captions)}), path)
    return path


def recipe(path: Path, content: Mapping[str, Any]) -> Path:
    """A recipe file; JSON is YAML."""
    path.write_text(json.dumps(content, indent=1))
    return path


@dataclass
class Ran:
    """A command that has ended: exit code, seconds, peak memory in bytes, output; ``cores`` is in core seconds.

    That counts descendants that were waited for, and so not those of Ray.
    """

    code: int
    seconds: float
    peak: int
    output: str
    began: float = 0.0
    cores: float = 0.0
    killed: str = ""


def ran(
    command: Sequence[str | Path],
    watch: Callable[[int], str | None] | None = None,
    timeout: float = 600,
    cwd: Any = None,
) -> Ran:
    """Runs a command to its end; ``watch`` is called with its process id until it returns something.

    Memory is the sum of the resident sets of the command and all its descendants, sampled every 20 ms: pages that
    they share count for each. Single processes add the kernel's own peak.
    """
    environment = os.environ | {"NO_ALBUMENTATIONS_UPDATE": "1", "WANDB_MODE": "disabled", "RAY_DEDUP_LOGS": "0"}
    began, clock, before = time.time(), time.monotonic(), used()
    with tempfile.TemporaryFile("w+") as output:
        process = subprocess.Popen(
            [str(word) for word in command],
            stdout=output,
            stderr=subprocess.STDOUT,
            env=environment,
            cwd=cwd,
            start_new_session=True,
        )
        peak, killed = 0, ""
        while process.poll() is None:
            peak = max(peak, sum(resident(each) for each in tree(process.pid)))
            if watch and not killed:
                killed = watch(process.pid) or ""
            if time.monotonic() - clock > timeout:
                for each in tree(process.pid):
                    kill(each)
            time.sleep(0.02)
        seconds = time.monotonic() - clock
        output.seek(0)
        return Ran(process.returncode, seconds, peak, output.read(), began, used() - before, killed)


def used() -> float:
    """Core seconds of all commands that have ended."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def kill(process: int) -> None:
    """SIGKILL, to a process that may be gone."""
    with suppress(ProcessLookupError):
        os.kill(process, 9)


def tree(root: int) -> list[int]:
    """A process and all its descendants."""
    found = [root]
    for process in found:
        try:
            for task in Path(f"/proc/{process}/task").iterdir():
                found += [int(child) for child in (task / "children").read_text().split()]
        except OSError:
            continue
    return found


def title(process: int) -> str:
    """The command line of a process; "" if it is gone."""
    try:
        return Path(f"/proc/{process}/cmdline").read_text().replace("\0", " ").strip()
    except OSError:
        return ""


def resident(process: int) -> int:
    """The resident set of a process in bytes; for one process its own peak (VmHWM)."""
    try:
        return int(Path(f"/proc/{process}/statm").read_text().split()[1]) * 4096
    except (OSError, IndexError):
        return 0


def alternate(sides: Mapping[str, Callable[[int], float]], rounds: int) -> dict[str, list[float]]:
    """Calls the sides A B A B ...; each returns its figure. Neighbours share the machine's mood."""
    figures: dict[str, list[float]] = {name: [] for name in sides}
    for number in range(rounds):
        for name, side in sides.items():
            figures[name].append(side(number))
            note(f"  round {number + 1}: {name}: {figures[name][-1]:.4g}")
    return figures


def median(values: Sequence[float]) -> float:
    """The middle one."""
    return float(statistics.median(values))


def seconds(work: Callable[[], Any]) -> float:
    """How long a call takes."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def note(text: str) -> None:
    """Progress, on stderr, so that stdout holds the tables alone."""
    print(text, file=sys.stderr, flush=True)


@dataclass
class Table:
    """A markdown table that is printed when it is full."""

    head: Sequence[str]
    rows: list[Sequence[Any]] = field(default_factory=list)

    def add(self, *cells: Any) -> None:
        """One more row."""
        self.rows.append(cells)

    def __str__(self) -> str:
        lines = [self.head, ["---"] * len(self.head), *self.rows]
        return "\n".join("| " + " | ".join(str(cell) for cell in line) + " |" for line in lines)

    def show(self, heading: str) -> None:
        """Prints it below a heading that says on what it was measured."""
        print(f"\n**{heading}** ({CORES} cores, {cpu()})\n\n{self}\n", flush=True)


@lru_cache(1)
def cpu() -> str:
    """The processor's name."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown CPU")
