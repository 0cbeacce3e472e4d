import pickle
import threading
from hashlib import sha256
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from shards import Nobody, measure, page, picture, raw_shard, scored, scorers_of

from curate import Image, Vector, scores
from curate.ledger.ledger import Ledger
from curate.ledger.making import done
from curate.recipe.recipe import Resource
from curate.report import StopRun
from curate.run.executor import InProcess
from curate.run.scheduler import Scheduler
from curate.score import view
from curate.score.measure import Measurer, job_of, phases
from curate.store.store import Store

A, B, C, DEAD, TORN = (f"http://ex.org/{name}.png" for name in ("a", "b", "c", "dead", "torn"))
PICTURES = {A: picture(1, 40, 30), B: picture(2, 50, 20), C: picture(1, 40, 30)}  # A and C are one picture
NAMES = {sha256(data).hexdigest(): url for url, data in reversed(PICTURES.items())}
CALLS: list[list] = []
BUILT: list[str] = []


@pytest.fixture(autouse=True)
def _nothing_called():
    CALLS.clear()
    BUILT.clear()


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path)


def torn(seed=9):
    """A JPEG whose header is whole and whose picture is not."""
    whole = picture(seed, 200, 200, "jpg")
    return whole[: len(whole) // 3]


def run(store, score, **sections):
    """The scorers of fakes of this module, after they have measured."""
    entries = {name: {"use": entry} if isinstance(entry, str) else entry for name, entry in score.items()}
    entries = {name: entry | {"use": f"test_score:{entry['use']}"} for name, entry in entries.items()}
    scorers = scorers_of(folder(store), entries, **sections)
    report = measure(store, scorers)
    return {scorer.name: scorer for scorer in scorers} | {"report": report}


def folder(store):
    return Path(store.url)


def sizes():
    return [len(call) for call in CALLS]


@scores("text", words=int, batch=2)
def words(texts):
    CALLS.append([text.text for text in texts])
    return [{"words": len(text.text.split())} if text.text else None for text in texts]


@scores("image", side=int, batch=2)
def sides(images):
    CALLS.append([NAMES.get(image.sha256) for image in images])
    return [{"side": min(image.width, image.height)} for image in images]


@scores("image", mean=float, pixels="full")
def means(images):
    CALLS.append([image.sha256 for image in images])
    return [{"mean": float(image.pixels.mean())} for image in images]


@scores("image", length=int, data=True)
def lengths(images):
    return [{"length": len(image.data)} for image in images]


@scores("pair", n=int)
def captions(pairs):
    CALLS.append([(NAMES.get(image.sha256), text.text) for image, text in pairs])
    return [{"n": len(text.text)} for _, text in pairs]


@scores("document", n=int, batch=2)
def counts(documents):
    CALLS.append([document.id for document in documents])
    return [{"n": len(document.images)} for document in documents]


@scores("document", image={"ratio": float}, text={"of": int}, pixels="full")
def ratios(documents):
    CALLS.append([document.id for document in documents])
    return [
        {at: {"ratio": image.pixels.mean() / 255} for at, image in document.images.items() if image.pixels is not None}
        | {at: {"of": len(document.images)} for at in document.texts}
        for document in documents
    ]


@scores("document", image={"sim": float, "sims": list[float], "vector": Vector}, pixels="full", batch=2)
class Towers:
    def __init__(self):
        BUILT.append("towers")

    def encode_image(self, images):
        CALLS.append([NAMES.get(image.sha256) for image in images])
        return np.array([[image.width, image.height] for image in images])

    def encode_text(self, texts):
        CALLS.append([text.text for text in texts])
        return np.array([[len(text.text), 0] for text in texts])

    def __call__(self, documents):
        found = []
        for each in documents:
            sims = {at: [float(vector @ text) for text in each.texts.values()] for at, vector in each.images.items()}
            found.append(
                {at: {"sim": max(row), "sims": row, "vector": each.images[at]} for at, row in sims.items() if row}
            )
        return found


@scores("document", pictures=int, batch=2)
class Albums:
    encode_image, encode_text = Towers.encode_image, Towers.encode_text

    def __call__(self, documents):
        return [{"pictures": len(each.images)} for each in documents]


@scores("towers.vector", width=float, batch=2)
def widths(vectors):
    CALLS.append(list(vectors))
    return [{"width": vector[0]} for vector in vectors]


@scores("image", n=int, pixels="full")
class Prepared:
    def prepare(self, image):
        return threading.current_thread().name, image.width

    def __call__(self, prepared):
        CALLS.append([name for name, _ in prepared])
        return [{"n": width} for _, width in prepared]


# --- views


def test_each_distinct_text_is_measured_once_and_its_row_stands_everywhere(store):
    raw_shard(store, [page("a b", "a b", "c"), page("a b"), page("d e f", "")], {})
    got = run(store, {"w": "words"})["w"]
    assert CALLS == [["a b", "c"], ["d e f", ""]]
    assert scored(store, got, "words") == [2, 2, 1, 2, 3, None]


def test_each_distinct_picture_is_measured_once_and_its_row_stands_everywhere(store):
    raw_shard(store, [page("x", Image(A), Image(B)), page(Image(C), Image(DEAD)), page(Image(A))], PICTURES)
    got = run(store, {"s": "sides"})["s"]
    assert CALLS == [[A, B]]
    assert scored(store, got, "side") == [30, 20, 30, None, 30]


def test_rows_are_the_targets_in_the_order_of_the_shard(store):
    ids = raw_shard(store, [page("x", Image(A)), "no document", page(Image(B), "y")], PICTURES)
    got = run(store, {"s": "sides", "w": "words", "c": "counts"})
    for name, targets in {
        "s": [(ids[0], 1), (ids[1], 0)], "w": [(ids[0], 0), (ids[1], 1)], "c": [(ids[0], -1), (ids[1], -1)]
    }.items():  # fmt: skip
        keys = zip(scored(store, got[name], "document"), scored(store, got[name], "position"), strict=True)
        assert list(keys) == targets


def test_batches_are_full_across_documents_and_never_larger(store):
    pages = [page(f"text {at}", Image(f"http://ex.org/{at}.png")) for at in range(5)]
    raw_shard(store, pages, {f"http://ex.org/{at}.png": picture(at) for at in range(5)})
    for use in ("words", "sides", "counts"):
        CALLS.clear()
        run(store, {"s": use})
        assert sizes() == [2, 2, 1]


def test_the_recipe_sets_the_batch(store):
    raw_shard(store, [page(*(f"text {at}" for at in range(5)))], {})
    run(store, {"w": "words"}, resources={"w": {"batch": 4}})
    assert sizes() == [4, 1]


def test_pictures_come_with_what_was_asked_for(store):
    raw_shard(store, [page(Image(A), Image(B))], PICTURES)
    got = run(store, {"m": "means", "l": "lengths"})
    assert scored(store, got["l"], "length") == [len(PICTURES[A]), len(PICTURES[B])]
    assert scored(store, got["m"], "mean") == pytest.approx([127, 127], abs=9)


def test_a_pair_is_a_picture_with_its_only_text_or_else_its_alt_text(store):
    pages = [page(Image(A), "one"), page(Image(A), "two"), page(Image(C, "own"), "x", "y"), page("p", "q", Image(B))]
    raw_shard(store, pages, PICTURES)
    got = run(store, {"c": "captions"})["c"]
    assert [text for _, text in CALLS[0]] == ["one", "two", "own"]
    assert scored(store, got, "n") == [3, 3, 3, None]


def test_a_pair_that_repeats_is_measured_once(store):
    raw_shard(store, [page(Image(A), "one"), page(Image(C), "one"), page(Image(B), "one")], PICTURES)
    got = run(store, {"c": "captions"})["c"]
    assert sizes() == [2]
    assert scored(store, got, "n") == [3, 3, 3]


def test_a_document_scorer_gives_rows_to_images_and_texts(store):
    raw_shard(store, [page("x", Image(A), Image(DEAD)), page("y", "z")], PICTURES)
    got = run(store, {"r": "ratios"})["r"]
    assert scored(store, got, "of") == [2, None, None, 0, 0]
    assert scored(store, got, "ratio") == [None, pytest.approx(0.5, abs=0.05), None, None, None]


def test_prepare_runs_in_the_decoding_threads(store):
    raw_shard(store, [page(Image(A), Image(B))], PICTURES)
    got = run(store, {"p": "Prepared"})["p"]
    assert scored(store, got, "n") == [40, 50]
    assert all(name.startswith("decode") for name in CALLS[0])


# --- two towers and their column


def test_towers_encode_each_picture_once_a_shard_and_each_text_once(store):
    raw_shard(store, [page("aa", Image(A), Image(B)), page("aa", "bbb", Image(C)), page("unseen")], PICTURES)
    got = run(store, {"towers": "Towers"})["towers"]
    assert CALLS == [[A, B], ["aa", "bbb"]]
    assert scored(store, got, "sims") == [[80], [100], [80, 120]]
    assert scored(store, got, "sim") == [80, 100, 120]
    assert scored(store, got, "vector") == [[40, 30], [50, 20], [40, 30]]


def test_texts_of_documents_without_a_measurable_image_are_not_encoded(store):
    raw_shard(store, [page("alone"), page("dead", Image(DEAD)), page("torn", Image(TORN))], PICTURES | {TORN: torn()})
    got = run(store, {"towers": "Towers"})["towers"]
    assert CALLS == []
    assert scored(store, got, "sims") == [None, None]


def test_an_image_without_texts_has_no_row(store):
    raw_shard(store, [page(Image(A))], PICTURES)
    assert scored(store, run(store, {"towers": "Towers"})["towers"], "sim") == [None]


def test_towers_without_rows_for_images_see_all_pictures_of_their_documents(store):
    raw_shard(store, [page("aa", Image(A), Image(B), Image(DEAD)), page("b", Image(C)), page("c")], PICTURES)
    got = run(store, {"a": {"use": "Albums", "after": {"score": "raw.text", "none_of": ["b"]}}})["a"]
    assert CALLS == [[A, B], ["aa", "c"]]
    assert scored(store, got, "pictures") == [2, 0]


def test_a_column_scorer_reads_what_another_wrote(store):
    raw_shard(store, [page("a", Image(A), Image(DEAD)), page(Image(B)), page("b", Image(B))], PICTURES)
    got = run(store, {"width": "widths", "towers": "Towers"})
    assert CALLS[-1] == [[40, 30], [50, 20]]
    assert scored(store, got["width"], "width") == [40, None, None, 50]


def test_a_class_is_built_once_for_all_shards(store):
    shards = ("00000000", "00000001")
    for shard in shards:
        raw_shard(store, [page("a", Image(A))], PICTURES, shard=shard)
    scorers = scorers_of(folder(store), {"towers": {"use": "test_score:Towers"}})
    measurer = Measurer(scorers)
    for shard in shards:
        measure(store, scorers, shard, measurer)
    assert BUILT == ["towers"]


# --- what cannot be measured


def test_failed_and_undecodable_images_have_null_rows(store):
    raw_shard(store, [page(Image(DEAD), Image(TORN), Image(A))], PICTURES | {TORN: torn()})
    got = run(store, {"m": "means"})
    assert scored(store, got["m"], "mean") == [None, None, pytest.approx(127, abs=9)]
    assert got["report"].counts == {"rows": 3, "unmeasured": 2, "undecodable": 1}


def test_an_undecodable_image_keeps_what_needs_no_pixels_whoever_else_looks(store):
    raw_shard(store, [page(Image(TORN))], {TORN: torn()})
    got = run(store, {"m": "means", "s": "sides"})
    assert (scored(store, got["s"], "side"), scored(store, got["m"], "mean")) == ([200], [None])


def test_nan_is_null(store):
    raw_shard(store, [page("x")], {})
    assert scored(store, run(store, {"n": "nan"})["n"], "x") == [None]


@scores("text", x=float)
def nan(texts):
    return [{"x": float("nan")} for _ in texts]


# --- bad code


@scores("text", n=int)
def bad(texts, how=""):
    if how == "short":
        return [{"n": 1}][1:]
    if how == "none":
        return None
    if how == "row":
        return [1 for _ in texts]
    if how == "type":
        return [{"n": "many"} for _ in texts]
    if how == "column":
        return [{"n": 1, "m": 2} for _ in texts]
    if how == "bug":
        return len(7)
    if how == "data":
        raise ValueError("odd text")
    raise RuntimeError("out of memory")


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ("short", "score 'b' returned 0 results for 1 items"),
        ("none", "score 'b' returned nothing for 1 items"),
        ("row", "score 'b' returned int 1 in place of a row"),
        ("type", "score 'b' returned a value that is not as declared: invalid literal"),
        ("column", "score 'b' returned columns it did not declare: m"),
        ("bug", "score 'b' raised TypeError: object of type 'int' has no len"),
        ("data", "score 'b' raised ValueError: odd text"),
    ],
)
def test_a_wrong_scorer_ends_the_run_by_name(store, how, said):
    raw_shard(store, [page("x")], {})
    with pytest.raises(StopRun, match=said):
        run(store, {"b": {"use": "bad", "how": how}})
    assert not store.exists("scores")


def test_a_full_device_is_no_bug(store):
    raw_shard(store, [page("x")], {})
    with pytest.raises(RuntimeError, match="out of memory") as error:
        run(store, {"b": "bad"})
    assert error.value.__notes__ == ["raised by score 'b'"]


@scores("document", image={"n": int})
def rowless(documents):
    return [[{"n": 1}] for _ in documents]


@scores("image", n=int)
class Unbuilt:
    def __init__(self):
        raise OSError("no weights")


@scores("document", image={"n": int})
def astray(documents):
    return [{99: {"n": 1}} for _ in documents]


@scores("image", n=int, pixels="full")
class BadPrepare:
    def prepare(self, image):
        return image.nothing

    def __call__(self, items):
        return [{"n": 1} for _ in items]


@pytest.mark.parametrize(
    ("use", "said"),
    [
        ("Unbuilt", "score 'b' could not be built: OSError: no weights"),
        ("astray", "score 'b' gave a row to position 99"),
        ("rowless", r"score 'b' returned list .* in place of position -> row"),
        ("BadPrepare", "score 'b' raised AttributeError"),
    ],
)
def test_other_faults_of_a_scorer(store, use, said):
    raw_shard(store, [page("x", Image(A))], PICTURES)
    with pytest.raises(StopRun, match=said):
        run(store, {"b": use})


# --- jobs, and the files that they make


def file_names(store, scorer):
    return sorted(path.name for path in (folder(store) / scorer.folder).iterdir())


def jobs_of(store, scorers, shards):
    (phase,) = phases(store, shards, scorers, Resource())
    return {job.name: {target.name: target.reads for target in job.targets} for job in phase.jobs}


def test_a_shard_is_a_job_whose_targets_say_what_they_are_made_from(store):
    gates = [{"score": "towers.sim", "min": 1}, {"score": "source.length", "min": 1}, {"score": "raw.width", "min": 1}]
    entries = {
        "towers": {"use": "test_score:Towers"},
        "width": {"use": "test_score:widths"},
        "s": {"use": "test_score:sides", "after": gates},
        "c": {"use": "test_score:captions", "text_of": "k.n"},
        "k": {"use": "test_score:Prepared"},
    }
    scorers = {each.name: each for each in scorers_of(folder(store), entries, {"document": {"length": int}})}
    where = {name: each.folder for name, each in scorers.items()}
    found = jobs_of(store, list(scorers.values()), ["00000000", "00000007"])
    assert list(found) == ["00000000", "00000007"]
    raw, towers = "raw/00000007.parquet", f"{where['towers']}/00000007"
    assert found["00000007"] == {
        f"{towers}.parquet": (raw,),
        f"{towers}.vectors.parquet": (raw,),
        f"{where['k']}/00000007.parquet": (raw,),
        f"{where['width']}/00000007.parquet": (raw, f"{towers}.vectors.parquet"),
        f"{where['s']}/00000007.parquet": (raw, f"{towers}.parquet", "scores/source/00000007.parquet"),
        f"{where['c']}/00000007.parquet": (raw, f"{where['k']}/00000007.parquet"),
    }


def test_a_job_is_small(store):
    gate = {"score": "raw.width", "min": 1}
    entries = {f"scorer-number-{at}": {"use": "test_score:Towers", "after": gate} for at in range(20)}
    scorers = scorers_of(folder(store), entries)
    assert len(pickle.dumps(job_of("00000042", scorers))) < 4096


def test_shards_are_measured_by_the_scheduler_and_only_once(store):
    shards = ["00000000", "00000001"]
    for shard in shards:
        raw_shard(store, [page("a b")], {}, shard=shard)
    scorers = scorers_of(folder(store), {"w": {"use": "test_score:words"}})
    for calls in (2, 2):
        scheduler = Scheduler(store, Ledger(store), InProcess(), Nobody())
        assert scheduler.run(phases(store, shards, scorers, Resource()))
        assert len(CALLS) == calls
    assert [scored(store, scorers[0], "words", shard) for shard in shards] == [[2], [2]]


def test_a_shard_that_was_not_fetched_is_a_failure(store):
    scorers = scorers_of(folder(store), {"w": {"use": "test_score:words"}})
    scheduler = Scheduler(store, Ledger(store), InProcess(), Nobody())
    assert not scheduler.run(phases(store, ["00000000"], scorers, Resource()))
    assert str(scheduler.failures[0]) == "score 00000000: reads raw/00000000.parquet, which is not there"


def test_vectors_lie_in_a_table_beside_the_others(store):
    raw_shard(store, [page("x", Image(A), Image(DEAD))], PICTURES)
    got = run(store, {"towers": "Towers", "w": "words"})
    assert file_names(store, got["w"]) == ["00000000.parquet", "scorer.json"]
    assert file_names(store, got["towers"]) == ["00000000.parquet", "00000000.vectors.parquet", "scorer.json"]
    rows, vectors = (
        pl.read_parquet(folder(store) / got["towers"].folder / f"00000000{part}.parquet") for part in ("", ".vectors")
    )
    assert rows.columns == ["document", "position", "sim", "sims"]
    assert vectors.columns == ["document", "position", "vector"]
    assert rows.select("document", "position").equals(vectors.select("document", "position"))
    assert vectors["vector"].to_list() == [[40, 30], None]


@pytest.mark.parametrize("part", ["", ".vectors"])
def test_a_table_that_is_missing_is_written_and_no_other(store, part):
    raw_shard(store, [page("x", Image(A))], PICTURES)
    got = run(store, {"towers": "Towers", "w": "words"})
    lost = folder(store) / got["towers"].folder / f"00000000{part}.parquet"
    others = {path: path.stat().st_mtime_ns for path in folder(store).rglob("*.parquet") if path != lost}
    before = lost.read_bytes()
    lost.unlink()
    CALLS.clear()
    run(store, {"towers": "Towers", "w": "words"})
    assert CALLS == [[A, A], ["x", "x"]]
    assert lost.read_bytes() == before
    assert others == {path: path.stat().st_mtime_ns for path in others}


def test_what_measured_a_table_is_said_beside_it_once(store):
    shards = ["00000000", "00000001"]
    for shard in shards:
        raw_shard(store, [page("x")], {}, shard=shard)
    (scorer,) = scorers = scorers_of(folder(store), {"b": {"use": "test_score:ends", "marks": ".!"}})
    measurer, name = Measurer(scorers), f"{scorer.folder}/scorer.json"
    measure(store, scorers, shards[0], measurer)
    assert store.get_json(name) == {"use": "test_score:ends", "parameters": {"marks": ".!"}, "view": "text"}
    store.put_json(name, {})
    measure(store, scorers, shards[1], measurer)
    assert store.get_json(name) == {}


@scores("text", n=int)
def ends(texts, marks="."):
    return [{"n": text.text.endswith(tuple(marks))} for text in texts]


def test_scores_of_another_raw_shard_are_made_again(store):
    raw_shard(store, [page("x", Image(A))], PICTURES)
    reads = {"w": {"use": "sides", "after": {"score": "towers.sim", "min": -1}}}
    run(store, {"towers": "Towers", **reads})
    CALLS.clear()
    raw_shard(store, [page("xy", Image(A), Image(B))], PICTURES)
    got = run(store, {"towers": "Towers", **reads})
    assert scored(store, got["w"], "side") == [30, 20]
    assert [A, B] in CALLS


def test_rows_of_another_scorer_are_never_taken(store):
    raw_shard(store, [page("x y")], {})
    got = run(store, {"w": "words", "n": "fails_never"})
    words, other = (f"{got[name].folder}/00000000.parquet" for name in ("w", "n"))
    right = store.bytes_of(words)
    with store.writing(words) as path:
        path.write_bytes(store.bytes_of(other))
    run(store, {"w": "words", "n": "fails_never"})
    assert store.bytes_of(words) == right


@scores("text", words=int)
def fails_never(texts):
    return [{"words": 99} for _ in texts]


FAILS: list[str] = []


@scores("text", n=int)
def fails_once(texts):
    FAILS.append("tried")
    if len(FAILS) == 1:
        raise OSError("passing")
    return [{"n": len(text.text)} for text in texts]


def test_another_try_measures_only_what_is_not_there(store):
    raw_shard(store, [page("x y")], {})
    FAILS.clear()
    CALLS.clear()
    gated = {"use": "test_score:fails_once", "after": {"score": "w.words", "min": 1}}
    scorers = scorers_of(folder(store), {"w": {"use": "test_score:words"}, "last": gated})
    ledger = Ledger(store)
    (job,) = ledger.unfinished([job_of("00000000", scorers)])
    job, measurer = ledger.handed(job), Measurer(scorers)
    with pytest.raises(OSError, match="passing"):
        done(store, job, measurer)
    assert (len(FAILS), CALLS) == (1, [["x y"]])
    report = done(store, job, measurer)
    assert (len(FAILS), CALLS) == (2, [["x y"]])
    ledger.take(report)
    assert ledger.unfinished([job_of("00000000", scorers)]) == []
    assert Ledger(store).unfinished([job_of("00000000", scorers)]) == []


def test_a_view_is_a_file(store):
    views = Path(view.__file__).with_name("views")
    assert {file.stem for file in views.glob("*.py")} == {"__init__", "text", "image", "pair", "document", "column"}


# --- what is done, and gates


def test_what_is_measured_is_not_measured_again(store):
    raw_shard(store, [page("x")], {})
    run(store, {"w": "words"})
    CALLS.clear()
    assert run(store, {"w": "words"})["report"].counts == {}
    assert CALLS == []


def test_the_same_scores_are_the_same_bytes(store, tmp_path):
    tables = []
    for name in ("one", "two"):
        other = Store(tmp_path / name)
        raw_shard(other, [page("a", Image(A), Image(B)), page("b", Image(C))], PICTURES)
        tables.append(table_bytes(other, run(other, {"towers": "Towers"})["towers"]))
    assert tables[0] == tables[1]


def table_bytes(store, scorer):
    return (folder(store) / scorer.folder / "00000000.parquet").read_bytes()


def gated(store, **gate):
    CALLS.clear()
    score = {"s": "sides", "w": "words", "m": {"use": "means", **({"after": gate} if gate else {})}}
    return run(store, score)["m"]


@pytest.fixture
def three(store):
    """Pictures with short sides 20, 30 and 40."""
    urls = [f"http://ex.org/{side}.png" for side in (20, 30, 40)]
    raw_shard(store, [page("x", *map(Image, urls))], {url: picture(1, 50, int(url[14:16])) for url in urls})
    return store


def measured(store, scorer):
    return scored(store, scorer, "position")


def test_only_what_passes_the_gate_is_measured(three):
    assert measured(three, gated(three, score="s.side", min=30)) == [2, 3]
    assert sizes()[-1] == 2


def test_a_looser_gate_measures_what_is_missing(three):
    gated(three, score="s.side", above=30)
    assert measured(three, gated(three, score="s.side", min=20)) == [1, 2, 3]
    assert sizes() == [2]


def test_no_gate_measures_the_rest(three):
    gated(three, score="s.side", min=30)
    assert measured(three, gated(three)) == [1, 2, 3]
    assert sizes() == [1]


def test_a_tighter_gate_measures_nothing(three):
    gated(three)
    assert measured(three, gated(three, score="s.side", min=40)) == [3]
    assert CALLS == []


def test_a_gate_gives_the_same_bytes_whatever_was_measured_before(three, tmp_path):
    gated(three)
    gated(three, score="s.side", max=30)
    late = table_bytes(three, gated(three, score="s.side", min=30))
    fresh = Store(tmp_path / "fresh")
    (tmp_path / "fresh").mkdir()
    (tmp_path / "fresh/raw").symlink_to(folder(three) / "raw")
    assert table_bytes(fresh, gated(fresh, score="s.side", min=30)) == late


def test_vectors_that_were_measured_behind_another_gate_are_used_again(store):
    raw_shard(store, [page("x", Image(A), Image(B))], PICTURES)

    def vectors(least):
        towers = {"use": "Towers", "after": {"score": "raw.height", "min": least}}
        return scored(store, run(store, {"towers": towers})["towers"], "vector")

    assert vectors(30) == [[40, 30]]
    CALLS.clear()
    assert vectors(10) == [[40, 30], [50, 20]]
    assert CALLS == [[B, B], ["x", "x"]]


def test_rows_without_their_vectors_are_not_used_again(store):
    raw_shard(store, [page("x", Image(A))], PICTURES)
    (lost,) = (folder(store) / run(store, {"towers": "Towers"})["towers"].folder).glob("*.vectors.parquet")
    lost.unlink()
    got = run(store, {"towers": {"use": "Towers", "after": {"score": "raw.height", "min": 1}}})["towers"]
    assert scored(store, got, "vector") == [[40, 30]]


def test_a_gate_that_nothing_passes_calls_nothing(three):
    assert measured(three, gated(three, score="s.side", min=1000)) == []
    assert not any(len(call) and call[0] for call in CALLS if len(str(call[0])) == 64)


def test_a_gate_may_compare_words(three):
    assert measured(three, gated(three, score="raw.format", one_of=["png"])) == [1, 2, 3]
    assert measured(three, gated(three, score="raw.url", none_of=["http://ex.org/20.png"])) == [2, 3]


def test_a_gate_on_documents_opens_all_their_segments(store):
    raw_shard(store, [page("x", Image(A), Image(B)), page("y", Image(C))], PICTURES)
    got = run(store, {"c": "counts", "s": {"use": "sides", "after": {"score": "c.n", "min": 2}}})["s"]
    assert scored(store, got, "position") == [1, 2]


@pytest.mark.parametrize("use", ["Towers", "captions"])
def test_a_gate_on_texts_opens_the_documents_of_pictures(store, use):
    ids = raw_shard(store, [page("one two", Image(A)), page("one", Image(B))], PICTURES)
    got = run(store, {"w": "words", "m": {"use": use, "after": {"score": "w.words", "min": 2}}})["m"]
    assert scored(store, got, "document") == [ids[0]]
    assert all(url in (A, "one two") for call in CALLS[1:] for url in np.ravel(call))


def test_a_gate_on_images_opens_documents_for_a_document_scorer(store):
    ids = raw_shard(store, [page("x", Image(A)), page("y", Image(B)), page("z")], PICTURES)
    got = run(store, {"s": "sides", "c": {"use": "counts", "after": {"score": "s.side", "max": 20}}})["c"]
    assert scored(store, got, "document") == [ids[1]]
    assert scored(store, got, "n") == [1]


def test_towers_behind_a_gate_see_only_what_passes(store):
    raw_shard(store, [page("x", Image(A), Image(B)), page("y", Image(B))], PICTURES)
    got = run(store, {"s": "sides", "t": {"use": "Towers", "after": {"score": "s.side", "min": 30}}})["t"]
    assert CALLS[1:] == [[A, A], ["x", "x"]]  # full batches, whoever is in them
    assert scored(store, got, "sims") == [[40]]


def test_a_gate_on_the_documents_address_reads_no_other(store):
    ids = raw_shard(store, [page("x", Image(A), url="http://a"), page("y", Image(A), url="http://b")], PICTURES)
    got = run(store, {"c": {"use": "counts", "after": {"score": "raw.url", "equals": "http://b"}}})["c"]
    assert scored(store, got, "document") == [ids[1]]


def test_a_looser_gate_upstream_reaches_the_column_scorer(store):
    raw_shard(store, [page("x", Image(A), Image(B))], PICTURES)
    for least, widths_ in ((30, [40, None]), (10, [40, 50])):
        towers = {"use": "Towers", "after": {"score": "raw.height", "min": least}}
        got = run(store, {"towers": towers, "w": "widths"})["w"]
        assert scored(store, got, "width") == widths_


def test_scores_over_parquet_have_no_duplicates(three):
    gated(three, score="s.side", min=30)
    gated(three, score="s.side", max=30)
    scorer = gated(three)
    frame = pl.read_parquet(folder(three) / scorer.folder / "00000000.parquet")
    assert frame.select("document", "position").is_unique().all()
