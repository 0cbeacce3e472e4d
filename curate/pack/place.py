"""Place: where images stand among the texts of a document. Works on survivors, after the last removal.

The assignment is MMC4's (Zhu et al. 2023, section 3): maximise the total similarity with at most one image for each
text; images that are left over go to their best text.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from curate.recipe.output import Place


def assign(similarity: npt.ArrayLike, per_text: int = 1) -> list[int]:
    """The text for each image: the best matching, and for images left over their best text (the first of equals).

    Args:
        similarity: (images, texts), cosine or any score; larger is better. There is at least one text.
        per_text: the most images that one text takes in the matching.
    """
    sims = np.asarray(similarity, np.float64)
    if not len(sims):
        return []
    matched = match(sims, per_text)
    return [matched.get(image, int(row.argmax())) for image, row in enumerate(sims)]


def match(similarity: npt.ArrayLike, per_text: int = 1) -> dict[int, int]:
    """Image -> text with the greatest total similarity, no text taking more than ``per_text`` images."""
    from scipy.optimize import linear_sum_assignment  # half a second, which no other command should wait for

    sims = np.repeat(np.asarray(similarity, np.float64), per_text, axis=1)
    images, texts = linear_sum_assignment(sims, maximize=True)
    return {int(image): int(text) // per_text for image, text in zip(images, texts, strict=True)}


@dataclass(frozen=True)
class Spot:
    """A survivor in the output: its position in the source; for an image, the text it was assigned to and how well."""

    position: int
    text: int | None = None
    similarity: float | None = None


def arrange(
    place: Place,
    images: Sequence[int],
    texts: Sequence[int],
    all_texts: Sequence[int],
    scores: Mapping[int, Mapping[str, Any]],
) -> list[Spot]:
    """The surviving segments of a document in output order.

    Args:
        place: the recipe's section.
        images: positions of the surviving images.
        texts: positions of the surviving texts.
        all_texts: positions of every text of the source document: what similarities and matches were counted in.
        scores: for each image position, ``sims`` (one for each of ``all_texts``) or ``matched`` (an index into it).

    Under "matched" and similarity placement an image stands right before its text; several at one text keep the
    order of the page. An image without a usable measurement stays where it stood on the page.
    """
    if place.by == "dom" or not texts:
        return [Spot(position) for position in sorted([*images, *texts])]
    if place.by == "matched":
        target = _matched(images, texts, all_texts, scores)
    else:
        target = _assigned(place, images, texts, all_texts, scores)
    before: dict[int, list[Spot]] = {position: [] for position in texts}
    loose: list[Spot] = []
    for position in images:
        if position not in target:
            loose.append(Spot(position))
        else:
            text = target[position][0]
            before[text].append(Spot(position, text, target[position][1]))
    for spot in loose:
        following = next((text for text in texts if text > spot.position), None)
        if following is not None:
            before[following].append(spot)
    for spots in before.values():
        spots.sort(key=lambda spot: spot.position)
    order = [spot for text in texts for spot in (*before[text], Spot(text))]
    return order + [spot for spot in loose if spot.position > max(texts)]


Target = dict[int, tuple[int, float | None]]


def _matched(
    images: Sequence[int], texts: Sequence[int], all_texts: Sequence[int], scores: Mapping[int, Mapping[str, Any]]
) -> Target:
    """The corpus' own match, where its text survived."""
    target: Target = {}
    for position in images:
        index = scores.get(position, {}).get("matched")
        if index is not None and 0 <= index < len(all_texts) and all_texts[index] in texts:
            target[position] = (all_texts[index], scores[position].get("matched_sim"))
    return target


def _assigned(
    place: Place,
    images: Sequence[int],
    texts: Sequence[int],
    all_texts: Sequence[int],
    scores: Mapping[int, Mapping[str, Any]],
) -> Target:
    """The best assignment of the images that have similarities."""
    index = {text: at for at, text in enumerate(all_texts)}
    columns = [index[text] for text in texts]
    given = {position: scores.get(position, {}).get("sims") for position in images}
    rows = {at: np.asarray(sims, np.float32)[columns] for at, sims in given.items() if sims is not None}
    measured = [position for position, row in rows.items() if np.isfinite(row).all()]
    if not measured:
        return {}
    sims = np.stack([rows[position] for position in measured])
    places = assign(sims, place.per_text)
    return {
        position: (texts[text], float(sims[row, text]))
        for row, (position, text) in enumerate(zip(measured, places, strict=True))
    }
