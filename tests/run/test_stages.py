"""What the stages of a run ask for, and what they leave behind when something failed."""

from __future__ import annotations

from pathlib import Path

from shards import Shelf, page, picture, raw_shard, recipe_of

from curate import Image, Vector, scores
from curate.recipe.recipe import Resource
from curate.run.executor import InProcess
from curate.source.rows import Slice
from curate.store.store import Store

ICON = Image("http://ex.org/a.png")
PICTURES = {ICON.url: picture()}


@scores("text", large=int)
def large(texts):
    return [{"large": 1} for _ in texts]


@scores("text", small=int)
def small(texts):
    return [{"small": 1} for _ in texts]


class Asking:
    """Does the jobs here, and remembers what a worker was to take."""

    def __init__(self) -> None:
        self.needs: dict[str, Resource] = {}

    def run(self, phase, jobs, done):
        self.needs[phase.name] = phase.needs
        return InProcess().run(phase, jobs, done)


def test_a_worker_takes_what_the_scorers_ask_for_that_have_something_to_measure(tmp_path: Path) -> None:
    raw_shard(Store(tmp_path), [page("a")], {})
    entries = {name: {"use": f"test_stages:{name}"} for name in ("large", "small")}
    sections = {"resources": {"large": {"gpus": 1}, "small": {"cpus": 0.5}}, "empty": "keep"}
    Shelf(tmp_path, recipe_of(score={"large": entries["large"]}, **sections)).do("score")
    asked = Asking()
    run = Shelf(tmp_path, recipe_of(score=entries, **sections), executor=asked)
    run.plan.slices.append(Slice("00000001", "t.jsonl", "t.jsonl", 0, 0, 0))  # one that was not fetched
    run.do("score")
    assert asked.needs["score"] == Resource(cpus=0.5)


def test_vectors_that_a_corpus_brings_along_are_grouped(tmp_path: Path) -> None:
    columns = {"image": {"e": Vector}}
    pages = [page("a", ICON, scores={1: {"e": [1.0, 0.0]}}), page("b", ICON, scores={1: {"e": [1.0, 0.001]}})]
    raw_shard(Store(tmp_path), pages, PICTURES, columns)
    group = {"alike": {"by": "source.e", "cosine": 0.9, "clusters": 1}}
    run = Shelf(tmp_path, recipe_of(group=group), columns).do("score", "group")
    assert list(run.column("alike.size").values()) == [2, 2]


def test_a_failed_pack_is_listed_at_the_end(tmp_path: Path) -> None:
    raw_shard(Store(tmp_path), [page("a b", ICON)], PICTURES)
    run = Shelf(tmp_path, recipe_of(score={"small": {"use": "test_stages:small"}})).do()
    (tmp_path / "r.yaml").touch()
    tar = bytearray((tmp_path / "raw/00000000.tar").read_bytes())
    tar[600] ^= 1  # of the picture that follows the first header
    (tmp_path / "raw/00000000.tar").write_bytes(tar)
    run.do("pack")
    assert [(failure.stage, failure.job) for failure in run.stages.scheduler.failures] == [("pack", "000000")]
