"""Peak memory of fetch, score and pack on a corpus and on one ten times as large.

    python benchmarks/memory.py [--quick] [--documents 300]

Each stage is one `curate` command in a process of its own, without Ray; its peak is the largest resident set of it
and its children, sampled every 20 ms. Shards hold 100 documents in both corpora, so the larger one has ten times as
many shards of the same size: the requirement is that the peak grows by less than 15 %. Pairs with small pictures
(256 x 256, about 20 KB), a demo CLIP. One shard is the unit that has to fit, and does: its bytes wait on disk,
decoded pictures within a fixed budget.

The limit: Python, torch and the model's weights, which `score` cannot do without, are most of what is seen.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import common

STAGES = ("fetch", "score", "select", "pack")


def main() -> None:
    parser = common.arguments(__doc__)
    parser.add_argument("--documents", type=int, default=300)
    parser.add_argument("--shard", type=int, default=100)
    given = parser.parse_args()
    small = 100 if given.quick else given.documents
    shard = 20 if given.quick else given.shard
    peaks: dict[str, list[float]] = {stage: [] for stage in STAGES}
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        folder = Path(name)
        common.draw(folder / "web", 10 * small, 256, 256, 20_000)
        with common.serve(folder / "web") as web:
            for documents in (small, 10 * small):
                manifest = common.manifest(
                    folder / f"{documents}.parquet", [f"{web.base}/{n:06d}.jpg" for n in range(documents)]
                )
                recipe = common.recipe(
                    folder / f"{documents}.yaml",
                    {
                        "source": {"reader": "laion", "path": str(manifest), "shard": shard},
                        "fetch": {"allow_loopback": True, "per_host": 32},
                        "score": {"clip": {"use": "clip", "model": "demo"}},
                        "keep": [{"image": "clip.sim", "min": -1}],
                        "pack": {"format": "pairs", "shard_count": shard},
                    },
                )
                for stage in STAGES:
                    ran = common.ran([*common.CLI, stage, recipe, "--out", folder / f"run{documents}"])
                    if ran.code:
                        raise RuntimeError(ran.output[-2000:])
                    peaks[stage].append(ran.peak / 1e6)
                    common.note(f"  {stage}, {documents}: {ran.peak / 1e6:.0f} MB, {ran.seconds:.1f} s")
    table = common.Table(["stage", f"{small} documents, MB", f"{10 * small} documents, MB", "growth", "<= 15 %"])
    for stage, (one, ten) in peaks.items():
        growth = ten / one - 1
        table.add(stage, f"{one:.0f}", f"{ten:.0f}", f"{100 * growth:+.0f} %", "yes" if growth <= 0.15 else "no")
    table.show(f"Peak resident memory, shards of {shard}")


if __name__ == "__main__":
    main()
