"""Card: the README.md that lies beside the tars: what they are, what they were made from, and what was left out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from curate.recipe.recipe import Recipe


def card(
    name: str, recipe: Recipe, text: str, changes: Mapping[str, str], verdicts: str, funnel: Sequence[Mapping[str, Any]]
) -> str:
    """A dataset card in Markdown.

    Args:
        name: of the dataset.
        recipe: as validated.
        text: the recipe's file as it was written.
        changes: what was set on top of it.
        verdicts: the folder with the verdict on every segment.
        funnel: what was kept, and why not.
    """
    uses_demo = any("demo" in map(str, score.parameters.values()) for score in recipe.score.values())
    warning = [
        "",
        "**The scores here come from a demo model** trained on drawn shapes: they mean nothing for real use.",
    ]
    lines = [
        f"# {name}",
        "",
        f"Made by curate from `{recipe.source.reader}` documents; format `{recipe.pack.format}`.",
        "`index.json` lists the tars (wids), `SHA256SUMS` their sums, `funnel.json` what was kept and why not.",
        f"The verdict on every single segment lies in `{verdicts}/`, keyed by document and position.",
        *(warning if uses_demo else []),
        "",
        "## Funnel",
        "",
        "| what | ended | because | how many |",
        "|---|---|---|---|",
        *(f"| {row['kind']} | {row['state']} | {row['reason'] or ''} | {row['count']} |" for row in funnel),
        "",
        "## Recipe",
        "",
        "```yaml",
        text.rstrip(),
        *(f"# --set {key}={value}" for key, value in changes.items()),
        "```",
        "",
    ]
    return "\n".join(lines)
