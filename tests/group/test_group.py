"""Groups: which segments are duplicates, however they are cut into shards; and who survives."""

from __future__ import annotations

import itertools
import shutil
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from shards import Shelf, done, page, picture, raw_shard, recipe_of

from curate import Image, Vector, scores
from curate.group import steps
from curate.group.steps import witness_files
from curate.recipe.recipe import Resource
from curate.recipe.section import RecipeError
from curate.report import StopRun
from curate.store.chunks import shard_name
from curate.store.store import Store

SLOW = settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
KEPT = ("kept", None)


@scores("text", bits=str, signature=bytes, vector=Vector, weight=float)
def read(texts):
    """A text of 16 hex digits as a hash, a signature of 16 numbers, and a direction in the plane."""
    return [
        {
            "bits": text.text,
            "signature": np.array([int(digit, 16) for digit in text.text], "<u4").tobytes(),
            "vector": [np.cos(int(text.text[:3], 16) / 500), np.sin(int(text.text[:3], 16) / 500)],
            "weight": int(text.text[-1], 16),
        }
        for text in texts
    ]


SCORE = {"h": {"use": "test_group:read"}}


def shard_of(at: int) -> str:
    """Names of shards that lie two in a chunk."""
    return shard_name(40 * at)


def shelf(folder: Path, documents: list[list], shards: int = 1, pictures=None, urls=None, **sections) -> Shelf:
    """Documents dealt into shards in order."""
    store = Store(folder)
    pages = [page(*each, url=(urls or {}).get(at, f"http://ex.org/{at}")) for at, each in enumerate(documents)]
    size = -(-len(pages) // shards)
    for shard in range(shards):
        raw_shard(store, pages[shard * size : (shard + 1) * size], pictures or {}, shard=shard_of(shard))
    return Shelf(folder, recipe_of(empty="keep", **sections))


def together(run: Shelf, name: str) -> set[frozenset[str]]:
    """The groups as sets of texts."""
    texts = pl.read_parquet(f"{run.store.path('raw')}/*.parquet")
    text_of = {
        (document, position): text
        for document, position, text in texts.select("document", "position", "text").iter_rows()
    }
    groups: dict[object, set] = {}
    for key, group in run.column(f"{name}.group").items():
        if group is not None:
            groups.setdefault(group, set()).add(text_of[key])
    return {frozenset(each) for each in groups.values()}


def brute(values: list[str], near) -> set[frozenset[str]]:
    """Connected components of more than one distinct value, by looking at every pair."""
    groups = [{value} for value in dict.fromkeys(values)]
    for a, b in itertools.combinations(dict.fromkeys(values), 2):
        if near(a, b):
            one, two = (next(group for group in groups if each in group) for each in (a, b))
            if one is not two:
                groups.remove(two)
                one |= two
    return {frozenset(group) for group in groups if len(group) > 1}


def bits_apart(a: str, b: str) -> int:
    return (int(a, 16) ^ int(b, 16)).bit_count()


HASHES = st.lists(
    st.sampled_from([0, 1, 2, 3, 7, 8, 0xFF, 0xF0, 1 << 63, (1 << 63) | 1, 0xABCDEF]), min_size=2, max_size=14
)


@SLOW
@given(numbers=HASHES, within=st.integers(0, 4), shards=st.integers(1, 3))
def test_near_hashes_are_those_that_looking_at_every_pair_finds(numbers, within, shards, tmp_path_factory) -> None:
    values = [f"{number:016x}" for number in numbers]
    group = {"near": {"by": "h.bits", "within": within}}
    run = shelf(tmp_path_factory.mktemp("run"), [[value] for value in values], shards, score=SCORE, group=group)
    run.do("score", "group")
    expected = brute(values, lambda a, b: bits_apart(a, b) <= within)
    assert {group for group in together(run, "near") if len(group) > 1} == expected


@SLOW
@given(numbers=HASHES, shards=st.integers(1, 4))
def test_equal_values_are_counted_over_all_shards(numbers, shards, tmp_path_factory) -> None:
    values = [f"{number:016x}" for number in numbers]
    run = shelf(
        tmp_path_factory.mktemp("run"), [[value] for value in values], shards, group={"same": {"by": "raw.text"}}
    )
    run.do("group")
    assert sorted(run.column("same.size").values()) == sorted(values.count(value) for value in values)


@SLOW
@given(numbers=HASHES)
def test_within_a_document_only_its_own_count(numbers, tmp_path_factory) -> None:
    values = [f"{number:016x}" for number in numbers]
    half = len(values) // 2
    documents = [values[:half], values[half:]]
    group = {
        "near": {"by": "h.bits", "within": 2, "scope": "document"},
        "same": {"by": "raw.text", "scope": "document"},
    }
    run = shelf(tmp_path_factory.mktemp("run"), documents, score=SCORE, group=group).do("score", "group")
    near = set().union(*(brute(each, lambda a, b: bits_apart(a, b) <= 2) for each in documents))
    assert {group for group in together(run, "near") if len(group) > 1} >= near
    sizes = [part.count(value) for part in documents for value in part]
    assert sorted(run.column("same.size").values()) == sorted(sizes)


def test_a_domain_is_the_network_location(tmp_path: Path) -> None:
    urls = {0: "http://ex.org/1", 1: "http://ex.org/2", 2: "http://www.ex.org/1", 3: "http://ex.org/3"}
    group = {"same": {"by": "raw.text", "scope": "domain"}, "near": {"by": "h.bits", "within": 1, "scope": "domain"}}
    a, b = "0" * 16, "0" * 15 + "1"
    run = shelf(tmp_path, [[a, "f" * 16], [a], [a], [b]], 2, urls=urls, score=SCORE, group=group).do("score", "group")
    assert sorted(run.column("same.size").values()) == [1, 1, 1, 2, 2]
    assert sorted(run.column("near.size").values()) == [1, 1, 3, 3, 3]


def test_signatures_and_directions(tmp_path: Path) -> None:
    values = ["0123456789abcdef", "0123456789abcd00", "fedcba9876543210", "01f3456789abcdef"]
    group = {
        "words": {"by": "h.signature", "jaccard": 0.8},
        "like": {"by": "h.vector", "cosine": 0.99, "clusters": 1},
    }
    run = shelf(tmp_path, [[value] for value in values], 2, score=SCORE, group=group).do("score", "group")
    assert together(run, "words") == {frozenset({values[0], values[1], values[3]})}
    assert together(run, "like") == {frozenset({values[0], values[1], values[3]})}


@pytest.mark.parametrize(("counts", "state"), [((6, 5), "dropped"), ((5, 5), "kept")])
def test_an_image_seen_more_than_ten_times_goes_everywhere(counts, state, tmp_path: Path) -> None:
    logo = Image("http://ex.org/logo.png")
    documents = [[logo] * count + [f"text {at}"] for at, count in enumerate(counts)]
    keep = [{"image": "seen.size", "max": 10}]
    run = shelf(tmp_path, documents, 2, {logo.url: picture()}, group={"seen": {"by": "raw.url"}}, keep=keep)
    found = [state for (_, at), state in run.do("group", "select").states().items() if at >= 0]
    assert [one for one, _ in found].count(state) == sum(counts) + (2 if state == "kept" else 0)


@pytest.mark.parametrize(("times", "left"), [(3, 0), (2, 2)])
def test_a_paragraph_seen_three_times_on_a_domain_goes(times, left, tmp_path: Path) -> None:
    urls = {0: "http://ex.org/1", 1: "http://www.ex.org/1"}
    group = {"paragraph": {"by": "raw.text", "scope": "domain"}}
    run = shelf(
        tmp_path,
        [["said again"] * times, ["said again"]],
        urls=urls,
        group=group,
        keep=[{"text": "paragraph.size", "max": 2}],
    )
    ends = [state for (_, at), (state, _) in run.do("group", "select").states().items() if at >= 0]
    assert ends == ["kept" if left else "dropped"] * times + ["kept"]


def survivors(run: Shelf) -> set[tuple[str, int]]:
    return {key for key, (state, _) in run.states().items() if state == "kept" and key[1] >= 0}


def test_the_best_stays_and_a_tighter_rule_picks_again_without_grouping_again(tmp_path: Path) -> None:
    values = ["0000000000000001", "0000000000000005", "0000000000000003"]
    group = {"near": {"by": "h.bits", "within": 2, "keep": "h.weight"}}
    run = shelf(tmp_path, [[value] for value in values], 3, score=SCORE, group=group).do()
    ids = [document for document, position in run.states() if position >= 0]
    assert survivors(run) == {(ids[1], 0)}
    assert run.states()[ids[0], 0] == ("dropped", "text: duplicate (near)")
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("groups/**/*.parquet")}
    keep = [{"text": "h.weight", "max": 4}]
    again = Shelf(tmp_path, recipe_of(empty="keep", score=SCORE, group=group, keep=keep)).do()
    assert survivors(again) == {(ids[2], 0)}
    largest = Shelf(
        tmp_path, recipe_of(empty="keep", score=SCORE, group={"near": group["near"] | {"keep": "first"}})
    ).do()
    assert survivors(largest) == {(ids[0], 0)}
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("groups/**/*.parquet")} == before


def test_ties_go_to_the_least_id_whatever_the_shards(tmp_path: Path) -> None:
    documents = [["same words"], ["same words"], ["same words"]]
    group = {"same": {"by": "raw.text", "keep": "raw.text"}}
    found = []
    for shards in (1, 2, 3):
        run = shelf(tmp_path / str(shards), documents, shards, group=group).do("group", "select")
        found.append({document for document, _ in survivors(run)})
    ids = sorted(document for document, position in run.states() if position < 0)
    assert len(found[0]) == 1
    assert found[0] <= set(ids)


def test_a_document_dropped_by_a_count_is_no_survivor(tmp_path: Path) -> None:
    """The first has one text, too few: its copy in the second stays."""
    documents = [["shared"], ["shared", "more"]]
    keep = [{"document": "texts", "min": 2}]
    group = {"same": {"by": "raw.text", "keep": "first"}}
    run = shelf(tmp_path, documents, 2, group=group, keep=keep).do("group", "select")
    assert [state for state, _ in run.states().values()] == ["dropped", "dropped", "kept", "kept", "kept"]


def test_whole_documents_can_be_duplicates(tmp_path: Path) -> None:
    documents = [["a", "b"], ["a", "b"], ["a", "c"]]
    group = {"pages": {"by": "keys.words", "keep": "first"}}
    run = shelf(tmp_path, documents, 2, score={"keys": {"use": "keys"}}, group=group).do()
    states = list(run.states().values())
    assert [state for state, _ in states] == ["kept"] * 3 + ["dropped"] * 3 + ["kept"] * 3
    assert states[3] == ("dropped", "document: duplicate (pages)")


def test_semdedup_keeps_what_no_survivor_resembles(tmp_path: Path) -> None:
    """In the order hard, each goes that resembles one before it; where that one goes by another rule, it stays."""
    values = [f"{angle:03x}0000000000000" for angle in (0, 30, 60, 700)]
    group = {"sem": {"by": "h.vector", "eps": 0.01, "clusters": 1, "keep": "hard"}}
    run = shelf(tmp_path, [[value] for value in values], 2, score=SCORE, group=group).do()
    texts = dict(
        pl.read_parquet(f"{tmp_path}/raw/*.parquet").filter(kind="text").select("document", "text").iter_rows()
    )
    kept = {texts[document] for document, _ in survivors(run)}
    assert values[3] in kept
    assert len(kept) == 2
    (first,) = kept - {values[3]}
    gone = [{"text": "raw.text", "none_of": [first]}]
    again = Shelf(tmp_path, recipe_of(empty="keep", score=SCORE, group=group, keep=gone)).do()
    assert len({texts[document] for document, _ in survivors(again)}) == 2


def test_what_another_run_owns_goes(tmp_path: Path) -> None:
    group = {"same": {"by": "raw.text", "keep": "first"}, "near": {"by": "h.bits", "within": 1, "keep": "first"}}
    old = shelf(tmp_path / "old", [["0" * 16], ["f" * 16]], score=SCORE, group=group).do()
    assert len(survivors(old)) == 2
    against = {name: entry | {"against": str(tmp_path / "old")} for name, entry in group.items()}
    new = shelf(tmp_path / "new", [["0" * 15 + "1"], ["f" * 16], ["00ff" * 4]], 2, score=SCORE, group=against).do()
    reasons = [reason for (_, at), (_, reason) in new.states().items() if at >= 0]
    assert reasons == ["text: duplicate (near)", "text: duplicate (same)", None]
    assert list(new.column("same.owned").values()) == [False, True, False]


def test_what_another_run_owns_is_read_from_its_keys_alone(tmp_path: Path) -> None:
    group = {"same": {"by": "raw.text", "keep": "first"}}
    shelf(tmp_path / "old", [["a"], ["b"], ["c"]], 3, group=group).do("group")
    for path in tmp_path.glob("old/groups/*/*"):
        if path.name not in ("keys", "group.json"):
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    against = {"same": group["same"] | {"against": str(tmp_path / "old")}}
    new = shelf(tmp_path / "new", [["c"], ["d"]], group=against).do("group")
    assert list(new.column("same.owned").values()) == [True, False]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (Path.unlink, r"no finished group like this \(there: same \(not finished\)\)"),
        (lambda path: path.write_text('{"name": "same"}'), r"group\.json is foreign .*no checksum of curate's"),
        (lambda path: path.write_text(path.read_text().replace("same", "sane")), r"group\.json is damaged .*verify"),
    ],
)
def test_a_group_that_is_not_finished_or_damaged_is_no_reference(change, said: str, tmp_path: Path) -> None:
    group = {"same": {"by": "raw.text", "keep": "first"}}
    shelf(tmp_path / "old", [["a"]], group=group).do("group")
    (summary,) = tmp_path.glob("old/groups/*/group.json")
    change(summary)
    against = {"same": group["same"] | {"against": str(tmp_path / "old")}}
    with pytest.raises(RecipeError, match=said):
        shelf(tmp_path / "new", [["a"]], group=against).do("group")


def test_a_run_without_such_a_group_cannot_be_owned(tmp_path: Path) -> None:
    shelf(tmp_path / "old", [["a"]]).do("score")
    group = {"same": {"by": "raw.text", "keep": "first", "against": str(tmp_path / "old")}}
    with pytest.raises(RecipeError, match=r"against: .*old has no finished group like this"):
        shelf(tmp_path / "new", [["a"]], group=group).do("group")


def test_what_a_gate_holds_back_is_alone(tmp_path: Path) -> None:
    group = {"near": {"by": "h.bits", "within": 3, "after": {"score": "h.weight", "min": 1}}}
    run = shelf(tmp_path, [["0" * 16], ["0" * 15 + "1"], ["0" * 15 + "3"]], score=SCORE, group=group).do(
        "score", "group"
    )
    assert list(run.column("near.size").values()) == [1, 2, 2]


@SLOW
@given(order=st.permutations(range(6)), shards=st.integers(1, 4))
def test_shards_and_order_change_nothing(order, shards, tmp_path_factory) -> None:
    values = ["0" * 16, "0" * 15 + "1", "0" * 15 + "3", "f" * 16, "f" * 16, "abcdef0123456789"]
    group = {
        "near": {"by": "h.bits", "within": 1, "keep": "h.weight"},
        "sem": {"by": "h.vector", "eps": 0.001, "clusters": 2, "keep": "easy"},
    }
    run = shelf(tmp_path_factory.mktemp("run"), [[values[at]] for at in order], shards, score=SCORE, group=group).do()
    assert {each for each in together(run, "near") if len(each) > 1} == {frozenset(values[:3])}
    texts = dict(
        pl.read_parquet(f"{run.store.path('raw')}/*.parquet").filter(kind="text").select("document", "text").iter_rows()
    )
    kept = sorted(texts[document] for document, _ in survivors(run))
    assert kept == sorted({values[2], values[3], values[5]})


EVERY = {
    "same": {"by": "raw.text"},
    "site": {"by": "raw.text", "scope": "domain"},
    "page": {"by": "h.bits", "within": 1, "scope": "document"},
    "near": {"by": "h.bits", "within": 1, "keep": "first"},
    "words": {"by": "h.signature", "jaccard": 0.8},
    "like": {"by": "h.vector", "cosine": 0.99, "clusters": 2},
    "sem": {"by": "h.vector", "eps": 0.01, "clusters": 2, "keep": "hard"},
}
STAYS = {
    **{name: {"table", "group.json"} for name in EVERY},
    **{name: {"keys", "table", "group.json"} for name in ("same", "near", "words")},
    "sem": {"ranges.json", "groups", "table", "group.json"},
}
"""What of a finished group does not have to be made again."""


def grouped_in_every_way(folder: Path) -> Shelf:
    values = [f"{number:016x}" for number in (0, 1, 3, 0xFF00, 0xFF01, 1 << 40)]
    return shelf(folder, [[value] for value in values], 3, score=SCORE, group=EVERY).do("score", "group")


def group_files(folder: Path) -> dict[Path, tuple[bytes, int]]:
    """Every file of every group, and when it was written."""
    found = [path for path in sorted(folder.glob("groups/**/*")) if path.is_file()]
    return {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in found}


def parts(path: Path) -> tuple[str, str]:
    """The folder of a file's group, and the step that it is of."""
    at = path.parts.index("groups")
    return path.parts[at + 1], path.parts[at + 2]


def stays(path: Path) -> bool:
    home, step = parts(path)
    return step in STAYS[home.partition("-")[0]]


def test_a_finished_group_needs_nothing_of_what_it_was_made_by(tmp_path: Path) -> None:
    run = grouped_in_every_way(tmp_path)
    whole = group_files(tmp_path)
    for path in whole:
        if not stays(path):
            path.unlink()
    left = group_files(tmp_path)
    gone = {parts(path)[1] for path in whole.keys() - left.keys()}
    assert gone == {"keys", "values", "links", "sample", "centroids", "vectors", "groups", "ranges.json"}
    for grouping in run.grouped:
        assert done(run.store, steps.phases(run.store, grouping, run.scored, Resource())) == {}
    run.do("select")
    assert group_files(tmp_path) == left


@pytest.mark.parametrize("gone", [False, True])
def test_a_lost_file_is_made_again_and_the_others_are_not_touched(gone: bool, tmp_path: Path) -> None:
    """``gone``: without anything that is there for other files only."""
    run = grouped_in_every_way(tmp_path)
    whole = group_files(tmp_path)
    for lost in (path for path in whole if stays(path)):
        for path in whole:
            if path == lost or (gone and not stays(path)):
                path.unlink(missing_ok=True)
        before = group_files(tmp_path)
        Shelf(tmp_path, run.resolved.recipe).do("group")
        after = group_files(tmp_path)
        made = after.keys() - before.keys()
        assert lost in made
        assert {parts(path)[0] for path in made} == {parts(lost)[0]}
        assert [path for path in made if stays(path)] == [lost]
        assert made == {lost} or (gone and parts(lost)[1] in ("table", "groups", "ranges.json"))
        assert all(after[path][0] == whole[path][0] for path in made)
        assert before.items() <= after.items()


def test_what_is_lost_on_the_way_is_made_again_with_a_table(tmp_path: Path) -> None:
    run = grouped_in_every_way(tmp_path)
    whole = group_files(tmp_path)
    for lost in (path for path in whole if not stays(path)):
        table = tmp_path / "groups" / parts(lost)[0] / "table" / f"{shard_of(1)}.parquet"
        for path in (lost, table):
            path.unlink()
        before = group_files(tmp_path)
        Shelf(tmp_path, run.resolved.recipe).do("group")
        assert group_files(tmp_path).items() >= before.items()
        assert {path: path.read_bytes() for path in (lost, table)} == {path: whole[path][0] for path in (lost, table)}


def test_the_files_of_witnesses_are_known_without_a_look_at_the_folder(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(steps, "PER_JOB", 3)
    run = grouped_in_every_way(tmp_path)
    (grouping,) = (each for each in run.grouped if each.name == "sem")
    there = sorted(path.relative_to(tmp_path).as_posix() for path in tmp_path.glob("groups/sem-*/groups/*"))
    assert witness_files(run.store, grouping) == there
    assert len(there) == 2


NEAR = {"by": "h.bits", "within": 2, "keep": "first"}


@pytest.mark.parametrize("scope", ["document", "domain", "corpus"])
@pytest.mark.parametrize("how", [{}, {"within": 2}, {"jaccard": 0.9}])
def test_a_shard_without_anything_to_compare_is_done(scope, how, tmp_path: Path) -> None:
    by = "h.signature" if "jaccard" in how else "h.bits"
    logo = Image("http://ex.org/logo.png")
    entry = {"by": by, "scope": scope, "keep": "first", **how}
    run = shelf(tmp_path, [[logo], ["0" * 16, "0" * 16]], 2, {logo.url: picture()}, score=SCORE, group={"near": entry})
    assert len([state for state, _ in run.do().states().values() if state == "dropped"]) == 1


@pytest.mark.parametrize("method", [{"cosine": 0.9}, {"eps": 0.1}])
def test_vectors_that_have_no_direction_are_no_ones_duplicates(method, tmp_path: Path) -> None:
    score = {"z": {"use": "test_group:zeros"}}
    group = {"like": {"by": "z.vector", "clusters": 2, **method}}
    run = shelf(tmp_path, [["a"], ["b"]], score=score, group=group).do("score", "group")
    assert len(run.column("like.size")) == 2


@scores("text", vector=Vector)
def zeros(texts):
    return [{"vector": [0.0, 0.0]} for _ in texts]


def test_a_page_without_a_proper_url_is_a_domain_of_its_own(tmp_path: Path) -> None:
    group = {"same": {"by": "raw.text", "scope": "domain"}}
    run = shelf(tmp_path, [["a"], ["a"]], urls={0: "http://[bad", 1: "http://ex.org/"}, group=group).do("group")
    assert list(run.column("same.size").values()) == [1, 1]


def test_another_gate_of_the_compared_score_is_another_group(tmp_path: Path) -> None:
    def sizes(least: int) -> list:
        score = {"t": {"use": "text_stats"}, "h": SCORE["h"] | {"after": {"score": "t.digits", "min": least}}}
        run = Shelf(tmp_path, recipe_of(empty="keep", score=score, group={"near": NEAR})).do("score", "group")
        return list(run.column("near.size").values())

    shelf(tmp_path, [["0" * 16], ["0" * 16], ["abcdefabcdefabcd"]])
    assert sizes(1) == [2, 2]
    assert sizes(0) == [2, 2, 1]


def test_a_raw_shard_that_was_fetched_anew_is_grouped_anew(tmp_path: Path) -> None:
    group = {"same": {"by": "raw.text", "keep": "first"}}
    run = shelf(tmp_path / "run", [["a"], ["a"]], 2, group=group).do("group", "select")
    assert [state for state, _ in run.states().values()] == ["kept", "kept", "kept", "dropped"]
    raw_shard(run.store, [page("different", url="http://ex.org/1")], {}, shard=shard_of(1))
    run.do("group", "select")
    assert set(run.states().values()) == {KEPT}
    fresh = shelf(tmp_path / "fresh", [["a"], ["different"]], 2, group=group).do("group", "select")
    assert group_bytes(tmp_path / "run") == group_bytes(tmp_path / "fresh")
    assert fresh.states() == run.states()


def group_bytes(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): data for path, (data, _) in group_files(folder).items()}


def test_what_no_hash_is_is_named(tmp_path: Path) -> None:
    with pytest.raises(StopRun, match=r"group 'near': raw\.text has 'words', which is no hash"):
        shelf(tmp_path, [["words"]], group={"near": {"by": "raw.text", "within": 2}}).do("group")


def test_of_several_groups_of_another_run_the_largest_counts(tmp_path: Path) -> None:
    group = {"same": {"by": "raw.text", "keep": "first"}}
    old = shelf(tmp_path / "old", [["a"]], group=group).do("group")
    raw_shard(Store(tmp_path / "old"), [page("b", url="http://ex.org/9")], {}, shard=shard_of(1))
    Shelf(tmp_path / "old", old.resolved.recipe).do("group")
    narrow = {"same": {"by": "raw.text", "scope": "domain"}}
    Shelf(tmp_path / "old", recipe_of(empty="keep", group=narrow)).do("group")
    against = {"same": group["same"] | {"against": str(tmp_path / "old")}}
    new = shelf(tmp_path / "new", [["a"], ["b"], ["c"]], group=against).do("group")
    assert list(new.column("same.owned").values()) == [True, True, False]


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        ({"by": "h.weight", "within": 3}, "is no hash"),
        ({"by": "h.bits", "cosine": 0.9, "clusters": 3}, "is no embedding"),
        ({"by": "h.bits", "jaccard": 0.9}, "is no MinHash signature"),
        ({"by": "h.bitts"}, "did you mean 'h.bits'"),
        ({"by": "h.bits", "keep": "h.colour"}, "is no column"),
        ({"by": ["h.bits", "raw.url"]}, "is a column of documents"),
    ],
)
def test_what_cannot_be_grouped_is_said_before_anything_runs(entry, said, tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=said):
        shelf(tmp_path, [["0" * 16]], score=SCORE, group={"near": entry}).resolved.check()


@pytest.mark.parametrize(
    "entry",
    [
        {"by": "h.bits", "within": 3, "cosine": 0.9},
        {"by": "h.vector", "cosine": 0.9},
        {"by": ["h.a", "h.b"], "within": 3},
        {"by": "h.vector", "eps": 0.1, "clusters": 3, "keep": "first"},
        {"by": "h.bits", "keep": "hard"},
        {"by": "h.bits", "against": "x", "scope": "domain"},
        {"by": "bits"},
    ],
)
def test_groups_that_make_no_sense_are_refused(entry) -> None:
    with pytest.raises(ValueError):
        recipe_of(group={"near": entry})
