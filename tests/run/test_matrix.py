"""Every kind of file, damaged in every way: a refusal that says what to do, or a right result, with the same bytes.

``docs/reliability.md`` has the table; each of its cells is a test here. ``python tests/run/test_matrix.py`` prints it.
"""

from __future__ import annotations

import re
import shutil
import sys
import tarfile
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))

from web import Site
from world import World, copy, everything, flip, outputs, picture

KINDS = {
    "raw table": "raw/00000001.parquet",
    "raw tar": "raw/00000001.tar",
    "score": "scores/light-*/00000001.parquet",
    "vectors": "scores/shape-*/00000001.vectors.parquet",
    "group": "groups/near-*/table/00000001.parquet",
    "verdict": "verdicts/*/00000001.parquet",
    "output tar": "out/*/000000.tar",
    "index": "out/*/index.json",
    "plan": "plan.json",
}
DAMAGES = (
    "deleted",
    "cut at a boundary",
    "cut elsewhere",
    "a bit flipped",
    "another run's",
    "says the same",
    "says else",
)
DOCS = Path(__file__).parents[2] / "docs/reliability.md"
WORDS = {
    "again": "made again, same bytes",
    "as it is": "nothing to do, same bytes",
    "read": "named by who reads it, mended by `verify --repair`",
    "named": "named at once, mended by `verify --repair`",
    "else": "made again with all that follows: as a run that never knew the old",
    "refused": "refused with the difference",
}


@dataclass
class Runs:
    """An undisturbed run, and another of the same recipe for which web and measures have changed."""

    world: World
    run: Path
    other: Path

    def file(self, kind: str, run: Path | None = None) -> Path:
        (found,) = (run or self.run).glob(KINDS[kind])
        return found

    def change(self, changed: bool) -> None:
        """Changes what is on the web, and what is measured; or takes that back."""
        self.world.site.pages = {**self.world.site.pages, "/5b.png": picture(4711 if changed else 201, 50)}
        (self.world.folder / "tilt.txt").write_text("1" if changed else "0")


@pytest.fixture(scope="module")
def runs() -> Iterator[Runs]:
    yield from made()


def made() -> Iterator[Runs]:
    with tempfile.TemporaryDirectory() as folder, Site({}) as site:
        world = World.build(Path(folder), site)
        found = Runs(world, Path(folder) / "run", Path(folder) / "other")
        for run, changed in ((found.run, False), (found.other, True)):
            found.change(changed)
            status, said = world.run(run)
            assert status == 0, said
        found.change(False)
        assert outputs(found.run) != outputs(found.other)
        yield found


def damage(runs: Runs, kind: str, how: str, run: Path) -> None:
    """Does one damage to one file of a run."""
    path = runs.file(kind, run)
    size = path.stat().st_size
    if how == "deleted" or how == "says the same":
        path.unlink()
    elif how == "cut at a boundary":
        with path.open("r+b") as file:
            file.truncate(size // 2 // 512 * 512)
    elif how == "cut elsewhere":
        with path.open("r+b") as file:
            file.truncate(size - 7)
    elif how == "a bit flipped":
        flip(path, 8 * (packed(runs) if kind == "raw tar" else size // 8) + 3)
    elif how == "another run's":
        shutil.copyfile(runs.file(kind, runs.other), path)
    else:
        path.unlink()
        runs.change(True)
        if kind in ("group", "verdict", "output tar", "index"):  # these say else only if what they are made from does
            runs.file("score", run).unlink()
        if kind == "plan":  # a plan says else only if its corpus does
            lines = (runs.world.folder / "pages.jsonl").read_text().splitlines(keepends=True)
            (runs.world.folder / "pages.jsonl").write_text("".join(reversed(lines)))


def packed(runs: Runs) -> int:
    """The place of a byte of a picture in the raw tar that is in the output, too."""
    output = runs.file("output tar").read_bytes()
    with tarfile.open(runs.file("raw tar")) as tar:
        for member in tar:
            if (found := tar.extractfile(member)) and found.read() in output:
                return member.offset_data + member.size // 2
    raise LookupError("the output has no picture of this shard")


def outcome(runs: Runs, kind: str, how: str, folder: Path) -> str:
    """What came of it, as one of WORDS; anything else is described."""
    run, world, right = copy(runs.run, folder / "run"), runs.world, outputs(runs.run)
    pages = (world.folder / "pages.jsonl").read_text()
    try:
        damage(runs, kind, how, run)
        status, said = world.run(run)
        if how == "says else":
            return ended_otherwise(runs, kind, run, status, said, folder)
        if status == 0:
            if outputs(run) != right:
                return f"WRONG BYTES: {said}"
            if world.jobs:
                return "again" if (others := different(run, runs.run)) == [] else f"OTHER FILES {others}"
            shutil.rmtree(run / "out")
            status, said = world.run(run)
            if status == 0:
                return "as it is" if outputs(run) == right else f"WRONG BYTES ANEW: {said}"
            word = "read"
        else:
            word = "named"
        return word if mended(runs, kind, run, said) else f"NOT MENDED: {said}"
    finally:
        if how == "says else":
            runs.change(False)
        if (world.folder / "pages.jsonl").read_text() != pages:
            (world.folder / "pages.jsonl").write_text(pages)


def different(run: Path, other: Path) -> list[str]:
    """The files in which two runs differ."""
    ours, theirs = everything(run), everything(other)
    return [name for name in ours | theirs if ours.get(name) != theirs.get(name)]


def ended_otherwise(runs: Runs, kind: str, run: Path, status: int, said: str, folder: Path) -> str:
    """The outcome where the world has changed: that of a run which never knew the old one, but for what stays raw."""
    if kind == "plan":
        return (
            "refused" if (status == 2 and "pages.jsonl" in said) or (status == 3 and "another plan" in said) else said
        )
    fresh = folder / "fresh"
    shutil.copytree(run, fresh, ignore=shutil.ignore_patterns("scores", "groups", "verdicts", "out", "ledger"))
    for shard in ("00000000", "00000002"):  # their tables were measured before
        for path in run.glob(f"scores/*/{shard}.*"):
            (fresh / path.relative_to(run)).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, fresh / path.relative_to(run))
    if kind not in ("raw table", "raw tar"):
        for path in run.glob("scores/shape-*/00000001.*" if kind != "vectors" else "scores/light-*/00000001.*"):
            shutil.copyfile(path, fresh / path.relative_to(run))
    again, what = runs.world.run(fresh)
    same = status == again == 0 and outputs(run) == outputs(fresh)
    return "else" if same else f"{status} {again} {said} {what}"


def mended(runs: Runs, kind: str, run: Path, said: str) -> bool:
    """Whether the file was named, and what was said to do mends it."""
    named = runs.file(kind, run).name in said or "raw/00000001" in said
    if not named or not re.search(r"curate verify .* --repair|was made by another plan|is foreign", said):
        return False
    status, found = runs.world.curate("verify", run, runs.world.recipe, "--repair")
    if status != 3 or runs.file(kind).name not in found:
        return False
    status, _ = runs.world.run(run)
    return status == 0 and outputs(run) == outputs(runs.run)


def table() -> str:
    """The table as it comes out."""
    lines = [f"| | {' | '.join(DAMAGES)} |", "|---" * (len(DAMAGES) + 1) + "|"]
    for runs in made():
        for kind in KINDS:
            cells = []
            for how in DAMAGES:
                with tempfile.TemporaryDirectory() as folder:
                    cells.append(outcome(runs, kind, how, Path(folder)))
                if cells[-1] not in WORDS:
                    print(f"*** {kind} {how}: {cells[-1]}", file=sys.stderr)
            lines.append(f"| {kind} | {' | '.join(cells)} |")
    return "\n".join(lines)


def told() -> dict[tuple[str, str], str]:
    """What docs/reliability.md says of each."""
    rows = [line.strip("| \n").split(" | ") for line in DOCS.read_text().splitlines() if line.startswith("| ")]
    return {(row[0], how): word for row in rows if row[0] in KINDS for how, word in zip(DAMAGES, row[1:], strict=True)}


@pytest.mark.parametrize("how", DAMAGES)
@pytest.mark.parametrize("kind", KINDS)
def test_each_damage_ends_as_the_docs_say(kind: str, how: str, runs: Runs, tmp_path: Path) -> None:
    found = outcome(runs, kind, how, tmp_path)
    assert found in WORDS
    assert found == told()[kind, how]


if __name__ == "__main__":
    print(table())
