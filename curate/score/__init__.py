"""Score: what is measured of texts, images, pairs and documents.

Reads ``raw/`` and earlier ``scores/``; writes ``scores/NAME-identity/``. Every wing below may import it.
"""
