"""Text: a scorer of texts gets each distinct text of a shard once, however often it is repeated. Reads no picture.

Texts are distinct if what they say, or who wrote them, differs.
"""

from __future__ import annotations

from curate.document import Text
from curate.score.batch import Batcher
from curate.score.view import Call, Measured, Owed, distinct


class TextView:
    """The texts that are owed, all at once."""

    viewer = None

    def __init__(self, owed: Owed, call: Call) -> None:
        self.owed, self.call = owed, call

    def measured(self) -> Measured:
        """Measures the distinct texts in the order in which they first stand in the shard."""
        scorer = self.owed.scorer
        items, index = distinct(self.owed.frame.select("text", "source"))
        batch = Batcher(scorer.name, self.call, scorer.spec.batch, items.height)
        for at, (text, source) in enumerate(items.iter_rows()):
            batch.add(at, Text(text, source))
        return Measured(batch.finished(), index)


view = TextView
