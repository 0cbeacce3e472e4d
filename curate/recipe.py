"""Recipe: what a run measures, keeps and writes, as validated data. Runs nothing and looks nothing up.

Three things stay apart: what is measured (``score``), what is kept (``keep``), where it runs (``resources``).
"""

from __future__ import annotations

import difflib
import math
from typing import Any, Literal, Self

from pydantic import BaseModel, ByteSize, ConfigDict, Field, PositiveInt, field_validator, model_validator

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
    blur: str | None = Field(None, description="an image column of boxes (x0, y0, x1, y1, relative), e.g. faces.boxes")
    mask: str | None = Field(None, description="what hides parts of texts: pii, or module:function from str to str")
    join: str | None = Field(None, description="put between texts that stand next to each other, to make them one")


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
