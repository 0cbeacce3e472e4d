"""What the filters find of what is planted in the demo's world, and what CapFilt makes of its texts.

    python benchmarks/quality.py [--quick] [--pairs 2000] [--seed 1030] [--out FOLDER]

Draws pairs that neither the demo's models nor the demo have seen, serves them from loopback and runs the demo's recipe
(``curate/demo/planted.yaml``) on them in this process. Prints the tables of ``docs/quality.md``, "The planted world".
"""

from __future__ import annotations

import shutil
import tempfile
import time
from collections import Counter
from pathlib import Path

import common
import torch
from rich import box
from rich.console import Console

from curate.demo import __main__ as demo
from curate.demo import findings, plant, web
from curate.report import Report
from curate.run.executor import InProcess
from curate.run.run import Run
from curate.run.stages import Stages
from curate.store.store import Store


class Seconds:
    """Says how long each stage took."""

    def start(self, stage: str, total: int, done: int) -> None: ...

    def advance(self, report: Report) -> None: ...

    def end(self, stage: str, counts: Counter[str], seconds: float) -> None:  # noqa: ARG002
        print(f"{stage}: {seconds:.1f} s of {time.process_time():.0f} s of processor time so far", flush=True)


def main() -> None:
    parser = common.arguments(__doc__)
    parser.add_argument("--pairs", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=1030)
    parser.add_argument("--out", type=Path, help="keep the web and the run in this folder, which is emptied first")
    given = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as scratch:
        home = given.out or Path(scratch)
        for name in ("web", "run"):
            shutil.rmtree(home / name, ignore_errors=True)
        (home / "web").mkdir(parents=True)
        recipe = home / "planted.yaml"
        text = Path(demo.__file__).with_name(recipe.name).read_text(encoding="utf-8")
        recipe.write_text(text.replace("demo/web", str((home / "web").absolute())), encoding="utf-8")
        with web.serve(home / "web") as port:
            plant.build(home / "web", port, 150 if given.quick else given.pairs, given.seed)
            run = Run.open(recipe, Store(home / "run"))
            run.resolved.check()
            demo.do(Stages.of(run, InProcess(), Seconds()))
        console = Console(width=160)
        findings.show(console, findings.collect(run, home / "web/truth.parquet"), box.MARKDOWN)


if __name__ == "__main__":
    main()
