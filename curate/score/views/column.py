"""Column: a scorer of another scorer's column gets that column's values, never a null. Looks at no segment."""

from __future__ import annotations

import numpy as np

from curate.score.batch import Batcher
from curate.score.view import Call, Measured, Owed


class ColumnView:
    """The values at the rows that are owed, one for each row: equal ones are not looked for."""

    viewer = None

    def __init__(self, owed: Owed, call: Call) -> None:
        self.owed, self.call = owed, call

    def measured(self) -> Measured:
        """Measures the values in the order of the rows."""
        scorer = self.owed.scorer
        assert self.owed.values is not None
        values = self.owed.values[self.owed.rows]
        there = values.is_not_null().to_numpy()
        batch = Batcher(scorer.name, self.call, scorer.spec.batch, int(there.sum()))
        for at, (value,) in enumerate(values.filter(there).to_frame().iter_rows()):
            batch.add(at, value)
        return Measured(batch.finished(), np.where(there, np.cumsum(there) - 1, -1))


view = ColumnView
