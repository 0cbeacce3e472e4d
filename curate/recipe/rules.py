"""Rules: how columns are compared, and what stays: conditions, gates, ``keep``, ``add`` and ``balance``."""

from __future__ import annotations

import math
from typing import Any, Literal, Self

from pydantic import Field, model_validator

from curate.plugin import Kind
from curate.recipe.section import Section, spell

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
    missing: Literal["drop", "keep"] = Field("drop", description="what to do where the value could not be measured")

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


class Add(Condition):
    """One line of ``add``: a text that a scorer made for an image is put right after it, where its column passes."""

    text: str = Field(description="the image column that holds the text, e.g. capfilt.caption")
    image: str = Field(description="the image column compared, e.g. capfilt.caption_itm")

    @model_validator(mode="after")
    def _has_condition(self) -> Self:
        if not self.comparisons():
            raise ValueError(f"no comparison: give one of {', '.join(Condition.model_fields)}")
        return self


class Balance(Section):
    """MetaCLIP's balanced sampling, after everything else: texts whose entries are all common are thinned out."""

    by: str = Field(description="a text column of matched entries: metaclip.entries")
    most: int = Field(gt=0, description="t: an entry that more texts have is thinned out to about this many")
    seed: int = 0
