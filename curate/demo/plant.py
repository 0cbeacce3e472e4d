"""Plant: pairs of the drawn web of which it is known what is wrong with each. Judges no filter; ``findings`` does.

Three in five texts are true captions. The others are captions with one word changed, captions of other pictures, alt
texts that say nothing (some with an e-mail address in them), and captions in other languages. Those are right about the
picture, but they do not count as true: CapFilt's captioner and filter know English, so that they are to be replaced.
Independently of the text some pictures are unsafe, some bear a watermark, some show a face.

``planted.parquet`` is read by the reader for LAION; ``truth.parquet`` has what was planted, by the picture's address.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from curate.demo import planted, world
from curate.image.codec import encode

SHARES: dict[planted.Kind, float] = {"right": 0.6, "changed": 0.1, "other": 0.1, "boilerplate": 0.1, "foreign": 0.1}
"""Of the texts, by kind."""
UNSAFE, WATERMARKED, WITH_FACE, ADDRESSED = 0.08, 0.10, 0.08, 0.03
"""Shares of the pairs: pictures with magenta stars, a stock agency's mark, a face; texts with an e-mail address."""
SCENE = (*world.ATTRIBUTES, "side", "seed")
"""What of the truth makes the scene."""
SIDES = (96, 128, 160, 224)
PEOPLE = ("anna.berg", "j.okafor", "press", "maria_silva", "studio+web")
HOSTS = ("photos.example.org", "example.com", "pictures.example.net")


def build(folder: Path, port: int, pairs: int = 400, seed: int = 21) -> None:
    """Draws the pictures into ``planted/`` and writes both tables; the same arguments give the same files.

    Shares are met to the nearest whole pair; who gets what is random.
    """
    rng = np.random.default_rng(seed)
    (folder / "planted").mkdir(parents=True, exist_ok=True)
    kinds = shuffled([kind for kind, share in SHARES.items() for _ in range(round(share * pairs))][:pairs], rng)
    kinds += ["right"] * (pairs - len(kinds))
    chosen = {
        name: shuffled([at < round(share * pairs) for at in range(pairs)], rng)
        for name, share in (("unsafe", UNSAFE), ("watermarked", WATERMARKED), ("faced", WITH_FACE))
    }
    idle = [at for at, kind in enumerate(kinds) if kind == "boilerplate"]
    addressed = set(idle[: round(ADDRESSED * pairs)])
    rows = []
    for at, kind in enumerate(kinds):
        name = f"{at:05d}.{'png' if rng.random() < 0.3 else 'jpg'}"
        facts, pixels = picture(rng, **{name: chosen[name][at] for name in chosen})
        quality = None if name.endswith("png") else int(rng.integers(60, 96))
        (folder / "planted" / name).write_bytes(encode(pixels, name[-3:], quality))
        line = planted.line(scene_of(facts), kind, rng)
        text = f"{line.text} {address(rng)}" if at in addressed else line.text
        told = {"text": text, "kind": kind, "language": line.language, "addressed": at in addressed}
        rows.append({"url": f"http://127.0.0.1:{port}/planted/{name}", **told, **facts})
    pairs_of = [{"URL": row["url"], "TEXT": row["text"], "WIDTH": row["side"], "HEIGHT": row["side"]} for row in rows]
    pq.write_table(pa.Table.from_pylist(pairs_of), folder / "planted.parquet")
    pq.write_table(pa.Table.from_pylist(rows, TRUTH), folder / "truth.parquet")


TRUTH = pa.schema(
    [
        ("url", pa.string()),
        ("text", pa.string()),
        ("kind", pa.string()),  # one of planted.KINDS
        ("language", pa.string()),
        ("addressed", pa.bool_()),  # the text has an e-mail address
        *((name, pa.string()) for name in ("colour", "shape", "size")),
        ("count", pa.int64()),
        ("texture", pa.string()),
        ("side", pa.int64()),
        ("seed", pa.int64()),
        ("taste", pa.float64()),  # 1 to 10
        ("unsafe", pa.bool_()),
        ("watermarked", pa.bool_()),
        ("face", pa.list_(pa.float64())),  # left, top, right, bottom as shares of the side; null without one
    ]
)
"""truth.parquet; the scene's fields are those of ``world.Scene``, so that any sentence can be judged."""


def picture(
    rng: np.random.Generator, *, unsafe: bool, watermarked: bool, faced: bool
) -> tuple[dict[str, Any], world.Pixels]:
    """One picture, and the truth about it. A scene that is not to be unsafe is drawn again where it happens to be."""
    side = int(rng.choice(SIDES))
    scene = planted.unsafe_scene(rng, side) if unsafe else world.random_scene(rng, side)
    while planted.is_unsafe(scene) and not unsafe:
        scene = world.random_scene(rng, side)
    pixels, box = world.draw(scene), None
    if faced:
        pixels, face = planted.with_face(scene, rng)
        box = [corner / side for corner in face.box]
    if watermarked:
        pixels, _ = planted.watermark(pixels, rng)
    facts = {name: getattr(scene, name) for name in SCENE}
    wrong = {"unsafe": unsafe, "watermarked": watermarked, "face": box}
    return {**facts, "taste": planted.taste(scene), **wrong}, pixels


def scene_of(facts: dict[str, Any]) -> world.Scene:
    """The scene that a row of the truth tells of."""
    return world.Scene(**{name: facts[name] for name in SCENE})


def address(rng: np.random.Generator) -> str:
    """An e-mail address."""
    return f"{PEOPLE[int(rng.integers(len(PEOPLE)))]}@{HOSTS[int(rng.integers(len(HOSTS)))]}"


def shuffled(values: list[Any], rng: np.random.Generator) -> list[Any]:
    """The values in another order."""
    return [values[at] for at in rng.permutation(len(values))]
