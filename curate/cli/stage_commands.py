"""Stages: the commands that do the stages of a recipe."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from curate.cli.options import Changes, Limit, Out, Partial, Ray, RecipePath, Workers, app, console
from curate.cli.work import open_run, work
from curate.recipe.section import RecipeError


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
    from curate.inspect.duplicates import duplicates_of
    from curate.show import screen

    found, none = open_run(recipe, out, limit, changes), True
    for each in duplicates_of(found, explain, pictures):
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
