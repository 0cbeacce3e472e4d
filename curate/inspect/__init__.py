"""Inspect: questions to a run, answered with data.

Reads everything; writes nothing but pictures that were asked for. ``show``, ``cli`` and ``demo`` import it.
"""
