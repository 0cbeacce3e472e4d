"""Input: where documents come from and how pictures are asked for: the sections ``source`` and ``fetch``."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import ByteSize, Field, PositiveInt, model_validator

from curate.recipe.section import Section


class Source(Section):
    """The recipe's ``source:`` section."""

    reader: str = Field(description="The corpus: `mmc4` is curate.pipelines.mmc4; or `module:attribute`.")
    path: str | tuple[str, ...] = Field(
        min_length=1,
        description="Files: globs or URLs (s3://, gs://, hf://); relative ones start at the current folder.",
    )
    shard: PositiveInt = Field(1000, description="Documents per shard, the unit of work and of resuming.")
    max_text: ByteSize = Field(ByteSize(1_000_000), description="A row with a longer text (UTF-8) is rejected.")
    columns: dict[str, str] = Field({}, description="Columns the reader calls differently: {ours: theirs}.")

    @property
    def patterns(self) -> tuple[str, ...]:
        """``path`` as a tuple."""
        return (self.path,) if isinstance(self.path, str) else self.path


class Resize(Section):
    """How pictures are resized and stored: the names and the meaning of img2dataset's options."""

    size: int = Field(256, ge=1, description="the side to resize to, in pixels")
    mode: Literal["border", "keep_ratio", "keep_ratio_largest", "center_crop", "no"] = Field(
        "border",
        description="border: fit into size x size on white; keep_ratio: short side to size; keep_ratio_largest: long "
        "side to size; center_crop: short side to size, then the middle square; no: keep the size",
    )
    only_if_bigger: bool = Field(False, description="leave pictures alone that are not larger than size")
    min_side: int = Field(0, ge=0, description="refuse pictures with a shorter side than this, in pixels")
    max_area: float = Field(float("inf"), gt=0, description="refuse pictures of more pixels")
    max_aspect: float = Field(
        float("inf"), ge=1, description="refuse pictures with a larger ratio of long to short side"
    )
    format: Literal["jpg", "png", "webp"] = Field("jpg", description="the stored format")
    quality: int = Field(95, ge=0, le=100, description="0-100 for jpg and webp; for png the compression, 0-9")
    skip_reencode: bool = Field(False, description="keep the original bytes where neither size nor format changes")
    decode: Literal["exact", "scaled"] = Field(
        "exact", description="scaled: decode large JPEGs at 1/2, 1/4 or 1/8, about twice as fast, at some 35 dB"
    )

    @model_validator(mode="after")
    def _png_compression(self) -> Self:
        if self.format == "png" and self.quality > 9:
            raise ValueError(f"for png, quality is the compression, 0-9, not {self.quality}")
        return self


class Fetch(Section):
    """The recipe's ``fetch`` section: how pictures are asked for, and what is refused."""

    engine: Literal["curate", "img2dataset"] = Field("curate", description="who downloads")
    timeout: float = Field(
        20, gt=0, description="seconds for one attempt, redirects included, however slowly bytes come"
    )
    connect_timeout: float = Field(5, gt=0, description="seconds for one connection, TLS included")
    concurrency: int = Field(256, ge=1, description="requests under way at once in one process")
    per_host: int = Field(8, ge=1, description="requests under way at once to one host")
    max_bytes: ByteSize = Field(ByteSize(20_000_000), gt=0, description="largest body, after inflation, as in 20MB")
    max_pixels: int = Field(178_956_970, gt=0, description="largest width x height, read from the header")
    retries: int = Field(2, ge=0, description="further attempts after a transient failure")
    backoff: float = Field(0.5, ge=0, description="seconds before the first retry; doubles, with jitter")
    max_redirects: int = Field(5, ge=0, description="redirects followed in one attempt")
    user_agent: str = Field(
        "curate/0.1 (+https://github.com/curate-interleaved/curate)",
        pattern=r"^[A-Za-z][ -~]*$",
        description="who we say we are; its product token is the robot name in X-Robots-Tag",
    )
    opt_out: tuple[str, ...] = Field(
        ("noai", "noimageai", "noindex", "noimageindex", "none", "noml"),
        description="X-Robots-Tag directives that are honoured",
    )
    allow_loopback: bool = Field(False, description="admit 127.0.0.0/8 and ::1 (tests and benchmarks)")
    verify: Literal["sha256", "md5"] | None = Field(None, description="check the hash that the corpus gives")
    resize: Resize | None = Field(None, description="resize while downloading; without it bytes are stored untouched")

    @property
    def product(self) -> str:
        """The name by which X-Robots-Tag and robots.txt address us, in lower case."""
        return self.user_agent.replace("/", " ").split()[0].lower()
