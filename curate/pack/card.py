"""Card: the README.md that lies beside the tars: what they are, what they were made from, and what was left out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from curate.pack.output_folder import Output


def card(output: Output, funnel: Sequence[Mapping[str, Any]]) -> str:
    """A dataset card in Markdown; ``funnel``: what was kept, and why not."""
    recipe = output.recipe
    uses_demo = any("demo" in map(str, score.parameters.values()) for score in recipe.score.values())
    warning = [
        "",
        "**The scores here come from a demo model** trained on drawn shapes: they mean nothing for real use.",
    ]
    lines = [
        f"# {output.name}",
        "",
        f"Made by curate from `{recipe.source.reader}` documents; format `{recipe.pack.format}`.",
        "`index.json` lists the tars (wids), `SHA256SUMS` their sums, `funnel.json` what was kept and why not.",
        f"The verdict on every single segment lies in `{output.verdicts}/`, keyed by document and position.",
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
        output.text.rstrip(),
        *(f"# --set {key}={value}" for key, value in output.changes.items()),
        "```",
        "",
    ]
    return "\n".join(lines)
