"""Questions: the commands that tell of a recipe or a run, and change nothing."""

from __future__ import annotations

from typing import Annotated

import typer

from curate.cli.options import Changes, Folder, Limit, Out, RecipePath, app, console
from curate.cli.work import latest, open_run
from curate.recipe.section import RecipeError


@app.command()
def plan(recipe: RecipePath, out: Out = None, limit: Limit = None, changes: Changes = None) -> None:
    """Print what a recipe would do: shards, scorers in order with what they read, and memory per worker.

    Example:
        curate plan pipelines/laion.yaml
    """
    from curate.inspect import estimate
    from curate.show import screen

    screen.show_plan(console, estimate.plan_of(open_run(recipe, out, limit, changes)))


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
    console.print(f"{found.store.url}: recipe {found.resolved.path}")
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
    for shard, name in explain.find(found, document):
        several += 1
        if several > 10:
            console.print("... and more; give a longer id")
            break
        lines = explain.why(found, shard, name)
        console.print(f"[bold]{name}[/] in shard {shard}")
        screen.show_document(console, lines)
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
