"""Pairs to 256-pixel tars: `curate` beside img2dataset 1.47.0, and what of it is physics.

    python benchmarks/fetch_pairs.py [--quick] [--images 800] [--rounds 3] [--threads 64 32]

Both get the same parquet of URLs and captions, the same nginx on loopback, the same two cores (which the server
shares), the same resize mode and JPEG quality, and write webdataset tars with captions and a parquet beside them.
img2dataset runs two processes as its manual says; ours runs as a user would start it on one machine: `curate run`
in one process and with `--ray local --workers 2`. A round runs every side once, one after the other; the ratio is
taken within a round.

Images per second are counted from the first request that the server sees to the last file that is written, so
neither side pays for its imports, for Ray's start or for img2dataset's logger, which sleeps for seconds at the end;
the whole command's time stands beside it. Core milliseconds for an image are those of the whole command, less those
of a run on 40 pictures; they say who does less work, even on a machine that is shared. `curate run` also makes
verdicts and copies the pictures from raw shards into tars, which img2dataset has no need of; that is in its figure.
All URLs are on one host, so `per_host` is raised to img2dataset's threads. Every option that costs img2dataset time
and gains it nothing is off (wandb, exif); sha256 stays on, we have it too.

The limit: a JPEG's entropy decoding is serial and cannot be skipped at any scale, and pixels equal to img2dataset's
need a full decode, OpenCV's area average and an encode. Those three are measured with nothing else around them;
their images/s times the cores, less what the server takes of them, is what no downloader of such pixels can pass.
"""

from __future__ import annotations

import json
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import common
import cv2
import numpy as np
import pyarrow.parquet as pq
import simplejpeg

MODES = ("border", "keep_ratio_largest", "center_crop")
PEER = """
import json, sys
from img2dataset import download
if __name__ == "__main__":
    download(**json.load(open(sys.argv[1])))
"""


class Bench:
    """One corpus, and the ways to fetch it."""

    def __init__(self, folder: Path, web: common.Web, images: int, threads: int) -> None:
        self.folder, self.web, self.images, self.threads = folder, web, images, threads
        self.table = common.manifest(
            folder / f"pairs{images}.parquet", [f"{web.base}/{n:06d}.jpg" for n in range(images)]
        )
        self.shard = -(-images // 4)
        self.ran: dict[str, list[common.Ran]] = {}
        (folder / "peer.py").write_text(PEER)

    def peer(self, mode: str, threads: int, out: Path, exif: bool = False) -> float:
        """Images/s of img2dataset."""
        options = {
            "url_list": str(self.table),
            "output_folder": str(out),
            "input_format": "parquet",
            "url_col": "url",
            "caption_col": "caption",
            "output_format": "webdataset",
            "image_size": 256,
            "resize_mode": mode,
            "processes_count": 2,
            "thread_count": threads,
            "number_sample_per_shard": self.shard,
            "enable_wandb": False,
            "extract_exif": exif,
            "compute_hash": "sha256",
        }
        settings = self.folder / f"{out.name}.json"
        out.parent.mkdir(exist_ok=True)
        settings.write_text(json.dumps(options))
        ran = common.ran([sys.executable, self.folder / "peer.py", settings])
        stats = [json.loads(path.read_text()) for path in out.glob("*_stats.json")]
        if sum(each["successes"] for each in stats) != self.images:
            raise RuntimeError(f"img2dataset fetched {stats}: {ran.output[-2000:]}")
        return self._rate(ran, out)

    def ours(self, mode: str, out: Path, *flags: str, fetch_only: bool = False, decode: str = "exact") -> float:
        """Images/s of curate."""
        recipe = common.recipe(
            self.folder / f"{out.name}.yaml",
            {
                "source": {"reader": "laion", "path": str(self.table), "shard": self.shard},
                "fetch": {
                    "allow_loopback": True,
                    "per_host": self.threads,
                    "resize": {"size": 256, "mode": mode, "decode": decode},
                },
                "pack": {"format": "pairs", "name": "pairs"},
            },
        )
        stage = "fetch" if fetch_only else "run"
        ran = common.ran([*common.CLI, stage, recipe, "--out", out, *flags])
        rows = sum(
            pq.read_table(path, columns=["status"])["status"].to_pylist().count("ok")
            for path in out.glob("raw/*.parquet")
        )
        if ran.code or rows != self.images:
            raise RuntimeError(f"curate fetched {rows}: {ran.output[-2000:]}")
        return self._rate(ran, out)

    def sides(self, threads: int) -> dict[str, Callable[[int], float]]:
        """The ways to fetch, by the name of their output folders."""
        ray = ("--ray", "local", "--workers", "2")
        return {
            "img2dataset": lambda number: self.peer("border", threads, self.out("img2dataset", number)),
            "curate-fetch": lambda number: self.ours("border", self.out("curate-fetch", number), fetch_only=True),
            "curate-run": lambda number: self.ours("border", self.out("curate-run", number)),
            "curate-run-on-ray": lambda number: self.ours("border", self.out("curate-run-on-ray", number), *ray),
            "curate-run-scaled": lambda number: self.ours(
                "border", self.out("curate-run-scaled", number), decode="scaled"
            ),
        }

    def out(self, side: str, number: int) -> Path:
        """The output folder of a side in a round."""
        return self.folder / str(self.images) / f"{side}{number}"

    def cores(self, side: str) -> float:
        """Core seconds of a side's whole command."""
        return common.median([ran.cores for ran in self.ran[side]])

    def _rate(self, ran: common.Ran, out: Path) -> float:
        first = self.web.asked(ran.began)[0][0]
        last = max(path.stat().st_mtime for path in out.rglob("*") if path.is_file())
        self.ran.setdefault(out.name.rstrip("0123456789"), []).append(ran)
        return self.images / (last - first)


def physics(paths: list[Path]) -> dict[str, float]:
    """Milliseconds of a core for an image: each step alone, and the three that img2dataset's pixels need together."""
    data = [path.read_bytes() for path in paths]
    cv2.setNumThreads(1)
    pixels = [simplejpeg.decode_jpeg(each, "BGR") for each in data]
    small = [shrink(each) for each in pixels]

    def decode(scale: int) -> Callable[[], Any]:
        height, width = -(-700 // scale), -(-600 // scale)
        return lambda: [simplejpeg.decode_jpeg(each, "BGR", min_height=height, min_width=width) for each in data]

    works = {
        "decode": decode(1),
        "decode at 1/2": decode(2),
        "decode at 1/8 (entropy decoding is most of it)": decode(8),
        "resize by area, as img2dataset": lambda: [shrink(each) for each in pixels],
        "encode at quality 95": lambda: [common.jpeg(each, 95) for each in small],
        "decode, resize, encode": lambda: [
            common.jpeg(shrink(simplejpeg.decode_jpeg(each, "BGR")), 95) for each in data
        ],
    }
    return {name: 1000 * min(cpu_seconds(work) for _ in range(3)) / len(data) for name, work in works.items()}


def shrink(pixels: Any) -> Any:
    """256 x 256 with a white border."""
    small = cv2.resize(pixels, (219, 256), interpolation=cv2.INTER_AREA)
    return cv2.copyMakeBorder(small, 0, 0, 18, 19, cv2.BORDER_CONSTANT, value=(255, 255, 255))


def cpu_seconds(work: Callable[[], Any]) -> float:
    """What a call takes of a core, which others' work on the machine changes less than the time on the wall."""
    began = time.process_time()
    work()
    return time.process_time() - began


def pictures_of_peer(out: Path) -> dict[str, bytes]:
    """URL -> stored bytes."""
    return {url: data for tar in out.glob("*.tar") for url, data in _members(tar)}


def pictures_of_ours(out: Path) -> dict[str, bytes]:
    """URL -> stored bytes."""
    return {url: data for tar in out.glob("out/*/*.tar") for url, data in _members(tar)}


def _members(path: Path) -> Any:
    files: dict[str, dict[str, bytes]] = {}
    with tarfile.open(path) as tar:
        for member in tar:
            key, _, suffix = member.name.partition(".")
            files.setdefault(key, {})[suffix] = tar.extractfile(member).read()  # type: ignore[union-attr]
    for each in files.values():
        yield json.loads(each["json"])["url"], each["jpg"]


def compare(ours: dict[str, bytes], theirs: dict[str, bytes]) -> tuple[int, int, list[float]]:
    """How many pictures both have, how many agree in size, and the PSNR of each decoded pair in dB (99 if equal)."""
    both, same, psnr = sorted(ours.keys() & theirs.keys()), 0, []
    for url in both:
        a, b = (
            cv2.imdecode(np.frombuffer(each[url], np.uint8), cv2.IMREAD_COLOR).astype(float) for each in (ours, theirs)
        )
        if a.shape == b.shape:
            same += 1
            error = np.mean((a - b) ** 2)
            psnr.append(99.0 if error == 0 else min(99.0, float(10 * np.log10(255**2 / error))))
    return len(both), same, psnr


def main() -> None:
    parser = common.arguments(__doc__)
    parser.add_argument("--images", type=int, default=800)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument(
        "--threads", type=int, nargs="*", default=[64, 32], help="tried for img2dataset; the best is used"
    )
    given = parser.parse_args()
    images, rounds = (200, 1) if given.quick else (given.images, given.rounds)
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        folder = Path(name)
        paths = common.draw(folder / "web", images)
        size = np.mean([path.stat().st_size for path in paths]) / 1000
        with common.serve(folder / "web") as web:
            bench, few = (Bench(folder, web, each, given.threads[0]) for each in (images, 40))
            tried = {each: bench.peer("border", each, folder / f"try{each}-") for each in given.threads}
            threads = max(tried, key=lambda each: tried[each])
            rates = ", ".join(f"{value:.0f} with {key}" for key, value in tried.items())
            print(f"\nimg2dataset's images/s by threads of a process: {rates}. Used: {threads}.")
            common.alternate(few.sides(threads), 1)
            figures = common.alternate(bench.sides(threads), rounds)
            head = ["side", "images/s, each round", "median", "times img2dataset", "ms of a core for an image"]
            table = common.Table([*head, "times img2dataset", "whole command, s"])
            cost = {side: 1000 * (bench.cores(side) - few.cores(side)) / (images - 40) for side in figures}
            for side, values in figures.items():
                each = ", ".join(f"{value:.0f}" for value in values)
                pairs = zip(values, figures["img2dataset"], strict=True)
                ratio = common.median([ours / theirs for ours, theirs in pairs])
                counted = side != "curate-run-on-ray"
                cores = (f"{cost[side]:.1f}", f"{cost['img2dataset'] / cost[side]:.2f}") if counted else ("-", "-")
                whole = common.median([ran.seconds for ran in bench.ran[side]])
                table.add(side, each, f"{common.median(values):.0f}", f"{ratio:.2f}", *cores, f"{whole:.1f}")
            table.show(f"{images} JPEGs of 600 x 700, {size:.0f} KB on average, to 256 x 256 with border")

            table = common.Table(
                [
                    "mode",
                    "img2dataset images/s",
                    "curate run images/s",
                    "ratio",
                    "same size",
                    "PSNR min / median",
                    ">= 40 dB",
                ]
            )
            for mode in MODES:
                theirs, ours = bench.out(f"{mode}-theirs", 0), bench.out(f"{mode}-ours", 0)
                if mode == "border":
                    theirs, ours = bench.out("img2dataset", 0), bench.out("curate-run", 0)
                    rates = figures["img2dataset"][0], figures["curate-run"][0]
                else:
                    rates = bench.peer(mode, threads, theirs), bench.ours(mode, ours)
                both, same, psnr = compare(pictures_of_ours(ours), pictures_of_peer(theirs))
                good = sum(value >= 40 for value in psnr)
                table.add(
                    mode,
                    f"{rates[0]:.0f}",
                    f"{rates[1]:.0f}",
                    f"{rates[1] / rates[0]:.2f}",
                    f"{same} of {both}",
                    f"{min(psnr):.1f} / {common.median(psnr):.1f}",
                    f"{good} of {both}",
                )
            table.show("Other modes, one run each, and the pictures of both compared")
            _, same, psnr = compare(
                pictures_of_ours(bench.out("curate-run-scaled", 0)), pictures_of_peer(bench.out("img2dataset", 0))
            )
            print(
                f"decode: scaled against img2dataset: PSNR min {min(psnr):.1f}, median {common.median(psnr):.1f} dB\n"
            )
        table = common.Table(["step", "ms of a core", "images/s of a core"])
        for what, cost in physics(paths[:200]).items():
            table.add(what, f"{cost:.2f}", f"{1000 / cost:.0f}")
        table.show("The physical limit")


if __name__ == "__main__":
    main()
