"""The project's own rules, read from its source by ``ast``: who imports whom, how large things are, what they say."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections import Counter
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

import curate

ROOT = Path(curate.__file__).parents[1]
LOOK = "import sys, time; t = time.process_time(); import curate; print(time.process_time() - t, *sys.modules)"

TOP = ("document", "plugin", "status", "report")
"""Files at the top, for users and all wings."""
WINGS = (
    "image",
    "recipe",
    "store",
    "ledger",
    "source",
    "fetch",
    "score",
    "group",
    "select",
    "pack",
    "run",
    "inspect",
    "show",
    "cli",
    "demo",
)
"""A wing imports only wings before it."""
PLUGINS = ("views", "writers", "formats", "filters", "pipelines")
"""Folders of plugins: any number of files, and nothing but plugins."""
APART = ("curate/demo/", "filters/demo_models/")
"""What is not held to the sizes: a drawn world, and how its models were trained."""


# --- what there is


@cache
def trees() -> dict[str, ast.Module]:
    """File -> its source, parsed."""
    files = [file for folder in ("curate", "filters", "pipelines") for file in (ROOT / folder).rglob("*.py")]
    names = {file.relative_to(ROOT).as_posix(): file for file in files}
    linked = ("curate/filters/", "curate/pipelines/")
    return {name: ast.parse(file.read_bytes()) for name, file in sorted(names.items()) if not name.startswith(linked)}


@cache
def imports() -> dict[str, set[str]]:
    """File -> the dotted names it imports: at its top, in functions, or for types alone."""
    return {file: named(file, tree) for file, tree in trees().items()}


def named(file: str, tree: ast.Module) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}: relative import"
            found |= {str(node.module), *(f"{node.module}.{alias.name}" for alias in node.names)}
    return found


@cache
def edges() -> dict[str, set[str]]:
    """File -> our files that it imports."""
    return {file: {ours for name in names if (ours := defined_in(name))} - {file} for file, names in imports().items()}


@cache
def defined_in(name: str) -> str | None:
    """The file of ours that a dotted name is, or lies in: the longest part of it that is one."""
    parts = name.split(".")
    if parts[0] != "curate":
        return None
    for end in range(len(parts), 0, -1):
        path = "/".join(parts[:end]).removeprefix("curate/") if parts[1:2] in (["filters"], ["pipelines"]) else ""
        path = path if end > 1 and path else "/".join(parts[:end])
        for file in (f"{path}.py", f"{path}/__init__.py"):
            if file in trees():
                return file
    return None


def wing(file: str) -> str:
    """The wing that a file lies in; "" for files at the top, "filters" and "pipelines" for theirs."""
    folders = file.split("/")[:-1]
    return folders[1] if folders[0] == "curate" and folders[1:] else folders[0].removeprefix("curate")


def core() -> list[str]:
    return [file for file in trees() if file.startswith("curate/")]


def held() -> list[str]:
    return [file for file in trees() if not file.startswith(APART)]


def importers(*modules: str) -> set[str]:
    """The files that import one of these modules or what is in them."""
    return {
        file
        for file, names in imports().items()
        if any(name == module or name.startswith(f"{module}.") for name in names for module in modules)
    }


def test_the_files_are_found() -> None:
    assert {"curate/store/store.py", "curate/demo/web.py", "filters/clip.py", "pipelines/mmc4.py"} <= trees().keys()
    assert "curate/recipe/recipe.py" in importers("pydantic")
    assert "curate/document.py" in edges()["pipelines/mmc4.py"]
    assert "filters/_pretrained.py" in edges()["filters/itm.py"]
    assert "curate/ledger/making.py" in edges()["curate/fetch/crawl.py"]
    assert {wing(file) for file in core()} == {"", *WINGS}


# --- who imports whom


@pytest.mark.parametrize("name", WINGS)
def test_a_wing_imports_only_wings_before_it(name: str) -> None:
    before = {"", *WINGS[: WINGS.index(name) + 1]} | ({"filters"} if name == "score" else set())  # for its path: below
    before |= {"filters", "pipelines"} if name == "demo" else set()
    assert [(file, to) for file in core() if wing(file) == name for to in edges()[file] if wing(to) not in before] == []


def test_files_at_the_top_import_no_wing() -> None:
    top = {file for file in core() if wing(file) == ""}
    assert {f"curate/{name}.py" for name in TOP} <= top
    assert [(file, to) for file in top for to in edges()[file] if to not in top] == []


def test_filters_and_pipelines_do_not_know_that_there_are_runs() -> None:
    later = WINGS[WINGS.index("run") :]
    plugins = [file for file in held() if wing(file) in ("filters", "pipelines")]
    assert [(file, to) for file in plugins for to in edges()[file] if wing(to) in later] == []


def test_no_file_imports_itself_by_way_of_others() -> None:
    try:
        TopologicalSorter(edges()).prepare()
    except CycleError as error:
        pytest.fail(" <- ".join(error.args[1]))


def test_ray_is_imported_in_one_file() -> None:
    assert importers("ray") == {"curate/run/cluster.py"}


def test_models_are_imported_in_filters() -> None:
    found = importers("torch", "torchvision", "open_clip", "transformers", "tokenizers", "safetensors", "timm")
    assert "filters/clip.py" in found
    outside = {file for file in found if wing(file) != "filters"}
    assert {wing(file) for file in outside} <= {"score"}
    assert len(outside) <= 1


def test_codecs_are_imported_where_images_are() -> None:
    codecs = {file for file in importers("PIL", "cv2", "simplejpeg") if not file.startswith(APART)}
    detectors = {"filters/faces.py", "filters/_text_boxes.py"}  # OpenCV's networks
    assert codecs - detectors == {"curate/image/codec.py", "curate/image/resize.py", "curate/image/blur.py"}


def test_the_network_is_reached_in_the_downloader() -> None:
    network = ("aiohttp", "aiodns", "urllib.request", "http.client", "requests", "httpx", "urllib3", "img2dataset")
    rooms = {"curate/fetch/engine_img2dataset.py", "filters/caption_endpoint.py"}
    assert importers(*network) - rooms == {"curate/fetch/download.py"}
    assert importers("socket") <= {
        "curate/fetch/download.py",
        "curate/fetch/address.py",
        "curate/fetch/engine_img2dataset.py",
    }
    assert importers("http.server") == {"curate/demo/web.py"}


def test_the_core_names_no_filter_and_no_corpus() -> None:
    found = importers("curate.filters", "curate.pipelines", "filters", "pipelines")
    ours = {file for file in found if file in core() and wing(file) != "demo"}
    assert {wing(file) for file in ours} <= {"score"}
    assert len(ours) <= 1
    theirs = ("curate.filters", "curate.pipelines")
    assert {name for file in ours for name in imports()[file] if name.startswith(theirs)} <= {"curate.filters"}


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


# --- how large things are


def test_the_core_is_wings_and_few_files() -> None:
    assert len([file for file in core() if wing(file) == ""]) <= 10


@pytest.mark.parametrize("name", WINGS[:-1])
def test_a_wing_has_at_most_twelve_files(name: str) -> None:
    files = [file for file in core() if wing(file) == name and not set(PLUGINS) & set(file.split("/"))]
    assert len(files) <= 12, files


def test_plugin_folders_are_the_only_folders_in_wings() -> None:
    assert {file.split("/")[2] for file in core() if file.count("/") > 2} <= set(PLUGINS)


@pytest.mark.parametrize("file", held())
def test_a_file_has_at_most_300_lines_and_a_class_120(file: str) -> None:
    assert lines(file) <= 300
    assert {name: size for name, size in classes(file).items() if size > 120} == {}


def lines(file: str) -> int:
    return len((ROOT / file).read_text().splitlines())


def classes(file: str) -> dict[str, int]:
    """Class -> its lines."""
    found = [node for node in ast.walk(trees()[file]) if isinstance(node, ast.ClassDef)]
    return {node.name: (node.end_lineno or 0) - node.lineno + 1 for node in found}


def test_jobs_and_who_does_them_are_short() -> None:
    """Files of 562 lines did this before there were jobs and targets."""
    core = ("ledger/job.py", "ledger/making.py", "run/scheduler.py", "run/executor.py")
    assert sum(lines(f"curate/{file}") for file in core) <= 562


# --- what they are called and made of


def test_no_two_files_have_the_same_name() -> None:
    files = [file for file in core() if not set(PLUGINS) & set(file.split("/"))]
    names = Counter(name for file in files if not (name := file.rpartition("/")[2]).startswith("__"))
    assert {name for name, count in names.items() if count > 1} == set()


def test_our_classes_do_not_inherit_from_each_other() -> None:
    """Protocols, sections of a recipe and errors aside."""
    inherits = {
        f"{file}: {node.name}({ast.unparse(base)})"
        for file in trees()
        for node in ast.walk(trees()[file])
        if isinstance(node, ast.ClassDef)
        for base in node.bases
        if (found := class_of(file, base)) and not open_to_heirs(*found)
    }
    assert inherits == set()


def class_of(file: str, base: ast.expr) -> tuple[str, ast.ClassDef] | None:
    """The class of ours that an expression in a file names, and its file; None for what is not ours."""
    spelled = ast.unparse(base.value if isinstance(base, ast.Subscript) else base)
    first, _, rest = spelled.partition(".")
    for node in ast.walk(trees()[file]):
        if isinstance(node, ast.ClassDef) and node.name == spelled:
            return file, node
        if isinstance(node, ast.Import | ast.ImportFrom):
            package = node.module if isinstance(node, ast.ImportFrom) else ""
            for alias in node.names:
                if first == (alias.asname or alias.name):
                    spelled = ".".join(filter(None, (package, alias.name, rest)))
    home = defined_in(spelled)
    found = ast.walk(trees()[home]) if home and home != file else ()
    name = spelled.rpartition(".")[2]
    return next(((str(home), node) for node in found if isinstance(node, ast.ClassDef) and node.name == name), None)


def open_to_heirs(file: str, node: ast.ClassDef) -> bool:
    """Whether a class is a protocol, a section or an error, or inherits from one."""
    if node.name == "Section":
        return True
    for base in node.bases:
        if re.search(r"(^|\.)(Protocol|\w*(Error|Exception|Warning))\b", ast.unparse(base)):
            return True
        if (found := class_of(file, base)) and open_to_heirs(*found):
            return True
    return False


# --- what they say of themselves


@pytest.mark.parametrize("file", sorted(trees()))
def test_a_file_opens_with_what_it_is(file: str) -> None:
    said = ast.get_docstring(trees()[file])
    assert said, f"{file} has no docstring"
    assert said.partition("\n")[0].strip()


@pytest.mark.parametrize("name", WINGS)
def test_a_wing_opens_with_what_it_reads_and_writes_and_who_imports_it(name: str) -> None:
    file = f"curate/{name}/__init__.py"
    assert imports()[file] == set()
    said = ast.get_docstring(trees()[file]) or ""
    assert re.search(r"\breads?\b", said, re.IGNORECASE)
    assert re.search(r"\bwrites?\b", said, re.IGNORECASE)
    (by,) = re.findall(r"[^.;:]*\bimports? it\b[^.;:]*", said)
    they = {wing(other) for other in core() if wing(other) != name and name in map(wing, edges()[other])}
    assert "very wing below" in by or "ny wing below" in by or they <= set(re.findall(r"``(\w+)``", by))


def test_tests_lie_in_folders_as_the_wings_do() -> None:
    tests = list(Path(__file__).parent.rglob("test_*.py"))
    assert {test.parent.name for test in tests} <= {"tests", *WINGS, *PLUGINS}
    assert {name for name, count in Counter(test.name for test in tests).items() if count > 1} == set()
