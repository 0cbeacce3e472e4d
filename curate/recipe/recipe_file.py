"""Recipe file: YAML to a recipe, and errors that name file, key, fault and remedy. Looks nothing up."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from curate.recipe.input import Fetch, Source
from curate.recipe.measures import Group, Score
from curate.recipe.output import Pack, Place
from curate.recipe.recipe import Recipe, Resource
from curate.recipe.rules import Add, Balance, Gate, Rule
from curate.recipe.section import RecipeError, nearest

STAGES = ("fetch", "score", "group", "select", "pack")


class Plain(yaml.SafeLoader):
    """YAML in which only true and false are truth values, as in YAML 1.2: ``on:`` is a key like any other.

    A key that stands twice in one place is an error.
    """

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """Plain YAML would let the last of equal keys win."""
        keys = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
        twice = {key for key in keys if keys.count(key) > 1}
        if twice:
            raise yaml.constructor.ConstructorError(None, None, f"{twice.pop()!r} stands here twice", node.start_mark)
        return super().construct_mapping(node, deep)


Plain.yaml_implicit_resolvers = {
    first: [(tag, form) for tag, form in forms if tag != "tag:yaml.org,2002:bool" or first in "tTfF"]
    for first, forms in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


def parse(text: str) -> Any:
    """Plain data from YAML."""
    return yaml.load(text, Plain)  # noqa: S506 - Plain is a SafeLoader


def load(path: str | Path, changes: Mapping[str, str] | None = None) -> Recipe:
    """Reads and validates a recipe file; ``changes`` maps dotted keys (``keep.0.min``) to YAML values.

    Raises:
        RecipeError: with file, key and the nearest valid key.
    """
    path = Path(path)
    try:
        content = parse(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise RecipeError(f"{path}: no such file") from None
    except yaml.YAMLError as error:
        raise RecipeError(f"{path}: not YAML: {error}") from None
    if not isinstance(content, dict):
        raise RecipeError(f"{path}: a recipe is a mapping with source:, score:, keep: ...")
    for key, value in (changes or {}).items():
        try:
            assign(content, key, parse(value), path)
        except yaml.YAMLError:
            raise RecipeError(f"{path}: --set {key}={value}: the value is not YAML") from None
    try:
        recipe = Recipe.model_validate(content)
    except ValidationError as error:
        raise RecipeError("\n".join(explain(detail, path) for detail in error.errors())) from None
    for name in recipe.resources:
        known = [*STAGES, *recipe.score]
        if name not in known:
            raise RecipeError(f"{path}: resources.{name}: no such stage or score{nearest(name, known)}")
        if recipe.resources[name].batch and name not in recipe.score:
            raise RecipeError(f"{path}: resources.{name}.batch: only a score has batches")
    return recipe


def assign(content: Any, key: str, value: Any, path: Path) -> None:
    """Sets a dotted key in plain YAML data; numbers index lists."""
    *parents, last = key.split(".")
    try:
        for parent in parents:
            content = content[int(parent)] if isinstance(content, list) else content.setdefault(parent, {})
        if isinstance(content, list):
            content[int(last)] = value
        else:
            content[last] = value
    except (IndexError, ValueError, TypeError, AttributeError):
        raise RecipeError(f"{path}: --set {key}: there is no such place in the recipe") from None


def explain(detail: ErrorDetails, path: Path) -> str:
    """One validation error as file: key: fault, and the nearest valid key."""
    where = ".".join(str(part) for part in detail["loc"]) or "recipe"
    where = where.replace("after.0", "after")  # a lone gate is written without a list
    if detail["type"] == "extra_forbidden":
        return f"{path}: {where}: unknown key{nearest(str(detail['loc'][-1]), keys_at(detail['loc'][:-1]))}"
    return f"{path}: {where}: {detail['msg'].removeprefix('Value error, ')}"


def keys_at(place: tuple[int | str, ...]) -> list[str]:
    """The valid keys of the section that stands at this place of a recipe."""
    sections: dict[str, type[BaseModel]] = {
        "": Recipe, "source": Source, "fetch": Fetch, "score": Score, "group": Group, "keep": Rule, "add": Add,
        "place": Place, "pack": Pack, "balance": Balance, "resources": Resource,
    }  # fmt: skip
    names = [str(part) for part in place]
    model = sections[names[0] if names else ""]
    if names[:1] in (["score"], ["group"]) and "after" in names[2:]:
        model = Gate
    if names[:2] == ["fetch", "resize"]:
        model = next(kind for kind in _models(Fetch.model_fields["resize"].annotation))
    return list(model.model_fields)


def _models(annotation: Any) -> list[type[BaseModel]]:
    """The pydantic models in an annotation such as ``Resize | None``."""
    parts = getattr(annotation, "__args__", (annotation,))
    return [part for part in parts if isinstance(part, type) and issubclass(part, BaseModel)]
