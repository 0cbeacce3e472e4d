"""Run: a recipe bound to what it names, its stages in order, and where their jobs are done.

Reads the plan and summaries; writes ``plan.json``. ``inspect``, ``cli`` and ``demo`` import it.
"""
