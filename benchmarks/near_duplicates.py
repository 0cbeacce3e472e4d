"""How many planted near-duplicates of real pictures and texts the group stage finds, and what it wrongly joins.

    python benchmarks/near_duplicates.py FOLDER ... --screens FOLDER ... [--texts FOLDER] [--each 90] [--look FOLDER]

FOLDER holds photographs and paintings; below ``--screens`` lie screenshots, plots and drawings; ``--texts`` has HTML.
They are used where they are; nothing of them is kept. docs/quality.md was made from these Debian packages, unpacked by
``apt-get download P; dpkg -x P_*.deb FOLDER``: gnome-backgrounds, mate-backgrounds, lomiri-wallpapers-16.04,
lomiri-wallpapers-20.04, ukui-wallpapers, plasma-workspace-wallpapers, xfdesktop4-data, palapeli-data, lxqt-themes,
opencv-doc (``examples``: photographs; ``opencv4/html``: screens), the data of the wheels of scikit-image and of
matplotlib, and gimp-help-en (screens, texts). Of each folder ``--each`` pictures are taken, by a hash of their names.

Every picture gets copies of each kind in ``COPIES``; ``STRANGERS`` are made of it to see that they stay apart. For each
kind there is a domain of the pictures and their copies: with ``scope: domain`` one run answers for all kinds. It is the
product's own run: nginx, ``fetch``, ``score``, ``group``; then the tables of the groups are read.

Recall: of the planted pairs (a picture, its copy), those in one group; what a gate leaves out counts as missed.
Precision: of all pairs in one group, those planted; there is one copy for each picture. Links chain, so a group may
hold pairs that are farther apart: "precision of pairs" counts only those that are within the radius themselves.

Packages ship one picture twice. Sources that any measure finds near, at radii as wide as the measured ones or wider,
are put aside but for one, except where people who looked found different pictures (``DIFFERENT``); ``--look`` draws
what was put aside, and every pair that a setting wrongly puts together, side by side.

Texts: pages cut to 400 words and edited word by word (replaced, left out, put in), against the true Jaccard similarity
of their sets of 5-grams, for every pair of every domain.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import re
import tempfile
from collections import Counter
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import common
import cv2
import numpy as np
import scipy.sparse

from curate import Image, Text
from curate.document import Document, Pixels, document, reader
from curate.filters.pdq import pdq
from curate.filters.phash import phash
from curate.group.components import all_links, fingerprint_matrix
from curate.image.codec import DecodeError, decode, encode, sniff
from curate.recipe.measures import Group
from curate.report import Report
from curate.run.executor import InProcess
from curate.run.run import Run
from curate.run.stages import Stages
from curate.store.files import Files
from curate.store.store import Store

LARGE, REDUCED = 1024, 640
"""Pictures with a longer side than the first are reduced to the second, as a page would show them."""
RADII = (0, 2, 4, 5, 6, 8, 10)
PDQ_RADII = (15, 23, 31)
COSINES = (0.985, 0.95)
DETAIL, QUALITY = 0.2, 50
JACCARD, EDITS = 0.8, (0, 0.5, 1, 1.5, 2, 2.5, 3, 4, 5, 10, 20, 40)
SIDES = ("photographs", "screens")
DIFFERENT = re.compile(
    r"((left|right)\d\d\.jpg|(-dialog|-options|-clipping|filter-options-common|gflare-editor-\d)\.png|toolbox-\w+\.png"
    r"|usb_device_connect_\d+\.png|period_psd\.jpg|circumcircle\.png)$"
)
"""Pictures that are alike and not the same: a chessboard held at other angles, dialogs of one program."""


def scaled(pixels: Pixels, factor: float) -> Pixels:
    """Resized by area."""
    size = [max(1, round(side * factor)) for side in (pixels.shape[1], pixels.shape[0])]
    return np.asarray(cv2.resize(pixels, size, interpolation=cv2.INTER_AREA), np.uint8)


def cropped(pixels: Pixels) -> Pixels:
    """Without 2.5 % at each side."""
    top, left = (round(side * 0.025) for side in pixels.shape[:2])
    return np.ascontiguousarray(pixels[top : pixels.shape[0] - top, left : pixels.shape[1] - left])


def marked(pixels: Pixels) -> Pixels:
    """With half transparent words in a corner, on a box of 3 % of the picture."""
    height, width = pixels.shape[:2]
    wide, high = round(width * 0.35), round(height * 0.086)
    box = np.zeros((40, 230, 3), np.uint8)
    for colour, thick in (((40, 40, 40), 5), ((255, 255, 255), 2)):
        cv2.putText(box, "(c) example.org", (6, 28), cv2.FONT_HERSHEY_SIMPLEX, 0.85, colour, thick, cv2.LINE_AA)
    box = cv2.resize(box, (wide, high), interpolation=cv2.INTER_AREA)
    found = pixels.copy()
    corner = found[height - high - 4 : height - 4, width - wide - 4 : width - 4]
    corner[:] = np.where(box.max(axis=2, keepdims=True) > 20, (corner.astype(np.uint16) + box) // 2, corner)
    return found


def left_half(pixels: Pixels) -> Pixels:
    return np.ascontiguousarray(pixels[:, : pixels.shape[1] // 2])


def right_half(pixels: Pixels) -> Pixels:
    return np.ascontiguousarray(pixels[:, -(pixels.shape[1] // 2) :])


ENCODED: dict[str, Callable[[Pixels], bytes]] = {
    "PNG": lambda pixels: encode(pixels, "png", 1),
    "q95": lambda pixels: encode(pixels, "jpg", 95),
    "q75": lambda pixels: encode(pixels, "jpg", 75),
    "q50": lambda pixels: encode(pixels, "jpg", 50),
    "q30": lambda pixels: encode(pixels, "jpg", 30),
    "half": lambda pixels: encode(scaled(pixels, 0.5), "png", 1),
    "half q50": lambda pixels: encode(scaled(pixels, 0.5), "jpg", 50),
}
"""Re-encoded or resized: what the requirement speaks of."""
COPIES = ENCODED | {
    "crop": lambda pixels: encode(cropped(pixels), "jpg", 90),
    "mark": lambda pixels: encode(marked(pixels), "jpg", 90),
}
STRANGERS: dict[str, Callable[[Pixels], bytes]] = {
    "flip": lambda pixels: encode(np.ascontiguousarray(pixels[:, ::-1]), "jpg", 90),
    "left": lambda pixels: encode(left_half(pixels), "jpg", 90),
    "right": lambda pixels: encode(right_half(pixels), "jpg", 90),
}
CAPTION = "caption"
"""The same file with another caption."""


@reader(image={"role": str})
def read(row: Mapping[str, Any]) -> Document:
    """A page with one picture or none, and a text."""
    image = [Image(row["image"])] if row["image"] else []
    return document(row["page"], [*image, Text(row["text"])], {0: {"role": row["role"]}} if image else {})


@dataclass(frozen=True)
class Source:
    """A picture as it is served: its name, whose it is, its file."""

    path: Path
    side: str
    data: bytes


def sources(folders: Sequence[Path], side: str, each: int) -> list[Source]:
    """Up to ``each`` distinct pictures of a folder, 200 px and more, not longer than three times their width."""
    found, seen = [], set[str]()
    for folder in folders:
        paths = [path for path in folder.rglob("*") if path.suffix.lower() in (".jpg", ".jpeg", ".png", ".webp")]
        paths = sorted(paths, key=lambda path: hashlib.sha256(str(path.relative_to(folder)).encode()).digest())
        taken = 0
        for path in paths:
            if taken < each and path.is_file() and (data := usable(path.read_bytes())):
                name = hashlib.sha256(data).hexdigest()
                taken += name not in seen
                if name not in seen:
                    found.append(Source(path, side, data))
                seen.add(name)
    return found


def usable(data: bytes) -> bytes | None:
    """The file, or a reduced JPEG of a large picture; None for what is small, long or no picture."""
    header = sniff(data)
    if header is None or min(header.width, header.height) < 200:
        return None
    long, short = max(header.width, header.height), min(header.width, header.height)
    if long > 3 * short:
        return None
    try:
        pixels = decode(data, REDUCED * short // long if long > LARGE else None)
    except DecodeError:
        return None
    return encode(scaled(pixels, REDUCED / max(pixels.shape)), "jpg", 92) if long > LARGE else data


def unpacked(digits: str) -> Any:
    """A hash as words of 64 bits."""
    return np.frombuffer(bytes.fromhex(digits), ">u8").astype(np.uint64)


def alike(several: Sequence[Source]) -> list[tuple[int, int]]:
    """Pairs that are the same picture, or another version of it: near by any measure, at wide radii."""
    pictures = [Image("", pixels=decode(each.data)) for each in several]
    hashes, prints = [each or {} for each in phash(pictures)], [each or {} for each in pdq(pictures)]
    bits = np.array([int(str(each["phash"]), 16) for each in hashes], np.uint64)
    words = np.array([unpacked(str(each["pdq"])) for each in prints])
    flat = np.array([float(each["detail"]) < DETAIL / 2 for each in hashes])
    poor = np.array([float(each["quality"]) < QUALITY for each in prints])
    small = np.stack([cv2.resize(each.pixels, (32, 32), interpolation=cv2.INTER_AREA) for each in pictures])
    small = small.reshape(len(several), -1).astype(np.float32)
    found = []
    for i in range(len(several)):
        one = (np.bitwise_count(bits ^ bits[i]) <= 10) & ~flat & ~flat[i]
        two = (np.bitwise_count(words ^ words[i]).sum(axis=1) <= 48) & ~poor & ~poor[i]
        three = np.abs(small - small[i]).mean(axis=1) < 0.5
        found += [(i, int(j)) for j in np.flatnonzero(one | two | three) if j > i]
    return [(i, j) for i, j in found if not (i != j and all(DIFFERENT.search(several[k].path.name) for k in (i, j)))]


def components(count: int, pairs: Iterable[tuple[int, int]]) -> list[int]:
    """The least member of each one's component."""
    label = list(range(count))
    for i, j in pairs:
        one, two = sorted((label[i], label[j]))
        label = [one if each == two else each for each in label]
    return label


def corpus(folder: Path, base: str, several: Sequence[Source]) -> None:
    """Writes the pictures, and the pages on which they stand."""
    rows: list[dict[str, str]] = []
    words = [common.sentence(number) for number in range(len(several))]

    def add(role: str, family: int, data: bytes, text: str) -> None:
        name = f"{hashlib.sha256(data).hexdigest()}.{sniff(data).format}"  # type: ignore[union-attr]
        (folder / "www" / name).write_bytes(data)
        page = f"http://{role.replace(' ', '-')}.example/{family}/{len(rows)}"
        rows.append({"page": page, "image": f"{base}/{name}", "text": text, "role": role})

    (folder / "www").mkdir(exist_ok=True)
    for family, each in enumerate(several):
        pixels = decode(each.data)
        for role, make in COPIES.items():
            add(role, family, each.data, words[family])
            add(role, family, make(pixels), words[family])
        add(CAPTION, family, each.data, words[family])
        add(CAPTION, family, each.data, words[family] + " again")
        add("flip", family, each.data, words[family])
        for role, make in STRANGERS.items():
            add("flip" if role == "flip" else "halves", family, make(pixels), words[family])
    (folder / "docs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


ROLES = (*COPIES, CAPTION, "flip", "halves")


def groups() -> dict[str, dict[str, Any]]:
    """Every setting, by name."""
    found: dict[str, dict[str, Any]] = {"sha256": {"by": "raw.sha256", "kind": "image", "scope": "domain"}}
    found["coyo"] = {"by": ["hash.phash", "key.caption"], "scope": "domain"}
    gates = {"phash": {"score": "hash.detail", "min": DETAIL}, "pdq": {"score": "print.quality", "min": QUALITY}}
    for kind, by, radii in (("phash", "hash.phash", RADII), ("pdq", "print.pdq", PDQ_RADII)):
        for radius in radii:
            near: dict[str, Any] = {"by": by, "within": radius}
            found[f"{kind}-{radius}"] = near | {"scope": "domain"}
            found[f"{kind}-{radius}-gate"] = near | {"scope": "domain", "after": gates[kind]}
            found[f"{kind}-{radius}-all"] = near | {"after": gates[kind]}
    for at, cosine in enumerate(COSINES):
        for number, role in enumerate(ROLES):
            only = {"score": "source.role", "equals": role}
            found[f"clip{at}-{number}"] = {"by": "clip.embedding", "cosine": cosine, "clusters": 1, "after": only}
    return found


class Quiet:
    """Says when a stage is over."""

    def start(self, stage: str, total: int, done: int) -> None: ...
    def advance(self, report: Report) -> None: ...
    def end(self, stage: str, counts: Counter[str], seconds: float) -> None:
        if stage in ("fetch", "score"):
            common.note(f"{stage}: {dict(counts)} in {seconds:.0f} s")


def finished(folder: Path, content: Mapping[str, Any]) -> Run:
    """The run of a recipe as far as its groups."""
    whole: dict[str, Any] = {
        "source": {"reader": f"{Path(__file__).stem}:read", "path": str(folder / "docs.jsonl"), "shard": 1000000}
    }
    path = common.recipe(folder / "recipe.yaml", {**whole, **content})
    run = Run.open(path, Store(folder / "run"))
    run.resolved.check()
    stages = Stages.of(run, InProcess(), Quiet())
    for stage in (stages.fetch, stages.score, stages.group):
        stage()
    return run


def column(run: Run, folder: str, name: str) -> dict[str, Any]:
    """A column by document; each document has one member."""
    frame = Files(run.store).read(f"{folder}/{run.shards[0]}.parquet", ["document", "position", name])
    return {page: value for page, _, value in frame.iter_rows() if value is not None}


def pages(run: Run) -> dict[str, tuple[str, int]]:
    """Domain and family of each document."""
    frame = Files(run.store).read(f"raw/{run.shards[0]}.parquet").filter(kind="document")
    found = {}
    for name, url in frame.select("document", "url").iter_rows():
        _, _, domain, family, _ = url.split("/")
        found[name] = (domain.removesuffix(".example").replace("-", " "), int(family))
    return found


Pairs = list[tuple[str, str]]


def in_groups(group: Mapping[str, str], several: Sequence[str]) -> Pairs:
    """The pairs of one domain that are in one group."""
    members: dict[str, list[str]] = {}
    for each in several:
        if each in group:
            members.setdefault(group[each], []).append(each)
    return [pair for each in members.values() for pair in itertools.combinations(each, 2)]


def within(hashes: Mapping[str, str], passing: Container[str], several: Sequence[str], radius: int) -> Pairs:
    """The pairs of one domain whose hashes are near."""
    there = [each for each in several if each in hashes and each in passing]
    words = np.array([unpacked(hashes[each]) for each in there])
    found: Pairs = []
    for i in range(len(there)):
        near = np.flatnonzero(np.bitwise_count(words[i + 1 :] ^ words[i]).sum(axis=1) <= radius)
        found += [(there[i], there[i + 1 + int(j)]) for j in near]
    return found


@dataclass
class Pictures:
    """What a run over pictures came to."""

    run: Run
    several: Sequence[Source]
    about: Mapping[str, tuple[str, int]]

    def domain(self, role: str) -> list[str]:
        return [name for name, (domain, _) in self.about.items() if domain == role]

    def planted(self, pair: tuple[str, str]) -> bool:
        return self.about[pair[0]][1] == self.about[pair[1]][1]

    def families(self, found: Pairs) -> set[int]:
        """The families of one domain that are together."""
        return {self.about[pair[0]][1] for pair in found if self.planted(pair)}

    def recall(self, found: Pairs, wanted: Sequence[int]) -> float:
        """Of these families the share that is together."""
        return len(self.families(found).intersection(wanted)) / max(1, len(wanted))

    def row(
        self, name: str, pairs: Mapping[str, Pairs], alone: Mapping[str, Pairs], passing: Container[str]
    ) -> list[str]:
        """Recall of all, of what passes the gate, of each side; precision of groups and of pairs; recall by kind."""
        every = range(len(self.several))
        sides = [[at for at in every if self.several[at].side == side] for side in SIDES]
        able = {role: self.able(role, passing) for role in ENCODED}
        shown = [float(np.mean([self.recall(pairs[role], part) for role in ENCODED])) for part in (every, *sides)]
        shown.insert(1, float(np.mean([self.recall(pairs[role], able[role]) for role in ENCODED])))
        levels = [[pair for role in ENCODED for pair in level[role]] for level in (pairs, alone)]
        right = [f"{np.mean([self.planted(pair) for pair in level]):.4f}" if level else "-" for level in levels]
        kinds = [f"{self.recall(pairs[role], every):.3f}" for role in ROLES]
        return [name, *(f"{each:.3f}" for each in shown), *right, *kinds]

    def able(self, role: str, passing: Container[str]) -> list[int]:
        """The families of which picture and copy pass a gate."""
        counts = Counter(family for page, (domain, family) in self.about.items() if domain == role and page in passing)
        return [family for family, count in counts.items() if count == 2]


def measured(result: Pictures) -> tuple[common.Table, dict[str, Pairs]]:
    """The table of settings, and what each put together wrongly."""
    run = result.run
    domains = {role: result.domain(role) for role in ROLES}
    home = {each.name: each.folder for each in run.grouped}
    names = {each.name: each.folder for each in run.resolved.scorers}
    precisions = ["precision of groups", "of pairs"]
    whole = common.Table(["setting", "recall", "of what passes the gate", *SIDES, *precisions, *ROLES])
    wrong: dict[str, Pairs] = {}

    def add(name: str, groups: Mapping[str, Pairs], alone: Mapping[str, Pairs], passing: Container[str]) -> None:
        whole.add(*result.row(name, groups, alone, passing))
        wrong[name] = sorted({pair for role in ENCODED for pair in groups[role] if not result.planted(pair)})

    def grouped(name: str) -> dict[str, Pairs]:
        group = column(run, home[name], "group")
        return {role: in_groups(group, domains[role]) for role in ROLES}

    for name, spelled in (("sha256", "sha256"), ("coyo", "(phash, caption)")):
        add(spelled, grouped(name), grouped(name), result.about)
    for kind, (score, *columns), radii, least in (
        ("phash", ("hash", "phash", "detail"), RADII, DETAIL),
        ("pdq", ("print", "pdq", "quality"), PDQ_RADII, QUALITY),
    ):
        hashes, gate = (column(run, names[score], each) for each in columns)
        passing = {page for page, value in gate.items() if value >= least}
        common.note(f"{kind}: the gate leaves out {1 - len(passing) / len(gate):.3f} of the pictures")
        for radius in radii:
            for gated, able in (("", result.about), ("-gate", passing)):
                spelled = f"{kind} {radius}" + (f", {columns[1]} >= {least}" if gated else "")
                alone = {role: within(hashes, able, domains[role], radius) for role in ROLES}
                add(spelled, grouped(f"{kind}-{radius}{gated}"), alone, able)
    for at, cosine in enumerate(COSINES):
        pairs = {role: grouped(f"clip{at}-{number}")[role] for number, role in enumerate(ROLES)}
        add(f"demo CLIP {cosine}", pairs, pairs, result.about)
    return whole, wrong


def crowded(result: Pictures) -> common.Table:
    """All kinds and strangers in one corpus: what chains do to groups."""
    found = common.Table(["setting", "families wholly together", "families joined with another", "largest group joins"])
    copies = {*COPIES, CAPTION}
    for each in result.run.grouped:
        if each.name.endswith("-all"):
            group = column(result.run, each.folder, "group")
            members: dict[str, set[int]] = {}
            parts: dict[int, set[str]] = {}
            for page, (role, family) in result.about.items():
                if role in copies:
                    members.setdefault(group.get(page, page), set()).add(family)
                    parts.setdefault(family, set()).add(group.get(page, page))
            joined = {family for several in members.values() if len(several) > 1 for family in several}
            one = sum(len(several) == 1 for several in parts.values())
            largest = max(len(several) for several in members.values())
            spelled = each.name.removesuffix("-all").replace("-", " ") + ", gate"
            found.add(spelled, f"{one} of {len(parts)}", len(joined), largest if largest > 1 else "-")
    return found


def look(folder: Path, name: str, pairs: Sequence[tuple[bytes, bytes, str]]) -> None:
    """Draws pairs side by side."""
    folder.mkdir(parents=True, exist_ok=True)
    side, across = 120, 6
    sheet = np.full((-(-max(1, len(pairs)) // across) * (side + 20), across * (2 * side + 16), 3), 255, np.uint8)
    for at, (one, two, text) in enumerate(pairs):
        y, x = at // across * (side + 20), at % across * (2 * side + 16)
        for number, data in enumerate((one, two)):
            pixels = decode(data)
            small = scaled(pixels, (side - 4) / max(pixels.shape[:2]))
            sheet[y : y + small.shape[0], x + number * side : x + number * side + small.shape[1]] = small
        cv2.putText(sheet, text, (x, y + side + 8), cv2.FONT_HERSHEY_SIMPLEX, 0.33, (200, 0, 0), 1, cv2.LINE_AA)
    (folder / f"{name}.png").write_bytes(encode(sheet, "png"))


def pictures(folder: Path, several: Sequence[Source], looked: Path | None) -> None:
    """Everything about pictures."""
    pairs = alike(several)
    label = components(len(several), pairs)
    left = [each for at, each in enumerate(several) if label[at] == at]
    if looked:
        shown = [(several[i].data, several[j].data, f"{several[j].path.name}"[:36]) for i, j in pairs]
        look(looked, "aside", shown)
    sides = Counter(each.side for each in left)
    common.note(f"{len(several)} pictures, {len(several) - len(left)} put aside ({len(pairs)} pairs): {dict(sides)}")
    (folder / "www").mkdir(parents=True)
    with common.serve(folder / "www") as web:
        corpus(folder, web.base, left)
        score = {"hash": {"use": "phash"}, "print": {"use": "pdq"}, "key": {"use": "keys"}, "clip": {"use": "clip"}}
        fetch = {"allow_loopback": True, "per_host": 16}
        run = finished(folder, {"fetch": fetch, "score": score, "group": groups()})
    result = Pictures(run, left, pages(run))
    whole, wrong = measured(result)
    about = f"{len(left)} pictures, of which {dict(sides)}"
    whole.show(f"Copies together in one group, by kind; {about}")
    crowded(result).show("All kinds at once in one corpus, flipped and halved ones too")
    for name in (
        "phash 4, detail >= 0.2",
        "phash 6, detail >= 0.2",
        "phash 8, detail >= 0.2",
        "phash 10, detail >= 0.2",
        "pdq 31, quality >= 50",
    ):
        families = sorted({tuple(sorted(result.about[page][1] for page in pair)) for pair in wrong[name]})
        names = [" = ".join(left[at].path.name for at in pair) for pair in families]
        common.note(f"wrong by {name}: {len(families)} pairs of pictures\n  " + "\n  ".join(names))
        if looked:
            shown = [(left[i].data, left[j].data, left[j].path.name[:36]) for i, j in families]
            look(looked, "wrong-" + name.split(",")[0].replace(" ", "-"), shown)


TAGS = re.compile(r"<(script|style|head)\b.*?</\1>|<[^>]+>|&\w+;", re.DOTALL | re.IGNORECASE)


def page_words(folder: Path, count: int) -> list[list[str]]:
    """The words of pages that have 200 and more, cut at 400."""
    found: list[list[str]] = []
    for path in sorted(folder.rglob("*.html"), key=lambda path: hashlib.sha256(path.name.encode()).digest()):
        words = re.findall(r"\w+", TAGS.sub(" ", path.read_text(encoding="utf-8", errors="replace")))[40:440]
        if len(words) >= 200 and len(found) < count:
            found.append(words)
    return found


def edited(words: Sequence[str], percent: float, rng: np.random.Generator, stock: Sequence[str]) -> list[str]:
    """A share of the words replaced, left out, or with another one before them, a third each."""
    at = set(rng.choice(len(words), round(len(words) * percent / 100), replace=False).tolist())
    found: list[str] = []
    for number, word in enumerate(words):
        other = stock[int(rng.integers(len(stock)))] if number in at else ""
        how = int(rng.integers(3)) if number in at else 3
        found += [[other], [], [other, word], [word]][how]
    return found


def jaccard(texts: Sequence[str], n: int = 5) -> Any:
    """The true similarity of every two (m, m), by their sets of n-grams."""
    index: dict[tuple[str, ...], int] = {}
    rows, columns = [], []
    for at, text in enumerate(texts):
        words = text.casefold().split()
        grams = {tuple(words[start : start + n]) for start in range(len(words) - n + 1)}
        rows += [at] * len(grams)
        columns += [index.setdefault(gram, len(index)) for gram in grams]
    matrix = scipy.sparse.csr_matrix((np.ones(len(rows)), (rows, columns)), (len(texts), len(index)))
    common_grams = np.asarray((matrix @ matrix.T).todense())
    sizes = common_grams.diagonal()
    return common_grams / (sizes[:, None] + sizes[None, :] - common_grams)


def texts(folder: Path, base: Path, count: int) -> None:
    """Everything about texts."""
    bodies, rng = page_words(base, count), np.random.default_rng(7)
    stock = sorted({word for words in bodies for word in words})
    rows: list[dict[str, str]] = []
    by_page: dict[str, str] = {}
    for percent in EDITS:
        for family, words in enumerate(bodies):
            for number, text in enumerate((words, edited(words, percent, rng, stock))):
                page = f"http://e{percent}.example/{family}/{number}"
                by_page[page] = " ".join(text)
                rows.append({"page": page, "image": "", "text": by_page[page], "role": ""})
    folder.mkdir(parents=True)
    (folder / "docs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    near = {"by": "sign.signature", "jaccard": JACCARD, "scope": "domain"}
    run = finished(folder, {"score": {"sign": {"use": "minhash"}}, "group": {"near": near}})
    url = dict(
        Files(run.store).read(f"raw/{run.shards[0]}.parquet").filter(kind="document")
        .select("document", "url").iter_rows()
    )  # fmt: skip
    signatures = column(run, run.resolved.scorers[0].folder, "signature")
    group = column(run, run.grouped[0].folder, "group")
    bands = {(low, low + 0.05): [0, 0] for low in (0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95)}
    bands = {(0.0, 0.6): [0, 0]} | bands
    levels: list[Sequence[Any]] = []
    totals = Counter[str]()
    for percent in EDITS:
        pages_here = [name for name, page in url.items() if page.startswith(f"http://e{percent}.example/")]
        true = jaccard([by_page[url[name]] for name in pages_here])
        packed = [signatures[name] for name in pages_here]
        distinct = sorted(set(packed))
        place = [distinct.index(each) for each in packed]
        linked = np.eye(len(distinct), dtype=bool)
        for i, j, _ in all_links(
            fingerprint_matrix(distinct, Group(by=("a.b",), jaccard=JACCARD)), Group(by=("a.b",), jaccard=JACCARD)
        ):
            linked[i, j] = linked[j, i] = True
        pair = linked[np.ix_(place, place)]
        grouped = np.array(
            [[bool(group.get(a)) and group.get(a) == group.get(b) for b in pages_here] for a in pages_here]
        )
        upper = np.triu(np.ones_like(pair), 1)
        for (low, high), counts in bands.items():
            inside = upper & (true >= low) & ((true < high) | (high > 0.999))
            counts[0] += int(inside.sum())
            counts[1] += int((inside & pair).sum())
        same = (
            np.array([[url[a].split("/")[3] == url[b].split("/")[3] for b in pages_here] for a in pages_here]) & upper
        )
        levels.append(
            [f"{percent} %", f"{true[same].mean():.2f}", f"{pair[same].mean():.3f}", f"{grouped[same].mean():.3f}"]
        )
        for name, found in (("pair", pair), ("group", grouped)):
            totals[f"{name} found"] += int((upper & found).sum())
            totals[f"{name} right"] += int((upper & found & (true >= JACCARD)).sum())
        totals["true"] += int((upper & (true >= JACCARD)).sum())
    shown = common.Table(["words edited", "true Jaccard, mean", "pairs linked", "in one group"], levels)
    shown.show(f"MinHash at {JACCARD}, 128 permutations, 5-grams: {len(bodies)} texts and their edits")
    spread = common.Table(["true Jaccard", "pairs", "linked"])
    for (low, high), (every, caught) in bands.items():
        spread.add(f"{low:.2f} to {high:.2f}", every, f"{caught / every:.3f}" if every else "-")
    spread.show("The same pairs by their true similarity")
    ends = common.Table(["level", f"recall of pairs >= {JACCARD}", "precision"])
    for name in ("pair", "group"):
        good, all_found = totals[f"{name} right"], totals[f"{name} found"]
        ends.add(name, f"{good / totals['true']:.3f}", f"{good / all_found:.3f}")
    ends.show("All edits together")


def main() -> None:
    parser = common.arguments(__doc__)
    parser.add_argument("folders", nargs="*", type=Path, metavar="FOLDER", help="photographs and paintings")
    parser.add_argument("--screens", nargs="+", type=Path, default=[], metavar="FOLDER")
    parser.add_argument("--texts", type=Path, metavar="FOLDER", help="HTML pages")
    parser.add_argument("--each", type=int, default=90, help="pictures of a folder at most")
    parser.add_argument(
        "--work", type=Path, metavar="FOLDER", help="run here, and leave the run [default: a temporary one]"
    )
    parser.add_argument("--look", type=Path, metavar="FOLDER", help="draw what was put aside and what was wrong")
    given = parser.parse_args()
    each = 12 if given.quick else given.each
    with tempfile.TemporaryDirectory(prefix="near-duplicates-") as name:
        work = given.work or Path(name)
        if given.texts:
            texts(work / "texts", given.texts, 40 if given.quick else 300)
        several = sources(given.folders, "photographs", each) + sources(given.screens, "screens", each)
        if several:
            pictures(work / "pictures", several, given.look)


if __name__ == "__main__":
    main()
