"""Cli: the ``curate`` command, a file for each family of commands.

Reads arguments; prints, and turns errors into exit codes. Nothing imports it but the demo.
"""
