"""Pack: survivors, in order, into what a trainer reads.

Reads ``raw/``, ``scores/``, ``groups/`` and ``verdicts/``; writes ``out/NAME-hash/`` (``writers/`` has a file for each
format). ``run`` and ``inspect`` import it.
"""
