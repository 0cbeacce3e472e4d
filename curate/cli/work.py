"""Work: a run opened from what the command line says, and some of its stages done. Prints what came out.

What does the work is imported where it is called: ``curate --help`` should not wait for it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from curate.cli.options import console
from curate.recipe.section import RecipeError

if TYPE_CHECKING:
    from curate.run.bind import Resolved
    from curate.run.executor import Executor
    from curate.run.run import Run

LATEST = "latest.json"


def open_run(recipe: Path, out: str | None, limit: int | None, changes: Sequence[str] | None) -> Run:
    """The run of a recipe, checked."""
    from curate.run.run import Run
    from curate.store.store import Store

    pairs = dict(_pair(change) for change in changes or ())
    name = recipe.stem + (f"-limit{limit}" if limit else "")
    run = Run.open(recipe, Store(out or f"runs/{name}"), limit, pairs)
    run.resolved.check()
    return run


def _pair(change: str) -> tuple[str, str]:
    key, equals, value = change.partition("=")
    if not equals:
        raise RecipeError(f"--set {change}: write KEY=VALUE, for example keep.0.min=0.3")
    return key, value


@contextmanager
def executor(ray: str | None, workers: int | None, resolved: Resolved) -> Iterator[Executor]:
    """Where the jobs go: this process, or the Ray that was asked for."""
    if ray is None:
        from curate.run.executor import InProcess

        yield InProcess()
        return
    from curate.run import cluster

    plugins = [*(scorer.plugin for scorer in resolved.scorers), resolved.reader.read]
    with cluster.connect(ray, workers, plugins) as connected:
        yield connected


def work(
    stages: Sequence[str],
    recipe: Path,
    out: str | None,
    limit: int | None,
    ray: str | None,
    workers: int | None,
    changes: Sequence[str] | None,
    partial: bool = False,
) -> None:
    """Runs some stages of a recipe and says what came out."""
    if workers and ray is None:
        raise RecipeError("--workers goes with --ray: without it everything runs in this process")
    from curate.run.stages import Stages
    from curate.show.screen import Watch, show_funnel

    run = open_run(recipe, out, limit, changes)
    with executor(ray, workers, run.resolved) as where:
        doing = Stages.of(run, where, Watch(console), partial)
        for stage in stages:
            getattr(doing, stage)()
        remember(run)
        if "select" in stages:
            show_funnel(console, run.funnel)
        if "pack" in stages and run.store.exists(f"{run.out}/index.json"):
            index = run.store.get_json(f"{run.out}/index.json")
            samples = sum(shard["nsamples"] for shard in index["shardlist"])
            size = sum(shard["filesize"] for shard in index["shardlist"]) / 1e6
            console.print(
                f"{samples:,} samples in {len(index['shardlist'])} tars ({size:,.1f} MB): {run.store.path(run.out)}",
                soft_wrap=True,
            )
        doing.finish("fetch" if "fetch" in stages and len(stages) == 1 else "score")


def remember(run: Run) -> None:
    """Notes in a run with which recipe it was used last."""
    recipe = str(run.resolved.path.absolute())
    run.store.put_json(LATEST, {"recipe": recipe, "limit": run.plan.limit, "set": dict(run.resolved.changes)})


def latest(folder: str | None) -> Run:
    """The run in a folder, or the one below runs/ that was used last, as it was run then."""
    from curate.store.store import Store

    if folder is None:
        found = sorted(Path("runs").glob(f"*/{LATEST}"), key=lambda path: path.stat().st_mtime)
        if not found:
            raise RecipeError("no run below runs/: name one with --run FOLDER")
        folder = str(found[-1].parent)
    store = Store(folder)
    if not store.exists(LATEST):
        raise RecipeError(f"{folder}: no finished run here")
    last = store.get_json(LATEST)
    changes = [f"{key}={value}" for key, value in last["set"].items()]
    return open_run(Path(last["recipe"]), folder, last["limit"], changes)
