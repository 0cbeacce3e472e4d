"""Pack: survivors, in order, into what a trainer reads.

Reads ``raw/``, ``scores/``, ``groups/`` and ``verdicts/``; writes ``out/NAME-hash/`` (``writers/`` has one for each
format). ``run`` imports it.
"""
