"""Inspect: questions to a run, answered with data.

Reads everything; writes nothing but pictures that were asked for, and removes what is damaged if told to.
``show``, ``cli`` and ``demo`` import it.
"""
