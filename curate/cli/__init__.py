"""Cli: the ``curate`` command, a file for each family of commands.

Reads arguments; writes what is asked for to the terminal, and turns errors into exit codes. ``demo`` imports it.
"""
