"""Planted: what is wrong with some pictures and texts of the drawn web, with the truth about it. Loads no model.

Each function makes one thing that a filter has to find and returns it with the fact to be found: the box of a
watermark or a face, the kind and the language of a text, whether it is right. So precision and recall can be counted.
Like the world itself, everything is a pure function of its arguments and the generator's state.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

from curate.demo import world

Pixels = world.Pixels
Box = tuple[int, int, int, int]
"""Left, top, right, bottom in pixels; right and bottom are outside."""
Kind = Literal["right", "changed", "other", "boilerplate", "foreign", "chatter"]
KINDS: tuple[Kind, ...] = ("right", "changed", "other", "boilerplate", "foreign", "chatter")

LETTERS: dict[str, str] = {
    "A": "010 101 111 101 101",
    "C": "011 100 100 100 011",
    "D": "110 101 101 101 110",
    "E": "111 100 110 100 111",
    "H": "101 101 111 101 101",
    "K": "101 101 110 101 101",
    "L": "100 100 100 100 111",
    "M": "101 111 111 101 101",
    "O": "010 101 101 101 010",
    "P": "110 101 110 100 100",
    "S": "011 100 010 001 110",
    "T": "111 010 010 010 010",
    "Y": "101 101 010 010 010",
}
"""Five rows of three cells each."""
STAMPS = ("STOCK", "PHOTO", "DEMO", "SAMPLE", "COPY")

SKINS = ((255, 220, 178), (241, 194, 150), (224, 172, 125), (198, 134, 90), (141, 85, 54))

UNSAFE = ("magenta", "star")
"""Colour and shape of what stands in for the unsafe: scenes of magenta stars, and no others, are to be removed."""

BOILERPLATE = (
    "image",
    "photo",
    "picture",
    "untitled",
    "thumbnail",
    "click to enlarge",
    "click here",
    "view larger image",
    "image may contain text",
    "no description available",
    "share on social media",
    "advertisement",
    "loading...",
    "spacer",
    "placeholder image",
    "next slide",
    "product photo",
    "enlarge this picture",
    "cover of the book",
    "picture of the day",
)
"""What alt texts say that say nothing."""
FILE_NAMES = ("IMG_{:04d}.jpg", "DSC{:05d}.JPG", "image-{}.png", "photo_{}_large.jpg", "{}.jpeg", "Screenshot {}.png")


@dataclass(frozen=True, slots=True)
class Watermark:
    """The mark on a picture: where it lies, what it says, how opaque it is (0 to 1)."""

    box: Box
    text: str
    opacity: float


@dataclass(frozen=True, slots=True)
class Face:
    """A drawn face: its box, its skin's RGB, and the share of the scene's objects that it hides (mostly 0)."""

    box: Box
    skin: tuple[int, int, int]
    hides: float


@dataclass(frozen=True, slots=True)
class Line:
    """A text beside a picture: what kind it is, whether it is right about the picture, and in which language.

    A translated caption is right, if not in English; boilerplate and chatter are about no picture, hence not right.
    """

    text: str
    kind: Kind
    right: bool
    language: str = "en"


def unsafe_scene(rng: np.random.Generator, side: int = 96) -> world.Scene:
    """A scene of magenta stars; size, count and texture are random."""
    return replace(world.random_scene(rng, side), colour=UNSAFE[0], shape=UNSAFE[1])


def is_unsafe(scene: world.Scene) -> bool:
    """Whether the scene shows magenta stars."""
    return (scene.colour, scene.shape) == UNSAFE


def taste(scene: world.Scene) -> float:
    """How beautiful the scene is, 1 to 10, by an invented taste: half for contrast, half for having few objects.

    Contrast is the mean distance of the objects' average colour from the background's, 0.18 and less to 0.5 and more.
    """
    small = replace(scene, side=64)
    pixels, objects = world.draw(small).astype(np.float64) / 255, object_mask(small)
    contrast = float(np.abs(pixels[objects].mean(axis=0) - pixels[~objects].mean(axis=0)).mean())
    return 1 + 4.5 * min(1.0, max(0.0, (contrast - 0.18) / 0.32)) + 4.5 * (5 - scene.count) / 4


def watermark(pixels: Pixels, rng: np.random.Generator) -> tuple[Pixels, Watermark]:
    """The picture under a stock agency's mark: white letters on a dark band across it, both half transparent."""
    side = pixels.shape[0]
    text = STAMPS[int(rng.integers(len(STAMPS)))]
    opacity = float(rng.uniform(0.45, 0.6))
    cells = _stamp(text)
    width = round(side * rng.uniform(0.7, 0.9))
    height = max(5, round(width * cells.shape[0] / cells.shape[1]))
    left, top = (int(rng.integers(0, side - extent + 1)) for extent in (width, height))
    rows, columns = (np.arange(extent) * cells.shape[at] // extent for at, extent in enumerate((height, width)))
    letters = cells[np.ix_(rows, columns)][..., None]
    margin = max(1, height // 5)
    upper, lower = max(0, top - margin), min(side, top + height + margin)
    marked = pixels.astype(np.float32)
    marked[upper:lower] *= 1 - opacity / 2
    window = marked[top : top + height, left : left + width]
    window += (255 - window) * (letters * opacity)
    return (marked + 0.5).astype(np.uint8), Watermark((0, upper, side, lower), text, opacity)


def with_face(scene: world.Scene, rng: np.random.Generator) -> tuple[Pixels, Face]:
    """The scene with a smiling face, which stands in for a person's, where it hides the least of the objects."""
    pixels, objects = world.draw(scene), object_mask(scene)
    side = scene.side
    extent = round(side * rng.uniform(0.22, 0.34))
    corners = rng.integers(0, side - extent + 1, (48, 2)).tolist()
    hidden = [int(objects[top : top + extent, left : left + extent].sum()) for left, top in corners]
    best = int(np.argmin(hidden))
    left, top = corners[best]
    skin = SKINS[int(rng.integers(len(SKINS)))]
    drawn = pixels.astype(np.float32)
    _smile(drawn[top : top + extent, left : left + extent], skin)
    box = (left, top, left + extent, top + extent)
    return (drawn + 0.5).astype(np.uint8), Face(box, skin, hidden[best] / max(1, int(objects.sum())))


def object_mask(scene: world.Scene) -> np.ndarray[Any, np.dtype[np.bool_]]:
    """Where the objects are, (side, side): where the scene differs when it is drawn in white and in black."""
    white, black = (world.draw(replace(scene, colour=colour)).astype(np.int16) for colour in ("white", "black"))
    there: np.ndarray[Any, np.dtype[np.bool_]] = (white - black).sum(axis=2) > 200
    return there


def line(scene: world.Scene, kind: Kind, rng: np.random.Generator) -> Line:
    """A text of this kind to stand beside the scene."""
    if kind == "right":
        return Line(world.caption(scene, rng), kind, right=True)
    if kind == "changed":
        return Line(world.wrong_caption(scene, rng), kind, right=False)
    if kind == "other":
        return Line(world.caption(_another(scene, rng), rng), kind, right=False)
    if kind == "foreign":
        language = _choice(tuple(LANGUAGES), rng)
        return Line(translated(scene, language, rng), kind, right=True, language=language)
    text = boilerplate(rng) if kind == "boilerplate" else world.chatter(rng)
    return Line(text, kind, right=False)


def boilerplate(rng: np.random.Generator) -> str:
    """An alt text that says nothing: a button's, a placeholder's, a file name."""
    if rng.random() < 0.6:
        return _choice(BOILERPLATE, rng)
    return _choice(FILE_NAMES, rng).format(int(rng.integers(1, 10_000)))


def holds(text: str, scene: world.Scene) -> bool:
    """The truth about a sentence: whether it is a caption of this world that is right about the scene in every word."""
    said = understood(text)
    return said is not None and all(said[name] == getattr(scene, name) for name in world.ATTRIBUTES)


def understood(text: str) -> dict[str, Any] | None:
    """The five attributes that a caption names, or None for a text that is no caption (or breaks its grammar)."""
    found = next((match for form in _FORMS if (match := form.fullmatch(text.strip().rstrip(".").lower()))), None)
    if found is None:
        return None
    said: dict[str, Any] = found.groupdict()
    count = next(number for number, word in world.COUNTS.items() if word == said["count"])
    nouns = {(noun if count == 1 else plural): noun for noun, plural in world.SHAPES.items()}
    return {**said, "count": count, "shape": nouns[said["shape"]]} if said["shape"] in nouns else None


@dataclass(frozen=True, slots=True)
class Language:
    """A language as far as captions need it.

    Inflected words are written ``a/b/c/d`` for the two genders of its nouns, singular then plural; ``a/b`` is singular
    and plural, ``a`` does not change. Nouns are ``gender singular plural``. Background nouns take one form of texture.
    """

    objects: str
    phrases: tuple[str, ...]
    counts: tuple[str, ...]
    sizes: tuple[str, ...]
    colours: str
    shapes: str
    textures: tuple[str, ...]


LANGUAGES: dict[str, Language] = {
    "de": Language(
        "{count} {size} {colour} {noun}",
        (
            "{objects} auf einem {texture} Hintergrund",
            "{objects} vor einer {texture} Wand",
            "Zeichnung: {objects} auf einem {texture} Tuch",
            "Auf diesem {texture} Papier sieht man Folgendes: {objects}",
        ),
        ("ein", "zwei", "drei", "vier", "fünf"),
        ("kleiner/kleines/kleine/kleine", "großer/großes/große/große"),
        (
            "roter/rotes/rote/rote, orangefarbener/orangefarbenes/orangefarbene/orangefarbene, "
            "gelber/gelbes/gelbe/gelbe, grüner/grünes/grüne/grüne, "
            "türkisfarbener/türkisfarbenes/türkisfarbene/türkisfarbene, blauer/blaues/blaue/blaue, "
            "magentafarbener/magentafarbenes/magentafarbene/magentafarbene, "
            "schwarzer/schwarzes/schwarze/schwarze, weißer/weißes/weiße/weiße"
        ),
        "0 Kreis Kreise, 1 Quadrat Quadrate, 1 Dreieck Dreiecke, 0 Stern Sterne, 1 Herz Herzen, 1 Kreuz Kreuze",
        ("gestreiften", "gepunkteten", "karierten", "gewellten", "wolkigen"),
    ),
    "nl": Language(
        "{count} {size} {colour} {noun}",
        (
            "{objects} op een {texture} achtergrond",
            "{objects} voor een {texture} muur",
            "een tekening van {objects} op een {texture} ondergrond",
            "hier zien we {objects} tegen een {texture} achtergrond",
        ),
        ("een", "twee", "drie", "vier", "vijf"),
        ("kleine/klein/kleine/kleine", "grote/groot/grote/grote"),
        (
            "rode/rood/rode/rode, oranje, gele/geel/gele/gele, groene/groen/groene/groene, turquoise, "
            "blauwe/blauw/blauwe/blauwe, magenta, zwarte/zwart/zwarte/zwarte, witte/wit/witte/witte"
        ),
        (
            "0 cirkel cirkels, 1 vierkant vierkanten, 0 driehoek driehoeken, 0 ster sterren, 1 hart harten, 1 "
            "kruis kruisen"
        ),
        ("gestreepte", "gestippelde", "geruite", "golvende", "wolkige"),
    ),
    "fr": Language(
        "{count} {size} {noun} {colour}",
        (
            "{objects} sur un fond {texture}",
            "{objects} devant un mur {texture}",
            "on voit ici {objects} sur un papier {texture}",
            "dessin avec {objects} sur un tissu {texture}",
        ),
        ("un/une/un/une", "deux", "trois", "quatre", "cinq"),
        ("petit/petite/petits/petites", "grand/grande/grands/grandes"),
        (
            "rouge/rouges, orange, jaune/jaunes, vert/verte/verts/vertes, cyan, bleu/bleue/bleus/bleues, magenta, "
            "noir/noire/noirs/noires, blanc/blanche/blancs/blanches"
        ),
        "0 cercle cercles, 0 carré carrés, 0 triangle triangles, 1 étoile étoiles, 0 cœur cœurs, 1 croix croix",
        ("rayé", "à pois", "à carreaux", "ondulé", "nuageux"),
    ),
    "es": Language(
        "{count} {noun} {colour} {size}",
        (
            "{objects} sobre un fondo {texture}",
            "{objects} delante de un muro {texture}",
            "aquí vemos {objects} en un papel {texture}",
            "un dibujo de {objects} sobre un paño {texture}",
        ),
        ("un/una/un/una", "dos", "tres", "cuatro", "cinco"),
        ("pequeño/pequeña/pequeños/pequeñas", "grande/grandes"),
        (
            "rojo/roja/rojos/rojas, naranja, amarillo/amarilla/amarillos/amarillas, verde/verdes, cian, "
            "azul/azules, magenta, negro/negra/negros/negras, blanco/blanca/blancos/blancas"
        ),
        (
            "0 círculo círculos, 0 cuadrado cuadrados, 0 triángulo triángulos, 1 estrella estrellas, 0 corazón "
            "corazones, 1 cruz cruces"
        ),
        ("a rayas", "de lunares", "a cuadros", "ondulado", "nublado"),
    ),
    "it": Language(
        "{count} {size} {noun} {colour}",
        (
            "{objects} su uno sfondo {texture}",
            "{objects} davanti a un muro {texture}",
            "un disegno con {objects} su un foglio {texture}",
            "qui vediamo {objects} sopra un tessuto {texture}",
        ),
        ("un/una/un/una", "due", "tre", "quattro", "cinque"),
        ("piccolo/piccola/piccoli/piccole", "grande/grandi"),
        (
            "rosso/rossa/rossi/rosse, arancione/arancioni, giallo/gialla/gialli/gialle, verde/verdi, ciano, blu, "
            "magenta, nero/nera/neri/nere, bianco/bianca/bianchi/bianche"
        ),
        "0 cerchio cerchi, 0 quadrato quadrati, 0 triangolo triangoli, 1 stella stelle, 0 cuore cuori, 1 croce croci",
        ("a righe", "a pois", "a quadretti", "ondulato", "nuvoloso"),
    ),
    "pt": Language(
        "{count} {noun} {colour} {size}",
        (
            "{objects} sobre um fundo {texture}",
            "{objects} em frente a um muro {texture}",
            "um desenho com {objects} em papel {texture}",
            "aqui vemos {objects} sobre um tecido {texture}",
        ),
        ("um/uma/um/uma", "dois/duas/dois/duas", "três", "quatro", "cinco"),
        ("pequeno/pequena/pequenos/pequenas", "grande/grandes"),
        (
            "vermelho/vermelha/vermelhos/vermelhas, laranja, amarelo/amarela/amarelos/amarelas, verde/verdes, "
            "ciano, azul/azuis, magenta, preto/preta/pretos/pretas, branco/branca/brancos/brancas"
        ),
        (
            "0 círculo círculos, 0 quadrado quadrados, 0 triângulo triângulos, 1 estrela estrelas, 0 coração "
            "corações, 1 cruz cruzes"
        ),
        ("às riscas", "de bolinhas", "xadrez", "ondulado", "nublado"),
    ),
}
"""By ISO 639-1 code; the words are in the world's order."""


def translated(scene: world.Scene, language: str, rng: np.random.Generator) -> str:
    """A caption in another language that is right about the scene. Raises KeyError for a language not in LANGUAGES."""
    words = LANGUAGES[language]
    gender, *nouns = words.shapes.split(", ")[tuple(world.SHAPES).index(scene.shape)].split()
    form = int(gender), int(scene.count > 1)
    objects = words.objects.format(
        count=_inflected(words.counts[scene.count - 1], *form),
        size=_inflected(words.sizes[world.SIZES.index(scene.size)], *form),
        colour=_inflected(words.colours.split(", ")[tuple(world.COLOURS).index(scene.colour)], *form),
        noun=nouns[form[1]],
    )
    texture = words.textures[world.TEXTURES.index(scene.texture)]
    return _choice(words.phrases, rng).format(objects=objects, texture=texture)


def _inflected(word: str, gender: int, plural: int) -> str:
    forms = word.split("/")
    if len(forms) == 4:
        return forms[2 * plural + gender]
    return forms[min(plural, len(forms) - 1)]


def _another(scene: world.Scene, rng: np.random.Generator) -> world.Scene:
    """A random scene that differs in some attribute."""
    other = world.random_scene(rng, scene.side)
    same = all(getattr(scene, name) == getattr(other, name) for name in world.ATTRIBUTES)
    return world.spoil(other, rng) if same else other


def _choice(values: tuple[str, ...], rng: np.random.Generator) -> str:
    return values[int(rng.integers(len(values)))]


def _forms() -> tuple[re.Pattern[str], ...]:
    """One pattern a phrase of the world, with a group for each attribute."""
    nouns = (*world.SHAPES, *world.SHAPES.values())
    values = {"count": world.COUNTS.values(), "size": world.SIZES, "colour": world.COLOURS, "shape": nouns}
    objects = " ".join(f"(?P<{name}>{'|'.join(words)})" for name, words in values.items())
    texture = f"(?P<texture>{'|'.join(world.TEXTURES)})"
    return tuple(re.compile(phrase.format(objects=objects, texture=texture)) for phrase in world.PHRASES)


_FORMS = _forms()


def _stamp(text: str) -> world.Floats:
    """The letters as cells of 0 and 1, (5, 4 n - 1)."""
    parts = [np.array([[float(cell) for cell in f"{row}0"] for row in LETTERS[letter].split()]) for letter in text]
    return np.concatenate(parts, axis=1)[:, :-1].astype(np.float32)


def _smile(window: world.Floats, skin: tuple[int, int, int]) -> None:
    """Draws a face that fills the window: a disc with a darker rim, two eyes, and a mouth that is part of a ring."""
    extent = window.shape[0]
    at = (np.arange(extent, dtype=np.float32) + 0.5) / extent * 2 - 1
    x, y = at[None, :], at[:, None]
    distance = np.hypot(x, y)

    def lay(outside: world.Floats, colour: tuple[float, float, float]) -> None:
        """Covers where ``outside`` (a distance in half windows) is negative; the edge is one pixel soft."""
        cover = np.clip(0.5 - outside * extent / 2, 0, 1)[..., None]
        window[:] = window + (np.array(colour, np.float32) - window) * cover

    lay(distance - 0.98, (skin[0] * 0.6, skin[1] * 0.6, skin[2] * 0.6))
    lay(distance - 0.88, skin)
    for side in (-0.36, 0.36):
        lay(np.hypot(x - side, (y + 0.26) * 0.8) - 0.14, (40, 28, 24))
    lay(np.maximum(np.abs(np.hypot(x, y - 0.02) - 0.54) - 0.08, 0.24 - y), (150, 40, 50))
