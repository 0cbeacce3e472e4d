"""Image: a scorer of images gets each distinct picture of a shard once. It sees no document, address or alt text."""

from __future__ import annotations

from typing import Any

from curate.score.batch import Batcher, Viewer
from curate.score.view import Call, Measured, Owed, distinct


class ImageView:
    """The good images that are owed, measured in batches while they are shown."""

    def __init__(self, owed: Owed, call: Call) -> None:
        scorer = owed.scorer
        items, self.index = distinct(owed.frame.select("sha256"), owed.good)
        self.number = {sha256: at for at, sha256 in enumerate(items["sha256"])}
        self.batch = Batcher(scorer.name, call, scorer.spec.batch, items.height)
        prepare = getattr(call, "prepare", None)
        self.viewer = Viewer(scorer.name, scorer.spec, frozenset(self.number), prepare, self.see)

    def see(self, sha256: str, picture: Any) -> None:
        """Takes a picture; those that cannot be decoded never come."""
        self.batch.add(self.number[sha256], picture)

    def measured(self) -> Measured:
        """Completes the last batch."""
        return Measured(self.batch.finished(), self.index)


view = ImageView
