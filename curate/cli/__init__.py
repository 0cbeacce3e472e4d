"""Cli: the ``curate`` command, a file for each family of commands.

Reads arguments; writes ``latest.json``, prints, and turns errors into exit codes. ``demo`` imports it.
"""
