"""Runs every benchmark, one after the other, and prints the tables of docs/benchmarks.md.

    python benchmarks/all.py [--quick]

Progress goes to stderr. A benchmark that fails is named and does not stop the others; the exit code then is 1.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import common

BENCHMARKS = (
    "fetch_pairs", "whole_job", "clip_score", "decode_fidelity", "reselect", "memory",
    "driver", "hashes", "hamming", "semdedup", "shuffle", "heads", "capfilt", "quality",
)  # fmt: skip


def main() -> int:
    given = common.arguments(__doc__).parse_args()
    failed = []
    for name in BENCHMARKS:
        script = Path(__file__).with_name(f"{name}.py")
        print(f"\n## {name}\n\n`python benchmarks/{name}.py{' --quick' if given.quick else ''}`", flush=True)
        common.note(f"{name} ...")
        if subprocess.run([sys.executable, str(script), *(["--quick"] if given.quick else [])]).returncode:
            failed.append(name)
    if failed:
        print(f"\nFailed: {', '.join(failed)}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
