"""Recipe: what a run measures, keeps and writes, as validated data. Runs nothing and looks nothing up.

Three things stay apart: what is measured (``score``), what is kept (``keep``), where it runs (``resources``).
"""

from __future__ import annotations

from typing import Any, Literal, Self

from pydantic import ByteSize, Field, PositiveInt, field_validator, model_validator

from curate.recipe.input import Fetch, Source
from curate.recipe.measures import Group, Score
from curate.recipe.output import Pack, Place
from curate.recipe.rules import Add, Balance, Rule
from curate.recipe.section import Section


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
    group: dict[str, Group] = Field(default_factory=dict)
    keep: tuple[Rule, ...] = ()
    add: tuple[Add, ...] = Field((), max_length=30)
    balance: Balance | None = None
    empty: Literal["drop", "keep"] = Field("drop", description="documents left with no image or no text")
    place: Place = Place()
    pack: Pack = Pack()
    resources: dict[str, Resource] = Field(default_factory=dict)

    @field_validator("place", mode="before")
    @classmethod
    def _short_place(cls, place: Any) -> Any:
        return {"by": place} if isinstance(place, str) else place

    @field_validator("score", "group")
    @classmethod
    def _plain_names(cls, named: dict[str, Any]) -> dict[str, Any]:
        for name in named:
            if not name.replace("_", "").replace("-", "").isalnum() or name in {"raw", "source"}:
                raise ValueError(f"{name!r} cannot name a score: letters, digits, - and _; not `raw` or `source`")
        return named

    @model_validator(mode="after")
    def _names_differ(self) -> Self:
        for name in self.group.keys() & self.score.keys():
            raise ValueError(f"{name!r} names a score and a group")
        return self
