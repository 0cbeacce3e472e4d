"""State: what may have become of a file that should be there, by name."""

from __future__ import annotations

GOOD, MISSING, STALE, DAMAGED, FOREIGN = "good", "missing", "stale", "damaged", "foreign"
"""What is missing or stale is made again; what is damaged or foreign is named, not touched."""
