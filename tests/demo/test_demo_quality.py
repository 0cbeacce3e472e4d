"""What the demo's filters find of what is planted, at least: a small planted world, end to end."""

from __future__ import annotations

from collections.abc import Iterator
from io import StringIO
from pathlib import Path

import polars as pl
import pytest
from rich.console import Console
from shards import Nobody

from curate.demo import __main__ as demo
from curate.demo import findings, plant, planted, web, world
from curate.run.executor import InProcess
from curate.run.run import Run
from curate.run.stages import Stages
from curate.store.store import Store

torch = pytest.importorskip("torch")
for package in ("open_clip", "transformers", "timm", "fasttext"):
    pytest.importorskip(package)

MODELS = Path(world.__file__).parents[2] / "filters" / "demo_models"
PAIRS = 150

pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder, threads = tmp_path_factory.mktemp("planted"), torch.get_num_threads()
    torch.set_num_threads(1)
    with web.serve(folder) as port:
        plant.build(folder, port, PAIRS, seed=77)
        yield folder
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def run(home: Path) -> Run:
    recipe = home / "planted.yaml"
    recipe.write_text(Path(demo.__file__).with_name("planted.yaml").read_text().replace("demo/web", str(home)))
    run = Run.open(recipe, Store(home / "run"))
    run.resolved.check()
    demo.do(Stages.of(run, InProcess(), Nobody()))
    return run


@pytest.fixture(scope="module")
def found(run: Run, home: Path) -> findings.Findings:
    return findings.collect(run, home / "truth.parquet")


def test_clip_parts_right_captions_from_wrong_ones(found: findings.Findings) -> None:
    assert found.pairs == PAIRS
    assert found.auc >= 0.95
    assert found.auc_clean >= 0.98


@pytest.mark.parametrize("at", [1, 2])
def test_after_capfilt_texts_are_true_and_pictures_keep_one(at: int, found: findings.Findings) -> None:
    before, after = found.texts[0], found.texts[at]
    assert before.share == 0.6
    assert after.share >= 0.95
    assert after.with_text >= 0.9


@pytest.mark.parametrize(
    ("rule", "precision", "recall"),
    [
        ("nsfw.unsafe > 0.5", 0.9, 0.91),  # of twelve, one may be missed
        ("watermark.watermark > 0.8", 0.92, 0.86),
        ("faces.count >= 1", 0.9, 0.83),
        ("aesthetic.score < 4", 0.7, 0.7),
        ("clip.sim < 0.88", 0.7, 0.9),
        ("capfilt.text_itm < 0.5", 0.85, 0.9),
        ("same, of 3 words or more", 0.8, 0.93),
        ("words.words < 3", 1, 0.4),
        ("pii.emails >= 1", 1, 1),
    ],
)
def test_a_filter_finds_what_is_planted(rule: str, precision: float, recall: float, found: findings.Findings) -> None:
    figures = found.of(rule)
    assert figures.planted
    assert figures.precision >= precision
    assert figures.recall >= recall


def test_languages_are_told_apart(found: findings.Findings) -> None:
    captions = sum(count for _, count, _ in found.languages)
    assert captions == PAIRS * 0.9
    assert sum(count * right for _, count, right in found.languages if count) / captions >= 0.95


def test_the_report_can_be_read(found: findings.Findings) -> None:
    console = Console(width=120, file=StringIO())
    findings.show(console, found)
    said = console.file.getvalue()
    assert "nsfw.unsafe > 0.5" in said
    assert "written, after all rules" in said


def test_the_truth_is_what_was_planted(home: Path) -> None:
    truth = pl.read_parquet(home / "truth.parquet")
    counts = truth.select(pl.col("unsafe", "watermarked", "addressed").sum(), pl.col("face").is_not_null().sum())
    assert counts.rows() == [(12, 15, 4, 12)]
    assert dict(truth["kind"].value_counts().iter_rows()) == {
        "right": 90, "changed": 15, "other": 15, "boilerplate": 15, "foreign": 15,
    }  # fmt: skip
    for row in truth.iter_rows(named=True):
        scene = plant.scene_of(row)
        assert planted.is_unsafe(scene) == row["unsafe"]
        assert planted.holds(row["text"], scene) == (row["kind"] == "right")
        assert planted.taste(scene) == row["taste"]
        assert ("@" in row["text"]) == row["addressed"]


def test_equal_arguments_plant_the_same(tmp_path: Path) -> None:
    made = []
    for name in ("a", "b"):
        plant.build(tmp_path / name, 1, 12)
        made.append({path.name: path.read_bytes() for path in (tmp_path / name).rglob("*.*")})
    assert made[0] == made[1]
    assert len(made[0]) == 14


@pytest.mark.parametrize(
    ("higher", "lower", "auc"), [([3, 4], [1, 2], 1.0), ([1, 1], [1, 1], 0.5), ([1, 3], [2, 2], 0.5)]
)
def test_auc(higher: list[float], lower: list[float], auc: float) -> None:
    assert findings.auc(pl.Series(higher).to_numpy(), pl.Series(lower).to_numpy()) == auc


def test_a_threshold_counts_what_it_flags() -> None:
    pairs = pl.DataFrame({"nsfw.unsafe": [0.9, 0.6, 0.5, None], "unsafe": [True, False, True, True]})
    check = next(each for each in findings.CHECKS if each.rule == "nsfw.unsafe > 0.5")
    figures = findings.found(check, pairs)
    assert (figures.planted, figures.flagged, figures.right) == (3, 2, 1)
    assert (figures.precision, figures.recall) == (1 / 2, 1 / 3)
