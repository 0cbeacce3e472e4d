"""Upkeep: the command that looks after the files of a run."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from curate.cli.options import Changes, Limit, app, console
from curate.cli.work import LATEST, open_run
from curate.recipe.section import RecipeError

if TYPE_CHECKING:
    from curate.run.run import Run
    from curate.store.store import Store


@app.command()
def verify(
    folder: Annotated[str, typer.Argument(metavar="RUN", help="The run: a folder or URL.", show_default=False)],
    recipe: Annotated[
        Path | None,
        typer.Argument(
            metavar="[RECIPE]", help="The recipe to judge by, if not the one used last.", show_default=False
        ),
    ] = None,
    repair: Annotated[bool, typer.Option("--repair", help="Remove what is damaged, so that it is made again.")] = False,
    limit: Limit = None,
    changes: Changes = None,
) -> None:
    """Read every byte of a run, and say which files are not as they should be.

    **missing** and **stale** files are made by the next run. **damaged** ones are not what was written; `--repair`
    removes them, and keeps the good pictures of a damaged raw shard. **foreign** ones are not ours: they are named, and
    never touched. **unused** ones were made by another recipe than the latest. Ends with 0 if there is nothing to do,
    else with 3, and with the command to run.

    Examples:
        curate verify runs/mmc4

        curate verify runs/mmc4 --repair

        curate verify s3://bucket/coyo pipelines/coyo.yaml --set keep.4.min=0.3
    """
    from curate.inspect.repair import repair as repaired
    from curate.inspect.verify import verify as verified
    from curate.ledger.state import DAMAGED, MISSING, STALE
    from curate.show.screen import Watch
    from curate.show.verified import show_command, show_repaired, show_verified
    from curate.store.store import Store

    store = Store(folder)
    run = _opened(store, folder, recipe, limit, changes or ())
    found = verified(store, run, Watch(console))
    judged = f"recipe {run.resolved.path}" if run else f"{LATEST} cannot be read: name the recipe, too"
    console.print(f"{store.url}: {judged}", soft_wrap=True, markup=False, highlight=False)
    show_verified(console, found)
    damaged, again = found.those(DAMAGED), _again(run, folder)
    if repair and damaged:
        show_repaired(console, repaired(store, damaged))
    elif damaged:
        told = [folder, *([str(recipe)] if recipe else []), *_options(limit, changes or ())]
        show_command(console, "To take away what is damaged, run", shlex.join(["curate", "verify", *told, "--repair"]))
    if damaged or found.counts[MISSING] or found.counts[STALE]:
        show_command(console, "To make what is not there, run" if repair or not damaged else "and then", again)
    if run is None or not found.sound:  # what could not be judged is not known to be good
        raise typer.Exit(3)


def _opened(store: Store, folder: str, recipe: Path | None, limit: int | None, changes: Sequence[str]) -> Run | None:
    """The run to judge by: of this recipe, or as it was used last; None if the note of that cannot be read."""
    from curate.store.digest import DamagedFile, ForeignFile

    try:
        last = store.get_json(LATEST)
    except FileNotFoundError:
        if recipe is None:
            raise RecipeError(
                f"{folder}: no {LATEST} here, so name the recipe, too: curate verify RUN RECIPE"
            ) from None
        last = {}
    except (DamagedFile, ForeignFile):
        if recipe is None:
            return None
        last = {}
    limit = limit or last.get("limit")
    if recipe is not None:
        return open_run(recipe, folder, limit, changes)
    return open_run(Path(last["recipe"]), folder, limit, [*_spelled(last["set"]), *changes])


def _spelled(changes: Mapping[str, str]) -> list[str]:
    return [f"{key}={value}" for key, value in changes.items()]


def _again(run: Run | None, folder: str) -> str:
    """The command that makes what is not there, or not as it should be."""
    if run is None:
        return f"curate run RECIPE --out {shlex.quote(folder)}"
    options = _options(run.plan.limit, _spelled(run.resolved.changes))
    return shlex.join(["curate", "run", _short(run.resolved.path), "--out", folder, *options])


def _options(limit: int | None, changes: Iterable[str]) -> list[str]:
    """Options as they were given."""
    found = ["--limit", str(limit)] if limit else []
    return [*found, *(part for change in changes for part in ("--set", change))]


def _short(path: Path) -> str:
    """A path as people would write it here."""
    return str(path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path)
