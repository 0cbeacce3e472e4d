"""Near-duplicate fingerprints: `curate.hamming` beside all pairs in numpy and beside faiss's binary indexes.

    python benchmarks/hamming.py [--quick] [--largest 10000000]

64 bits within 5 (perceptual hash) and 256 bits within 31 (PDQ). A case is a process of its own on one core: it reads
the fingerprints from a file, finds all pairs, and gives every fingerprint the least member of its group; the clock
holds both, for faiss building the index as well. All sides must find the same pairs: a hash of them is compared. faiss
is run with parameters that are complete: IndexBinaryFlat, and IndexBinaryMultiHash with 3 tables of 21 bits and one
flip (16 of 16 bits for PDQ), where three bands cannot all hold two of five differences. It is no dependency of curate:
`pip install faiss-cpu`, or its rows are left out.

Data: four of five fingerprints are alone, the others in clusters around a centre, each of them with 0 to `within` of
its bits turned; sizes have a heavy tail (Zipf with exponent 2, at most 1,000). "even" bits are coins; "skewed" bits
are one with a probability of their own between 0.25 and 0.75, which crowds the buckets.

The limit: what is near must be listed, and candidates grow with n^2 as long as the bands stay as wide as they are.
Core seconds are steadier than seconds where others use the machine. Peaks are of the whole process, and Python with
numpy and scipy is 70 MB of each.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.util
import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import common
import numpy as np

from curate.group.hamming import Band, hamming_links, plan_hamming
from curate.group.union_find import components

Pairs = tuple[Any, Any]


def fingerprints(n: int, bits: int, within: int, skewed: bool) -> Any:
    """(n, bits / 64) distinct fingerprints."""
    rng = np.random.default_rng(n)
    share = rng.uniform(0.25, 0.75, bits) if skewed else np.full(bits, 0.5)
    values = np.zeros((n, bits // 64), np.uint64)
    for bit in range(bits):
        one = (rng.random(n, np.float32) < share[bit]).astype(np.uint64)
        values[:, bit // 64] |= one << np.uint64(bit % 64)
    sizes = np.minimum(rng.zipf(2.0, n // 10), 1000)
    sizes = sizes[: np.searchsorted(np.cumsum(sizes), n // 5)]
    members = np.arange(sizes.sum())
    values[members] = values[n - 1 - np.repeat(np.arange(len(sizes)), sizes)]
    turns = rng.integers(0, within + 1, len(members))
    for turn in range(within):
        bit, mine = rng.integers(0, bits, len(members)), members[turns > turn]
        values[mine, bit[mine] // 64] ^= np.uint64(1) << (bit[mine] % 64).astype(np.uint64)
    return rng.permutation(np.unique(values, axis=0) if bits > 64 else np.unique(values)[:, None])


def curate(values: Any, within: int) -> Iterator[Pairs]:
    """Every job, one after the other."""
    for job in plan_hamming(len(values), 64 * values.shape[1], within):
        yield hamming_links(values, within, job)[:2]


def numpy(values: Any, within: int) -> Iterator[Pairs]:
    """All pairs."""
    yield hamming_links(values, within, Band())[:2]


def flat(values: Any, within: int) -> Iterator[Pairs]:
    """All pairs, in faiss."""
    import faiss

    yield searched(faiss.IndexBinaryFlat(64 * values.shape[1]), values, within)


def multihash(values: Any, within: int) -> Iterator[Pairs]:
    """Multi-index hashing, in faiss."""
    import faiss

    tables, width = (3, 21) if values.shape[1] == 1 else (16, 16)
    yield searched(faiss.IndexBinaryMultiHash(64 * values.shape[1], tables, width), values, within)


def searched(index: Any, values: Any, within: int) -> Pairs:
    """What faiss finds; its radius is exclusive, and each pair comes twice."""
    import faiss

    faiss.omp_set_num_threads(1)
    code = values.view(np.uint8)
    if hasattr(index, "nflip"):
        index.nflip = 1
    index.add(code)
    ends, _, right = index.range_search(code, within + 1)
    left = np.repeat(np.arange(len(values)), np.diff(ends.astype(np.int64)))
    return left[left < right], right[left < right]


SIDES: dict[str, Callable[[Any, int], Iterator[Pairs]]] = {
    "curate": curate,
    "numpy, all pairs": numpy,
    "faiss flat": flat,
    "faiss multi-hash": multihash,
}


def case(side: str, path: str, within: int) -> None:
    """One side on one file; prints what was found and what it cost."""
    values = np.load(path)
    began, cores = time.perf_counter(), time.process_time()
    found = list(SIDES[side](values, within))
    i, j = (np.concatenate(column) for column in zip(*found, strict=True))
    groups = components(len(values), i, j)
    cost = {"seconds": time.perf_counter() - began, "cores": time.process_time() - cores}
    status = Path("/proc/self/status").read_text()  # ru_maxrss would start from that of the process that forked us
    peak = int(status.partition("VmHWM:")[2].split()[0]) * 1024
    pairs = np.unique(np.minimum(i, j) * len(values) + np.maximum(i, j))
    digest = hashlib.sha256(pairs.tobytes()).hexdigest()
    count = int((groups == np.arange(len(values))).sum())
    print(json.dumps(cost | {"peak": peak, "links": len(i), "pairs": len(pairs), "digest": digest, "groups": count}))


def sides(n: int, bits: int) -> list[str]:
    """Who can do so many in minutes."""
    able = ["curate"]
    if n <= 100_000:
        able += ["numpy, all pairs", "faiss flat"]
    if n <= (1_000_000 if bits == 64 else 100_000):
        able.append("faiss multi-hash")
    return able if importlib.util.find_spec("faiss") else [side for side in able if "faiss" not in side]


def measured(side: str, path: Path, within: int) -> dict[str, Any]:
    """A case in a process of its own."""
    command = [sys.executable, Path(__file__).resolve(), "--side", side, "--file", path, "--within", str(within)]
    ran = common.ran(command, timeout=1800)
    if ran.code:
        raise RuntimeError(ran.output[-2000:])
    figures: dict[str, Any] = json.loads(ran.output)
    common.note(f"  {path.stem}: {side}: {figures['seconds']:.2f} s, {figures['cores']:.2f} core seconds")
    return figures


def main() -> None:
    parser = common.arguments(__doc__)
    parser.add_argument("--largest", type=int, default=10_000_000, help="of 64 bits; a tenth of it of 256")
    for name in ("--side", "--file", "--within"):
        parser.add_argument(name, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.side:
        case(given.side, given.file, int(given.within))
        return
    largest = 100_000 if given.quick else given.largest
    head = [
        "bits",
        "data",
        "n",
        "side",
        "pairs",
        "groups",
        "seconds",
        "core seconds",
        "growth",
        "peak, MB",
        "same pairs",
    ]
    table = common.Table(head)
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        for bits, within, most in ((64, 5, largest), (256, 31, largest // 10)):
            for skewed in (False, True):
                before: dict[str, float] = {}
                for n in [n for n in (10_000, 100_000, 1_000_000, 10_000_000) if most // 100 <= n <= most]:
                    kind = "skewed" if skewed else "even"
                    path = Path(name) / f"{bits}-{kind}-{n}.npy"
                    np.save(path, fingerprints(n, bits, within, skewed))
                    figures = {side: measured(side, path, within) for side in sides(n, bits)}
                    path.unlink()
                    for side, each in figures.items():
                        growth = f"x {each['cores'] / before[side]:.1f}" if side in before else ""
                        before[side] = each["cores"]
                        table.add(
                            bits,
                            kind,
                            f"{n:,}",
                            side,
                            f"{each['pairs']:,}",
                            f"{each['groups']:,}",
                            f"{each['seconds']:.2f}",
                            f"{each['cores']:.2f}",
                            growth,
                            f"{each['peak'] / 1e6:.0f}",
                            "yes" if each["digest"] == figures["curate"]["digest"] else "NO",
                        )
    table.show("All pairs within 5 of 64 bits or 31 of 256, and their groups, on one core")


if __name__ == "__main__":
    main()
