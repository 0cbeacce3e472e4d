"""Options: the command itself, the console it prints to, and the options that its commands share. Does no work."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

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
Folder = Annotated[str | None, typer.Option("--run", help="The run to look at. [default: the latest below runs/]")]
