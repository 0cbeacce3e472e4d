"""The project's own rules, read from its source by ``ast``."""

from __future__ import annotations

import ast
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

import curate

ROOT = Path(curate.__file__).parents[1]
LOOK = "import sys, time; t = time.perf_counter(); import curate; print(time.perf_counter() - t, *sys.modules)"


@cache
def imports() -> dict[str, set[str]]:
    """File -> the dotted names it imports, at its top or later."""
    files = [file for folder in ("curate", "filters", "pipelines") for file in (ROOT / folder).rglob("*.py")]
    return {str(file.relative_to(ROOT)): set(named(file)) for file in files if not links(file)}


def links(file: Path) -> bool:
    return file.is_relative_to(ROOT / "curate/filters") or file.is_relative_to(ROOT / "curate/pipelines")


def named(file: Path) -> list[str]:
    found = []
    for node in ast.walk(ast.parse(file.read_bytes())):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}: relative import"
            found += [str(node.module), *(f"{node.module}.{alias.name}" for alias in node.names)]
    return found


def importers(*modules: str) -> set[str]:
    """The files that import one of these modules or what is in them."""
    return {
        file
        for file, names in imports().items()
        if any(name == module or name.startswith(f"{module}.") for name in names for module in modules)
    }


def test_the_files_are_found() -> None:
    assert {"curate/run.py", "curate/demo/web.py", "filters/clip.py", "pipelines/mmc4.py"} <= imports().keys()
    assert "curate/recipe.py" in importers("pydantic")


def test_ray_is_imported_in_one_file() -> None:
    assert importers("ray") == {"curate/cluster.py"}


def test_models_are_imported_in_filters() -> None:
    found = importers("torch", "torchvision", "open_clip", "transformers", "tokenizers", "safetensors")
    assert "filters/clip.py" in found
    assert {file for file in found if not file.startswith("filters/")} == set()


def test_codecs_are_imported_in_the_image_module() -> None:
    codecs = {file for file in importers("PIL", "cv2", "simplejpeg") if not file.startswith("filters/demo_models/")}
    detectors = {"filters/faces.py", "filters/_text_boxes.py"}  # OpenCV's networks
    assert codecs - detectors == {"curate/image.py"}


def test_the_network_is_reached_in_the_downloader() -> None:
    network = ("aiohttp", "aiodns", "urllib.request", "http.client", "requests", "httpx", "urllib3", "img2dataset")
    rooms = {"curate/engine_img2dataset.py", "filters/caption_endpoint.py"}
    assert importers(*network) - rooms == {"curate/download.py"}
    assert importers("socket") <= {"curate/download.py", "curate/address.py", "curate/engine_img2dataset.py"}
    assert importers("http.server") == {"curate/demo/web.py"}


def test_the_core_names_no_filter_and_no_corpus() -> None:
    found = importers("curate.filters", "curate.pipelines", "filters", "pipelines")
    core = {file for file in found if file.startswith("curate/") and not file.startswith("curate/demo/")}
    assert core <= {"curate/scorer.py"}
    named = {
        name for file in core for name in imports()[file] if name.startswith(("curate.filters", "curate.pipelines"))
    }
    assert named <= {"curate.filters"}  # the package, for its path


@pytest.mark.parametrize("name", ["filters", "pipelines"])
def test_filters_and_pipelines_are_links(name: str) -> None:
    link = ROOT / "curate" / name
    assert link.is_symlink()
    assert link.readlink() == Path("..") / name


def test_import_curate_is_cheap() -> None:
    runs = [subprocess.run([sys.executable, "-c", LOOK], capture_output=True, text=True, check=True) for _ in range(5)]
    seconds, *modules = min((run.stdout.split() for run in runs), key=lambda line: float(line[0]))
    heavy = {"torch", "ray", "aiohttp", "polars", "pyarrow", "pydantic", "cv2", "PIL", "scipy"}
    assert heavy & set(modules) == set()
    assert float(seconds) < 0.3


@pytest.mark.parametrize("file", sorted(imports()))
def test_a_file_opens_with_what_it_is(file: str) -> None:
    said = ast.get_docstring(ast.parse((ROOT / file).read_bytes()))
    assert said, f"{file} has no docstring"
    assert said.partition("\n")[0].strip()
