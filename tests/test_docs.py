"""The code in README, CONTRIBUTING and docs/: what is Python there runs, and what is a recipe there is valid."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest
from conftest import SmallWeb

import curate
from curate.recipe.recipe import Recipe
from curate.recipe.recipe_file import parse

ROOT = Path(curate.__file__).parents[1]


@cache
def blocks(kind: str) -> dict[str, str]:
    """File and line -> a fenced block of this kind."""
    pages = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
    found = {}
    for path in pages:
        text = path.read_text()
        for match in re.finditer(rf"^```{kind}\n(.*?)^```", text, re.MULTILINE | re.DOTALL):
            found[f"{path.relative_to(ROOT)}:{text.count(chr(10), 0, match.start()) + 1}"] = match[1]
    return found


def named_files() -> dict[str, str]:
    """Path -> the block that the docs give as what stands in it: the one right after its name."""
    guide = (ROOT / "docs/write-a-filter.md").read_text()
    return dict(re.findall(r"`(demo/\w+\.\w+)`[^\n]*:\n\n```\w+\n(.*?)^```", guide, re.MULTILINE | re.DOTALL))


def test_blocks_are_found() -> None:
    assert len(blocks("python")) > 8
    assert len(blocks("yaml")) > 8
    assert {"demo/colours.py", "demo/mine.yaml", "demo/brightness.py", "demo/hue.py"} <= named_files().keys()


@pytest.mark.parametrize("place", blocks("python"))
def test_what_the_docs_import_is_there(place: str) -> None:
    """Without running the rest, so that this is known in a second."""
    tree = ast.parse(blocks("python")[place])
    ours = [node for node in ast.walk(tree) if isinstance(node, ast.Import | ast.ImportFrom)]
    for line in map(ast.unparse, ours):
        if re.match(r"(from|import) curate\b", line):
            exec(line, {})


@pytest.fixture(scope="module")
def home(small_web: SmallWeb, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the demo in it, smaller: its web, two of its runs, and the files that the docs have one write."""
    home = tmp_path_factory.mktemp("docs")
    (home / "demo").mkdir()
    (home / "demo/web").symlink_to(small_web.folder)
    for name, content in named_files().items():
        (home / name).write_text(content)
    (home / "demo/laion.yaml").write_text(named_files()["demo/mine.yaml"])
    small_web.recipe(home / "demo/mmc4.yaml")
    for name in ("mmc4", "laion"):
        command = ["run", f"demo/{name}.yaml", "--out", f"demo/runs/{name}", "--set", "fetch.allow_loopback=true"]
        python(["-m", "curate.cli", *command], home)
    return home


def python(arguments: list[str], folder: Path) -> str:
    """What Python prints; its errors fail the test."""
    done = subprocess.run([sys.executable, *arguments], cwd=folder, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("place", blocks("python"))
def test_code_in_the_docs_runs(place: str, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And prints what stands beside a print, and finds something to loop over."""
    code = blocks("python")[place]
    if "wids" in code or "webdataset" in code:
        pytest.importorskip("webdataset")
    monkeypatch.setenv("WIDS_CACHE", str(home / "cache"))
    loops = [ast.unparse(node.target) for node in ast.parse(code).body if isinstance(node, ast.For)]
    said = python(["-c", "\n".join([code, *loops])], home)
    for beside in re.findall(r"^print\(.*\)  # (.*)$", code, re.MULTILINE):
        assert beside in said


@pytest.mark.parametrize("place", blocks("yaml"))
def test_recipes_in_the_docs_are_valid(place: str) -> None:
    """Parts of a section are read as YAML alone."""
    content = parse(blocks("yaml")[place])
    if content.keys() <= Recipe.model_fields.keys():
        Recipe.model_validate({"source": {"reader": "mmc4", "path": "*.jsonl"}, **content})
    else:
        assert blocks("yaml")[place].startswith("  ")
