"""Group: what is a duplicate of what, never a verdict.

Reads ``raw/`` and ``scores/``; writes ``groups/NAME-identity/``. ``select``, ``run`` and ``inspect`` import it.
"""
