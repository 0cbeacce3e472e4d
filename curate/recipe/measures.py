"""Measures: what a run finds out: the entries of ``score`` and ``group``. Decides nothing but gates and nearness."""

from __future__ import annotations

from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from curate.plugin import Kind
from curate.recipe.rules import Gate
from curate.recipe.section import Section


class Score(BaseModel):
    """One entry of ``score``: which scorer, on what; every other key is a parameter of the scorer."""

    model_config = ConfigDict(extra="allow", frozen=True)

    use: str = Field(description="a built-in name, a file beside the recipe, or module:attribute")
    on: str | None = Field(None, description="read this column (score.column) instead of the scorer's own view")
    text_of: str | None = Field(None, description="an image column, e.g. clip.best: which text a picture goes with")
    after: tuple[Gate, ...] = Field((), description="measure only what passes this gate, or all of these")

    @property
    def parameters(self) -> dict[str, Any]:
        """What is passed to the scorer."""
        return dict(self.model_extra or {})

    @field_validator("after", mode="before")
    @classmethod
    def _one_gate(cls, after: Any) -> Any:
        return (after,) if isinstance(after, dict | Gate) else after

    @field_validator("on", "text_of")
    @classmethod
    def _is_column(cls, on: str | None) -> str | None:
        if on is not None and on.count(".") != 1:
            raise ValueError(f"{on!r} is no column <score>.<column>")
        return on


Method = Literal["exact", "within", "jaccard", "cosine", "eps"]
ORDERS = ("hard", "easy", "random")
"""What ``keep`` says of a group by ``eps``: which member of a cluster comes first."""


class Group(Section):
    """One entry of ``group``: which segments are duplicates of each other. What is dropped is said by ``keep``.

    At most one of ``within``, ``jaccard``, ``cosine`` and ``eps`` says how near is near; without any, equal values are.
    """

    by: tuple[str, ...] = Field(
        min_length=1, description="a column, or several of one kind of segment, e.g. hash.phash"
    )
    kind: Kind | None = Field(None, description="which segments, where a column is of several; else images")
    within: int | None = Field(None, ge=0, le=256, description="Hamming distance in bits, of hashes")
    jaccard: float | None = Field(None, gt=0, le=1, description="estimated share of common n-grams, of MinHashes")
    cosine: float | None = Field(None, gt=0, le=1, description="similarity of embeddings, within clusters")
    eps: float | None = Field(None, gt=0, lt=1, description="SemDeDup: 1 - similarity, within clusters")
    clusters: int | None = Field(None, ge=1, description="of embeddings; about one for each thousand")
    iterations: int = Field(100, ge=1, description="of k-means")
    seed: int = Field(1234, description="of k-means and of keep: random")
    scope: Literal["document", "domain", "corpus"] = Field("corpus", description="where members are looked for")
    after: tuple[Gate, ...] = Field(
        (), description="only what passes this gate, or all of these, is a member of a group"
    )
    against: tuple[str, ...] = Field((), description="other runs with the same group: what they have is dropped")
    keep: str | None = Field(
        None, description="first, largest or a column (its greatest value): the member that stays; hard, easy or random"
    )

    @field_validator("by", "against", "after", mode="before")
    @classmethod
    def _several(cls, value: Any) -> Any:
        return (value,) if isinstance(value, str | dict | Gate) else value

    @property
    def method(self) -> Method:
        """How near is near."""
        given = [name for name in ("within", "jaccard", "cosine", "eps") if getattr(self, name) is not None]
        return given[0] if given else "exact"  # type: ignore[return-value]

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        given = [name for name in ("within", "jaccard", "cosine", "eps") if getattr(self, name) is not None]
        if len(given) > 1:
            raise ValueError(f"{' and '.join(given)}: a group has one measure of nearness")
        if given and len(self.by) > 1:
            raise ValueError(f"{given[0]} compares one column; only equal values may be of several")
        if not all(column.count(".") == 1 for column in self.by):
            raise ValueError(f"by: {', '.join(self.by)}: a column is <score>.<column>")
        embeddings = self.method in ("cosine", "eps")
        if embeddings != (self.clusters is not None):
            raise ValueError("clusters goes with cosine or eps" if self.clusters else f"{given[0]} needs clusters")
        if embeddings and (self.scope != "corpus" or self.against):
            raise ValueError(f"{self.method} groups the whole corpus, and nothing against other runs")
        if self.against and (self.scope != "corpus" or self.keep is None):
            raise ValueError("against needs scope: corpus, and keep")
        if self.keep in ORDERS and self.method != "eps":
            raise ValueError(f"keep: {self.keep} goes with eps")
        if self.keep not in (None, *ORDERS) and self.method == "eps":
            raise ValueError("eps keeps hard, easy or random")
        if self.keep not in (None, "first", "largest", *ORDERS) and str(self.keep).count(".") != 1:
            raise ValueError(f"keep: {self.keep!r} is none of first, largest, hard, easy, random or <score>.<column>")
        return self
