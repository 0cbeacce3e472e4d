"""The shapes world: drawn pictures and sentences that are right or wrong about them. Decodes nothing, loads no model.

A scene is one to five equal objects (9 colours x 6 shapes x 2 sizes) on one of 5 textured backgrounds. Its caption
always names the count, size, colour, shape and background, so that a caption is wrong as soon as one word is; where
the objects lie is never said, since models small enough for a demo do not learn it. Everything here is a pure
function of its arguments: the same scene gives the same pixels, the same generator state the same sentence.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

Pixels = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]

COLOURS: dict[str, tuple[int, int, int]] = {
    "red": (214, 38, 42),
    "orange": (246, 134, 22),
    "yellow": (250, 222, 46),
    "green": (42, 152, 66),
    "cyan": (44, 202, 214),
    "blue": (40, 78, 204),
    "magenta": (222, 48, 176),
    "black": (30, 30, 34),
    "white": (250, 250, 248),
}
SHAPES: dict[str, str] = {
    "circle": "circles",
    "square": "squares",
    "triangle": "triangles",
    "star": "stars",
    "heart": "hearts",
    "cross": "crosses",
}
"""Singular -> plural."""
SIZES = ("small", "large")
COUNTS: dict[int, str] = {1: "a", 2: "two", 3: "three", 4: "four", 5: "five"}
TEXTURES = ("striped", "dotted", "checkered", "wavy", "cloudy")
ATTRIBUTES = ("colour", "shape", "size", "count", "texture")
"""The fields of a scene that its caption names."""

DIAMETER: dict[tuple[str, int], tuple[float, float]] = {
    **{("small", count): (0.285, 0.305) for count in COUNTS},
    ("large", 1): (0.62, 0.76),
    ("large", 2): (0.44, 0.47),
    ("large", 3): (0.42, 0.45),
    ("large", 4): (0.42, 0.44),
    ("large", 5): (0.36, 0.37),
}
"""Range of an object's diameter as a share of the picture's side; a small one is 18 px of 64."""

BEARINGS = 4096
"""Directions in which an outline's distance from its centre is tabled."""

LAYOUTS: dict[int, tuple[tuple[tuple[float, float], ...], ...]] = {
    1: (((0, 0),),),
    2: (((-1, 0), (1, 0)), ((-1, -1), (1, 1)), ((-1, -0.5), (1, 0.5))),
    3: (((0, -1), (-1, 1), (1, 1)), ((-1, -1), (1, -1), (0.2, 1))),
    4: (((-1, -1), (1, -1), (-1, 1), (1, 1)),),
    5: (((-1, -1), (1, -1), (0, 0), (-1, 1), (1, 1)),),
}
"""Where the objects of a count lie, from -1 to 1, before a random turn, flip and jitter."""

PHRASES = (
    "{objects} on a {texture} background",
    "{objects} on a {texture} wall",
    "a picture of {objects} on a {texture} background",
    "a drawing of {objects} over a {texture} cloth",
    "{objects} in front of a {texture} wall",
    "a {texture} background with {objects}",
    "here we see {objects} on {texture} paper",
    "{texture} paper with {objects}",
)

WHO = ("the library", "our neighbour", "the committee", "my sister", "the editor", "a reader", "the museum", "everyone")
DID = ("announced", "remembers", "forgot", "discussed", "enjoyed", "missed", "planned", "described")
WHAT = (
    "the meeting",
    "the concert",
    "a long journey",
    "the recipe for soup",
    "the weather",
    "an old story",
    "the news",
    "the train home",
)
WHEN = (
    "last week",
    "this morning",
    "on monday",
    "in the evening",
    "after lunch",
    "during the holidays",
    "again",
    "today",
)
REMARKS = (
    "Thank you for reading, and see you soon.",
    "Subscribe to our letter for more news every week.",
    "The shop opens early and closes late in summer.",
    "It rained all night, but the garden is happy about it.",
    "Please leave a comment if you have a question.",
    "Nobody knew why the bus did not stop here.",
    "All rights reserved.",
    "Read more about this in the next article.",
    "We are sorry, this page could not be found.",
    "Tickets are sold at the door until the evening.",
    "She wrote to the council and waited for an answer.",
    "Share this story with your friends.",
)


@dataclass(frozen=True, slots=True)
class Scene:
    """What is in a picture (the five attributes), its side in pixels, and the seed of what no caption tells."""

    colour: str
    shape: str
    size: str
    count: int
    texture: str
    side: int = 96
    seed: int = 0


def random_scene(rng: np.random.Generator, side: int = 96) -> Scene:
    """A scene with attributes drawn uniformly, but that half of the scenes hold a single object."""
    count = 1 if rng.random() < 0.5 else int(rng.integers(2, 6))
    return Scene(
        colour=_choice(tuple(COLOURS), rng),
        shape=_choice(tuple(SHAPES), rng),
        size=_choice(SIZES, rng),
        count=count,
        texture=_choice(TEXTURES, rng),
        side=side,
        seed=int(rng.integers(2**32)),
    )


def spoil(scene: Scene, rng: np.random.Generator, attribute: str = "") -> Scene:
    """The scene with one attribute (a random one unless named) changed to another value; a count moves by one or two.

    Raises KeyError for an attribute that a caption does not name.
    """
    attribute = attribute or _choice(ATTRIBUTES, rng)
    near = tuple(n for n in COUNTS if 0 < abs(n - scene.count) <= 2)
    values: dict[str, tuple[Any, ...]] = {
        "colour": tuple(COLOURS),
        "shape": tuple(SHAPES),
        "size": SIZES,
        "count": near,
        "texture": TEXTURES,
    }
    others = [value for value in values[attribute] if value != getattr(scene, attribute)]
    change: dict[str, Any] = {attribute: others[int(rng.integers(len(others)))]}
    return replace(scene, **change)


def caption(scene: Scene, rng: np.random.Generator) -> str:
    """A sentence that is right about the scene, like "two large red stars on a striped background"."""
    noun = scene.shape if scene.count == 1 else SHAPES[scene.shape]
    objects = f"{COUNTS[scene.count]} {scene.size} {scene.colour} {noun}"
    return _choice(PHRASES, rng).format(objects=objects, texture=scene.texture)


def wrong_caption(scene: Scene, rng: np.random.Generator) -> str:
    """A sentence that is wrong about the scene in one attribute: a hard negative."""
    return caption(spoil(scene, rng), rng)


def chatter(rng: np.random.Generator) -> str:
    """A sentence about no picture: none of its words names a colour, shape, size, count or texture."""
    if rng.random() < 0.25:
        return _choice(REMARKS, rng)
    return f"{' '.join(_choice(part, rng) for part in (WHO, DID, WHAT, WHEN))}.".capitalize()


def draw(scene: Scene) -> Pixels:
    """The picture of a scene, (side, side, 3) RGB; the same composition at every side, but for the grain."""
    rng = np.random.default_rng(scene.seed)
    canvas = _background(scene.texture, scene.side, rng)
    low, high = DIAMETER[scene.size, scene.count]
    diameter = rng.uniform(low, high)
    for x, y in _centres(scene.count, diameter, rng).tolist():
        _paint(canvas, scene, (x, y), diameter, rng.uniform(-0.22, 0.22))
    canvas += rng.standard_normal((scene.side, scene.side, 1), dtype=np.float32) * 2.5
    picture: Pixels = np.clip(canvas + 0.5, 0, 255).astype(np.uint8)
    return picture


def logo(seed: int, side: int = 24) -> Pixels:
    """A small icon, (side, side, 3) RGB, of the kind that a page repeats: mirrored cells on one dark tone."""
    rng = np.random.default_rng([seed, 1])
    half = rng.random((5, 3)) < 0.5
    half[2, 2] = True
    cells = np.pad(np.concatenate([half, half[:, 1::-1]], axis=1), 1)
    at = np.arange(side) * 7 // side
    tone, paper = rng.uniform(20, 120, 3), rng.uniform(200, 250, 3)
    picture: Pixels = np.where(cells[np.ix_(at, at)][..., None], tone, paper).astype(np.uint8)
    return np.ascontiguousarray(picture)


def _words() -> tuple[str, ...]:
    """Every word that a caption or chatter can hold, lower-case, sorted."""
    phrases = " ".join(phrase.format(objects="", texture="") for phrase in PHRASES)
    attributes = (*COLOURS, *SHAPES, *SHAPES.values(), *SIZES, *COUNTS.values(), *TEXTURES)
    text = " ".join((phrases, *attributes, *WHO, *DID, *WHAT, *WHEN, *REMARKS))
    return tuple(sorted(set(re.findall(r"[a-z]+", text.lower()))))


VOCABULARY = _words()
"""The words of this world; besides them its sentences hold only a comma or a full stop."""


def _choice(values: tuple[str, ...], rng: np.random.Generator) -> str:
    return values[int(rng.integers(len(values)))]


def _background(texture: str, side: int, rng: np.random.Generator) -> Floats:
    """(side, side, 3): two near, pale tones, mixed by the pattern, under a slow change of light."""
    hue, tone = rng.uniform(0, 2 * np.pi), rng.uniform(150, 196)
    tint = 1 + 0.10 * np.cos(hue + np.array([0, 2.1, 4.2]))
    light = (tone * tint).astype(np.float32)
    dark = light * np.float32(rng.uniform(0.70, 0.78))
    at = ((np.arange(side, dtype=np.float32) + 0.5) / side)[None, :]
    x: Floats = np.broadcast_to(at, (side, side))
    y: Floats = np.broadcast_to(at.T, (side, side))
    mix = _pattern(texture, x, y, rng)[..., None]
    angle = rng.uniform(0, 2 * np.pi)
    shade = 1 + 0.07 * (math.cos(angle) * (x - 0.5) + math.sin(angle) * (y - 0.5))[..., None]
    canvas: Floats = ((light + (dark - light) * mix) * shade).astype(np.float32)
    return canvas


def _pattern(texture: str, x: Floats, y: Floats, rng: np.random.Generator) -> Floats:
    """0 to 1 per pixel; edges are one pixel soft."""
    period, phase = rng.uniform(0.12, 0.16), rng.random(2).tolist()
    sharp = x.shape[0] * period

    def wave(at: Floats) -> Floats:
        """A square wave of period 1 with soft edges: 0 to 1."""
        edges: Floats = np.clip((np.abs((at % 1) - 0.5) - 0.25) * sharp + 0.5, 0, 1)
        return edges

    if texture == "striped":
        angle = int(rng.integers(4)) * np.pi / 4 + rng.uniform(-0.12, 0.12)
        return wave((math.cos(angle) * x + math.sin(angle) * y) / period + phase[0])
    if texture == "wavy":
        x, y = (x, y) if rng.random() < 0.5 else (y, x)
        bend = 0.55 * np.sin(2 * np.pi * (x / rng.uniform(0.26, 0.34) + phase[1]))
        return wave(y / period + bend + phase[0])
    if texture == "checkered":
        across, down = wave(x / period / 1.6 + phase[0]), wave(y / period / 1.6 + phase[1])
        return across + down - 2 * across * down
    if texture == "dotted":
        across, down = (x / period + phase[0]) % 1 - 0.5, (y / period + phase[1]) % 1 - 0.5
        dots: Floats = np.clip((0.31 - np.hypot(across, down)) * sharp + 0.5, 0, 1)
        return dots
    if texture == "cloudy":
        total = np.zeros_like(x)
        for _ in range(7):
            angle, frequency, start = rng.uniform(0, 2 * np.pi), rng.uniform(1.2, 3.6), rng.uniform(0, 2 * np.pi)
            total = total + np.sin(2 * np.pi * frequency * (math.cos(angle) * x + math.sin(angle) * y) + start)
        clouds: Floats = np.clip(0.5 + total / 6, 0, 1)
        return clouds
    raise KeyError(texture)


def _centres(count: int, diameter: float, rng: np.random.Generator) -> npt.NDArray[np.float64]:
    """(count, 2): x and y from 0 to 1, whole objects inside the picture, none on another."""
    slots = np.array(LAYOUTS[count][int(rng.integers(len(LAYOUTS[count])))], dtype=np.float64)
    if rng.random() < 0.5:
        slots = slots[:, ::-1]
    slots = slots * rng.choice((-1, 1), 2)
    room = 0.49 - diameter / 2
    if count == 1:
        return 0.5 + rng.uniform(-1, 1, (1, 2)) * room
    spread = room if diameter > 0.34 else room * rng.uniform(0.84, 1)
    jitter = 0.0 if diameter > 0.34 else 0.02
    centres = 0.5 + slots * spread + rng.uniform(-jitter, jitter, slots.shape)
    inside: npt.NDArray[np.float64] = np.clip(centres, diameter / 2 + 0.01, 0.99 - diameter / 2)
    return inside


def _paint(canvas: Floats, scene: Scene, centre: tuple[float, float], diameter: float, turn: float) -> None:
    """Lays one object on the canvas: a soft shadow around it, a darker rim, and light falling from above."""
    side, radius = scene.side, diameter / 2
    reach = radius * 1.25 + 0.05
    left, top = (max(0, int((at - reach) * side)) for at in centre)
    right, bottom = (min(side, int((at + reach) * side) + 1) for at in centre)
    x = ((np.arange(left, right, dtype=np.float32) + 0.5) / side - centre[0])[None, :] / radius
    y = ((np.arange(top, bottom, dtype=np.float32) + 0.5) / side - centre[1])[:, None] / radius
    edge, slope = _outline(scene.shape)
    at = ((np.arctan2(y, x) + turn) * (BEARINGS / (2 * np.pi))).astype(np.int32) % BEARINGS
    outside = (np.sqrt(x * x + y * y) - edge[at]) * (slope[at] * np.float32(radius))
    window = canvas[top:bottom, left:right]
    window *= 1 - 0.40 * np.exp(-((np.maximum(outside, 0) / 0.022) ** 2))[..., None].astype(np.float32)
    colour = np.array(COLOURS[scene.colour], dtype=np.float32)
    rim = np.clip((outside + 0.05 * radius + 0.006) * side + 0.5, 0, 1)[..., None]
    body = colour * np.clip(1.04 - 0.10 * y, 0, 1.12)[..., None] * (1 - 0.38 * rim)
    cover = np.clip(0.5 - outside * side, 0, 1)[..., None].astype(np.float32)
    window += (np.minimum(body, 255) - window) * cover


@lru_cache
def _outline(shape: str) -> tuple[Floats, Floats]:
    """The outline's distance from the centre by bearing, and the cosine that makes a radial distance a true one.

    All six shapes are seen whole from their centre, so that one lookup by bearing draws any of them.
    """
    points = _corners(shape)
    points = points - (points.max(axis=0) + points.min(axis=0)) / 2
    ahead = np.roll(points, -1, axis=0)
    steps = np.linspace(0, 1, max(2, 2048 // len(points)), endpoint=False)[:, None, None]
    dense = (points * (1 - steps) + ahead * steps).transpose(1, 0, 2).reshape(-1, 2)
    bearings = np.arange(BEARINGS) * (2 * np.pi / BEARINGS)
    known = np.arctan2(dense[:, 1], dense[:, 0])
    edge = np.interp(bearings, known, np.hypot(dense[:, 0], dense[:, 1]), period=2 * np.pi)
    slope = 1 / np.sqrt(1 + (np.gradient(edge, bearings) / edge) ** 2)
    return edge.astype(np.float32), slope.astype(np.float32)


def _corners(shape: str) -> npt.NDArray[np.float64]:
    """The outline's corners in order, (n, 2), y downward, about 1 from the centre."""
    if shape == "square":
        return np.array([(-1, -1), (1, -1), (1, 1), (-1, 1)]) * 0.78
    if shape == "cross":
        arm = 0.30
        quarter = np.array([(-arm, -1), (arm, -1), (arm, -arm)])
        turns = [np.array([(1, 0), (0, 1)]), np.array([(0, 1), (-1, 0)])]
        half = np.concatenate([quarter @ turn for turn in turns])
        cross: npt.NDArray[np.float64] = np.concatenate([half, -half])
        return cross
    if shape == "triangle":
        return np.array([(0, -0.92), (0.98, 0.78), (-0.98, 0.78)])
    turn = np.linspace(0, 2 * np.pi, 10 if shape == "star" else 240, endpoint=False)
    if shape == "circle":
        return 0.92 * np.stack([np.cos(turn), np.sin(turn)], axis=1)
    if shape == "star":
        reach = np.where(np.arange(10) % 2, 0.44, 1.04)
        star: npt.NDArray[np.float64] = reach[:, None] * np.stack([np.sin(turn), -np.cos(turn)], axis=1)
        return star
    if shape == "heart":
        x = 16 * np.sin(turn) ** 3
        y = 13 * np.cos(turn) - 5 * np.cos(2 * turn) - 2 * np.cos(3 * turn) - np.cos(4 * turn)
        heart: npt.NDArray[np.float64] = np.stack([x, -y], axis=1) / 16.4
        return heart
    raise KeyError(shape)
