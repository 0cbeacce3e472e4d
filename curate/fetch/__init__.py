"""Fetch: the crawl. Documents in, raw shards out.

Reads the corpus and the web, and what is left of a damaged shard; writes ``raw/`` and ``scores/source/``.
``run`` and ``inspect`` import it.
"""
