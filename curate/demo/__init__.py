"""The demo: a drawn world and small corpora made of it.

Reads no network and no model; writes a small web and runs of it below one folder. No wing imports it.
"""
