"""Plugins: a scorer or a mask by its name: built in, beside the recipe, installed, or module:attribute. Builds none."""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import pkgutil
import sys
import traceback
from collections.abc import Callable
from importlib.metadata import entry_points
from pathlib import Path
from types import ModuleType
from typing import Any

import curate.filters
from curate.plugin import Spec, spec_of
from curate.recipe.section import RecipeError, nearest


def find(use: str, folder: Path, where: str = "use") -> Any:
    """A plugin by name: built in, beside the recipe, ``module:attribute``, or an entry point ``curate.filters``.

    Raises:
        RecipeError: nothing, or two things, of that name; with the names there are.
    """
    if ":" in use:
        module_name, _, attribute = use.partition(":")
        if str(folder) not in sys.path:
            sys.path.append(str(folder))
        try:
            return getattr(importlib.import_module(module_name), attribute)
        except (ModuleNotFoundError, AttributeError) as error:
            raise RecipeError(f"{where}: {use!r}: {error}") from None
    modules = pkgutil.iter_modules(curate.filters.__path__)
    built_in = [module.name for module in modules if not module.ispkg and not module.name.startswith("_")]
    beside = folder / f"{use}.py"
    installed = {entry.name: entry for entry in entry_points(group="curate.filters")}
    places = [use in built_in, beside.is_file(), use in installed]
    if sum(places) > 1:
        culprit = beside if places[1] else "one of the entry points"
        raise RecipeError(f"{where}: {use!r} is found twice: rename {culprit}")
    if places[0]:
        return only_scorer(importlib.import_module(f"curate.filters.{use}"))
    if places[1]:
        return only_scorer(load_file(beside))
    if places[2]:
        return installed[use].load()
    raise RecipeError(f"{where}: no scorer named {use!r}{nearest(use, [*built_in, *installed])}")


def masker(name: str, where: str) -> Callable[[str], str]:
    """What hides parts of texts: ``mask`` of a built-in scorer's module, or module:function.

    Raises:
        RecipeError: there is no such function.
    """
    module, _, attribute = name.partition(":")
    module, attribute = (module, attribute) if attribute else (f"curate.filters.{module}", "mask")
    try:
        found: Callable[[str], str] = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        raise RecipeError(f"{where}: {name!r}: {error}") from None
    return found


def declared(use: str, folder: Path, where: str) -> tuple[Any, Spec]:
    """A plugin by name, with its declaration; RecipeError if there is none."""
    plugin = find(use, folder, where)
    try:
        return plugin, spec_of(plugin)
    except TypeError as error:
        raise RecipeError(f"{where}: {error}") from None


def load_file(path: Path) -> ModuleType:
    """A plain Python file as a module, loaded once; it may import its neighbours."""
    if str(path.parent) not in sys.path:
        sys.path.append(str(path.parent))
    name = f"curate_plugin_{path.stem}_{hashlib.sha256(path.read_bytes()).hexdigest()[:8]}"
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, path)
        if spec is None or spec.loader is None:
            raise RecipeError(f"{path}: not a Python file")
        sys.modules[name] = module = importlib.util.module_from_spec(spec)
        try:
            spec.loader.exec_module(module)
        except Exception as error:
            del sys.modules[name]
            line = getattr(error, "lineno", None) or traceback.extract_tb(error.__traceback__)[-1].lineno
            raise RecipeError(f"{path}, line {line}: {type(error).__name__}: {error}") from error
    return sys.modules[name]


def only_scorer(module: ModuleType) -> Any:
    """The one scorer that a module defines."""
    scorers = [each for each in vars(module).values() if hasattr(each, "__curate__")]
    own = [scorer for scorer in scorers if scorer.__module__ == module.__name__]
    if len(own) != 1:
        raise RecipeError(f"{module.__file__} defines {len(own)} scorers; name one as module:attribute")
    return own[0]
