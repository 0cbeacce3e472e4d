"""Recipe: what a run measures, keeps and writes, as validated data. Runs nothing and looks nothing up.

Three things stay apart: what is measured (``score``), what is kept (``keep``), where it runs (``resources``).
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, Self

import yaml
from pydantic import (
    BaseModel,
    ByteSize,
    ConfigDict,
    Field,
    PositiveInt,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic_core import ErrorDetails

from curate.fetched import Fetch
from curate.plugin import Kind
from curate.source import Source


class RecipeError(ValueError):
    """A recipe that cannot be used; the message names file, key, fault and remedy."""


class Section(BaseModel):
    """A part of a recipe: unknown keys are errors, values do not change."""

    model_config = ConfigDict(extra="forbid", frozen=True)


Scalar = bool | int | float | str


class Condition(Section):
    """How a value is compared. Floats are compared in float32; ``min`` and ``max`` keep equality."""

    min: float | None = Field(None, description="keep values of at least this")
    max: float | None = Field(None, description="keep values of at most this")
    above: float | None = Field(None, description="keep values greater than this; equal is dropped")
    below: float | None = Field(None, description="keep values less than this; equal is dropped")
    equals: Scalar | None = Field(None, description="keep this value")
    one_of: tuple[Scalar, ...] | None = Field(None, description="keep these values")
    none_of: tuple[Scalar, ...] | None = Field(None, description="drop these values")

    def comparisons(self) -> dict[str, Any]:
        """The comparators that were given, by name."""
        given = {name: getattr(self, name) for name in Condition.model_fields}
        return {name: value for name, value in given.items() if value is not None}

    @model_validator(mode="after")
    def _compares(self) -> Self:
        numbers = [value for value in self.comparisons().values() if isinstance(value, float)]
        if any(math.isnan(number) for number in numbers):
            raise ValueError("a threshold is a number, not NaN")
        return self


class Gate(Condition):
    """Runs an expensive scorer only on the segments whose column passes."""

    score: str = Field(description="the column looked at, e.g. clip.sim")

    @model_validator(mode="after")
    def _has_condition(self) -> Self:
        if not self.comparisons():
            raise ValueError(f"no comparison: give one of {', '.join(Condition.model_fields)}")
        return self


class Rule(Condition):
    """One line of ``keep``: a segment (or document) stays if its column passes. Rules AND together."""

    image: str | None = Field(None, description="a column of images, e.g. clip.sim")
    text: str | None = Field(None, description="a column of texts, e.g. words.words")
    document: str | None = Field(
        None, description="a column of documents, or `images` / `texts`: how many of them survive"
    )
    top: float | None = Field(None, gt=0, le=1, description="keep this best fraction of all measured values of the run")
    missing: Literal["drop", "keep"] = Field("drop", description="what to do where the value could not be measured")

    @property
    def kind(self) -> Kind:
        """What the rule decides on."""
        return "image" if self.image else "text" if self.text else "document"

    @property
    def column(self) -> str:
        """The column it compares."""
        return self.image or self.text or self.document or ""

    @model_validator(mode="after")
    def _one_target(self) -> Self:
        if sum(target is not None for target in (self.image, self.text, self.document)) != 1:
            raise ValueError("a rule names one column, as one of image:, text: or document:")
        if not self.comparisons() and self.top is None:
            raise ValueError(f"no comparison: give one of {', '.join(Condition.model_fields)}, top")
        return self

    def __str__(self) -> str:
        limits = self.comparisons() | ({"top": self.top} if self.top is not None else {})
        return f"{self.kind}: {self.column} " + " ".join(f"{name} {spell(value)}" for name, value in limits.items())


class Score(BaseModel):
    """One entry of ``score``: which scorer, on what; every other key is a parameter of the scorer."""

    model_config = ConfigDict(extra="allow", frozen=True)

    use: str = Field(description="a built-in name, a file beside the recipe, or module:attribute")
    on: str | None = Field(None, description="read this column (score.column) instead of the scorer's own view")
    after: Gate | None = Field(None, description="measure only what passes this gate")

    @property
    def parameters(self) -> dict[str, Any]:
        """What is passed to the scorer."""
        return dict(self.model_extra or {})

    @field_validator("on")
    @classmethod
    def _is_column(cls, on: str | None) -> str | None:
        if on is not None and on.count(".") != 1:
            raise ValueError(f"{on!r} is no column <score>.<column>")
        return on


class Place(Section):
    """Where images stand in the output: as on the page, at their matched text, or assigned by similarity."""

    by: str = Field("dom", description="dom, matched (source.matched), or a column of similarities such as clip.sims")
    per_text: int = Field(1, ge=1, description="the most images assigned to one text before any are left over")
    leftover: Literal["best"] = Field("best", description="images beyond that go to their best text")

    @field_validator("by")
    @classmethod
    def _known(cls, by: str) -> str:
        if by not in {"dom", "matched"} and by.count(".") != 1:
            raise ValueError(f"{by!r} is none of dom, matched or a column <score>.<column>")
        return by


class Pack(Section):
    """How survivors are written."""

    format: str = Field("interleaved", description="a writer: interleaved, pairs")
    name: str | None = Field(None, pattern=r"^[\w-]+$", description="folder below out/, or made from the recipe")
    shard_bytes: ByteSize = Field(
        ByteSize(1_000_000_000), gt=0, description="close a tar when the next document would bring it to about this"
    )
    shard_count: int = Field(10_000, gt=0, description="the most samples in one tar")


class Resource(Section):
    """What one worker of a stage, or one scorer in it, takes on a Ray cluster."""

    cpus: float | None = Field(None, ge=0, description="cores of a worker")
    gpus: float = Field(0, ge=0, description="GPUs of a worker; fractions share one")
    memory: ByteSize | None = Field(None, description="memory that Ray reserves for a worker")
    workers: PositiveInt | tuple[PositiveInt, PositiveInt] | None = Field(
        None, description="how many workers, or [least, most]"
    )
    batch: int | None = Field(None, gt=0, description="items in one call of a scorer")


class Recipe(Section):
    """A whole run. See docs/formats.md for an example of each section."""

    source: Source
    fetch: Fetch = Fetch()
    decode: Literal["scaled", "exact"] = Field("scaled", description="may scorers get JPEGs decoded at reduced scale?")
    score: dict[str, Score] = Field(default_factory=dict)
    keep: tuple[Rule, ...] = ()
    empty: Literal["drop", "keep"] = Field("drop", description="documents left with no image or no text")
    place: Place = Place()
    pack: Pack = Pack()
    resources: dict[str, Resource] = Field(default_factory=dict)

    @field_validator("place", mode="before")
    @classmethod
    def _short_place(cls, place: Any) -> Any:
        return {"by": place} if isinstance(place, str) else place

    @field_validator("score")
    @classmethod
    def _plain_names(cls, score: dict[str, Score]) -> dict[str, Score]:
        for name in score:
            if not name.replace("_", "").replace("-", "").isalnum() or name in {"raw", "source"}:
                raise ValueError(f"{name!r} cannot name a score: letters, digits, - and _; not `raw` or `source`")
        return score


STAGES = ("fetch", "score", "select", "pack")


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
    if detail["type"] == "extra_forbidden":
        return f"{path}: {where}: unknown key{nearest(str(detail['loc'][-1]), keys_at(detail['loc'][:-1]))}"
    return f"{path}: {where}: {detail['msg'].removeprefix('Value error, ')}"


def keys_at(place: tuple[int | str, ...]) -> list[str]:
    """The valid keys of the section that stands at this place of a recipe."""
    sections: dict[str, type[BaseModel]] = {
        "": Recipe, "source": Source, "fetch": Fetch, "score": Score, "keep": Rule, "place": Place, "pack": Pack,
        "resources": Resource,
    }  # fmt: skip
    names = [str(part) for part in place]
    model = sections[names[0] if names else ""]
    if names[:1] == ["score"] and "after" in names[2:]:
        model = Gate
    if names[:2] == ["fetch", "resize"]:
        model = next(kind for kind in _models(Fetch.model_fields["resize"].annotation))
    return list(model.model_fields)


def _models(annotation: Any) -> list[type[BaseModel]]:
    """The pydantic models in an annotation such as ``Resize | None``."""
    parts = getattr(annotation, "__args__", (annotation,))
    return [part for part in parts if isinstance(part, type) and issubclass(part, BaseModel)]


def nearest(name: str, known: list[str]) -> str:
    """``; did you mean 'x'? (known: x, y, z)``: the end of an error message."""
    known = list(dict.fromkeys(known))
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    guess = f"; did you mean {close[0]!r}?" if close else ""
    return f"{guess} (known: {', '.join(known) or 'none'})"


def spell(value: Any) -> str:
    """A threshold as it is written in reasons: 0.25, 150, [a, b]."""
    if isinstance(value, float):
        return str(int(value)) if value.is_integer() and abs(value) < 1e15 else repr(value)
    return f"[{', '.join(map(str, value))}]" if isinstance(value, tuple) else str(value)
