"""The demo: draws a small web, serves it from loopback, and runs the four pipelines on a Ray of this machine.

    python -m curate.demo [FOLDER]

The fourth is about pairs of which it is known what is wrong with each; the report at the end says how much of that the
filters found. The second time all is found done. Scores come from demo models that know drawn shapes and nothing else.
"""

from __future__ import annotations

import json
import shutil
import sys
import time
from pathlib import Path

from rich.console import Console

from curate.cli.work import open_run, remember
from curate.demo import findings, plant, web
from curate.inspect import explain
from curate.run.cluster import connect
from curate.run.stages import Stages
from curate.show import screen

CORPORA = ("mmc4", "laion", "coyo", "planted")


def main(folder: str = "demo") -> None:
    """Builds what is missing, runs what is not done, and shows it."""
    console, began, home = Console(), time.monotonic(), Path(folder)
    home.mkdir(exist_ok=True)
    facts = home / "web" / "port.json"
    with web.serve(home / "web", json.loads(facts.read_text()) if facts.exists() else 0) as port:
        if not facts.exists():
            console.print("Drawing the shapes world ...")
            web.build(home / "web", port)
            facts.write_text(json.dumps(port))
        if not (home / "web/truth.parquet").exists():
            plant.build(home / "web", port)
        console.print(f"A small web stands at http://127.0.0.1:{port} (loopback), with manifests in {home / 'web'}.")
        for corpus in CORPORA:
            recipe = home / f"{corpus}.yaml"
            if not recipe.exists():
                shutil.copyfile(Path(__file__).with_name(recipe.name), recipe)
                recipe.write_text(recipe.read_text().replace("demo/web", str((home / "web").absolute())))
        checked = open_run(home / "mmc4.yaml", str(home / "runs/mmc4"), None, None)
        with connect("local", None, [scorer.plugin for scorer in checked.resolved.scorers]) as cluster:
            for corpus in CORPORA:
                console.rule(f"{corpus}: curate run {home / corpus}.yaml --ray local --out {home / 'runs' / corpus}")
                run = open_run(home / f"{corpus}.yaml", str(home / "runs" / corpus), None, None)
                do(Stages.of(run, cluster, screen.Watch(console)))
                screen.show_funnel(console, run.funnel)
                console.print(f"Tars: {run.store.path(run.out)}", soft_wrap=True)
    show(console, home)
    tell(console, home)
    console.print(f"\nDone in {time.monotonic() - began:.0f} s. The scores come from demo models: drawn shapes only.")
    console.print(f"Look further: curate show {home}/runs/mmc4, curate hist clip.sim --run {home}/runs/laion,")
    console.print(f"or decide anew: curate run {home}/mmc4.yaml --out {home}/runs/mmc4 --set keep.3.min=0.8")


def do(stages: Stages) -> None:
    """All stages of one pipeline."""
    for stage in (stages.fetch, stages.score, stages.group, stages.select, stages.pack):
        stage()
    remember(stages.run)
    stages.finish("score")


def show(console: Console, home: Path) -> None:
    """One kept and one dropped document of the interleaved run."""
    run = open_run(home / "mmc4.yaml", str(home / "runs/mmc4"), None, None)
    for state, (shard, document) in explain.examples(run).items():
        console.rule(f"a document that was {state}: curate why {document[:12]} --run {home}/runs/mmc4")
        screen.show_document(console, explain.why(run, shard, document))


def tell(console: Console, home: Path) -> None:
    """What the filters found of what was planted."""
    run = open_run(home / "planted.yaml", str(home / "runs/planted"), None, None)
    console.rule("what the filters found of what was planted")
    findings.show(console, findings.collect(run, home / "web/truth.parquet"))


if __name__ == "__main__":
    main(*sys.argv[1:])
