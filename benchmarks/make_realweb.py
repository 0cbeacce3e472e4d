#!/usr/bin/env python3
"""Turn installed HTML documentation into a small, real interleaved web corpus.

The pages and images below every ``--root NAME=DIR`` become one site on
http://127.0.0.1:PORT/NAME/..., described in the formats a multimodal curation
toolkit reads: interleaved documents (MMC4-style ``docs.jsonl``, OBELICS-style
``obelics.parquet``), image-text pairs (``laion.parquet``, ``coyo.parquet``,
``cc3m.tsv``), crawled pages (``pages.warc.gz``), and ``nginx.conf`` with
``serve.sh`` to put the site up. Icons, logos, tiny images, missing alt texts,
duplicates and dead links stay: they are what such a toolkit has to clean.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import re
import subprocess
import uuid
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache
from html.parser import HTMLParser
from io import BytesIO
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote, urldefrag, urljoin, urlsplit

import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image
from warcio.statusandheaders import StatusAndHeaders
from warcio.warcwriter import WARCWriter

BREAK = "\x00"  # in a page's text stream: a paragraph boundary
MARK = "\ufffc"  # in a page's text stream: an image stood here

VOID_TAGS = set(
    ["area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "param", "source", "track", "wbr"]
)
IMPLIED_END_TAGS = set(["p", "li", "dt", "dd", "tr", "td", "th", "option"])
SKIPPED_TAGS = set(["script", "style", "title", "noscript", "template", "svg"])
HEADING_TAGS = set(["h1", "h2", "h3", "h4", "h5", "h6"])
OTHER_BLOCK_TAGS = set(
    [
        "address",
        "article",
        "aside",
        "blockquote",
        "body",
        "br",
        "caption",
        "center",
        "details",
        "div",
        "dl",
        "fieldset",
        "figcaption",
        "figure",
        "footer",
        "form",
        "header",
        "hr",
        "main",
        "nav",
        "ol",
        "pre",
        "section",
        "select",
        "summary",
        "table",
        "tbody",
        "tfoot",
        "thead",
        "ul",
    ]
)
BLOCK_TAGS = HEADING_TAGS | IMPLIED_END_TAGS | OTHER_BLOCK_TAGS
NAV_NAME = re.compile(r"(?:doc)?nav(?:bar|header|footer|igation)?(?:[-_].*)?|breadcrumbs?|headerlink")
FIGURE_NAMES = {"figure", "informalfigure", "thumb"}
CAPTION_NAMES = {"caption", "figcaption", "thumbcaption", "title"}

CHARSET = re.compile(rb"""(?:charset|encoding)\s*=\s*["']?([\w.:-]+)""", re.IGNORECASE)
LANGUAGE = re.compile(r"(?:^|[-_.])([a-z]{2,3}(?:-[A-Z]{2})?)$")
SENTENCE_END = re.compile(r"""[.!?؟।…]+["'”’»)\]]*\s+|[。．！？]+[」』）”’)]*\s*""")
# A full stop after an abbreviation, an initial or a leading number ("3.4.", "Figure 14.62.") ends nothing.
NOT_AN_END = re.compile(
    r"(?:^(?:\w+ )?[\d.]+|\b(?:[^\W\d_]|e\.g|i\.e|cf|vs|Mr|Mrs|Ms|Dr|Prof|St|Fig|Eq|Vol|pp|approx|resp))\.$"
)

LAION_COLUMNS = (
    "SAMPLE_ID:int64 URL:string TEXT:string HEIGHT:int32 WIDTH:int32 LICENSE:string NSFW:string similarity:double"
)
COYO_COLUMNS = (
    "id:int64 url:string text:string width:int64 height:int64 image_phash:string text_length:int64 word_count:int64 "
    "num_tokens_bert:int64 num_tokens_gpt:int64 num_faces:int64 clip_similarity_vitb32:double "
    "clip_similarity_vitl14:double nsfw_score_opennsfw2:double nsfw_score_gantman:double watermark_score:double "
    "aesthetic_score_laion_v2:double"
)
SIDE_BOUNDS = {32: "<32", 64: "32-63", 128: "64-127", 256: "128-255", 512: "256-511", 1 << 31: ">=512"}

NGINX_CONF = """\
# Serves the corpus on loopback. Relative paths resolve to this folder (serve.sh passes it with -p).
worker_processes 1;
pid nginx/nginx.pid;
error_log nginx/error.log;
events { worker_connections 512; }
http {
    access_log nginx/access.log;
    client_body_temp_path nginx/tmp/body; proxy_temp_path nginx/tmp/proxy; fastcgi_temp_path nginx/tmp/fastcgi;
    uwsgi_temp_path nginx/tmp/uwsgi; scgi_temp_path nginx/tmp/scgi;
    default_type application/octet-stream;
    types {
        text/html html htm xhtml; text/css css; text/javascript js; text/plain txt;
        image/png png; image/jpeg jpg jpeg; image/gif gif; image/webp webp; image/svg+xml svg;
        image/bmp bmp; image/tiff tif tiff; image/x-icon ico; image/x-xpixmap xpm; video/x-mng mng;
    }
    server {
        listen 127.0.0.1:@PORT@;
        location = / { default_type text/plain; return 200 "realweb\\n"; }
@LOCATIONS@
    }
}
"""
SERVE_SH = """\
#!/usr/bin/env bash
# Serve this corpus on loopback in the background. Usage: serve.sh [start|stop]
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
port=@PORT@
pidfile=$here/nginx/nginx.pid
PATH=$PATH:/usr/sbin:/usr/local/sbin

running() {  # is the process named by the pid file still an nginx?
  local pid
  { read -r pid <"$pidfile" && [[ $(<"/proc/$pid/comm") == nginx ]]; } 2>/dev/null
}
stop() {
  if running; then kill "$(<"$pidfile")"; fi
  while running; do sleep 0.1; done
}
answers() (  # does the site greet us?
  exec 3<>"/dev/tcp/127.0.0.1/$port" && printf 'GET / HTTP/1.0\\r\\n\\r\\n' >&3 || exit 1
  while IFS= read -r -t 2 line <&3; do [[ $line == realweb ]] && exit 0; done
  exit 1
) 2>/dev/null

case ${1:-start} in
  start)  # or restart
    stop
    mkdir -p "$here/nginx/tmp"
    user=()
    if ((EUID == 0)); then user=(-g "user root;"); fi  # so that the worker can read what we can read
    nginx -p "$here/" -c nginx.conf -e nginx/error.log ${user[@]+"${user[@]}"}
    for _ in {1..100}; do
      if answers; then echo "http://127.0.0.1:$port"; exit 0; fi
      sleep 0.1
    done
    echo "no answer on port $port; see $here/nginx/error.log" >&2
    exit 1 ;;
  stop) stop ;;
  *) echo "usage: serve.sh [start|stop]" >&2; exit 2 ;;
esac
"""


@dataclass(frozen=True)
class ImageFile:
    """What is behind an image URL. ``state``: ok, dead (no such file) or external (another host)."""

    state: str
    format: str = ""
    width: int | None = None
    height: int | None = None
    size: int = 0
    digest: str = ""


@dataclass
class ImageRef:
    """One <img> as the page has it, with the absolute URL and the file its ``src`` leads to."""

    src: str
    alt: str
    title: str
    heading: str
    caption: str = ""
    url: str = ""
    file: ImageFile = ImageFile("dead")

    @property
    def text(self) -> str:
        """The best text the page offers for this image; may be empty."""
        return self.alt or self.caption or self.title or self.heading


@dataclass
class Page:
    """A page: its sentences and images, and the order in which they follow each other."""

    root: str
    url: str
    html: bytes
    modified: int
    images: list[ImageRef]
    sentences: list[str] = field(default_factory=list)
    paragraph_starts: set[int] = field(default_factory=set)
    order: list[tuple[str, int]] = field(default_factory=list)


@dataclass(eq=False)
class Element:
    """An open element; headings and captions collect text for the images near them."""

    tag: str
    role: str
    first_image: int
    text: str = ""


class PageParser(HTMLParser):
    """Flattens a page to one text stream with BREAK and MARK characters, and the images behind the marks."""

    def __init__(self, markup: str) -> None:
        super().__init__(convert_charrefs=True)
        self.stream: list[str] = []
        self.images: list[ImageRef] = []
        self._heading = ""
        self._open: list[Element] = []
        self.feed(markup)
        self.close()
        self._close_down_to(0)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        attributes = {name: value or "" for name, value in attrs}
        if tag in BLOCK_TAGS:
            self.stream.append(BREAK)
        if tag == "img" and not self._inside("skip"):
            self._add_image(attributes)
        if tag in VOID_TAGS:
            return
        if tag in IMPLIED_END_TAGS and self._open and self._open[-1].tag == tag:
            self._close_down_to(len(self._open) - 1)
        self._open.append(Element(tag, self._role(tag, attributes), len(self.images)))

    def handle_endtag(self, tag: str) -> None:
        if tag in BLOCK_TAGS:
            self.stream.append(BREAK)
        depths = [depth for depth, element in enumerate(self._open) if element.tag == tag]
        if depths:
            self._close_down_to(depths[-1])

    def handle_data(self, data: str) -> None:
        if self._inside("skip", "nav"):
            return
        data = data.replace(BREAK, "").replace(MARK, " ")
        for element in self._open:
            if element.role in ("heading", "caption"):
                element.text += data
        self.stream.append(data.replace("\n", BREAK) if self._inside("code") else data)

    def _inside(self, *roles: str) -> bool:
        return any(element.role in roles for element in self._open)

    def _role(self, tag: str, attributes: dict[str, str]) -> str:
        names = f"{attributes.get('class', '')} {attributes.get('role', '')}".lower().split()
        if tag in SKIPPED_TAGS:
            return "skip"
        if tag == "nav" or any(NAV_NAME.fullmatch(name) for name in names):
            return "nav"
        if tag in HEADING_TAGS:
            return "heading"
        if tag == "figcaption" or (self._inside("figure") and CAPTION_NAMES.intersection(names)):
            return "caption"
        if tag == "figure" or FIGURE_NAMES.intersection(names):
            return "figure"
        return "code" if tag == "pre" else ""

    def _add_image(self, attributes: dict[str, str]) -> None:
        src = attributes.get("src", "").strip() or attributes.get("data-src", "").strip()
        if src and not src.startswith("data:"):  # a data: URI has no address to crawl
            alt, title = collapse(attributes.get("alt", "")), collapse(attributes.get("title", ""))
            self.images.append(ImageRef(src, alt, title, self._heading))
            self.stream.append(MARK)

    def _close_down_to(self, depth: int) -> None:
        while len(self._open) > depth:
            element = self._open.pop()
            text = collapse(element.text)
            if element.role == "heading":
                self._heading = text or self._heading
            elif element.role == "caption":
                figure = next((outer for outer in reversed(self._open) if outer.role == "figure"), element)
                figure.text = figure.text or text
            elif element.role == "figure":
                for image in self.images[element.first_image :]:
                    image.caption = image.caption or text


def collapse(text: str) -> str:
    """Squeezes every run of white space to one space."""
    return " ".join(text.split())


def split_sentences(paragraph: str) -> Iterator[str]:
    """Cuts a paragraph after sentence-final punctuation, keeping abbreviations and numbering whole."""
    start = 0
    for match in SENTENCE_END.finditer(paragraph):
        sentence = paragraph[start : match.end()].strip()
        if not paragraph[match.end() : match.end() + 1].islower() and not NOT_AN_END.search(sentence):
            yield sentence
            start = match.end()
    if paragraph[start:].strip():
        yield paragraph[start:].strip()


def interleave(page: Page, stream: str) -> None:
    """Fills the page's sentences and order. An image inside a sentence comes right after that sentence."""
    images = iter(range(len(page.images)))
    for paragraph in stream.split(BREAK):
        page.paragraph_starts.add(len(page.sentences))
        for piece in split_sentences(collapse(paragraph)):
            body = piece.lstrip(MARK + " ")
            page.order += [("image", next(images)) for _ in range(piece.count(MARK) - body.count(MARK))]
            sentence = collapse(body.replace(MARK, " "))
            if any(character.isalnum() for character in sentence):
                page.order.append(("text", len(page.sentences)))
                page.sentences.append(sentence)
            page.order += [("image", next(images)) for _ in range(body.count(MARK))]


def decode(html: bytes) -> str:
    """Decodes a page by the charset it declares near its top, else as UTF-8."""
    declared = CHARSET.search(html[:2048])
    try:
        return html.decode(declared[1].decode("ascii") if declared else "utf-8", errors="replace")
    except LookupError:
        return html.decode("utf-8", errors="replace")


@cache
def inspect(path: Path) -> ImageFile:
    """Reads an image file's format and size."""
    content = path.read_bytes()
    digest = hashlib.sha256(content).hexdigest()
    try:
        with Image.open(BytesIO(content)) as image:
            return ImageFile("ok", image.format or "", *image.size, len(content), digest)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):
        kind = "SVG" if b"<svg" in content[:4096] else "unreadable"
        return ImageFile("ok", kind, None, None, len(content), digest)


def find_file(url: str, base: str, roots: dict[str, Path]) -> ImageFile:
    """The file that the server will send for an image URL."""
    if not url.startswith(f"{base}/"):
        return ImageFile("external")
    name, _, relative = unquote(urlsplit(url).path).lstrip("/").partition("/")
    path = roots[name] / relative if name in roots else None
    return inspect(path) if path and path.is_file() else ImageFile("dead")


def read_pages(name: str, base: str, roots: dict[str, Path], limit: int | None) -> Iterator[Page]:
    """Parses the pages of one root in path order."""
    suffixes = {".html", ".htm", ".xhtml"}
    paths = sorted(path for path in roots[name].rglob("*") if path.suffix.lower() in suffixes and path.is_file())
    for path in paths[:limit]:
        url = f"{base}/{name}/{quote(path.relative_to(roots[name]).as_posix())}"
        html = path.read_bytes()
        parser = PageParser(decode(html))
        page = Page(name, url, html, int(path.stat().st_mtime), parser.images)
        for image in page.images:
            image.url = urldefrag(urljoin(url, quote(image.src, safe="%/:=&?~#+!$,;'@()*[]"))).url
            image.file = find_file(image.url, base, roots)
        interleave(page, "".join(parser.stream))
        yield page


def image_name(url: str) -> str:
    """A short stable file name for an image URL, as MMC4 has them."""
    return hashlib.sha256(url.encode()).hexdigest()[:12] + Path(urlsplit(url).path).suffix.lower()


def write_docs(path: Path, documents: list[Page]) -> None:
    """Writes the MMC4 raw layout, plus ``dom_order`` with the true interleaving."""
    with open(path, "w", encoding="utf-8") as stream:
        for page in documents:
            images = [{"image_name": image_name(image.url), "raw_url": image.url} for image in page.images]
            record = {"url": page.url, "text_list": page.sentences, "image_info": images, "dom_order": page.order}
            stream.write(json.dumps(record, ensure_ascii=False) + "\n")


def write_warc(path: Path, pages: list[Page]) -> dict[str, dict[str, int]]:
    """Writes the pages as WARC responses and returns where each lies. Ids and dates depend on the pages alone."""
    places = {}
    with open(path, "wb") as stream:
        writer = WARCWriter(stream, gzip=True)
        for page in pages:
            modified = datetime.fromtimestamp(page.modified, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
            record_id = f"<urn:uuid:{uuid.uuid5(uuid.NAMESPACE_URL, page.url)}>"
            fields = [("Content-Type", "text/html"), ("Content-Length", str(len(page.html)))]
            record = writer.create_warc_record(
                page.url,
                "response",
                payload=BytesIO(page.html),
                length=len(page.html),
                warc_headers_dict={"WARC-Record-ID": record_id, "WARC-Date": modified},
                http_headers=StatusAndHeaders("200 OK", fields, protocol="HTTP/1.1"),
            )
            start = stream.tell()
            writer.write_record(record)
            places[page.url] = {"warc_record_offset": start, "warc_record_length": stream.tell() - start}
    return places


def merged_blocks(page: Page) -> list[str | ImageRef]:
    """The page as OBELICS has it: images, and between them all consecutive text as paragraphs."""
    blocks: list[str | ImageRef] = []
    for kind, index in page.order:
        if kind == "image":
            blocks.append(page.images[index])
        elif blocks and isinstance(before := blocks[-1], str):
            within = "" if before.endswith(("。", "．", "！", "？", "」", "』", "）")) else " "
            blocks[-1] = before + ("\n\n" if index in page.paragraph_starts else within) + page.sentences[index]
        else:
            blocks.append(page.sentences[index])
    return blocks


def write_obelics(path: Path, documents: list[Page], warc_places: dict[str, dict[str, int]]) -> None:
    """Writes aligned lists of texts and images, with exactly one of the two at every index."""
    columns: dict[str, list[Any]] = {"images": [], "texts": [], "metadata": [], "general_metadata": []}
    for page in documents:
        blocks = merged_blocks(page)
        images = [block if isinstance(block, ImageRef) else None for block in blocks]
        metadata = [
            image and {"document_url": page.url, "unformatted_src": image.src, "src": image.url, "alt_text": image.alt}
            for image in images
        ]
        general_metadata = {"url": page.url, "warc_filename": "pages.warc.gz", **warc_places[page.url]}
        columns["images"].append([image and image.url for image in images])
        columns["texts"].append([block if isinstance(block, str) else None for block in blocks])
        columns["metadata"].append(json.dumps(metadata, ensure_ascii=False))
        columns["general_metadata"].append(json.dumps(general_metadata))
    strings = pa.list_(pa.string())
    types = {"images": strings, "texts": strings, "metadata": pa.string(), "general_metadata": pa.string()}
    pq.write_table(pa.table(columns, schema=pa.schema(types)), path)


def write_pairs(out: Path, pages: list[Page]) -> None:
    """Writes the pair tables: one row per <img> that has any text, repeats included."""
    laion, coyo, cc3m = [], [], []
    for row, image in enumerate(image for page in pages for image in page.images if image.text):
        url, text, width, height = image.url, image.text, image.file.width, image.file.height
        laion.append({"SAMPLE_ID": row, "URL": url, "TEXT": text, "HEIGHT": height, "WIDTH": width})
        laion[-1] |= {"LICENSE": "?", "NSFW": "UNLIKELY"}
        coyo.append({"id": row, "url": url, "text": text, "width": width, "height": height, "num_faces": 0})
        coyo[-1] |= {"text_length": len(text), "word_count": len(text.split())}
        cc3m.append(f"{text}\t{url}\n")
    for name, spec, rows in (("laion", LAION_COLUMNS, laion), ("coyo", COYO_COLUMNS, coyo)):
        columns = [column.split(":") for column in spec.split()]
        schema = pa.schema([(column, pa.type_for_alias(kind)) for column, kind in columns])
        pq.write_table(pa.Table.from_pylist(rows, schema=schema), out / f"{name}.parquet")
    (out / "cc3m.tsv").write_text("".join(cc3m), encoding="utf-8")


def write_server(out: Path, roots: dict[str, Path], port: int) -> None:
    """Writes nginx.conf and serve.sh."""
    locations = [f'        location /{name}/ {{ alias "{root}/"; }}' for name, root in roots.items()]
    conf = NGINX_CONF.replace("@PORT@", str(port)).replace("@LOCATIONS@", "\n".join(locations))
    (out / "nginx.conf").write_text(conf, encoding="utf-8")
    (out / "serve.sh").write_text(SERVE_SH.replace("@PORT@", str(port)), encoding="utf-8")
    (out / "serve.sh").chmod(0o755)


def side_range(file: ImageFile) -> str:
    """The range in which the image's shorter side lies."""
    if not file.width or not file.height:
        return "unknown"
    return next(label for bound, label in SIDE_BOUNDS.items() if min(file.width, file.height) < bound)


def summarise(pages: list[Page]) -> dict[str, Any]:
    """Counts for the manifest: ``images`` counts every <img>, the ``distinct`` ones and files each URL once."""
    images = [image for page in pages for image in page.images]
    distinct = {image.url: image.file for image in images}
    files = [file for file in distinct.values() if file.state == "ok"]
    sides = Counter(side_range(file) for file in files)
    html_bytes, image_bytes = sum(len(page.html) for page in pages), sum(file.size for file in files)
    return {
        "pages": len(pages),
        "docs": sum(bool(page.images and page.sentences) for page in pages),
        "sentences": sum(len(page.sentences) for page in pages),
        "images": len(images),
        "images_without_alt": sum(not image.alt for image in images),
        "images_dead": sum(image.file.state == "dead" for image in images),
        "images_external": sum(image.file.state == "external" for image in images),
        "distinct_images": len(distinct),
        "distinct_images_dead": sum(file.state == "dead" for file in distinct.values()),
        "distinct_image_contents": len({file.digest for file in files}),
        "pairs": sum(bool(image.text) for image in images),
        "html_bytes": html_bytes,
        "image_bytes": image_bytes,
        "total_bytes": html_bytes + image_bytes,
        "image_formats": dict(sorted(Counter(file.format for file in files).items())),
        "image_short_side": {label: sides[label] for label in [*SIDE_BOUNDS.values(), "unknown"] if sides[label]},
    }


def apt_install(packages: list[str]) -> None:
    """Installs the packages, and nginx-light to serve them."""
    command = ["apt-get", "install", "-y", "--no-install-recommends", "nginx-light", *packages]
    subprocess.run(command, check=True, env={**os.environ, "DEBIAN_FRONTEND": "noninteractive"})


def parse_root(argument: str) -> tuple[str, Path]:
    """Parses NAME=DIR; refuses what could not stand in a URL path or in nginx.conf."""
    name, _, directory = argument.partition("=")
    path = Path(directory).expanduser().absolute()
    if not re.fullmatch(r"[\w.-]+", name, re.ASCII) or not directory or re.search(r'["$\\\n]', str(path)):
        raise argparse.ArgumentTypeError(f"not NAME=DIR with plain names: {argument!r}")
    return name, path


def parse_arguments() -> argparse.Namespace:
    """Parses the command line; ``roots`` maps each NAME to its existing folder."""
    parser = argparse.ArgumentParser(description="Turn installed HTML documentation into a small real web corpus.")
    root_help = "folder with HTML pages and images, served as /NAME/ (repeatable); NAME may end in a language: gimp-ja"
    parser.add_argument("--root", type=parse_root, action="append", required=True, metavar="NAME=DIR", help=root_help)
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder to write, made if missing")
    parser.add_argument("--port", type=int, default=8099, help="loopback port of the site (default: 8099)")
    parser.add_argument("--max-pages", type=int, metavar="N", help="take only the first N pages of every root")
    parser.add_argument("--apt", nargs="+", metavar="PKG", help="Debian packages to install first, with nginx-light")
    arguments = parser.parse_args()
    if arguments.apt:
        apt_install(arguments.apt)
    arguments.roots = dict(arguments.root)
    if len(arguments.roots) < len(arguments.root):
        parser.error("every --root needs its own NAME")
    for name, root in arguments.roots.items():
        if not root.is_dir():
            parser.error(f"--root {name}: no such folder: {root}")
    return arguments


def main() -> None:
    """Builds the corpus and prints its totals."""
    arguments = parse_arguments()
    roots, out, base = arguments.roots, arguments.out, f"http://127.0.0.1:{arguments.port}"
    out.mkdir(parents=True, exist_ok=True)
    pages = [page for name in roots for page in read_pages(name, base, roots, arguments.max_pages)]
    documents = [page for page in pages if page.images and page.sentences]

    write_docs(out / "docs.jsonl", documents)
    warc_places = write_warc(out / "pages.warc.gz", pages)
    write_obelics(out / "obelics.parquet", documents, warc_places)
    write_pairs(out, pages)
    write_server(out, roots, arguments.port)
    manifest = {
        "base_url": base,
        "languages": {name: match[1] if (match := LANGUAGE.search(name)) else None for name in roots},
        "total": summarise(pages),
        "roots": {name: summarise([page for page in pages if page.root == name]) for name in roots},
    }
    (out / "manifest.json").write_text(json.dumps(manifest, indent=2) + "\n", encoding="utf-8")
    print(json.dumps(manifest["total"], indent=2))


if __name__ == "__main__":
    main()
