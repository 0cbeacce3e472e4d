"""Source: the rows of a corpus, planned into shards and read as documents.

Reads the user's files (``formats/`` has one for each kind); writes nothing. ``fetch`` and ``run`` import it.
"""
