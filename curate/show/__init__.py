"""Show: what a person sees of a run in a terminal.

Reads what ``inspect`` returns; writes to the console. ``cli`` and ``demo`` import it.
"""
