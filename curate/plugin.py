"""Plugin: how a scorer says what it looks at and which columns it fills. Applies no threshold, loads no weights.

A scorer is a function (stateless) or a class (holds a model, built once per worker) under ``@scores``::

    @scores("text", words=int)
    def words(texts):
        return [{"words": len(text.text.split())} for text in texts]

It gets a list and returns a list of the same length: a row (column -> value), or None where the item cannot be
measured. Anything it raises stops the run. What stands in the list is the *view*:

==================  =====================================================  ==================
view                items                                                  rows stand for
==================  =====================================================  ==================
``text``            ``Text``, each distinct text of a shard once           texts
``image``           ``Image``, each distinct picture of a shard once       images
``pair``            ``(Image, Text)``: a picture and its caption           images
``document``        ``Document``; or ``Encoded``, see below                the document
``score.column``    the values of another scorer's column, never None      as that column's
==================  =====================================================  ==================

A document scorer may also give rows to the segments it saw: it then declares ``image=`` or ``text=`` columns and
returns, for each document, a dict of position -> row (position -1 is the document). With ``reads="score.column"`` (or
``on:`` in the recipe) it gets ``Encoded`` documents with that column's values by position. Behind a gate it sees only
what passes: other texts are empty, other images failed.

A pair scorer may declare ``text=`` columns as well: they go to the text that is the picture's caption, the greatest
value where several pictures share it. The caption is the document's only text, else the image's alt text, or, with
``text_of:`` in the recipe, the text that an image column such as ``clip.best`` points to.

Two optional methods make a class fast. ``prepare(image)`` runs in the decoding threads, once per picture, and the batch
call receives its results in place of images. ``encode_image(batch)`` and ``encode_text(texts)`` turn a document
scorer into two towers: the runner calls them on full batches of distinct pictures and texts across documents, and
``__call__`` receives ``Encoded`` documents that carry the vectors. The static methods ``weights(**parameters)``
and ``pixels(**parameters)`` name the files that the scores depend on, and the least short side where it depends on the
model.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeVar, cast, get_args

import numpy as np
import numpy.typing as npt

from curate.document import Document

View = Literal["document", "image", "text", "pair"]
Kind = Literal["document", "image", "text"]
KINDS: tuple[Kind, ...] = get_args(Kind)
VIEWS: Mapping[str, int] = {"document": 1, "image": 1, "text": 1, "pair": 1, "column": 1}
"""Versions of the views (``column``: score.column), counted up when items are gathered or rows handed out otherwise."""


class Vector:
    """Column type of an embedding: a list of float16, all of one length."""


Columns = Mapping[str, Any]
"""Column name -> type: bool, int, float (stored as float32), str, bytes, list[float] or Vector."""
SCALARS = (bool, int, float, str)
"""The types that a rule can compare, and that a sample's json shows."""


@dataclass(frozen=True)
class Encoded:
    """A document with one vector for each image and text that was encoded, by position; (d,) float32 each."""

    document: Document
    images: Mapping[int, npt.NDArray[np.float32]]
    texts: Mapping[int, npt.NDArray[np.float32]]


@dataclass(frozen=True)
class Spec:
    """What a scorer declared: its view, its columns by kind of segment, and what it needs of a picture.

    ``pixels``: None (none), "full", or the least length in pixels of the short side: JPEGs may then be decoded at
    a reduced scale. ``data``: the stored bytes. ``batch``: the most items in one call.
    ``requires``: installed packages whose version decides about the scores. ``version``: see ``scores``.
    """

    view: str
    columns: Mapping[Kind, Columns]
    pixels: int | Literal["full"] | None
    data: bool
    batch: int
    requires: tuple[str, ...] = ()
    reads: str | None = None
    version: int | None = None

    @property
    def per_document(self) -> bool:
        """Whether a call returns position -> row for each document, rather than one row for each item."""
        return self.view == "document" and set(self.columns) != {"document"}


Plugin = TypeVar("Plugin", bound=Callable[..., Any])
TYPES = (*SCALARS, bytes, list[float], Vector)
TYPE_NAMES = dict(zip(TYPES, ("bool", "int", "float", "str", "bytes", "floats", "vector"), strict=True))
"""What a column's type is called in an identity, wherever its class may stand."""


def scores(
    view: str,
    *,
    image: Columns | None = None,
    text: Columns | None = None,
    pixels: int | Literal["full"] | None = None,
    data: bool = False,
    batch: int = 64,
    requires: tuple[str, ...] = (),
    reads: str | None = None,
    version: int | None = None,
    **columns: Any,
) -> Callable[[Plugin], Plugin]:
    """Declares a scorer: its view and its columns. See the module's first lines for the protocol.

    ``version`` stands for the code in a score's identity. Scorers of this package count it up when their numbers
    change, and only then; a plugin outside the package needs none, as its code is hashed.

    Raises:
        TypeError: a view, a column type or a combination that does not exist.
    """
    reading_column = view not in get_args(View)
    if reading_column and view.count(".") != 1:
        raise TypeError(f"view {view!r}: use document, image, text, pair or <score>.<column>")
    if (view != "document" and image) or (view not in ("document", "pair") and text):
        raise TypeError(f"view {view!r}: only document scorers declare image= columns, and text= they and pair scorers")
    if view == "pair" and text and not columns:
        raise TypeError("view 'pair': a scorer of pairs describes the image, too; give it a column of its own")
    if reads and view != "document":
        raise TypeError(f"view {view!r}: only a document scorer reads= another column; else the column is the view")
    own: Kind = "text" if view == "text" else "document" if view == "document" else "image"
    by_kind: dict[Kind, Columns] = {own: columns} if columns else {}
    by_kind |= {"image": image} if image else {}
    by_kind |= {"text": text} if text else {}
    names = [name for group in by_kind.values() for name in group]
    if not names or len(names) != len(set(names)):
        raise TypeError(f"a scorer declares at least one column, and each name once; got {names}")
    for name, kind in ((name, kind) for group in by_kind.values() for name, kind in group.items()):
        if kind not in TYPES:
            raise TypeError(
                f"column {name!r}: type {kind!r} is none of bool, int, float, str, bytes, list[float], Vector"
            )

    def declare(plugin: Plugin) -> Plugin:
        plugin.__curate__ = Spec(view, by_kind, pixels, data, batch, requires, reads, version)  # type: ignore[attr-defined]
        return plugin

    return declare


def spec_of(plugin: Any) -> Spec:
    """The declaration of a scorer; TypeError if it has none, or is built in and has no version."""
    spec = getattr(plugin, "__curate__", None)
    if not isinstance(spec, Spec):
        raise TypeError(f"{getattr(plugin, '__name__', plugin)!r} is no scorer: decorate it with @curate.scores(...)")
    if spec.version is None and built_in(plugin):
        raise TypeError(f"{plugin.__name__!r} is built in: give it a version, as in @scores(..., version=1)")
    return spec


def built_in(plugin: Any) -> bool:
    """Whether a scorer or reader belongs to this package, which tests that numbers do not change under a version."""
    return str(plugin.__module__).partition(".")[0] == "curate"


def parameters(plugin: Any, given: Mapping[str, Any]) -> dict[str, Any]:
    """The parameters a scorer is built with, defaults filled in.

    Raises:
        TypeError: a parameter that it does not have, or one that is missing.
    """
    signature = inspect.signature(plugin)
    if not inspect.isclass(plugin):  # a function takes the batch first
        signature = signature.replace(parameters=list(signature.parameters.values())[1:])
    bound = signature.bind(**given)
    bound.apply_defaults()
    named = dict(bound.arguments)
    for parameter in signature.parameters.values():
        if parameter.kind is inspect.Parameter.VAR_KEYWORD:
            named |= named.pop(parameter.name, {})
    return named


def build(plugin: Any, given: Mapping[str, Any]) -> Callable[[list[Any]], list[Any]]:
    """The batch call of a scorer: the function with its parameters, or an instance of the class."""
    if inspect.isclass(plugin):
        return cast("Callable[[list[Any]], list[Any]]", plugin(**given))
    return lambda batch: plugin(batch, **given)
