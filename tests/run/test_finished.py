"""What it costs to find out that a finished run has nothing to do: see ``benchmarks/finished.py``."""

import sys
from math import ceil
from pathlib import Path

import pytest
from counting import PAGE, CountingFileSystem

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

from finished import Cost, cost

OTHERS = 20
"""The most requests besides the pages of listings."""


@pytest.fixture(autouse=True)
def bill():
    yield
    CountingFileSystem.clear()


def checked(folder: Path, shards: int) -> Cost:
    """What it cost; nothing is to be done, and each folder was listed once."""
    folder.mkdir()
    found, files = cost(folder, shards), CountingFileSystem()
    assert found.jobs == 0
    assert found.folders == {path: ceil(len(files._below(path.rstrip("/"))) / PAGE) or 1 for path in found.folders}
    assert found.requests.total() - found.requests["list"] <= OTHERS
    return found


def test_twice_the_shards_cost_twice_as_much(tmp_path):
    checked(tmp_path / "warm", 50)
    half, whole = (checked(tmp_path / f"{shards}", shards) for shards in (500, 1000))
    assert whole.cpu <= 2.5 * half.cpu + 0.5


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_a_hundred_thousand_shards_are_done_in_a_minute(tmp_path):
    found = checked(tmp_path / "run", 100_000)
    assert found.cpu <= 60
    assert found.memory <= 1e9
