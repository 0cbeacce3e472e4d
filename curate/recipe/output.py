"""Output: where images stand, and how survivors are written: the sections ``place`` and ``pack``."""

from __future__ import annotations

from typing import Literal

from pydantic import ByteSize, Field, field_validator

from curate.recipe.section import Section


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
