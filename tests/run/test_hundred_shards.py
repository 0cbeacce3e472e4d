"""A run of 100 shards: verify finds nothing, or exactly the damage; what mends it does no more than it takes."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))

from test_matrix import KINDS, boundary
from web import Site
from world import World, everything, flip

STATES = ("damaged", "foreign", "missing", "stale")


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """A world with a finished run of 100 shards, a page with a picture in each."""
    with Site({}) as site:
        made = World.build(tmp_path_factory.mktemp("hundred"), site, shards=100, pages_each=1, images=1)
        status, said = made.run(made.folder / "run")
        assert status == 0, said
        assert len(made.jobs["fetch"]) == len(made.jobs["score"]) == len(made.jobs["select"]) == 100
        yield made


@pytest.fixture(scope="module")
def right(world: World) -> dict[str, bytes]:
    """All its files, undisturbed."""
    return everything(world.folder / "run")


def found(said: str) -> dict[str, str]:
    """What verify lists, with its state."""
    state, names = "", {}
    for line in said.splitlines():
        if not line.startswith(" "):
            state = line if line in STATES else ""
        elif state and not line.startswith("   "):
            names[line.strip()] = state
    return names


def test_nothing_is_found_in_an_untouched_run(world: World, right: dict[str, bytes]) -> None:
    run = world.folder / "run"
    status, said = world.curate("verify", run)
    assert status == 0, said
    assert [line.split()[0] for line in said.splitlines() if line.startswith("  ")] == ["good"]
    status, said = world.run(run)
    assert (status, world.jobs) == (0, {}), said
    assert everything(run) == right


CASES = [(kind, "a bit flipped") for kind, about in KINDS.items() if not about.without]
CASES += [(kind, how) for kind in ("raw tar", "score", "output tar") for how in ("deleted", "cut at a boundary")]


@pytest.mark.parametrize(("kind", "how"), CASES)
def test_exactly_the_damage_is_found_and_made_again(kind: str, how: str, world: World, right: dict[str, bytes]) -> None:
    run, about = world.folder / "run", KINDS[kind]
    path = min(run.glob(about.file))
    name = str(path.relative_to(run))
    if how == "deleted":
        path.unlink()
    elif how == "a bit flipped":
        flip(path, 8 * (path.stat().st_size // 2))
    else:
        with path.open("r+b") as file:
            file.truncate(boundary(path))
    status, said = world.curate("verify", run, "--repair")
    assert status == 3, said
    assert found(said) == {name: "missing" if how == "deleted" else "damaged"}
    status, said = world.run(run)
    assert status == 0, said
    assert world.jobs == about.jobs
    assert everything(run) == right
