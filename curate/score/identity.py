"""Identity: a hash of everything that could change a scorer's numbers. Measures nothing.

Plugin, parameters, the weights' sha256, packages it names, and the identity of the column it reads. Our own code counts
by the versions that scorers, decoder and views declare, so that it can be moved and tidied; a plugin of others has its
code hashed. Thresholds, workers and other lines of the recipe are not in it.
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
from typing import Any

from curate.plugin import TYPE_NAMES, VIEWS, Spec, built_in
from curate.recipe.section import RecipeError

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


def identity(
    plugin: Any, spec: Spec, given: Mapping[str, Any], *, view: str, columns: Any, inputs: Any, decoder: int, where: str
) -> str:
    """8 hex digits of a hash of everything that could change the scores.

    Args:
        plugin: the function or class.
        spec: its declaration, with the scale of the pictures that it gets.
        given: its parameters, defaults filled in.
        view: what it looks at.
        columns: kind of segment -> column -> type.
        inputs: the columns that it reads, and what their values depend on.
        decoder: the version of the code that decodes pictures.
        where: the line of the recipe, for errors.
    """
    files = [Path(file) for file in ask(plugin, "weights", given, where, [])]
    apart = getattr(plugin, "apart", ())
    parts = {
        **code_of(plugin),
        "version": spec.version,
        "parameters": {key: repr(value) for key, value in given.items() if key not in apart},
        "weights": sorted([file.name, file_sha256(file)] for file in files),
        "pixels": spec.pixels,
        "decoder": decoder if spec.pixels or spec.data else None,
        "packages": {package: installed(package, where) for package in spec.requires},
        "view": [view, VIEWS["column" if "." in view else view]],
        "columns": {
            kind: {name: TYPE_NAMES[type_] for name, type_ in group.items()} for kind, group in columns.items()
        },
        "inputs": inputs,
    }
    return short_hash(parts)


def code_of(plugin: Any) -> dict[str, Any]:
    """The name that recipes use a built-in plugin by; or the name and the code of another one."""
    module = plugin.__module__
    if built_in(plugin):
        return {"plugin": module.rpartition(".")[2]}
    files = code_files(Path(str(sys.modules[module].__file__)))
    return {
        "plugin": f"{module.partition('_plugin_')[0]}:{plugin.__qualname__}",
        "code": sorted(code_hash(file) for file in files),
    }


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
