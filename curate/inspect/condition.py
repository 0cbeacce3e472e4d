"""Condition: what became of a file of a run, and of all. Finds nothing itself.

Of a damage exactly the damaged file is named: what was made from it is only counted, as nobody can judge it before.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from curate.ledger.state import DAMAGED, FOREIGN, MISSING, STALE

UNUSED, UNJUDGED = "unused", "not judged"
"""States that the ledger does not know: another recipe made it; and what it depends on must be mended before."""
WRONG = (DAMAGED, FOREIGN, MISSING, STALE)
"""States that need something to be done, in the order in which people want to know."""


class Finding(NamedTuple):
    """What became of a file, and why; ``lost``: the sha256 of pictures that can no longer be read."""

    name: str
    state: str
    why: str = ""
    lost: tuple[str, ...] = ()


@dataclass(frozen=True)
class Verified:
    """What became of all files of a run, by name.

    ``unknown``: files that would have told what else there should be, and cannot.
    """

    findings: Mapping[str, Finding]
    unknown: tuple[str, ...]

    @property
    def counts(self) -> Counter[str]:
        """How many files are in each state."""
        return Counter(each.state for each in self.findings.values())

    @property
    def sound(self) -> bool:
        """Whether nothing has to be done."""
        return not any(each.state in WRONG for each in self.findings.values())

    def those(self, state: str) -> list[Finding]:
        """The files in a state, in order."""
        return sorted(each for each in self.findings.values() if each.state == state)
