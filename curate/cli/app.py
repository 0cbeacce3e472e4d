"""Cli: the ``curate`` command. Parses arguments, prints results, turns errors into exit codes; does no work itself.

Exit codes: 0 everything planned is done; 1 a bug or a broken plugin ended the run; 2 wrong usage or recipe; 3 some
shards are not done, or files not as they should be (they are listed); 130 and 143 interrupted (what is done stays).
"""

from __future__ import annotations

import signal
import sys

from rich.console import Console

from curate.cli import questions, stage_commands, upkeep
from curate.cli.options import app
from curate.recipe.section import RecipeError
from curate.report import Incomplete, StopRun
from curate.store.digest import DamagedFile, ForeignFile

__all__ = ["app", "main", "questions", "stage_commands", "upkeep"]  # importing the last three registers their commands


def main() -> None:
    """The entry point: runs a command and ends with its exit code."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    errors = Console(stderr=True, soft_wrap=True, markup=False, highlight=False)
    try:
        app(standalone_mode=True)
    except RecipeError as error:
        errors.print(str(error))
        sys.exit(2)
    except (Incomplete, DamagedFile, ForeignFile) as error:
        errors.print(str(error))
        sys.exit(3)
    except StopRun as error:
        errors.print(f"stopped: {error}")
        sys.exit(1)
    except (OSError, ImportError, UnicodeDecodeError) as error:
        errors.print(f"{type(error).__name__}: {error}")
        sys.exit(1)
    except KeyboardInterrupt:
        errors.print("interrupted; what is done stays done, and the same command goes on from there")
        sys.exit(130)
