"""Fetch: the crawl. Documents in, raw shards out.

Reads the corpus and the web; writes ``raw/`` and ``scores/source/``. ``run`` and ``inspect`` import it.
"""
