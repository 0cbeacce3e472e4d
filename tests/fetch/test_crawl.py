"""A shard fetched from a web of our own: what is written, and what of it is kept when its tar is damaged."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from web import Reply, Site

from curate.document import BadRow, Reader, pair
from curate.fetch import salvage
from curate.fetch.crawl import FetchShard, job_of
from curate.image.codec import encode
from curate.ledger.ledger import Ledger
from curate.ledger.making import done
from curate.ledger.state import DAMAGED, FOREIGN, GOOD, MISSING
from curate.recipe.input import Fetch, Resize, Source
from curate.source.rows import Slice
from curate.store.files import Files
from curate.store.store import Stat, Store

SHARD = "00000000"
RAW, TAR, OWN, ASIDE = (
    f"raw/{SHARD}.parquet",
    f"raw/{SHARD}.tar",
    f"scores/source/{SHARD}.parquet",
    f"raw/{SHARD}.salvage.tar",
)


def picture(seed: int) -> bytes:
    return encode(np.random.default_rng(seed).integers(0, 256, (30, 40, 3), np.uint8), "png")


PICTURES = {f"/{at}.png": picture(at) for at in range(6)}


def read_row(row):
    if "url" not in row:
        raise BadRow("no URL")
    return pair(row["url"], "a text", {"note": row["note"]}, "")


SETTINGS = Fetch(allow_loopback=True, retries=0)
READER = Reader(read_row, {"document": {"note": str}}, "test")


@dataclass
class Crawl:
    """A corpus of seven pictures on a site, of which two are one, one is missing, and one row that is none."""

    site: Site
    store: Store
    part: Slice
    reader: Reader = READER
    settings: Fetch = SETTINGS

    def fetch(self) -> dict[str, int]:
        """Fetches what the ledger says is missing; how often each path was asked for."""
        self.site.hits.clear()
        ledger = Ledger(self.store)
        work = FetchShard(Source(reader="x", path="x"), self.reader, self.settings)
        for job in ledger.unfinished([job_of(self.part, self.reader)]):
            assert ledger.blocked([job]) == {}
            ledger.take(done(self.store, ledger.handed(job), work))
        ledger.inventory.save()
        return dict(self.site.hits)

    def state(self, name: str) -> str:
        (target,) = (each for each in job_of(self.part, self.reader).targets if each.name == name)
        return Ledger(self.store).state(target)[0]

    def bytes(self) -> dict[str, bytes]:
        folder = Path(self.store.url)
        names = (path for path in sorted(folder.rglob("*")) if path.is_file() and path.parent.name != "ledger")
        return {str(path.relative_to(folder)): path.read_bytes() for path in names}

    def place(self, path: str) -> int:
        """Where a picture lies in the tar."""
        return int(Files(self.store).read(RAW).filter(kind="image", url=self.site.url(path))["offset"][0])

    def damage(self, path: str, name: str = TAR) -> None:
        file = Path(self.store.path(name))
        data = bytearray(file.read_bytes())
        data[self.place(path) + 50] ^= 4
        file.write_bytes(data)


@pytest.fixture
def crawl(tmp_path: Path) -> Iterator[Crawl]:
    pages = {**PICTURES, "/same.png": PICTURES["/2.png"]}
    with Site(pages) as site:
        rows = [{"url": site.url(path), "note": path} for path in [*pages, "/gone.png"]]
        (tmp_path / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in [*rows, {"no": "row"}]))
        part = Slice(SHARD, "a.jsonl", str(tmp_path / "a.jsonl"), 0, len(rows) + 1, 0, "plan 1")
        yield Crawl(site, Store(tmp_path / "run"), part)


def test_a_shard_is_asked_for_once_and_says_by_what_it_was_made(crawl: Crawl) -> None:
    assert crawl.fetch() == dict.fromkeys([*PICTURES, "/same.png", "/gone.png"], 1)
    table = Files(crawl.store).read(RAW)
    assert table["kind"].value_counts(sort=True).rows() == [("document", 8), ("image", 8), ("text", 8), ("reject", 1)]
    assert Files(crawl.store).notes(RAW)["by"] == "plan 1"
    assert Files(crawl.store).read(OWN)["note"].to_list() == [*PICTURES, "/same.png", "/gone.png"]
    assert crawl.fetch() == {}
    assert (crawl.state(RAW), crawl.state(OWN)) == (GOOD, GOOD)


def test_how_often_was_asked_is_no_content(crawl: Crawl) -> None:
    crawl.settings = replace_settings(crawl.settings, retries=1, backoff=0)
    crawl.fetch()
    before = Files(crawl.store).notes(RAW)["content"]
    crawl.store.remove(RAW)
    answers = [Reply(503), PICTURES["/1.png"]]
    crawl.site.pages = {**crawl.site.pages, "/1.png": lambda _: answers.pop(0)}
    assert crawl.fetch()["/1.png"] == 2
    assert Files(crawl.store).read(RAW).filter(kind="image", url=crawl.site.url("/1.png"))["attempts"][0] == 2
    assert Files(crawl.store).notes(RAW)["content"] == before


def replace_settings(settings: Fetch, **changes) -> Fetch:
    return settings.model_copy(update=changes)


def test_what_the_corpus_brings_along_is_written_again_without_asking_the_web(crawl: Crawl) -> None:
    crawl.fetch()
    before = crawl.bytes()
    crawl.store.remove(OWN)
    assert crawl.fetch() == {}
    assert crawl.bytes() == before


def test_a_raw_shard_of_another_plan_is_foreign(crawl: Crawl) -> None:
    crawl.fetch()
    crawl.part = replace(crawl.part, by="plan 2")
    assert crawl.state(RAW) == FOREIGN


def test_of_a_damaged_tar_only_the_lost_picture_is_asked_for(crawl: Crawl) -> None:
    crawl.fetch()
    before = crawl.bytes()
    crawl.damage("/3.png")
    salvage.set_aside(crawl.store, SHARD)
    assert not crawl.store.exists(TAR)
    assert crawl.fetch() == {"/3.png": 1}
    assert crawl.bytes() == before
    assert crawl.state(RAW) == GOOD


def test_a_tar_that_is_cut_is_damaged_and_keeps_what_is_left(crawl: Crawl) -> None:
    crawl.fetch()
    before = crawl.bytes()
    with Path(crawl.store.path(TAR)).open("r+b") as file:
        file.truncate(crawl.place("/4.png") + 7)
    assert crawl.state(RAW) == DAMAGED
    salvage.set_aside(crawl.store, SHARD)
    assert crawl.fetch() == {"/4.png": 1, "/5.png": 1}
    assert crawl.bytes() == before


def test_a_lost_tar_is_asked_for_but_not_what_had_failed_nor_one_picture_twice(crawl: Crawl) -> None:
    crawl.fetch()
    before = crawl.bytes()
    crawl.store.remove(TAR)
    assert crawl.fetch() == dict.fromkeys(PICTURES, 1)
    assert crawl.bytes() == before


def test_a_picture_that_the_web_has_lost_is_looked_for_at_its_other_places(crawl: Crawl) -> None:
    crawl.fetch()
    crawl.site.pages = {path: page for path, page in crawl.site.pages.items() if path in ("/same.png", "/3.png")}
    crawl.damage("/2.png")
    salvage.set_aside(crawl.store, SHARD)
    assert crawl.fetch() == {"/2.png": 1, "/same.png": 1}
    rows = Files(crawl.store).read(RAW).filter(kind="image")
    ended = {url.rpartition("/")[2]: status for url, status in rows.select("url", "status").iter_rows()}
    assert ended.pop("2.png") == "http_permanent"
    assert ended.pop("gone.png") == "http_permanent"
    assert set(ended.values()) == {"ok"}
    assert crawl.state(RAW) == GOOD


def test_a_picture_that_is_another_now_is_another(crawl: Crawl) -> None:
    crawl.fetch()
    before = Files(crawl.store).notes(RAW)["content"]
    crawl.site.pages = {**crawl.site.pages, "/3.png": picture(99)}
    crawl.damage("/3.png")
    salvage.set_aside(crawl.store, SHARD)
    assert crawl.fetch() == {"/3.png": 1}
    assert Files(crawl.store).notes(RAW)["content"] != before
    tar = Path(crawl.store.path(TAR)).read_bytes()
    assert picture(99) in tar
    assert all(data in tar for path, data in PICTURES.items() if path != "/3.png")


@pytest.mark.parametrize("how", ["gone", "damaged", "another plan's"])
def test_without_its_table_a_shard_is_asked_for_anew(how: str, crawl: Crawl) -> None:
    crawl.fetch()
    before = crawl.bytes()
    salvage.set_aside(crawl.store, SHARD)
    if how == "gone":
        crawl.store.remove(RAW)
    elif how == "damaged":
        Path(crawl.store.path(RAW)).write_bytes(b"PAR1")
        assert salvage.known(crawl.store, SHARD, "plan 1").is_empty()
        crawl.store.remove(RAW)
    else:
        assert salvage.known(crawl.store, SHARD, "plan 2").is_empty()
        assert salvage.known(crawl.store, SHARD, "plan 1").height == 8
        crawl.store.remove(RAW)
    assert crawl.fetch() == dict.fromkeys([*PICTURES, "/same.png", "/gone.png"], 1)
    assert crawl.bytes() == before


def test_a_tar_that_is_set_aside_twice_keeps_what_either_has(crawl: Crawl) -> None:
    crawl.fetch()
    before = crawl.bytes()
    whole = Path(crawl.store.path(TAR)).read_bytes()
    crawl.damage("/1.png")
    salvage.set_aside(crawl.store, SHARD)
    Path(crawl.store.path(TAR)).write_bytes(whole)  # as a kill before the new table came may leave it
    crawl.damage("/4.png")
    salvage.set_aside(crawl.store, SHARD)
    assert salvage.aside(crawl.store, SHARD) == [ASIDE, f"raw/{SHARD}.1.salvage.tar"]
    assert crawl.fetch() == {}
    assert crawl.bytes() == before


class Killed(BaseException):
    """The process ends."""


def killed_before(name: str, crawl: Crawl, monkeypatch: pytest.MonkeyPatch) -> None:
    """Fetches, and is killed before a file appears."""
    publish = Store.publish

    def until(store: Store, part: Path, each: str) -> Stat:
        if each == name:
            raise Killed
        return publish(store, part, each)

    with monkeypatch.context() as patched:
        patched.setattr(Store, "publish", until)
        with pytest.raises(Killed):
            crawl.fetch()


@pytest.mark.parametrize("before", [TAR, RAW])
@pytest.mark.parametrize("how", ["lost", "damaged"])
def test_a_kill_before_the_new_table_comes_loses_no_picture(
    how: str, before: str, crawl: Crawl, monkeypatch: pytest.MonkeyPatch
) -> None:
    crawl.fetch()
    whole = crawl.bytes()
    if how == "lost":
        crawl.store.remove(TAR)
    else:
        crawl.damage("/3.png")
        salvage.set_aside(crawl.store, SHARD)
    for _ in range(2):
        killed_before(before, crawl, monkeypatch)
        assert crawl.state(RAW) == MISSING
    is_there = before == RAW
    asked = crawl.fetch()
    assert asked == ({} if is_there else dict.fromkeys(PICTURES, 1) if how == "lost" else {"/3.png": 1})
    assert crawl.bytes() == whole
    assert crawl.state(RAW) == GOOD


def test_a_picture_that_only_a_tar_set_aside_has_survives_a_kill(crawl: Crawl, monkeypatch: pytest.MonkeyPatch) -> None:
    crawl.fetch()
    crawl.damage("/1.png")
    salvage.set_aside(crawl.store, SHARD)
    crawl.site.pages = {}
    killed_before(RAW, crawl, monkeypatch)
    assert crawl.fetch() == {"/1.png": 1}
    tar = Path(crawl.store.path(TAR)).read_bytes()
    assert [path for path, data in PICTURES.items() if data not in tar] == ["/1.png"]
    assert sorted(crawl.bytes()) == sorted([RAW, TAR, OWN])


def test_bytes_that_pass_the_crc_and_not_the_sha256_are_lost(crawl: Crawl) -> None:
    crawl.fetch()
    images = salvage.known(crawl.store, SHARD, "plan 1")
    first = pl.col("url") == crawl.site.url("/1.png")
    forged = images.with_columns(
        pl.when(first).then(pl.lit("0" * 64)).otherwise(pl.col("sha256")).alias("sha256"),
    )
    kept, resized = dict[str, bytes](), dict[str, bytes]()
    salvage.rescue(crawl.store, SHARD, forged, kept.__setitem__, untouched=True)
    salvage.rescue(crawl.store, SHARD, forged, resized.__setitem__, untouched=False)
    assert resized.keys() - kept.keys() == {"0" * 64}
    assert set(kept.values()) == set(PICTURES.values()) - {PICTURES["/1.png"]}


def test_resized_pictures_are_kept_too(crawl: Crawl) -> None:
    crawl.settings = replace_settings(crawl.settings, resize=Resize(size=16))
    crawl.fetch()
    before = crawl.bytes()
    crawl.damage("/3.png")
    salvage.set_aside(crawl.store, SHARD)
    assert crawl.fetch() == {"/3.png": 1}
    assert crawl.bytes() == before


def test_a_corpus_without_columns_has_no_table_of_them(crawl: Crawl) -> None:
    crawl.reader = replace(READER, columns={})
    crawl.fetch()
    assert sorted(crawl.bytes()) == [RAW, TAR]
