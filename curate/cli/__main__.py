"""``python -m curate.cli``: the command without its entry point."""

from curate.cli.app import main

main()
