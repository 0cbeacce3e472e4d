"""Whole runs in this process: conservation, nothing done twice, kills, failures, exit codes."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import polars as pl
import pytest
from conftest import SmallWeb

CURATE = [sys.executable, "-m", "curate.cli"]


def curate(*arguments: str | Path, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*CURATE, *map(str, arguments)], capture_output=True, text=True, cwd=cwd, timeout=240)


def sums(run: Path) -> str:
    (found,) = run.glob("out/*/SHA256SUMS")
    return found.read_text()


def funnel(run: Path) -> list[dict[str, object]]:
    (found,) = run.glob("out/*/funnel.json")
    rows: list[dict[str, object]] = json.loads(found.read_text())["funnel"]
    return rows


@pytest.fixture(scope="module")
def undisturbed(small_web: SmallWeb, tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("run")
    done = curate("run", small_web.recipe(home / "small.yaml"), "--out", home / "run")
    assert done.returncode == 0, done.stderr
    return home / "run"


def test_every_row_and_segment_is_accounted_for(undisturbed: Path) -> None:
    raw = pl.read_parquet(undisturbed / "raw/*.parquet")
    counts: Counter[str] = Counter()
    for row in funnel(undisturbed):
        counts[str(row["kind"])] += int(str(row["count"]))
    assert counts == dict(raw["kind"].value_counts().iter_rows())
    assert raw.filter(kind="document").height == 60
    assert raw.filter(kind="reject").height == 1


def test_each_url_was_fetched_once_and_each_picture_stored_once(undisturbed: Path) -> None:
    raw = pl.read_parquet(undisturbed / "raw/00000000.parquet").filter(status="ok")
    assert raw["url"].n_unique() < raw.height  # logos repeat
    assert raw.group_by("sha256").agg(pl.col("offset").n_unique())["offset"].max() == 1


def test_a_rerun_does_nothing(undisturbed: Path, small_web: SmallWeb) -> None:
    before = {path: path.stat().st_mtime_ns for path in undisturbed.rglob("*") if path.is_file()}
    recipe = undisturbed.parent / "small.yaml"
    done = curate("run", recipe, "--out", undisturbed)
    assert done.stdout.count("nothing to do") == 4
    changed = {path.name for path, at in before.items() if path.stat().st_mtime_ns != at}
    assert changed <= {"latest.json"}


def test_another_threshold_touches_no_image_and_no_score(undisturbed: Path) -> None:
    kept = {path: path.stat().st_mtime_ns for path in undisturbed.glob("raw/*")} | {
        path: path.stat().st_mtime_ns for path in undisturbed.glob("scores/*/*")
    }
    recipe = undisturbed.parent / "small.yaml"
    done = curate("select", recipe, "--out", undisturbed, "--set", "keep.1.min=150")
    assert done.returncode == 0, done.stderr
    assert "size.min_side min 150" in done.stdout
    assert {path: path.stat().st_mtime_ns for path in kept} == kept
    assert len(list(undisturbed.glob("verdicts/*"))) == 2


@pytest.mark.parametrize("point", range(5))
def test_killed_anywhere_and_restarted_gives_the_same_bytes(point: int, undisturbed: Path, tmp_path: Path) -> None:
    recipe = undisturbed.parent / "small.yaml"
    process = subprocess.Popen(
        [*CURATE, "run", str(recipe), "--out", str(tmp_path / "run")],
        start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    plan = tmp_path / "run/plan.json"
    while not plan.exists() and process.poll() is None:
        time.sleep(0.01)
    time.sleep(random.Random(point).uniform(0, 0.5) + 0.3 * point)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    names = [path for path in tmp_path.rglob("*.tar") if not path.name.startswith(".part-")]
    done = curate("run", recipe, "--out", tmp_path / "run")
    assert done.returncode == 0, done.stderr
    assert sums(tmp_path / "run") == sums(undisturbed)
    assert all(path.exists() for path in names)
    assert not list(tmp_path.rglob(".part-*"))


def test_sigint_ends_with_130_and_leaves_nothing_half_written(undisturbed: Path, tmp_path: Path) -> None:
    recipe = undisturbed.parent / "small.yaml"
    process = subprocess.Popen([*CURATE, "run", str(recipe), "--out", str(tmp_path / "run")], stderr=subprocess.PIPE)
    while not (tmp_path / "run/plan.json").exists():
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130, said
    assert not list(tmp_path.rglob(".part-*"))


def plugin(folder: Path, name: str, body: str) -> None:
    (folder / f"{name}.py").write_text(
        "import os\nfrom pathlib import Path\nfrom curate import scores\n\n"
        f'@scores("text", length=int, batch=8)\ndef {name}(texts):\n{body}\n'
        "    return [{'length': len(text.text)} for text in texts]\n"
    )


def test_a_shard_that_raises_is_retried_and_listed_and_the_others_finish(small_web: SmallWeb, tmp_path: Path) -> None:
    poison = json.loads((small_web.folder / "mmc4.jsonl").read_text().splitlines()[0])["text_list"][0]
    count = tmp_path / "count"
    body = f"    if any(text.text == {poison!r} for text in texts):\n"
    body += f"        open({str(count)!r}, 'a').write('x')\n        raise RuntimeError('poison')"
    plugin(tmp_path, "moody", body)
    recipe = small_web.recipe(tmp_path / "r.yaml", score="  moody: {use: moody}\n")
    done = curate("run", recipe, "--out", tmp_path / "run")
    assert done.returncode == 3
    assert "poison" in done.stderr
    assert "00000000" in done.stderr
    tries = len(count.read_text())
    assert tries == 3
    written = {path.stem for path in (tmp_path / "run/scores").glob("moody-*/*.parquet")}
    shards = {path.stem for path in (tmp_path / "run/raw").glob("*.parquet")}
    # a repeated sentence may poison more
    assert shards - written == {"00000000"} or len(shards - written) < len(shards)
    partial = curate("run", recipe, "--out", tmp_path / "run", "--partial")
    assert partial.returncode == 3
    assert list((tmp_path / "run").glob("out/*/index.json"))


def test_a_bug_in_a_plugin_stops_the_run_with_its_cause(small_web: SmallWeb, tmp_path: Path) -> None:
    plugin(tmp_path, "buggy", "    texts[0].txet")
    done = curate("run", small_web.recipe(tmp_path / "r.yaml", score="  b: {use: buggy}\n"), "--out", tmp_path / "run")
    assert done.returncode == 1
    assert "score 'b'" in done.stderr
    assert "txet" in done.stderr


def test_a_corrupt_source_file_is_listed_and_the_others_proceed(small_web: SmallWeb, tmp_path: Path) -> None:
    (tmp_path / "a.jsonl.gz").write_bytes(b"not gzip at all")
    (tmp_path / "b.jsonl").write_text((small_web.folder / "mmc4.jsonl").read_text().splitlines()[0])
    recipe = small_web.recipe(tmp_path / "r.yaml")
    recipe.write_text(recipe.read_text().replace(f"{small_web.folder}/mmc4.jsonl", f"{tmp_path}/*.jsonl*"))
    done = curate("run", recipe, "--out", tmp_path / "run")
    assert done.returncode == 3
    assert "a.jsonl.gz" in done.stderr
    assert curate("run", recipe, "--out", tmp_path / "run", "--partial").returncode == 3
    assert len(list((tmp_path / "run").glob("raw/*.parquet"))) == 1


def test_other_fetch_settings_are_refused_with_the_difference(undisturbed: Path) -> None:
    done = curate("run", undisturbed.parent / "small.yaml", "--out", undisturbed, "--set", "fetch.max_bytes=1MB")
    assert done.returncode == 2
    assert "fetch.max_bytes: 20000000 -> 1000000" in done.stderr


def test_politeness_may_change_without_fetching_again(undisturbed: Path) -> None:
    done = curate("run", undisturbed.parent / "small.yaml", "--out", undisturbed, "--set", "fetch.timeout=9")
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("nothing to do") == 4


def test_limit_takes_the_first_documents_into_a_run_of_its_own(small_web: SmallWeb, tmp_path: Path) -> None:
    recipe = small_web.recipe(tmp_path / "r.yaml")
    assert curate("run", recipe, "--limit", "7", cwd=tmp_path).returncode == 0
    raw = pl.read_parquet(tmp_path / "runs/r-limit7/raw/*.parquet")
    assert raw.filter(kind="document").height == 7


def test_a_recipe_error_names_file_key_and_nearest(small_web: SmallWeb, tmp_path: Path) -> None:
    recipe = small_web.recipe(tmp_path / "r.yaml", keep="  - {image: size.min_sied, min: 3}\n")
    done = curate("run", recipe, "--out", tmp_path / "run")
    assert done.returncode == 2
    assert "keep.3.image" in done.stderr
    assert "did you mean 'size.min_side'" in done.stderr
    assert not (tmp_path / "run").exists()


def test_a_raw_shard_that_was_changed_is_noticed(undisturbed: Path, tmp_path: Path) -> None:
    shutil.copytree(undisturbed, tmp_path / "run")
    shutil.rmtree(tmp_path / "run/out")
    tar = tmp_path / "run/raw/00000001.tar"
    content = bytearray(tar.read_bytes())
    (offset,) = pl.read_parquet(tar.with_suffix(".parquet")).filter(pl.col("width") > 90)["offset"].head(1)
    content[offset + 99] ^= 1
    tar.write_bytes(content)
    done = curate("pack", undisturbed.parent / "small.yaml", "--out", tmp_path / "run")
    assert done.returncode == 3
    assert "00000001.tar is damaged (picture" in done.stderr
    assert "--repair` removes it" in done.stderr
    assert not list((tmp_path / "run").glob("out/*/index.json"))


def test_a_source_of_which_no_row_is_a_document_ends_the_run(small_web: SmallWeb, tmp_path: Path) -> None:
    (tmp_path / "bad.jsonl").write_text('{"texts": []}\n[1]\n')
    recipe = small_web.recipe(tmp_path / "r.yaml")
    recipe.write_text(recipe.read_text().replace(f"{small_web.folder}/mmc4.jsonl", f"{tmp_path}/bad.jsonl"))
    done = curate("run", recipe, "--out", tmp_path / "run")
    assert done.returncode == 1
    assert "none of 2 rows is a document: bad.jsonl, row 0" in done.stderr


def test_a_run_in_which_nothing_succeeds_ends(small_web: SmallWeb, tmp_path: Path) -> None:
    plugin(tmp_path, "full", "    raise RuntimeError('no memory left')")
    done = curate("run", small_web.recipe(tmp_path / "r.yaml", score="  f: {use: full}\n"), "--out", tmp_path / "run")
    assert done.returncode == 1
    assert "the first 5 jobs all failed 3 times" in done.stderr
    assert "no memory left" in done.stderr


def test_a_plugin_that_does_not_parse_is_named_with_its_line(small_web: SmallWeb, tmp_path: Path) -> None:
    (tmp_path / "torn.py").write_text("from curate import scores\n\ndef torn(:\n")
    done = curate("run", small_web.recipe(tmp_path / "r.yaml", score="  t: {use: torn}\n"), "--out", tmp_path / "run")
    assert done.returncode == 2
    assert "torn.py, line 3: SyntaxError" in done.stderr


def test_a_hash_that_the_corpus_does_not_give_cannot_be_verified(small_web: SmallWeb, tmp_path: Path) -> None:
    done = curate("run", small_web.recipe(tmp_path / "r.yaml"), "--out", tmp_path / "run", "--set", "fetch.verify=md5")
    assert done.returncode == 2
    assert "the corpus 'mmc4' has no column 'md5'" in done.stderr


def test_scores_that_are_missing_are_listed(undisturbed: Path, tmp_path: Path) -> None:
    shutil.copytree(undisturbed, tmp_path / "run")
    next((tmp_path / "run").glob("scores/words-*/00000002.parquet")).unlink()
    done = curate("select", undisturbed.parent / "small.yaml", "--out", tmp_path / "run")
    assert done.returncode == 3
    assert "score 00000002: not scored yet" in done.stderr


def test_why_and_hist_and_show_speak_of_the_run(undisturbed: Path) -> None:
    shown = curate("show", undisturbed)
    assert "A document that was kept" in shown.stdout
    assert "url.hits max 0" in shown.stdout
    document = pl.read_parquet(undisturbed / "raw/00000000.parquet")["document"][0]
    assert "url.hits max 0" in curate("why", document[:12], "--run", undisturbed).stdout
    assert "kept at this min" in curate("hist", "size.min_side", "--run", undisturbed).stdout
    assert curate("hist", "size.min_sied", "--run", undisturbed).returncode == 2
    assert curate("why", "0000nothing", "--run", undisturbed).returncode == 2


def test_a_raw_shard_in_the_place_of_another_is_refused(undisturbed: Path, tmp_path: Path) -> None:
    shutil.copytree(undisturbed, tmp_path / "run")
    shutil.rmtree(tmp_path / "run/verdicts")
    shutil.copy(tmp_path / "run/raw/00000001.parquet", tmp_path / "run/raw/00000002.parquet")
    done = curate("run", undisturbed.parent / "small.yaml", "--out", tmp_path / "run")
    assert done.returncode == 3
    assert "00000002.parquet was made by another plan" in done.stderr
    assert not list((tmp_path / "run").glob("verdicts/*/funnel.json"))
