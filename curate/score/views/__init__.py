"""Views: what a scorer looks at, a file for each; ``curate.score.view`` has the protocol, and finds them by name.

A file has a class that is a ``View``, and ``view``, which makes one.
"""
