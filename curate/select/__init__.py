"""Select: what stays, and why not.

Reads ``raw/``, ``scores/`` and ``groups/``; writes ``verdicts/HASH/``. No pixels and no model. ``pack``, ``run`` and
``inspect`` import it.
"""
