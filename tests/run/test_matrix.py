"""Every kind of file, damaged in every way: a refusal that says what to do, or a right result, with the same bytes.

``docs/reliability.md`` has the table; each of its cells is a test here. ``python tests/run/test_matrix.py`` prints it.
"""

from __future__ import annotations

import os
import re
import shutil
import sys
import tarfile
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))

from web import Site
from world import World, copy, everything, flip, outputs, picture

from curate.store import table

DAMAGES = (
    "deleted",
    "cut at a boundary",
    "cut elsewhere",
    "a bit flipped",
    "another run's",
    "says the same",
    "says else",
)
FEW = ("deleted", "cut at a boundary", "a bit flipped", "another run's", "says else")
"""Of a table or a json like one above: cut is cut, and that rows are known in other bytes is one function for all."""
RAW, LIGHT, SHAPE = "raw/00000001.parquet", "scores/light-*/00000001.parquet", "scores/shape-*/00000001*.parquet"


@dataclass(frozen=True)
class Kind:
    """A kind of file.

    ``jobs``, by phase: all that is done when it is made again and says the same. They make ``made``, or the file.

    ``of``: what goes with it, so that it is made from something else where the world has changed. ``without``: a file
    that is missing in all ways, as else nobody would read it.
    """

    file: str
    jobs: dict[str, list[str]] = field(default_factory=dict)
    made: tuple[str, ...] = ()
    of: tuple[str, ...] = ()
    ways: tuple[str, ...] = DAMAGES
    without: str = ""


FETCH, SCORE, INDEX = {"fetch": ["00000001"]}, {"score": ["00000001"]}, {"pack index": ["index"]}
PACK = {"pack": ["000000"], **INDEX}
PACKED = ("out/*/meta/000000.json", "out/*/index.json")
SELECT = {"select": ["00000001"]}
LAYOUT, META = {"pack layout": ["layout"], **INDEX}, "out/*/meta/layout.parquet"
BALANCE, TOTAL, VERDICT = (
    {"select balance": ["total"]},
    "verdicts/*/balance/total.parquet",
    "verdicts/*/00000001.parquet",
)
KINDS = {
    "raw table": Kind(RAW, FETCH),
    "raw tar": Kind("raw/00000001.tar", FETCH, (RAW,)),
    "source": Kind("scores/source/00000001.parquet", FETCH, ways=FEW[:-1]),
    "score": Kind(LIGHT, SCORE),
    "vectors": Kind("scores/shape-*/00000001.vectors.parquet", SCORE),
    "group keys": Kind("groups/near-*/keys/00000000.parquet", {"group near": ["00000000"]}, of=(RAW,), ways=FEW),
    "group": Kind("groups/near-*/table/00000001.parquet", {"group near": ["00000000"]}, of=(RAW,)),
    "eps ranges": Kind("groups/dense-*/ranges.json", {"group dense": ["00000"]}, of=(SHAPE,), ways=FEW),
    "eps witnesses": Kind("groups/dense-*/groups/00000.parquet", {"group dense": ["00000"]}, of=(SHAPE,), ways=FEW),
    "rules": Kind("verdicts/*/rules.json", {"select rules": ["rules"]}, of=(LIGHT,), ways=FEW),
    "balance": Kind(TOTAL, SELECT | BALANCE, (TOTAL, VERDICT), (LIGHT,), (*FEW[:3], FEW[-1]), without=VERDICT),
    "verdict": Kind(VERDICT, SELECT, of=(LIGHT,)),
    "layout": Kind(META, LAYOUT, (META, PACKED[1]), (LIGHT,), FEW),
    "facts": Kind("out/*/meta/000000.json", PACK, PACKED, (LIGHT,), FEW),
    "output tar": Kind("out/*/000000.tar", PACK, PACKED, (LIGHT,)),
    "index": Kind("out/*/index.json", INDEX, of=(LIGHT,)),
    "plan": Kind("plan.json"),
    "ledger": Kind("ledger/*.parquet", ways=FEW[:-1]),
}
THREE = ["00000000", "00000", "00000000"]
LOST = [
    (
        "groups/near-*/table/00000001.parquet",
        ["groups/near-*/values/*", "groups/near-*/links/*", "groups/near-*/groups/*"],
        {"group near": ["00000", "00000", "00000", "00000000"]},
    ),
    (
        "groups/like-*/table/00000001.parquet",
        [f"groups/like-*/{each}" for each in ("sample/*", "centroids/*", "vectors/*", "ranges.json", "groups/*")],
        {"group like": [*THREE, "00000", "00000", "00000000"]},
    ),
    (
        "groups/dense-*/groups/00000.parquet",
        [f"groups/dense-*/{each}" for each in ("sample/*", "centroids/*", "vectors/*")],
        {"group dense": [*THREE, "00000"]},
    ),
    (
        VERDICT,
        [f"verdicts/*/{each}" for each in ("candidates/*/*", "duplicates/*/*", "removed/*/*", "balance/**/*.parquet")],
        {"select near": THREE, "select dense": THREE, "select balance": ["00000000", "total"], **SELECT},
    ),
    (
        "verdicts/*/rules.json",
        ["verdicts/*/top/*/*", "verdicts/*/top/upper.json"],
        {"select top": ["00000000", "upper", "00000000"], "select rules": ["rules"]},
    ),
]
"""What stays, what is only there to make it, and all that is done when both are gone."""
CELLS = [(name, how) for name, kind in KINDS.items() for how in kind.ways]
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
        return min((run or self.run).glob(KINDS[kind].file))

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
    if KINDS[kind].without:
        min(run.glob(KINDS[kind].without)).unlink()
    if how == "deleted":
        path.unlink()
    elif how == "cut at a boundary":
        os.truncate(path, boundary(path))
    elif how == "cut elsewhere":
        os.truncate(path, path.stat().st_size - 7)
    elif how == "a bit flipped":
        flip(path, 8 * (packed(runs) if kind == "raw tar" else path.stat().st_size // 8) + 3)
    elif how == "another run's":
        shutil.copyfile(runs.file(kind, runs.other), path)
    elif how == "says the same":
        if path.suffix == ".parquet":
            data = path.read_bytes()
            path.write_bytes(table.encode(pq.read_table(pa.BufferReader(data)), 1, **table.checked(data).notes))
            assert path.read_bytes() != data
        else:
            os.utime(path, (1, 1))
    else:
        runs.change(True)
        for each in (path, *(each for pattern in KINDS[kind].of for each in run.glob(pattern))):
            each.unlink(missing_ok=True)
        if kind == "plan":  # a plan says else only if its corpus does
            lines = (runs.world.folder / "pages.jsonl").read_text().splitlines(keepends=True)
            (runs.world.folder / "pages.jsonl").write_text("".join(reversed(lines)))


def packed(runs: Runs) -> int:
    """The place of a byte of a picture in the raw tar that is in the output, too, and in no other raw tar."""
    output = b"".join(path.read_bytes() for path in sorted(runs.run.glob("out/*/*.tar")))
    own = runs.file("raw tar")
    others = b"".join(path.read_bytes() for path in sorted(own.parent.glob("*.tar")) if path != own)
    with tarfile.open(own) as tar:
        for member in tar:
            if (found := tar.extractfile(member)) and (data := found.read()) in output and data not in others:
                return member.offset_data + member.size // 2
    raise LookupError("the output has no picture that only this shard has")


def boundary(path: Path) -> int:
    """Where a part of a file ends that could be all of it: a row group, a member of a tar, a line."""
    data = path.read_bytes()
    if path.suffix == ".parquet":
        return table.checked(data).pieces[0][0]
    if path.suffix == ".tar":
        with tarfile.open(path) as tar:
            members = tar.getmembers()
        return members[len(members) // 2].offset
    return data.index(b"\n", len(data) // 2) + 1


def outcome(runs: Runs, kind: str, how: str, folder: Path) -> str:
    """What came of it, as one of WORDS; anything else is described."""
    run, world, right = copy(runs.run, folder / "run"), runs.world, outputs(runs.run)
    pages = world.folder / "pages.jsonl"
    before, text = pages.stat(), pages.read_text()
    try:
        damage(runs, kind, how, run)
        if how == "says else":
            return ended_otherwise(runs, kind, run, folder)
        status, said = world.run(run)
        if status == 0:
            if outputs(run) != right:
                return f"WRONG BYTES: {said}"
            if world.jobs:
                return redone(runs, kind, run) or "again"
            shutil.rmtree(run / "out")
            status, said = world.run(run)
            if status == 0:
                return "as it is" if outputs(run) == right else f"WRONG BYTES ANEW: {said}"
            return mended(runs, kind, how, run, said, "out") or "read"
        return mended(runs, kind, how, run, said) or "named"
    finally:
        if how == "says else":
            runs.change(False)
        if pages.read_text() != text:
            pages.write_text(text)
            os.utime(pages, ns=(before.st_atime_ns, before.st_mtime_ns))


def redone(runs: Runs, kind: str, run: Path, anew: str = "", meanwhile: tuple[str, ...] = ()) -> str:
    """What is wrong where a file was made again as it was: other jobs were done, or a file is not what it was.

    ``anew``: the output had gone, too; its jobs come on top. ``meanwhile``: scores that were made from the wrong file.
    """
    jobs = {phase: names for phase, names in runs.world.jobs.items() if not anew or not phase.startswith("pack")}
    made = {name for name in runs.world.made if name.partition("/")[0] != anew}
    files = (KINDS[kind].made or (KINDS[kind].file,)) if KINDS[kind].jobs else ()
    wanted, more = (
        {str(min(run.glob(each)).relative_to(run)) for each in (*files, *meanwhile)},
        SCORE if meanwhile else {},
    )
    if jobs != KINDS[kind].jobs | more or made != wanted:
        return f"OTHER JOBS {jobs} MADE {made}"
    return f"OTHER FILES {others}" if (others := different(run, runs.run)) else ""


def different(run: Path, other: Path) -> list[str]:
    """The files in which two runs differ."""
    ours, theirs = everything(run), everything(other)
    return [name for name in ours | theirs if ours.get(name) != theirs.get(name)]


def ended_otherwise(runs: Runs, kind: str, run: Path, folder: Path) -> str:
    """The outcome where the world has changed: that of a run which has but those scores that were left."""
    fresh = folder / "fresh"
    shutil.copytree(run, fresh, ignore=shutil.ignore_patterns("groups", "verdicts", "out", "ledger"))
    if not (run / RAW).exists():
        for path in fresh.glob("scores/*-*/00000001.*"):
            path.unlink()
    status, said = runs.world.run(run)
    jobs, changed = runs.world.jobs, status == 0 and outputs(run) != outputs(runs.run)
    if kind == "plan":
        refused = (status == 2 and "pages.jsonl" in said) or (status == 3 and "another plan" in said)
        return "refused" if refused and not jobs else f"{status} {jobs} {said}"
    again, what = runs.world.run(fresh)
    if {*jobs.get("fetch", ()), *jobs.get("score", ())} - {"00000001"}:
        return f"OTHER JOBS {jobs}"
    return "else" if changed and again == 0 and outputs(run) == outputs(fresh) else f"{status} {again} {said} {what}"


def mended(runs: Runs, kind: str, how: str, run: Path, said: str, anew: str = "") -> str:
    """What is wrong where a file was named: it was not, or what was said to do does not mend it, or does more."""
    name = str(runs.file(kind).relative_to(runs.run))
    meanwhile = ()
    if (kind, how) == ("raw table", "another run's"):  # whole, and ours: what it says is not what the tar beside it is
        name, meanwhile = (
            "raw/00000001.tar",
            ("scores/words-*/00000001.parquet",),
        )  # texts are measured before that shows
    if name not in said or not re.search(r"curate verify .* --repair|was made by another plan|is foreign", said):
        return f"NOT NAMED: {name} {said}"
    status, found = runs.world.curate("verify", run, runs.world.recipe, "--repair")
    if status != 3 or f"  {name}\n" not in found:
        return f"NOT FOUND: {status} {found}"
    status, said = runs.world.run(run)
    return redone(runs, kind, run, anew, meanwhile) if status == 0 else f"NOT MENDED: {said}"


def printed() -> str:
    """The table as it comes out."""
    lines = [f"| | {' | '.join(DAMAGES)} |", "|---" * (len(DAMAGES) + 1) + "|"]
    for runs in made():
        for kind in sys.argv[1:] or KINDS:
            cells = []
            for how in DAMAGES:
                if (kind, how) not in CELLS:
                    cells.append("-")
                    continue
                with tempfile.TemporaryDirectory() as folder:
                    cells.append(outcome(runs, kind, how, Path(folder)))
                if cells[-1] not in WORDS:
                    print(f"*** {kind} {how}: {cells[-1]}", file=sys.stderr)
            lines.append(f"| {kind} | {' | '.join(cells)} |")
    return "\n".join(lines)


def told() -> dict[tuple[str, str], str]:
    """What docs/reliability.md says of each."""
    rows = DOCS.read_text().partition(f"| | {' | '.join(DAMAGES)} |\n")[2].partition("\n\n")[0].splitlines()[1:]
    cells = [row.strip("| ").split(" | ") for row in rows]
    return {(row[0], how): word for row in cells for how, word in zip(DAMAGES, row[1:], strict=True) if word != "-"}


def test_the_docs_have_a_word_for_each_cell_and_for_no_other() -> None:
    assert list(told()) == CELLS


@pytest.mark.parametrize(("kind", "how"), CELLS)
def test_each_damage_ends_as_the_docs_say(kind: str, how: str, runs: Runs, tmp_path: Path) -> None:
    found = outcome(runs, kind, how, tmp_path)
    assert found in WORDS
    assert found == told()[kind, how]


@pytest.mark.parametrize(("lost", "passing", "steps"), LOST)
def test_what_is_lost_brings_back_just_what_it_takes(lost, passing, steps, runs: Runs, tmp_path: Path) -> None:
    run = copy(runs.run, tmp_path / "run")
    gone = [path for pattern in (lost, *passing) for path in run.glob(pattern)]
    for path in gone:
        path.unlink()
    status, said = runs.world.run(run)
    assert status == 0, said
    assert runs.world.jobs == steps
    assert different(run, runs.run) == []
    assert sorted(runs.world.made) == sorted(str(path.relative_to(run)) for path in gone)


if __name__ == "__main__":
    print(printed())
