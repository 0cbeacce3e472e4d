"""SemDeDup within clusters, beside a reference written straight from the paper.

    python benchmarks/semdedup.py [--quick] [--sizes 100000 1000000] [--noise isotropic] [--rounds 3]

The reference, for each cluster: load, float32, unit length, S = X @ X.T, M = triu(S, 1).max(axis=0), keep M <= 1 - eps,
in numpy with all BLAS threads. Ours is `curate.semantic.duplicates`, which gives the witnesses besides: in as many
processes as there are cores, each with one BLAS thread (how shards are worked on), and in a single one. The reference
is shown in that arrangement, too. All read the same float16 file, cluster by cluster, in the same order (hard, by the
cosine to the planted centroid), eps 0.05, each in a command of its own; the clocks start when its modules are loaded.

The data, drawn: 512 dimensions, clusters of 500 to 1500 around random centroids; two vectors of a cluster have a cosine
of about 0.65 (or as `--within` says); 30 % are copies of others with noise that leaves a cosine of 0.9 to 1.
Noise is alike in all directions (isotropic), which is the worst for sketches; or it falls off as 1 / rank in power, in
directions of its own (decaying), as embeddings of real pictures do. Neither is a measurement of real pictures.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import resource
import sys
import tempfile
import time
from collections.abc import Iterable
from itertools import pairwise
from pathlib import Path
from typing import Any

import common
import numpy as np

WIDTH = 512
EPS = 0.05
Array = Any


def draw(folder: Path, count: int, within: float, decaying: bool) -> None:
    """vectors.f16, ordered by cluster; starts.npy; centroids.npy."""
    folder.mkdir()
    rng = np.random.default_rng(0)
    starts = np.array([0])
    while starts[-1] < count:
        starts = np.append(starts, min(starts[-1] + rng.integers(500, 1501), count))
    centroids = unit(rng.standard_normal((len(starts) - 1, WIDTH), np.float32))
    shape = np.linalg.qr(rng.standard_normal((WIDTH, WIDTH)))[0].astype(np.float32)
    shape *= np.arange(1, WIDTH + 1, dtype=np.float32)[:, None] ** -0.5
    with (folder / "vectors.f16").open("wb") as file:
        for centroid, (start, end) in zip(centroids, pairwise(starts), strict=True):
            size = end - start
            noise = rng.standard_normal((size, WIDTH), np.float32)
            spread = unit(noise @ shape if decaying else noise)
            vectors = np.sqrt(within) * centroid + np.sqrt(1 - within) * spread
            copies = np.flatnonzero(rng.random(size) < 0.3)
            errors = unit(rng.standard_normal((len(copies), WIDTH), np.float32))
            cosine = rng.uniform(0.9, 1, (len(copies), 1)).astype(np.float32)
            vectors[copies] = unit(vectors[rng.integers(0, size, len(copies))])
            vectors[copies] = cosine * vectors[copies] + np.sqrt(1 - cosine**2) * errors
            file.write(unit(vectors).astype(np.float16).tobytes())
    np.save(folder / "starts.npy", starts)
    np.save(folder / "centroids.npy", centroids)


def unit(vectors: Array) -> Array:
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def stored(folder: Path) -> Array:
    return np.memmap(folder / "vectors.f16", np.float16, "r").reshape(-1, WIDTH)


def order_all(folder: Path) -> float:
    """orders.npy: the order within each cluster; returns the seconds that assign took."""
    from curate.group.clusters import assign
    from curate.group.semantic import order

    vectors, starts, centroids = stored(folder), np.load(folder / "starts.npy"), np.load(folder / "centroids.npy")
    began = time.perf_counter()
    cluster, similarity = assign(vectors, centroids)
    took = time.perf_counter() - began
    planted = np.repeat(np.arange(len(centroids)), np.diff(starts))
    if (wrong := int((cluster != planted).sum())) > len(vectors) // 100:
        raise RuntimeError(f"{wrong} vectors are nearer to another centroid than to their own")
    orders = [order(similarity[start:end], np.arange(start, end), "hard") for start, end in pairwise(starts)]
    np.save(folder / "orders.npy", np.concatenate(orders))
    return took


def fit_all(folder: Path, sample: int) -> float:
    """Seconds of fit on a sample, 10 iterations."""
    from curate.group.clusters import fit

    vectors, starts = stored(folder), np.load(folder / "starts.npy")
    some = vectors[:: max(1, len(vectors) // sample)].astype(np.float32)
    return common.seconds(lambda: fit(some, len(starts) - 1, 10, 0))


def reference(vectors: Array, by: Array) -> Array:
    """Straight from the paper."""
    x = vectors[by].astype(np.float32)
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    largest = np.triu(x @ x.T, 1).max(axis=0)
    kept = np.empty(len(by), bool)
    kept[by] = largest <= np.float32(1 - EPS)
    return kept


def ours(vectors: Array, by: Array) -> Array:
    from curate.group.semantic import duplicates

    return np.isnan(duplicates(vectors, by, EPS)[0])


SIDES = {"ours": ours, "reference": reference}


def part(folder: Path, side: str, clusters: Iterable[int]) -> list[tuple[int, Array]]:
    """The kept set of some clusters."""
    vectors, starts, orders = stored(folder), np.load(folder / "starts.npy"), np.load(folder / "orders.npy")
    spans = [(int(starts[n]), int(starts[n + 1])) for n in clusters]
    return [(start, SIDES[side](np.array(vectors[start:end]), orders[start:end])) for start, end in spans]


def child(folder: Path, side: str, workers: int) -> None:
    """All clusters, in this process or in several; the kept set goes to a file, seconds and core seconds to stdout."""
    clusters = len(np.load(folder / "starts.npy")) - 1
    part(folder, side, [0])
    cores, began = used(), time.perf_counter()
    if workers == 1:
        found = part(folder, side, range(clusters))
        seconds = time.perf_counter() - began
    else:
        with multiprocessing.get_context("fork").Pool(workers) as pool:
            jobs = [(folder, side, range(n, min(n + 16, clusters))) for n in range(0, clusters, 16)]
            found = [each for some in pool.starmap(part, jobs, 1) for each in some]
            seconds = time.perf_counter() - began
            pool.close()
            pool.join()
    cores = used() - cores
    np.save(folder / f"{side}.npy", np.concatenate([kept for _, kept in sorted(found, key=lambda each: each[0])]))
    print(json.dumps({"seconds": seconds, "cores": cores}))


def used() -> float:
    """Core seconds of this process and those it has waited for."""
    both = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in both)


def command(folder: Path, side: str, workers: int, threads: int) -> tuple[float, float, int]:
    """Seconds, core seconds and peak memory of a side in a command of its own."""
    os.environ["OPENBLAS_NUM_THREADS"] = str(threads)
    ran = common.ran([sys.executable, __file__, "--child", folder, side, str(workers)], timeout=3600)
    if ran.code:
        raise RuntimeError(ran.output[-2000:])
    figures = json.loads(ran.output.splitlines()[-1])
    return figures["seconds"], figures["cores"], ran.peak


def disagreement(folder: Path) -> str:
    """On how many vectors the sides differ, and how far from the threshold these are at most."""
    one, two = (np.load(folder / f"{side}.npy") for side in SIDES)
    vectors, starts, orders = stored(folder), np.load(folder / "starts.npy"), np.load(folder / "orders.npy")
    far = 0.0
    for item in np.flatnonzero(one != two):
        at = int(np.searchsorted(starts, item, "right")) - 1
        x = vectors[starts[at] : starts[at + 1]][orders[starts[at] : starts[at + 1]]].astype(np.float64)
        mine = int(np.flatnonzero(orders[starts[at] : starts[at + 1]] == item - starts[at])[0])
        far = max(far, abs((unit(x)[:mine] @ unit(x)[mine]).max() - (1 - EPS)))
    return f"{int((one != two).sum())}" + (f", within {far:.0e} of 1 - eps" if far else "")


def main() -> None:
    if sys.argv[1:2] == ["--child"]:
        child(Path(sys.argv[2]), sys.argv[3], int(sys.argv[4]))
        return
    parser = common.arguments(__doc__)
    parser.add_argument("--sizes", type=int, nargs="+", default=[100_000, 1_000_000])
    parser.add_argument("--within", type=float, default=0.65)
    parser.add_argument("--noise", nargs="+", default=["isotropic", "decaying"])
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    sizes, rounds = ([20_000], 1) if given.quick else (given.sizes, given.rounds)
    arrangements = {
        "reference": ("reference", 1, common.CORES),
        "ours": ("ours", common.CORES, 1),
        "reference in processes": ("reference", common.CORES, 1),
        "ours in one": ("ours", 1, 1),
        "reference in one": ("reference", 1, 1),
    }
    head = ["vectors, noise", *(f"{name}, s" for name in arrangements), "ratio", "ratio, both in processes"]
    more = ["ratio, both in one", "ratio of core seconds, both in one", "kept", "differing", "peak MB: ours, reference"]
    table = common.Table([*head, *more])
    others = common.Table(["vectors", "clusters", "assign, s", "fit on 20,000, 10 iterations, s"])
    for count in sizes:
        for noise in given.noise:
            with tempfile.TemporaryDirectory(prefix="bench-") as name:
                folder = Path(name) / "data"
                draw(folder, count, given.within, noise == "decaying")
                took = order_all(folder)
                if noise == given.noise[0]:
                    clusters = len(np.load(folder / "starts.npy")) - 1
                    others.add(f"{count:,}", clusters, f"{took:.1f}", f"{fit_all(folder, 20_000):.1f}")
                peaks: dict[str, int] = {}
                cores: dict[str, list[float]] = {label: [] for label in arrangements}

                def side(label: str, folder: Path = folder, peaks: Any = peaks, cores: Any = cores) -> float:
                    seconds, used, peaks[label] = command(folder, *arrangements[label])
                    cores[label].append(used)
                    return seconds

                sides = {label: lambda _, label=label: side(label) for label in arrangements}
                figures = common.alternate(sides, rounds)
                middle = {label: common.median(values) for label, values in figures.items()}
                table.add(
                    f"{count:,}, {noise}",
                    *(f"{value:.2f}" for value in middle.values()),
                    f"{middle['reference'] / middle['ours']:.1f}",
                    f"{middle['reference in processes'] / middle['ours']:.1f}",
                    f"{middle['reference in one'] / middle['ours in one']:.1f}",
                    f"{common.median(cores['reference in one']) / common.median(cores['ours in one']):.1f}",
                    f"{100 * np.load(folder / 'ours.npy').mean():.1f} %",
                    disagreement(folder),
                    f"{peaks['ours'] / 1e6:.0f}, {peaks['reference'] / 1e6:.0f}",
                )
    table.show(f"SemDeDup within clusters, {WIDTH} dimensions, eps {EPS}, median of {rounds}")
    others.show("Centroids")


if __name__ == "__main__":
    main()
