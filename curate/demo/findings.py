"""Findings: what the filters of a run of ``planted.yaml`` found of what was planted. Reads tables, measures no picture.

Texts are judged by the world itself (``planted.holds``): true is a caption in English that is right in every word.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from rich import box
from rich.console import Console
from rich.table import Table

from curate.demo import plant, planted
from curate.plugin import Kind
from curate.run.run import Run
from curate.store.columns import Column
from curate.store.files import Files
from curate.store.raw_shard import RAW

COLUMNS: dict[str, Kind] = {
    "words.words": "text",
    "language.label": "text",
    "pii.emails": "text",
    "watermark.watermark": "image",
    "faces.count": "image",
    "clip.sim": "image",
    "nsfw.unsafe": "image",
    "aesthetic.score": "image",
    "capfilt.text_itm": "text",
    "capfilt.caption": "image",
    "capfilt.caption_itm": "image",
}
CLIP = 0.88
"""Where the demo CLIP parts right captions from wrong ones, as its README says."""
RIGHT, WRONG = ("right",), ("changed", "other")
"""Kinds of captions that are matched and mismatched."""
ITM = 0.5
"""BLIP's threshold."""
PLAIN = 4.0
"""Below this on the taste's scale a picture counts as plain."""

untrue = pl.col("kind") != "right"
foreign = pl.col("kind") == "foreign"
caption = pl.col("kind") != "boilerplate"


@dataclass(frozen=True)
class Check:
    """A threshold of a filter, and what it is to find."""

    what: str
    rule: str
    planted: pl.Expr
    flagged: pl.Expr


def column(name: str) -> pl.Expr:
    """A score as floats, which thresholds are compared with; a value that is missing is flagged by none."""
    return pl.col(name).cast(pl.Float32)


CHECKS = (
    Check("unsafe", "nsfw.unsafe > 0.5", pl.col("unsafe"), column("nsfw.unsafe") > 0.5),
    Check("", "nsfw.unsafe > 0.1", pl.col("unsafe"), column("nsfw.unsafe") > 0.1),
    Check("watermark", "watermark.watermark > 0.8", pl.col("watermarked"), column("watermark.watermark") > 0.8),
    Check("", "watermark.watermark > 0.5", pl.col("watermarked"), column("watermark.watermark") > 0.5),
    Check("face", "faces.count >= 1", pl.col("face").is_not_null(), column("faces.count") >= 1),
    Check("plain picture", "aesthetic.score < 4", pl.col("taste") < PLAIN, column("aesthetic.score") < PLAIN),
    Check("untrue text", "clip.sim < 0.88", untrue, column("clip.sim") < CLIP),
    Check("", "capfilt.text_itm < 0.5", untrue, column("capfilt.text_itm") < ITM),
    Check("untrue caption", "capfilt.caption_itm < 0.5", ~pl.col("holds"), column("capfilt.caption_itm") < ITM),
    Check("boilerplate", "words.words < 3", ~caption, column("words.words") < 3),
    Check("foreign caption", "language.label not en", foreign, pl.col("language.label") != "en"),
    Check("", "same, of 3 words or more", foreign, (pl.col("language.label") != "en") & (column("words.words") >= 3)),
    Check("e-mail address", "pii.emails >= 1", pl.col("addressed"), column("pii.emails") >= 1),
)
"""What is printed, in order; the first line of each is the recipe's threshold."""


@dataclass(frozen=True)
class Found:
    """How many were planted, how many a threshold flagged, and how many of those were planted."""

    check: Check
    planted: int
    flagged: int
    right: int

    @property
    def recall(self) -> float:
        """Of what was planted, the share that was flagged."""
        return self.right / self.planted if self.planted else float("nan")

    @property
    def precision(self) -> float:
        """Of what was flagged, the share that was planted."""
        return self.right / self.flagged if self.flagged else float("nan")


@dataclass(frozen=True)
class Texts:
    """Texts at one point of the pipeline: how many, how many of them true, and the share of pictures that have one."""

    when: str
    texts: int
    true: int
    with_text: float

    @property
    def share(self) -> float:
        """Of the texts, the share that is true."""
        return self.true / self.texts if self.texts else float("nan")


@dataclass(frozen=True)
class Findings:
    """All that is shown, as values.

    ``auc`` is that of CLIP between true captions and ``WRONG`` ones, ``auc_clean`` the same on pictures without
    watermark and face, ``auc_of`` that against each kind. ``kinds``: how many, and the shares that CLIP and CapFilt's
    filter flag. ``languages``: how many captions, and the share with the right label. ``taste``: correlation.
    """

    pairs: int
    found: list[Found]
    auc: float
    auc_clean: float
    auc_of: dict[str, float]
    kinds: list[tuple[str, int, float, float]]
    languages: list[tuple[str, int, float]]
    taste: float
    texts: list[Texts]

    def of(self, rule: str) -> Found:
        """What a threshold found."""
        return next(each for each in self.found if each.check.rule == rule)


def collect(run: Run, truth: Path) -> Findings:
    """What a finished run found of the truth."""
    pairs = measured(run, truth)
    right = pairs.filter(kind="right")["clip.sim"].to_numpy()
    wrong: dict[str, Any] = {
        kind: pairs.filter(kind=kind)["clip.sim"].to_numpy() for kind in plant.SHARES if kind != "right"
    }
    clean = pairs.filter(~pl.col("watermarked"), pl.col("face").is_null())
    matched, mismatched = (clean.filter(pl.col("kind").is_in(some))["clip.sim"].to_numpy() for some in (RIGHT, WRONG))
    return Findings(
        pairs=len(pairs),
        found=[found(check, pairs) for check in CHECKS],
        auc=auc(right, np.concatenate([wrong[kind] for kind in WRONG])),
        auc_clean=auc(matched, mismatched),
        auc_of={kind: auc(right, values) for kind, values in wrong.items()},
        kinds=[
            (kind, len(some), share(column("clip.sim") < CLIP, some), share(column("capfilt.text_itm") < ITM, some))
            for kind in plant.SHARES
            for some in [pairs.filter(kind=kind)]
        ],
        languages=[
            (language, len(some), share(pl.col("language.label") == language, some))
            for language in ("en", *planted.LANGUAGES)
            for some in [pairs.filter(caption, language=language)]
        ],
        taste=float(np.corrcoef(pairs["aesthetic.score"], pairs["taste"])[0, 1]),
        texts=texts(run, pairs),
    )


def measured(run: Run, truth: Path) -> pl.DataFrame:
    """A row for each pair: its scores, the truth about it, and whether CapFilt's caption ``holds``."""
    rows = pl.concat([scores(run, shard) for shard in run.scored])
    joined = rows.join(pl.read_parquet(truth, glob=False), on="url", how="inner", maintain_order="left")
    holds = [planted.holds(row["capfilt.caption"] or "", plant.scene_of(row)) for row in joined.iter_rows(named=True)]
    return joined.with_columns(holds=pl.Series(holds, dtype=pl.Boolean))


def scores(run: Run, shard: str) -> pl.DataFrame:
    """A row for each pair of a shard: its picture's address and its scores, by name."""
    files = Files(run.store)
    rows = files.read(f"{RAW}/{shard}.parquet", ["document", "kind", "url", "status"])
    rows = rows.filter(kind="image", status="ok").select("document", "url")
    for name, kind in COLUMNS.items():
        score, _, column_name = name.partition(".")
        values = Column(run.folders[score], column_name, kind).read(files, shard).drop_nulls("value")
        rows = rows.join(values.select("document", value="value").rename({"value": name}), on="document", how="left")
    return rows


def found(check: Check, pairs: pl.DataFrame) -> Found:
    """What a threshold found."""
    flags = pairs.select(planted=check.planted, flagged=check.flagged.fill_null(value=False))
    right = flags.filter("planted", "flagged").height
    return Found(check, int(flags["planted"].sum()), int(flags["flagged"].sum()), right)


def share(flagged: pl.Expr, pairs: pl.DataFrame) -> float:
    """The share of the pairs that is flagged."""
    return float(pairs.select(flagged.fill_null(value=False).mean()).item()) if len(pairs) else float("nan")


def auc(higher: np.ndarray[Any, Any], lower: np.ndarray[Any, Any]) -> float:
    """How often a value of the first is greater than one of the second, ties counted half."""
    difference = higher[:, None] - lower[None, :]
    return float(np.mean(difference > 0) + np.mean(difference == 0) / 2)


def texts(run: Run, pairs: pl.DataFrame) -> list[Texts]:
    """The texts as planted, after CapFilt on all pictures, and in the output after all rules."""
    true, holds = (pairs.select(each).to_series().to_numpy() for each in (~untrue, "holds"))
    own, new = (
        pairs.select((column(name) >= ITM).fill_null(value=False)).to_series().to_numpy()
        for name in ("capfilt.text_itm", "capfilt.caption_itm")
    )
    before = Texts("planted", len(pairs), int(true.sum()), 1.0)
    right = int((own & true).sum() + (new & holds).sum())
    after = Texts("after CapFilt, all pictures", int(own.sum() + new.sum()), right, float((own | new).mean()))
    return [before, after, out(run, pairs)]


def out(run: Run, pairs: pl.DataFrame) -> Texts:
    """The texts of the output, as they were written. Pictures that a rule on pictures removed do not count."""
    names = sorted(name for name in run.store.listing(run.out) if name.endswith(".parquet"))
    written = [pl.DataFrame(schema={"url": pl.String, "caption": pl.String})]
    for name in names:
        with run.store.local(f"{run.out}/{name}") as path:
            written.append(pl.read_parquet(path, columns=["url", "caption"], glob=False))
    rows = pl.concat(written).join(pairs.select("url", *plant.SCENE), on="url", how="inner")
    true = sum(planted.holds(row["caption"] or "", plant.scene_of(row)) for row in rows.iter_rows(named=True))
    images = [row for row in run.funnel if row["kind"] == "image" and not str(row["reason"]).startswith("image:")]
    kept = sum(row["count"] for row in images if row["state"] == "kept")
    return Texts("written, after all rules", len(rows), true, kept / max(1, sum(row["count"] for row in images)))


def show(console: Console, result: Findings, lines: box.Box = box.SIMPLE) -> None:
    """The findings as tables."""
    heads = ["to find", "threshold", "there", "found", "precision", "recall"]
    rows = [
        [
            each.check.what,
            each.check.rule,
            f"{each.planted:,}",
            f"{each.flagged:,}",
            of(each.precision),
            of(each.recall),
        ]
        for each in result.found
    ]
    console.print(grid(lines, heads, rows))
    heads = ["texts", "pairs", f"clip.sim < {CLIP}", f"text_itm < {ITM}", "AUC of clip.sim"]
    rows = [
        [kind, f"{count:,}", of(by_clip), of(by_itm), of(result.auc_of.get(kind, float("nan")), 4)]
        for kind, count, by_clip, by_itm in result.kinds
    ]
    console.print(grid(lines, heads, rows))
    heads = ["language", *(language for language, *_ in result.languages)]
    counts = [f"{count:,}" for _, count, _ in result.languages]
    right = [of(labelled) for *_, labelled in result.languages]
    console.print(grid(lines, heads, [["captions", *counts], ["right label", *right]]))
    heads = ["texts", "number", "true", "pictures with a text"]
    rows = [[each.when, f"{each.texts:,}", of(each.share), of(each.with_text)] for each in result.texts]
    console.print(grid(lines, heads, rows))
    console.print(
        f"CLIP, true captions against changed and other ones: AUC {result.auc:.4f}; "
        f"on pictures without watermark and face {result.auc_clean:.4f}.",
        highlight=False,
    )
    console.print(f"Aesthetic score and the world's taste: correlation {result.taste:.3f}.", highlight=False)


def of(value: float, digits: int = 3) -> str:
    """A share as it is printed; nothing where there is nothing to divide."""
    return "" if np.isnan(value) else f"{value:.{digits}f}"


def grid(lines: box.Box, heads: Sequence[str], rows: Sequence[Sequence[str]]) -> Table:
    """A table whose numbers stand on the right."""
    found = Table(heads[0], box=lines, pad_edge=False, collapse_padding=True)
    for head in heads[1:]:
        found.add_column(head, justify="left" if head == "threshold" else "right")
    for row in rows:
        found.add_row(*row)
    return found
