"""Trains the small language model on Debian packages, on one core, and measures what it saved on other packages.

    python filters/demo_models/train_language.py FOLDER            # fetch, train, save, measure
    python filters/demo_models/train_language.py FOLDER --measure  # measure the saved model only

The packages come through ``apt-get download`` and are unpacked below FOLDER; nothing is installed. Which text is
trained on and which is measured on is decided by package, never by sentence.
"""

from __future__ import annotations

import argparse
import gzip
import logging
import random
import re
import subprocess
import time
from collections.abc import Iterable, Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import fasttext

OUT = Path(__file__).parent / "language"
SEED = 7
LANGUAGES = ("en", "de", "fr", "es", "it", "pt", "nl", "pl", "ru", "ja", "zh")
APPS = """aisleriot brasero-common cheese-common evince-common file-roller four-in-a-row gedit-common gnome-chess
    gnome-klotski gnome-mahjongg gnome-mines gnome-sudoku gnome-system-monitor gnome-taquin gnome-user-docs hitori
    quadrapassel rhythmbox-data seahorse shotwell-common swell-foop tali totem-common"""
TRAIN = {
    "manpages": "manpages manpages-de -fr -es -it -nl -pl -pt-br -ru -ja -zh",
    "gimp-help": "gimp-help-en -de -fr -es -it -nl -pt -ru -ja",
    "debian-reference": "debian-reference-en -de -fr -es -it -pt -ja -zh-cn",
    "aptitude-doc": "aptitude-doc-en -es -fr -it -ja -nl -ru",
    "maint-guide": "maint-guide-de -fr -es -it -ja -ru",
    "developers-reference": "developers-reference developers-reference-de -fr -it -ja -ru",
    "debian-handbook": "debian-handbook",
    "tuxpaint": "tuxpaint-stamps-default",
}
WORDS = {
    "wamerican-small": "en", "wngerman": "de", "wfrench": "fr", "wspanish": "es", "witalian": "it", "wportuguese": "pt",
    "wbrazilian": "pt", "wdutch": "nl", "wpolish": "pl",
}  # fmt: skip
"""Word lists; random words in a row are trained on too, as morphology."""
TEST = {
    "libreoffice-help": "libreoffice-help-en-us -de -fr -es -it -nl -pl -pt -ru -ja -zh-cn",
    "debian-faq": "debian-faq debian-faq-de -fr -it -ja -nl -ru -zh-cn",
}
PER_LANGUAGE = 30_000  # sentences; each also gives a piece of three to eight words
STAMPED = 10  # times that a drawing's caption is repeated among them
RANDOM = 5_000  # lines of three to eight words of a list
TESTED = 2_000  # sentences a language
SETTINGS = {"dim": 16, "minn": 1, "maxn": 4, "minCount": 5, "bucket": 1_000_000, "epoch": 6, "lr": 0.5, "loss": "hs"}
FEATURES = 48_000  # left by quantisation

LETTERS = {"ru": re.compile("[\u0400-\u04ff]"), "zh": re.compile("[\u4e00-\u9fff]")}
LATIN, KANA = re.compile("[A-Za-z\u00c0-\u024f]"), re.compile("[\u3040-\u30ff]")
CODE = re.compile(r"[\w)][.=:(/_]\w|[<>{}=#@|\\]")
ENGLISH = frozenset("the of and is that this with are to it for you be in not".split())  # noqa: SIM905
BLOCK = "p div li dd dt td th h1 h2 h3 h4 h5 h6 title desc para item section table tr ul ol dl body page br"
SKIP = """script style pre code tt kbd samp head nav header footer aside info bookinfo articleinfo legalnotice screen
    programlisting cmd sys file output input key credit email"""
BLOCKS, SKIPS = frozenset(BLOCK.split()), frozenset(SKIP.split())
VOID = {"br", "img", "hr", "meta", "link", "input"}

log = logging.getLogger("train_language")


class Prose(HTMLParser):
    """The paragraphs of an HTML or Mallard page, without code."""

    def __init__(self) -> None:
        super().__init__()
        self.parts: list[str] = []
        self.skipped: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:  # noqa: ARG002, D102
        if tag in SKIPS - VOID:
            self.skipped.append(tag)
        self.parts.append("\n" if tag in BLOCKS else "")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:  # noqa: ARG002, D102
        self.parts.append(" ")

    def handle_endtag(self, tag: str) -> None:  # noqa: D102
        if tag in self.skipped:
            del self.skipped[self.skipped.index(tag) :]
        self.parts.append("\n" if tag in BLOCKS else "")

    def handle_data(self, data: str) -> None:  # noqa: D102
        if not self.skipped:
            self.parts.append(re.sub(r"\s+", " ", data))


def prose(file: Path) -> list[str]:
    """The paragraphs of a manual page (troff), or of an HTML or Mallard file."""
    raw = gzip.decompress(file.read_bytes()) if file.suffix == ".gz" else file.read_bytes()
    text = raw.decode("utf-8", "replace")
    if file.suffix == ".gz":
        text = re.sub(r"\\f[BI].*?\\f[PR]|\\[(*].{2}|\\\[.*?\]|\\[&/,|^:%]", "", re.sub(r'(?m)^\.\\".*$', "", text))
        text = re.sub(r"(?<![\n])\n(?![.\n])", " ", re.sub(r"(?m)^['.].*$", "\n", text)).replace("\\-", "-")
        return text.replace("\\", " ").split("\n")
    parser = Prose()
    parser.feed(text)
    return "".join(parser.parts).split("\n")


def sentences(paragraphs: Iterable[str], language: str) -> Iterator[str]:
    """Sentences of 20 to 400 characters, mostly letters, in the script of their language, without code."""
    for paragraph in paragraphs:
        for each in re.split(r"(?<=[.!?:;])\s+|(?<=[\u3002\uff01\uff1f])", re.sub(r"\s+", " ", paragraph)):
            sentence = each.strip()
            if 20 <= len(sentence) <= 400 and in_script(sentence, language) and is_prose(sentence, language):
                yield sentence


def is_prose(text: str, language: str) -> bool:
    """Whether a text has three words or more, nothing like code and, if it is not English, few English words."""
    if language in {"ja", "zh"}:
        return True
    words = text.lower().split()
    english = language != "en" and sum(word in ENGLISH for word in words) > 0.25 * len(words)
    return len(words) >= 3 and not english and not CODE.search(text)


def in_script(text: str, language: str) -> bool:
    """Whether most characters are letters, and these are of the language's script."""
    letters = sum(map(str.isalpha, text))
    if letters < 0.7 * len(text.replace(" ", "")):
        return False
    kana = len(KANA.findall(text))
    if language == "ja":
        return kana >= 0.2 * letters
    if language == "zh" and kana:
        return False
    return len(LETTERS.get(language, LATIN).findall(text)) >= (0.6 if language in LETTERS else 0.95) * letters


def language_of(file: Path, package: str) -> str:
    """From the place of a file in its package: .../man/pt_BR/man1/, /help/zh_CN/, -de, chapter.es.html."""
    place = str(file)
    for pattern in (
        r"/man/([\w]+)/man\d/",
        r"share/help/([\w@]+)/",
        r"/html/([\w-]+)/",
        r"[./]([a-z]{2})(?:-\w+)?\.html",
    ):
        if found := re.search(pattern, place):
            return normal(found[1])
    ending = package.rpartition("-")[2] if package not in TRAIN and package not in TEST else "en"
    return normal({"cn": "zh", "br": "pt", "us": "en"}.get(ending, ending))


def normal(code: str) -> str:
    """pt_BR, pt-br -> pt; C -> en; @ variants and others stay unknown."""
    return "en" if code == "C" else re.split(r"[_-]", code)[0]


def unpack(packages: Iterable[str], folder: Path) -> list[Path]:
    """Fetches the packages that are not there yet; the folders they are unpacked to."""
    found = []
    for package in packages:
        home = folder / package
        if not home.is_dir():
            subprocess.run(["apt-get", "download", package], cwd=folder, check=True)  # noqa: S603, S607
            (archive,) = folder.glob(f"{package}_*.deb")
            subprocess.run(["dpkg", "-x", archive, home], cwd=folder, check=True)  # noqa: S603, S607
            archive.unlink()
        found.append(home)
    return found


def expand(names: str) -> list[str]:
    """``a-en -de -fr``: a-en a-de a-fr; a name without an ending is followed by the first with one."""
    packages: list[str] = []
    stem = ""
    for name in names.split():
        packages.append(stem + name if name.startswith("-") else name)
        stem = stem or (name if name in (*TRAIN, *TEST) else name.removesuffix("-us").rpartition("-")[0])
    return packages


def corpus(groups: Iterable[str], folder: Path) -> dict[str, list[str]]:
    """Language -> its distinct sentences, shuffled; what also stands in the English manuals is English."""
    found: dict[str, dict[str, None]] = {language: {} for language in LANGUAGES}
    stamped: dict[str, list[str]] = {}
    for home in unpack([package for names in groups for package in expand(names)], folder):
        files = [file for ending in ("*.html", "*.page", "*/man/**/man*/*.gz") for file in home.rglob(ending)]
        for file in sorted(files):
            if (language := language_of(file.relative_to(home), home.name)) in found and file.is_file():
                found[language].update(dict.fromkeys(sentences(prose(file), language)))
        for language, caption in stamps(home):
            stamped.setdefault(language, []).append(caption)
    shuffled = {}
    for language, texts in found.items():
        own = [text for text in texts if language == "en" or text not in found["en"]]
        own += stamped.get(language, []) * STAMPED
        random.Random(SEED).shuffle(own)  # noqa: S311
        shuffled[language] = own
    return shuffled


def stamps(home: Path) -> Iterator[tuple[str, str]]:
    """Tux Paint's captions of drawings: an English line, then lines such as de.utf8=..."""
    for file in sorted(home.rglob("stamps/**/*.txt")):
        english, *others = file.read_text(encoding="utf-8", errors="replace").splitlines() or [""]
        yield "en", english
        for line in others:
            code, equals, caption = line.partition(".utf8=")
            if equals and caption.strip() not in {"", english}:
                yield normal(code), caption


def random_words(folder: Path) -> Iterator[tuple[str, str]]:
    """Language and three to eight words of its list, in a row."""
    rng = random.Random(SEED)  # noqa: S311
    for home in unpack(WORDS, folder):
        (file,) = [file for file in (home / "usr/share/dict").iterdir() if not file.is_symlink()]
        listed = [word for word in file.read_text(encoding="utf-8").split() if word.islower() and len(word) < 15]
        for _ in range(RANDOM):
            yield WORDS[home.name], " ".join(rng.choices(listed, k=rng.randint(3, 8)))


def piece(sentence: str, language: str, rng: random.Random) -> str:
    """Three to eight words in a row (for Japanese and Chinese, six to sixteen characters), mostly in lower case."""
    space, least, most = ("", 6, 16) if language in {"ja", "zh"} else (" ", 3, 8)
    units = list(sentence) if not space else sentence.split()
    start = rng.randrange(max(1, len(units) - least))
    cut = space.join(units[start : start + rng.randint(least, most)]).strip(".,;:()")
    return cut.lower() if rng.random() < 0.7 else cut


def train(texts: dict[str, list[str]], file: Path) -> Any:
    """A quantised model; every language has the same number of sentences. ``file`` is for fastText to read."""
    rng, lines = random.Random(SEED), []  # noqa: S311
    for language, own in texts.items():
        for at in range(PER_LANGUAGE):
            sentence = own[at % len(own)]
            lines += [f"__label__{language} {each}" for each in (sentence, piece(sentence, language, rng))]
    lines += [f"__label__{language} {each}" for language, each in random_words(file.parent)]
    rng.shuffle(lines)
    file.write_text("\n".join(lines), encoding="utf-8")
    model = fasttext.train_supervised(str(file), thread=1, seed=SEED, verbose=0, **SETTINGS)
    model.quantize(str(file), cutoff=FEATURES, qnorm=True, retrain=True, thread=1, epoch=3, lr=0.2)
    return model


def measure(model: Any, texts: dict[str, list[str]], name: str) -> None:
    """Logs the share of right labels for each language, and where the wrong ones went."""
    for language, own in texts.items():
        if own:
            labels = [found[0].removeprefix("__label__") for found in model.predict(own)[0]]
            wrong = [label for label in labels if label != language]
            went = ", ".join(f"{label} {wrong.count(label)}" for label in sorted(set(wrong)))
            log.info("%-8s %s  %6d texts  %.4f  %s", name, language, len(own), 1 - len(wrong) / len(own), went)


def captions() -> dict[str, list[str]]:
    """Short captions by language, written for this measurement and never trained on."""
    found: dict[str, list[str]] = {}
    for line in (OUT / "captions.tsv").read_text(encoding="utf-8").splitlines():
        language, text = line.split("\t")
        found.setdefault(language, []).append(text)
    return found


def main() -> None:
    """Trains unless told only to measure."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--measure", action="store_true")
    given = parser.parse_args()
    given.folder.mkdir(parents=True, exist_ok=True)
    if not given.measure:
        began = time.monotonic()
        texts = corpus([*TRAIN.values(), *APPS.split()], given.folder)
        log.info("trained on %s sentences", {language: len(own) for language, own in texts.items()})
        train(texts, given.folder / "train.txt").save_model(str(OUT / "lid.ftz"))
        log.info("%.0f s, %d bytes", time.monotonic() - began, (OUT / "lid.ftz").stat().st_size)
    model = fasttext.load_model(str(OUT / "lid.ftz"))
    held_out = corpus(TEST.values(), given.folder)
    measure(model, {language: own[:TESTED] for language, own in held_out.items()}, "manuals")
    rng = random.Random(SEED)  # noqa: S311
    short = {language: [piece(each, language, rng) for each in own[:TESTED]] for language, own in held_out.items()}
    measure(model, short, "pieces")
    measure(model, captions(), "captions")


if __name__ == "__main__":
    main()
