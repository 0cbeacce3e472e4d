"""URLs to CLIP-filtered tars: `curate run` beside the Ray Data script one would write instead, also when workers die.

    python benchmarks/whole_job.py [--quick] [--pairs 600]

Both sides (ours, and ray_data_script.py) get the same pairs from nginx on loopback, two cores, a local Ray, the
same demo CLIP and the same threshold; the corpus is drawn scenes, 3 % dead links and 3 % corrupt pictures. Whole
commands are timed, Ray's start included, as that is what a user waits for. Ours also keeps the original bytes,
scores of everything, a verdict and a reason for every segment; the script keeps what passes.

Then each is run again and one worker process is killed with SIGKILL once the server has been asked for half of the
pictures; both are started a second time. The server's log tells what was asked for twice, the tars what was lost or
written twice, against the undisturbed run.

The limit: the work is decoding and the demo model, a few ms a picture; at these sizes Ray's start and imports weigh
most.
"""

from __future__ import annotations

import json
import tarfile
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import common
import numpy as np

from curate.demo import world
from curate.image.codec import encode

SCRIPT = Path(__file__).with_name("ray_data_script.py")
CLIP = Path(__file__).resolve().parent.parent / "filters/demo_models/clip"
LEAST = 0.85
Watch = Callable[[int], str | None] | None


def build(folder: Path, base: str, pairs: int) -> Path:
    """Draws the corpus; a fifth of the captions is wrong, 3 % of the links are dead, 3 % of the pictures corrupt."""
    rng = np.random.default_rng(5)
    (folder / "web").mkdir(exist_ok=True)
    urls, captions = [], []
    for number in range(pairs):
        scene = world.random_scene(rng, 224)
        data = encode(world.draw(scene))
        fate = rng.random()
        if fate < 0.03:
            data = data[: len(data) // 2]
        if not 0.03 <= fate < 0.06:
            (folder / f"web/{number:06d}.jpg").write_bytes(data)
        urls.append(f"{base}/{number:06d}.jpg")
        captions.append(world.wrong_caption(scene, rng) if rng.random() < 0.2 else world.caption(scene, rng))
    return common.manifest(folder / "pairs.parquet", urls, captions)


def ours(folder: Path, manifest: Path, name: str, pairs: int, watch: Watch = None) -> common.Ran:
    """`curate run` on a local Ray."""
    recipe = common.recipe(
        folder / f"{name}.yaml",
        {
            "source": {"reader": "laion", "path": str(manifest), "shard": max(10, pairs // 8)},
            "fetch": {"allow_loopback": True, "per_host": 64, "timeout": 10},
            "score": {"clip": {"use": "clip", "model": "demo"}},
            "keep": [{"image": "clip.sim", "min": LEAST}],
            "pack": {"format": "pairs"},
        },
    )
    return common.ran([*common.CLI, "run", recipe, "--out", folder / name, "--ray", "local", "--workers", "2"], watch)


def script(folder: Path, manifest: Path, name: str, watch: Watch = None) -> common.Ran:
    """The Ray Data script."""
    command = [common.CLI[0], SCRIPT, manifest, folder / name, "--clip", CLIP, "--min", str(LEAST), "--actors", "1"]
    return common.ran(command, watch, timeout=300)


def kept(folder: Path) -> Counter[str]:
    """The URLs in the tars below a folder, and how often each stands there; a broken tar counts as none."""
    found: Counter[str] = Counter()
    for path in folder.rglob("*.tar"):
        if "raw" in path.parts:
            continue
        try:
            with tarfile.open(path) as tar:
                for member in tar:
                    if member.name.endswith(".json"):
                        found[json.loads(tar.extractfile(member).read())["url"]] += 1  # type: ignore[union-attr]
        except tarfile.TarError as error:
            common.note(f"{path}: {error}")
    return found


def killer(web: common.Web, began: float, after: int, names: tuple[str, ...]) -> Callable[[int], str | None]:
    """Kills the first worker with one of these titles once ``after`` requests were answered; says which."""

    def watch(process: int) -> str | None:
        if len(web.asked(began)) < after:
            return None
        for name in names:
            for each in common.tree(process):
                if name in common.title(each):
                    found = common.title(each)
                    common.kill(each)
                    return found
        return None

    return watch


def main() -> None:
    parser = common.arguments(__doc__)
    parser.add_argument("--pairs", type=int, default=600)
    parser.add_argument("--rounds", type=int, default=2)
    given = parser.parse_args()
    pairs, rounds = (300, 1) if given.quick else (given.pairs, given.rounds)
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        folder = Path(name)
        (folder / "web").mkdir()
        with common.serve(folder / "web") as web:
            manifest = build(folder, web.base, pairs)
            runs = {
                "curate": lambda name, watch=None: ours(folder, manifest, name, pairs, watch),
                "Ray Data script": lambda name, watch=None: script(folder, manifest, name, watch),
            }
            last: dict[str, common.Ran] = {}

            def timed(side: str, number: int) -> float:
                last[side] = runs[side](f"{side.split()[0]}-{number}")
                if last[side].code:
                    raise RuntimeError(f"{side}: {last[side].output[-3000:]}")
                return last[side].seconds

            figures = common.alternate({side: lambda number, side=side: timed(side, number) for side in runs}, rounds)
            whole = {side: kept(folder / f"{side.split()[0]}-0") for side in runs}
            recipe = len(Path(world.__file__).with_name("laion.yaml").read_text().splitlines())
            lines = len([line for line in SCRIPT.read_text().splitlines() if line.strip()])
            table = common.Table(["side", "seconds, each round", "best", "pairs kept", "lines a user writes"])
            for side, values in figures.items():
                size = recipe if side == "curate" else lines
                each = ", ".join(f"{value:.1f}" for value in values)
                table.add(side, each, f"{min(values):.1f}", sum(whole[side].values()), size)
            table.show(f"{pairs} pairs, whole commands")
            a, b = whole.values()
            both, first, second = len(a.keys() & b.keys()), len(a - b), len(b - a)
            print(f"Kept by both: {both}; by curate only: {first}; by the script only: {second}.\n")

            one = ["side", "killed", "exit code", "seconds", "pairs in tars", "lost", "twice", "asked again"]
            table = common.Table([*one, "second start: exit", "seconds", "asked again", "lost", "twice"])
            titles = {"curate": ("ray::Actor.work",), "Ray Data script": ("ray::MapWorker", "ray::_MapWorker")}
            for side, run in runs.items():
                name, now = f"{side.split()[0]}-killed", time.time()
                first = run(name, killer(web, now, pairs // 2, titles[side]))
                cells = [
                    first.code,
                    f"{first.seconds:.0f}",
                    *damage(kept(folder / name), whole[side]),
                    web.repeated(now),
                ]
                again = time.time()
                second = run(name)
                before = {path for when, path in web.asked(now) if when < again}
                repeated = sum(path in before for _, path in web.asked(again))
                table.add(
                    side,
                    first.killed or "nobody: too late",
                    *cells,
                    second.code,
                    f"{second.seconds:.0f}",
                    repeated,
                    *damage(kept(folder / name), whole[side])[1:],
                )
            table.show("One worker killed with SIGKILL half-way, then the same command again")


def damage(found: Counter[str], whole: Counter[str]) -> list[int]:
    """How many pairs there are, are missing, and stand there more often than once."""
    return [sum(found.values()), len(whole.keys() - found.keys()), sum(count - 1 for count in found.values())]


if __name__ == "__main__":
    main()
