"""Pair: a scorer of pairs gets each distinct picture with each distinct caption of it. Without a caption there is none.

A picture's caption is the text that it goes with: as the scorer's ``text_of`` says, else its document's only text; one
that goes with none has its alt text. Columns of texts go to the text that is the caption, from the picture, of all that
go with it, that has the greatest value.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl

from curate.document import Text
from curate.score.batch import Batcher, Viewer
from curate.score.view import Call, Ints, Measured, Owed, distinct


class PairView:
    """The good images that are owed with their captions, measured in batches while they are shown."""

    def __init__(self, owed: Owed, call: Call) -> None:
        self.owed, scorer = owed, owed.scorer
        self.text = texts_of(owed)
        pairs = owed.frame.select("sha256", caption=captions(owed, self.text))
        complete = pairs["caption"].fill_null("").ne("").to_numpy() & owed.good
        items, self.index = distinct(pairs, complete)
        self.captions: dict[str, list[tuple[int, Text]]] = {}
        for at, (sha256, caption) in enumerate(items.iter_rows()):
            self.captions.setdefault(sha256, []).append((at, Text(caption)))
        self.batch = Batcher(scorer.name, call, scorer.spec.batch, items.height)
        wanted, prepare = frozenset(pairs["sha256"].filter(owed.good)), getattr(call, "prepare", None)
        self.viewer = Viewer(scorer.name, scorer.spec, wanted, prepare, self.see)

    def see(self, sha256: str, picture: Any) -> None:
        """Takes a picture, with each of its captions."""
        for at, caption in self.captions.get(sha256, ()):
            self.batch.add(at, (picture, caption))

    def measured(self) -> Measured:
        """Completes the last batch; a column of texts has an index of its own, to the pair of the greatest value."""
        results = self.batch.finished()
        apart = {name: self.greatest(name, results) for name in self.owed.scorer.columns.get("text", {})}
        return Measured(results, self.index, apart)

    def greatest(self, name: str, results: list[Any]) -> Ints:
        """For each text that is owed, which of its pictures' pairs has the greatest value; the first of equals."""
        found, best = np.full(len(self.owed.rows), -1), dict[int, Any]()
        for item, text in zip(self.index.tolist(), self.text.tolist(), strict=True):
            place = self.owed.place[text] if item >= 0 and text >= 0 and results[item] else -1
            value = results[item].get(name) if place >= 0 else None
            if value is not None and value == value and (text not in best or value > best[text]):
                best[text], found[place] = value, item
        return found


def texts_of(owed: Owed) -> Ints:
    """For each row that is owed, the row number of the text that it goes with; -1 for none, or if it is no image."""
    segments = owed.segments
    texts = np.flatnonzero(segments.of_kind("text"))
    several = np.bincount(segments.owner[texts], minlength=len(segments.starts))
    first = np.cumsum(several) - several
    owner = segments.owner[owed.rows]
    if owed.text_of is None:
        chosen = np.where(several[owner] == 1, 0, -1)
    else:
        chosen = owed.text_of[owed.rows].cast(pl.Int64).fill_null(-1).to_numpy()
    there = owed.good & (chosen >= 0) & (chosen < several[owner])
    found = np.full(len(owed.rows), -1)
    found[there] = texts[(first[owner] + chosen)[there]]
    return found


def captions(owed: Owed, text: Ints) -> pl.Series:
    """The caption of each row that is owed: what the text says, null where it is hidden, or else the alt text."""
    with_text = text >= 0
    said = owed.segments.frame["text"][np.where(with_text, text, 0)]
    shown = pl.Series(with_text & ~owed.hidden[text])
    alone = pl.Series(~with_text)
    return pl.select(pl.when(shown).then(said).when(alone).then(owed.frame["alt"])).to_series()


view = PairView
