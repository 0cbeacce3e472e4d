"""Identity: a hash of everything that could change a scorer's numbers. Measures nothing.

Plugin, parameters, the weights' sha256, its code, how pictures are decoded, packages it names, and the identity of the
column it reads. Thresholds, workers and other lines of the recipe are not in it.
"""

from __future__ import annotations

import ast
import hashlib
import json
import sys
from collections.abc import Mapping
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from curate.recipe.section import RecipeError

if TYPE_CHECKING:
    from curate.score.scorer import Scorer

EXTRAS = {
    "models": {"open_clip_torch", "safetensors", "timm", "torch", "transformers"},
    "dedup": {"faiss-cpu", "rensa"},
    "text": {"fasttext"},
}
"""The extras of this package, and what they bring."""


def ask(plugin: Any, method: str, given: Mapping[str, Any], where: str, default: Any) -> Any:
    """What a scorer's own ``pixels`` or ``weights`` says of its parameters; RecipeError where it refuses them."""
    try:
        return getattr(plugin, method)(**given) if hasattr(plugin, method) else default
    except (ValueError, LookupError, OSError, ImportError) as error:
        raise RecipeError(f"{where}: {error}") from error


def identity(scorer: Scorer, inputs: Any, where: str) -> str:
    """8 hex digits of a hash of everything that could change the scores; ``inputs``: the columns that it reads."""
    files = [Path(file) for file in ask(scorer.plugin, "weights", scorer.given, where, [])]
    code = sys.modules[scorer.plugin.__module__]
    apart = getattr(scorer.plugin, "apart", ())
    looks = bool(scorer.spec.pixels or scorer.spec.data)
    parts = {
        "plugin": f"{code.__name__.partition('_plugin_')[0]}:{scorer.plugin.__qualname__}",
        "parameters": {key: repr(value) for key, value in scorer.given.items() if key not in apart},
        "weights": sorted([file.name, file_sha256(file)] for file in files),
        "code": sorted(code_hash(file) for file in code_files(Path(str(code.__file__)))),
        "pixels": scorer.spec.pixels,
        "decoder": looks and code_hash(Path(__file__).parents[1] / "image/codec.py"),
        "packages": {package: installed(package, where) for package in scorer.spec.requires},
        "view": scorer.view,
        "columns": {
            kind: {name: str(type_) for name, type_ in group.items()} for kind, group in scorer.columns.items()
        },
        "inputs": inputs,
    }
    return short_hash(parts)


def installed(package: str, where: str) -> str:
    """A package's version; RecipeError where it is missing."""
    try:
        return version(package)
    except PackageNotFoundError:
        extra = next((name for name, packages in EXTRAS.items() if package in packages), None)
        remedy = f"; it comes with curate-interleaved[{extra}]" if extra else ""
        raise RecipeError(f"{where}: needs the package {package}{remedy}") from None


def short_hash(parts: Any) -> str:
    """8 hex digits of a hash of plain data."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:8]


def code_files(plugin: Path) -> set[Path]:
    """A plugin's file, and the files in its folder that it imports, and so on."""
    found: set[Path] = set()
    waiting = [plugin]
    while waiting:
        current = waiting.pop()
        found.add(current)
        near = {plugin.with_name(f"{name}.py") for name in syntax(current.read_bytes())[1]}
        waiting += [file for file in near - found if file.is_file()]
    return found


def code_hash(path: Path) -> str:
    """A hash of what a Python file says, blind to comments and layout."""
    return syntax(path.read_bytes())[0]


@lru_cache(256)
def syntax(source: bytes) -> tuple[str, frozenset[str]]:
    """The hash of a Python file's syntax tree, and the last parts of the names that it imports."""
    tree = ast.parse(source)
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            names |= {alias.name for alias in node.names}
        if isinstance(node, ast.ImportFrom):
            names.add(node.module or "")
    return hashlib.sha256(ast.dump(tree).encode()).hexdigest(), frozenset(name.rpartition(".")[2] for name in names)


def file_sha256(path: Path) -> str:
    """The sha256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
