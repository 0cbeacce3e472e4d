"""One bit flipped anywhere in a run, and outputs made anew: never other bytes with exit status 0."""

from __future__ import annotations

import random
import shutil
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))

from test_matrix import Runs, runs
from world import copy, flip, outputs

__all__ = ["runs"]


def flips(run: Path, count: int, seed: int) -> list[tuple[str, int]]:
    """Places of random bits: half of them anywhere among all bytes, half in files with equal chances."""
    files = sorted(path for path in run.rglob("*") if path.is_file())
    sizes, drawn = [path.stat().st_size for path in files], random.Random(seed)
    found = []
    for at in range(count):
        path = drawn.choices(files, sizes)[0] if at % 2 else drawn.choice(files)
        found.append((str(path.relative_to(run)), drawn.randrange(8 * path.stat().st_size)))
    return found


@pytest.mark.parametrize("count", [40, pytest.param(500, marks=[pytest.mark.slow, pytest.mark.timeout(3600)])])
def test_no_flipped_bit_changes_an_output_silently(count: int, runs: Runs, tmp_path: Path) -> None:
    right, ends = outputs(runs.run), {"noticed": 0, "right": 0, "found by verify": 0}
    for at, (name, bit) in enumerate(flips(runs.run, count, count)):
        run = copy(runs.run, tmp_path / f"{at}")
        flip(run / name, bit)
        folder = name.partition("/")[0]
        if folder == "out":  # finished: nobody reads it
            status, said = runs.world.curate("verify", run, runs.world.recipe)
            assert status == 3, (name, bit, said)
            assert Path(name).name in said, (name, bit, said)
            ends["found by verify"] += 1
        else:
            for made in ("out", "verdicts")[: 1 + (folder != "verdicts")]:
                shutil.rmtree(run / made)
            status, said = runs.world.run(run)
            if status == 0:
                assert outputs(run) == right, (name, bit, said)
                ends["right"] += 1
            else:
                assert "damaged" in said or "foreign" in said, (name, bit, said)
                ends["noticed"] += 1
        shutil.rmtree(run)
    print(ends)
    assert all(ends.values())
