"""Web: a small made-up web of drawn pictures with everything that is wrong with the real one. Serves loopback only.

Pages repeat their logos, some links are dead, some captions are wrong, some pictures stand on several pages. Manifests
in the formats of MMC4, LAION and COYO point at it.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from curate.demo import world
from curate.image.codec import encode

LOGOS = ("logo-bird", "icon-next", "icon-home")
DEAD = 0.06
"""Share of images whose link leads nowhere."""
WRONG = 0.2
"""Share of captions that are wrong in one word."""
AGAIN = 0.08
"""Share of images that stood on an earlier page already."""


def build(folder: Path, port: int, documents: int = 150, pairs: int = 450, seed: int = 20) -> None:
    """Draws the pictures and writes the manifests; the same arguments give the same files."""
    rng = np.random.default_rng(seed)
    (folder / "images").mkdir(parents=True, exist_ok=True)
    base = f"http://127.0.0.1:{port}/images"
    for at, name in enumerate(LOGOS):
        (folder / f"images/{name}.png").write_bytes(encode(world.logo(at, 24), "png"))
    (folder / "images/broken.jpg").write_bytes(b"<html>this page has moved</html>")
    pictures = Pictures(folder / "images", base, rng)
    with (folder / "mmc4.jsonl").open("w", encoding="utf-8") as file:
        for number in range(documents):
            file.write(json.dumps(page(number, pictures, rng)) + "\n")
        file.write('{"url": "http://127.0.0.1/broken", "text_list": ["a line that was cut of\n')
    for name in ("laion", "coyo"):
        rows = [pair(name, number, pictures, rng) for number in range(pairs)]
        pq.write_table(pa.Table.from_pylist(rows), folder / f"{name}.parquet")


class Pictures:
    """Draws pictures and hands out their addresses, some of them dead, broken or used before."""

    def __init__(self, folder: Path, base: str, rng: np.random.Generator) -> None:
        self.folder, self.base, self.rng = folder, base, rng
        self.drawn: list[tuple[str, world.Scene]] = []

    def next(self) -> tuple[str, world.Scene]:
        """An address, and the scene that is (or was) to be seen there."""
        chance = self.rng.random()
        if self.drawn and chance < AGAIN:
            return self.drawn[int(self.rng.integers(len(self.drawn)))]
        scene = world.random_scene(self.rng, int(self.rng.choice([96, 128, 160, 224])))
        if chance < AGAIN + DEAD:
            return f"{self.base}/gone-{self.rng.integers(10**6)}.jpg", scene
        if chance < AGAIN + DEAD + 0.01:
            return f"{self.base}/broken.jpg", scene
        suffix = "png" if self.rng.random() < 0.3 else "jpg"
        name = f"{len(self.drawn):05d}.{suffix}"
        (self.folder / name).write_bytes(encode(world.draw(scene), suffix))
        self.drawn.append((f"{self.base}/{name}", scene))
        return self.drawn[-1]


def page(number: int, pictures: Pictures, rng: np.random.Generator) -> dict[str, Any]:
    """One MMC4 document: furniture, then sentences with pictures among them, in ``image_info``'s arbitrary order."""
    furniture = [f"{pictures.base}/{name}.png" for name in LOGOS]
    sentences: list[str] = []
    order: list[tuple[str, int]] = [("image", at) for at in range(len(furniture))]
    urls = list(furniture)
    for _ in range(int(rng.integers(2, 6))):
        url, scene = pictures.next()
        said = world.wrong_caption(scene, rng) if rng.random() < WRONG else world.caption(scene, rng)
        for kind in ("chatter", "image", "caption") if rng.random() < 0.5 else ("image", "caption", "chatter"):
            if kind == "image":
                order.append(("image", len(urls)))
                urls.append(url)
            else:
                order.append(("text", len(sentences)))
                sentences.append(world.chatter(rng) if kind == "chatter" else f"{said[0].upper()}{said[1:]}.")
    shuffled = [int(at) for at in rng.permutation(len(urls))]
    info = [{"image_name": Path(urls[at]).name, "raw_url": urls[at], "face_detections": None} for at in shuffled]
    place = {at: new for new, at in enumerate(shuffled)}
    dom = [[kind, place[at] if kind == "image" else at] for kind, at in order]
    return {"url": f"http://127.0.0.1/page-{number}", "text_list": sentences, "image_info": info, "dom_order": dom}


def pair(corpus: str, number: int, pictures: Pictures, rng: np.random.Generator) -> dict[str, Any]:
    """One row of a LAION or COYO table."""
    url, scene = pictures.next()
    if rng.random() < 0.05:
        url = f"{pictures.base}/{LOGOS[number % len(LOGOS)]}.png"
    text = world.wrong_caption(scene, rng) if rng.random() < WRONG else world.caption(scene, rng)
    if corpus == "laion":
        row = {"SAMPLE_ID": number, "URL": url if number % 97 else None, "TEXT": text if number % 53 else None}
        return {**row, "WIDTH": scene.side, "HEIGHT": scene.side, "LICENSE": "?", "NSFW": "UNLIKELY", "similarity": 0.3}
    watermark = float(np.float32(rng.random() ** 4))
    row = {"id": number, "url": url, "text": text, "width": scene.side, "height": scene.side}
    return {**row, "text_length": len(text), "word_count": len(text.split()), "watermark_score": watermark}


class Quiet(SimpleHTTPRequestHandler):
    """A file server that does not write a line for each request."""

    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class' name
        """Says nothing."""


class Server(ThreadingHTTPServer):
    """A server that lets many connections wait; the library's default drops them beyond five."""

    request_queue_size = 256


@contextmanager
def serve(folder: Path, port: int = 0) -> Iterator[int]:
    """Serves a folder on 127.0.0.1 for the length of the block; yields the port."""
    server = Server(("127.0.0.1", port), partial(Quiet, directory=str(folder)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield int(server.server_address[1])
    finally:
        server.shutdown()
        server.server_close()
