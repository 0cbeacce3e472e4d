"""Formats: the kinds of files that rows are read from, a file for each. Nothing else lies here.

A new one is a file with a ``FORMAT`` (see ``curate.source.rows``) and its test; its suffixes find it.
"""
