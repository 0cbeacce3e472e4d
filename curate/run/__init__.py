"""Run: a recipe bound to what it names, its stages in order, and where their jobs are done.

Reads the plan and summaries; writes ``plan.json`` and ``plan.parquet``. ``inspect``, ``cli`` and ``demo`` import it.
"""
