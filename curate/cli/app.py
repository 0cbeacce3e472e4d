"""Cli: the ``curate`` command. Parses arguments, prints results, turns errors into exit codes; does no work itself.

Exit codes: 0 everything planned is done; 1 a bug or a broken plugin ended the run; 2 wrong usage or recipe; 3 some
shards are not done (they are listed); 130 and 143 interrupted (what was done stays done).
"""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from curate.recipe.section import RecipeError
from curate.report import StopRun
from curate.run.executor import InProcess
from curate.run.run import Incomplete, Run
from curate.store.store import Store

app = typer.Typer(
    help="Curate image-text corpora into training data for vision-language models.",
    no_args_is_help=True,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
console = Console()

RecipePath = Annotated[Path, typer.Argument(help="The recipe (YAML).", show_default=False)]
Out = Annotated[str | None, typer.Option("--out", "-o", help="Folder or URL of the run. [default: runs/NAME]")]
Limit = Annotated[int | None, typer.Option(help="Only the first N documents of the source.", min=1)]
Ray = Annotated[
    str | None, typer.Option("--ray", help="Run on Ray: `local`, `auto` (the surrounding cluster), or an address.")
]
Workers = Annotated[int | None, typer.Option(help="Workers of each stage on Ray. [default: as many as fit]", min=1)]
Changes = Annotated[list[str] | None, typer.Option("--set", help="Change a recipe key, e.g. `keep.0.min=0.3`.")]
Partial = Annotated[bool, typer.Option("--partial", help="Select and pack although some shards failed.")]


def open_run(
    recipe: Path, out: str | None, limit: int | None, changes: Sequence[str] | None, partial: bool, executor: Any
) -> Run:
    """The run of a recipe, checked."""
    pairs = dict(_pair(change) for change in changes or ())
    name = recipe.stem + (f"-limit{limit}" if limit else "")
    from curate.show.screen import Watch

    store = Store(out or f"runs/{name}")
    run = Run(recipe, store, executor, Watch(console), limit, pairs, partial)
    run.check()
    return run


def _pair(change: str) -> tuple[str, str]:
    key, equals, value = change.partition("=")
    if not equals:
        raise RecipeError(f"--set {change}: write KEY=VALUE, for example keep.0.min=0.3")
    return key, value


@contextmanager
def executor(ray: str | None, workers: int | None, recipe: Path, changes: Sequence[str] | None) -> Iterator[Any]:
    """Where the jobs go: this process, or the Ray that was asked for."""
    if ray is None:
        yield InProcess()
        return
    from curate.run import cluster

    run = open_run(recipe, None, None, changes, False, InProcess())
    with cluster.connect(ray, workers, [*(scorer.plugin for scorer in run.scorers), run.reader.read]) as connected:
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
    with executor(ray, workers, recipe, changes) as where:
        run = open_run(recipe, out, limit, changes, partial, where)
        for stage in stages:
            getattr(run, stage)()
        run.store.put_json("latest.json", {"recipe": str(recipe.absolute()), "limit": limit, "set": run.changes})
        if "select" in stages:
            from curate.show.screen import show_funnel

            show_funnel(console, run.funnel)
        if "pack" in stages and run.store.exists(f"{run.out}/index.json"):
            index = run.store.get_json(f"{run.out}/index.json")
            samples = sum(shard["nsamples"] for shard in index["shardlist"])
            size = sum(shard["filesize"] for shard in index["shardlist"]) / 1e6
            console.print(
                f"{samples:,} samples in {len(index['shardlist'])} tars ({size:,.1f} MB): {run.store.path(run.out)}",
                soft_wrap=True,
            )
        run.finish("fetch" if "fetch" in stages and len(stages) == 1 else "score")


@app.command()
def run(
    recipe: RecipePath, out: Out = None, limit: Limit = None, ray: Ray = None, workers: Workers = None,
    changes: Changes = None, partial: Partial = False,
) -> None:  # fmt: skip
    """Fetch, score, group, select and pack: from a manifest to tars.

    What is done already is not done again: after a kill, or with another threshold, run the same line.

    Examples:
        curate run pipelines/mmc4.yaml --limit 100

        curate run pipelines/laion.yaml --ray local --set keep.4.min=0.3

        ray job submit --working-dir . -- curate run pipelines/coyo.yaml --ray auto --out s3://bucket/coyo
    """
    work(("fetch", "score", "group", "select", "pack"), recipe, out, limit, ray, workers, changes, partial)


@app.command()
def plan(recipe: RecipePath, out: Out = None, limit: Limit = None, changes: Changes = None) -> None:
    """Print what a recipe would do: shards, scorers in order with what they read, and memory per worker.

    Example:
        curate plan pipelines/laion.yaml
    """
    from curate.inspect import estimate
    from curate.show import screen

    screen.show_plan(console, estimate.of(open_run(recipe, out, limit, changes, False, InProcess())))


@app.command()
def fetch(
    recipe: RecipePath, out: Out = None, limit: Limit = None, ray: Ray = None, workers: Workers = None,
    changes: Changes = None,
) -> None:  # fmt: skip
    """Download the corpus into immutable raw shards.

    Example:
        curate fetch pipelines/laion.yaml --limit 1000 --set fetch.timeout=5
    """
    work(("fetch",), recipe, out, limit, ray, workers, changes)


@app.command()
def score(
    recipe: RecipePath, out: Out = None, limit: Limit = None, ray: Ray = None, workers: Workers = None,
    changes: Changes = None,
) -> None:  # fmt: skip
    """Measure what has been fetched; scores that are there are kept.

    Example:
        curate score pipelines/mmc4.yaml --ray local --workers 4
    """
    work(("score",), recipe, out, limit, ray, workers, changes)


@app.command()
def group(
    recipe: RecipePath, out: Out = None, limit: Limit = None, ray: Ray = None, workers: Workers = None,
    changes: Changes = None, partial: Partial = False,
    explain: Annotated[str | None, typer.Option(help="Show a document's groups instead (an id, or a URL).")] = None,
    pictures: Annotated[Path | None, typer.Option(help="With --explain: write the members' pictures here.")] = None,
) -> None:  # fmt: skip
    """Find duplicates among what was scored; decides nothing, so another threshold needs no new groups.

    Examples:
        curate group pipelines/mmc4.yaml --ray local

        curate group pipelines/mmc4.yaml --explain 3fa9c1d2
    """
    if explain is None:
        work(("group",), recipe, out, limit, ray, workers, changes, partial)
        return
    from curate.inspect import duplicates as kin
    from curate.show import screen

    found, none = open_run(recipe, out, limit, changes, True, InProcess()), True
    for each in kin.of(found, explain, pictures):
        screen.show_group(console, each)
        none = False
    if none:
        raise RecipeError(f"{found.store.url}: {explain!r} is no document, or has nothing in common with any other")


@app.command()
def select(
    recipe: RecipePath, out: Out = None, limit: Limit = None, ray: Ray = None, workers: Workers = None,
    changes: Changes = None, partial: Partial = False,
) -> None:  # fmt: skip
    """Decide what stays, from the scores that are there: seconds, and no model.

    Example:
        curate select pipelines/mmc4.yaml --set keep.3.min=0.28
    """
    work(("group", "select"), recipe, out, limit, ray, workers, changes, partial)


@app.command()
def pack(
    recipe: RecipePath, out: Out = None, limit: Limit = None, ray: Ray = None, workers: Workers = None,
    changes: Changes = None, partial: Partial = False,
) -> None:  # fmt: skip
    """Write the survivors into tars.

    Example:
        curate pack pipelines/mmc4.yaml --set pack.shard_bytes=500MB
    """
    work(("group", "select", "pack"), recipe, out, limit, ray, workers, changes, partial)


Folder = Annotated[str | None, typer.Option("--run", help="The run to look at. [default: the latest below runs/]")]


def latest(folder: str | None) -> Run:
    """The run in a folder, or the one below runs/ that was used last, as it was run then."""
    if folder is None:
        found = sorted(Path("runs").glob("*/latest.json"), key=lambda path: path.stat().st_mtime)
        if not found:
            raise RecipeError("no run below runs/: name one with --run FOLDER")
        folder = str(found[-1].parent)
    store = Store(folder)
    if not store.exists("latest.json"):
        raise RecipeError(f"{folder}: no finished run here")
    last = store.get_json("latest.json")
    changes = [f"{key}={value}" for key, value in last["set"].items()]
    return open_run(Path(last["recipe"]), folder, last["limit"], changes, True, InProcess())


@app.command()
def show(
    folder: Annotated[str | None, typer.Argument(help="The run. [default: the latest below runs/]")] = None,
) -> None:
    """Show a run: its funnel, where its tars are, and one kept and one dropped document.

    Example:
        curate show runs/mmc4
    """
    from curate.inspect import explain
    from curate.show import screen

    found = latest(folder)
    console.print(f"{found.store.url}: recipe {found.path}")
    screen.show_funnel(console, found.funnel)
    for state, (shard, document) in explain.examples(found).items():
        console.print(f"[bold]A document that was {state}[/]: {document}")
        screen.show_document(console, explain.why(found, shard, document))
    if found.store.exists(f"{found.out}/index.json"):
        console.print(f"Tars: {found.store.path(found.out)}", soft_wrap=True)


@app.command()
def why(
    document: Annotated[str, typer.Argument(help="A document's id or its beginning, or the URL of a page or image.")],
    folder: Folder = None,
) -> None:
    """Print each segment of a document, its scores, and the rule that removed it.

    Examples:
        curate why 3fa9c1d2

        curate why https://example.org/page.html --run runs/mmc4
    """
    from curate.inspect import explain
    from curate.show import screen

    found, several = latest(folder), 0
    _ = found.funnel  # raises what to do where there are no verdicts
    for shard, name in explain.find(found, document):
        several += 1
        if several > 10:
            console.print("... and more; give a longer id")
            break
        console.print(f"[bold]{name}[/] in shard {shard}")
        screen.show_document(console, explain.why(found, shard, name))
    if not several:
        raise RecipeError(f"{found.store.url} has no document {document!r}")


@app.command()
def hist(
    column: Annotated[str, typer.Argument(help="A numeric column, e.g. clip.sim or raw.width.")],
    folder: Folder = None,
    bins: Annotated[int, typer.Option(help="Number of bars.", min=2, max=200)] = 20,
) -> None:
    """Print the distribution of a score, and what each threshold would keep.

    Example:
        curate hist clip.sim --run runs/mmc4
    """
    from curate.inspect import explain
    from curate.show import screen

    try:
        screen.show_histogram(console, explain.hist(latest(folder), column, bins))
    except LookupError as error:
        raise RecipeError(str(error.args[0])) from None


def main() -> None:
    """The entry point: runs a command and ends with its exit code."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    errors = Console(stderr=True, soft_wrap=True, markup=False, highlight=False)
    try:
        app(standalone_mode=True)
    except RecipeError as error:
        errors.print(str(error))
        sys.exit(2)
    except Incomplete as error:
        errors.print(str(error))
        sys.exit(3)
    except StopRun as error:
        errors.print(f"stopped: {error}")
        sys.exit(1)
    except (OSError, ImportError, UnicodeDecodeError) as error:
        errors.print(f"{type(error).__name__}: {error}")
        sys.exit(1)
    except KeyboardInterrupt:
        errors.print("interrupted; what is done stays done, and the same command goes on from there")
        sys.exit(130)


if __name__ == "__main__":
    main()
