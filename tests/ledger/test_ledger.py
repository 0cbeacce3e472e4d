"""What the ledger says of files: good, missing, stale, damaged, foreign; and that a job reads what it was handed."""

from __future__ import annotations

import os
import pickle
import shutil
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa
import pytest

import curate.ledger.ledger as limits
from curate.ledger import inventory
from curate.ledger.job import FileSet, Job, Target
from curate.ledger.ledger import Ledger
from curate.ledger.making import Making, done
from curate.ledger.summary import MOST, Summary
from curate.report import Report
from curate.store.files import ChangedFile
from curate.store.store import Stat, Store

RAW, SCORE, ALL = "raw/0.parquet", "score/0.parquet", "all.json"


@dataclass
class Corpus:
    """Three small steps: a raw table with a file beside it, a table that is made from it, and one of both."""

    store: Store
    numbers: list[int] = field(default_factory=lambda: [1, 2, 3])
    notes: str = ""
    by: str = "plan"

    @property
    def jobs(self) -> list[Job]:
        everything = FileSet("everything", (RAW, SCORE))
        return [
            Job("raw", (Target(RAW, by=self.by, fixed=True),)),
            Job("score", (Target(SCORE, (RAW,)),)),
            Job("all", (Target(ALL, (SCORE, RAW), made_from=(everything,), by="1"),)),
        ]

    def work(self, job: Job, making: Making) -> Report:
        (target,) = job.targets
        if job.name == "raw":
            with making.writing("raw/0.tar") as path:
                path.write_bytes(bytes(self.numbers))
            rows = pa.table({"x": self.numbers, "note": [self.notes] * len(self.numbers)})
            making.write(target.name, rows, says=["x"], beside=["raw/0.tar"])
        elif job.name == "score":
            making.write(target.name, pa.table({"y": making.files.read(RAW)["x"].to_numpy() * 2}))
        else:
            sums = [int(making.files.rows([name])[column].sum()) for name, column in ((RAW, "x"), (SCORE, "y"))]
            making.write_json(target.name, {"sums": sums})
        return Report(job.name)

    def run(self, ledger: Ledger | None = None) -> list[str]:
        """Does what is to be done; the jobs that were done, and those that were not, with the reason."""
        ledger, said = ledger or Ledger(self.store), []
        for each in self.jobs:
            for job in ledger.unfinished([each]):
                blocked = ledger.blocked([job])
                if blocked:
                    said.append(f"{job.name}: {blocked[job.name]}")
                    continue
                sent = pickle.loads(pickle.dumps(ledger.handed(job)))
                ledger.take(done(self.store, sent, self.work))
                said.append(job.name)
        ledger.inventory.save()
        return said

    def path(self, name: str) -> Path:
        return Path(self.store.path(name))


@pytest.fixture
def corpus(tmp_path: Path) -> Corpus:
    made = Corpus(Store(tmp_path / "run"))
    assert made.run() == ["raw", "score", "all"]
    return made


def flip(path: Path, at: int) -> None:
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(data)


def test_a_finished_run_has_nothing_to_do(corpus: Corpus) -> None:
    assert corpus.run() == []
    shutil.rmtree(corpus.path("ledger"))
    assert corpus.run() == []


def test_what_is_missing_is_made_again(corpus: Corpus) -> None:
    for names, again in (((RAW,), ["raw"]), (("raw/0.tar",), ["raw"]), ((SCORE,), ["score"]), ((ALL,), ["all"])):
        before = {path: path.read_bytes() for path in corpus.path("").rglob("*.*") if "ledger" not in path.parts}
        for name in names:
            corpus.path(name).unlink()
        assert corpus.run() == again
        assert {path: path.read_bytes() for path in before} == before


def test_what_says_the_same_makes_nothing_stale(corpus: Corpus) -> None:
    corpus.path(RAW).unlink()
    corpus.notes = "asked twice"
    assert corpus.run() == ["raw"]


def test_what_says_something_else_makes_what_follows_stale(corpus: Corpus) -> None:
    corpus.path(RAW).unlink()
    corpus.numbers = [1, 2, 4]
    assert corpus.run() == ["raw", "score", "all"]
    assert corpus.store.get_json(ALL) == {"sums": [7, 14]}


def test_what_was_made_by_something_else_is_stale(corpus: Corpus) -> None:
    corpus.store.remove(ALL)
    done(corpus.store, Job("all", (Target(ALL, by="0"),)), lambda job, making: making.write_json(ALL, {}) or Report(""))
    assert corpus.run() == ["all"]


def test_a_file_in_the_place_of_another_is_stale(tmp_path: Path) -> None:
    store = Store(tmp_path)
    jobs = [Job(name, (Target(f"{name}.json"),)) for name in ("a", "b")]
    for job in jobs:
        done(store, job, lambda job, making: making.write_json(f"{job.name}.json", {"is": job.name}) or Report(""))
    assert Ledger(store).unfinished(jobs) == []
    shutil.copyfile(tmp_path / "a.json", tmp_path / "b.json")
    assert [job.name for job in Ledger(store).unfinished(jobs)] == ["b"]


def test_raw_of_another_plan_is_foreign_and_not_touched(corpus: Corpus) -> None:
    corpus.by = "other"
    before = corpus.path(RAW).read_bytes()
    assert corpus.run() == [f"raw: {corpus.path(RAW)} was made by another plan: remove it, or use another folder"]
    assert corpus.path(RAW).read_bytes() == before


@pytest.mark.parametrize("name", [RAW, SCORE, ALL])
def test_a_file_without_notes_is_foreign_and_not_touched(corpus: Corpus, name: str) -> None:
    if name == ALL:
        corpus.path(name).write_text("{}")
    else:
        import pyarrow.parquet as pq

        pq.write_table(pa.table({"x": [1]}), corpus.path(name))
    before = corpus.path(name).read_bytes()
    said = corpus.run()
    assert said
    assert all("is foreign" in each for each in said)
    assert corpus.path(name).read_bytes() == before


@pytest.mark.parametrize("name", [RAW, SCORE, ALL])
def test_a_file_that_was_cut_is_damaged_and_not_touched(corpus: Corpus, name: str) -> None:
    os.truncate(corpus.path(name), 100)
    said = corpus.run()
    assert said
    assert all("is damaged" in each and "--repair` removes it" in each for each in said)
    assert corpus.path(name).stat().st_size == 100


def test_a_raw_tar_is_believed_by_its_size_as_who_reads_it_checks(corpus: Corpus, read_whole: list[str]) -> None:
    tar = corpus.path("raw/0.tar")
    flip(tar, 1)
    assert corpus.run() == []
    shutil.rmtree(corpus.path("ledger"))
    assert corpus.run() == []
    assert read_whole == []
    os.truncate(tar, 1)
    (said,) = corpus.run()
    assert said.startswith(f"raw: {tar} is damaged (it has 1 bytes, and had 3): `curate verify")


def test_what_reads_a_damaged_file_is_not_done(corpus: Corpus) -> None:
    data = corpus.path(RAW).read_bytes()
    corpus.path(SCORE).unlink()
    flip(corpus.path(RAW), len(data) - 30)
    raw, score, _ = corpus.run()
    assert raw.startswith(f"raw: {corpus.path(RAW)} is damaged")
    assert score.startswith(f"score: reads {RAW}: {corpus.path(RAW)} is damaged")


def test_damage_between_the_notes_is_found_by_who_reads(corpus: Corpus) -> None:
    flip(corpus.path(RAW), 20)
    assert corpus.run() == []  # nobody reads it
    corpus.path(SCORE).unlink()
    with pytest.raises(ValueError, match=r"raw/0\.parquet is damaged \(bytes 0 to \d+ have changed\)"):
        corpus.run()
    assert not corpus.path(SCORE).exists()


@dataclass
class Counting:
    """Names; how often they were gone through."""

    names: tuple[str, ...]
    times: int = 0

    def __iter__(self) -> Iterator[str]:
        self.times += 1
        return iter(self.names)


@pytest.mark.parametrize("most", [limits.MARKS, 0])
def test_a_job_refuses_what_it_was_not_handed(corpus: Corpus, most: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "MARKS", most)
    corpus.path(SCORE).unlink()
    ledger = Ledger(corpus.store)
    _, score, _ = corpus.jobs
    sent = ledger.handed(score)
    other = Corpus(corpus.store, [7, 7])
    done(corpus.store, corpus.jobs[0], other.work)
    with pytest.raises(ChangedFile, match="changed while this run went on"):
        done(corpus.store, sent, corpus.work)
    assert not corpus.path(SCORE).exists()
    assert not list(corpus.path("score").iterdir())


@pytest.mark.parametrize("most", [limits.MARKS, 0])
def test_a_target_may_read_what_its_job_makes(tmp_path: Path, most: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "MARKS", most)
    store = Store(tmp_path)
    corpus = Corpus(store)
    corpus.run()
    job = Job("two", (Target("a.json", (RAW,)), Target("b.json", (RAW, "a.json"))))

    def work(job: Job, making: Making) -> Report:
        making.files.read(RAW)
        making.write_json("a.json", {"a": 1})
        making.commit(early=True)
        assert making.files.json("a.json") == {"a": 1}
        making.write_json("b.json", {"b": 1})
        return Report("two")

    ledger = Ledger(store)
    ledger.take(done(store, pickle.loads(pickle.dumps(ledger.handed(job))), work))
    assert [ledger.state(target)[0] for target in job.targets] == ["good", "good"]
    assert [Ledger(store).state(target)[0] for target in job.targets] == ["good", "good"]
    before = (tmp_path / "b.json").read_bytes()
    (tmp_path / "b.json").unlink()
    (left,) = Ledger(store).unfinished([job])
    assert [target.name for target in left.targets] == ["b.json"]
    ledger = Ledger(store)
    done(
        store,
        ledger.handed(left),
        lambda job, making: (
            ((making.files.read(RAW), making.files.json("a.json")) and making.write_json("b.json", {"b": 1}))
            or Report("")
        ),
    )
    assert (tmp_path / "b.json").read_bytes() == before


def test_what_is_made_from_a_sibling_is_made_with_it(tmp_path: Path) -> None:
    """A chain in one job: what follows may say something else, and is made by the same command."""
    store, said = Store(tmp_path), {"n": 1}
    chain = [Target("a.json"), Target("b.json", ("a.json",)), Target("c.json", ("b.json",))]

    def work(job: Job, making: Making) -> Report:
        for at, name in enumerate(("a.json", "b.json", "c.json")):
            if any(target.name == name for target in job.targets) and not making.keeps(name):
                before = making.files.json(chain[at - 1].name)["n"] if at else said["n"]
                making.write_json(name, {"n": before})
                making.commit(early=True)
        return Report("chain")

    def run() -> list[list[str]]:
        ledger, made = Ledger(store), []
        for job in ledger.unfinished([Job("chain", tuple(chain))]):
            made.append([target.name for target in job.targets])
            ledger.take(done(store, pickle.loads(pickle.dumps(ledger.handed(job))), work))
        return made

    assert (run(), run()) == ([["a.json", "b.json", "c.json"]], [])
    said["n"] = 2
    store.remove("a.json")
    assert (run(), run()) == ([["a.json", "b.json", "c.json"]], [])
    assert store.get_json("c.json") == {"n": 2}
    before = (tmp_path / "c.json").stat().st_mtime_ns
    store.remove("a.json")
    assert (run(), run()) == ([["a.json", "b.json", "c.json"]], [])
    assert (tmp_path / "c.json").stat().st_mtime_ns == before


def test_a_job_that_fails_leaves_nothing(corpus: Corpus) -> None:
    corpus.path(RAW).unlink()
    corpus.path("raw/0.tar").unlink()

    def work(job: Job, making: Making) -> Report:
        corpus.work(job, making)
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        done(corpus.store, corpus.jobs[0], work)
    assert not list(corpus.path("raw").iterdir())


# --- what is kept


@dataclass
class Judged:
    """A finished corpus that was found to be that; ``looked``: at which files the last ``left`` looked."""

    corpus: Corpus
    ledger: Ledger
    jobs: list[Job]
    looked: list[str]

    def left(self, *jobs: Job) -> list[str]:
        self.looked.clear()
        return [job.name for job in self.ledger.unfinished(jobs or self.jobs)]


@pytest.fixture
def judged(corpus: Corpus, monkeypatch: pytest.MonkeyPatch) -> Judged:
    ledger, looked = Ledger(corpus.store), list[str]()
    company = ledger.inventory.company
    monkeypatch.setattr(ledger.inventory, "company", lambda entry: looked.append(entry.name) or company(entry))
    found = Judged(corpus, ledger, corpus.jobs, looked)
    assert (found.left(), looked) == ([], [RAW, SCORE, ALL])
    return found


def test_what_is_good_is_judged_once(judged: Judged) -> None:
    assert (judged.left(), judged.looked) == ([], [ALL])  # which is made from a set
    assert (judged.left(*judged.corpus.jobs), judged.looked) == ([], [ALL])


def test_what_a_job_makes_has_everything_judged_again(judged: Judged) -> None:
    raw = judged.ledger.handed(judged.jobs[0])
    judged.ledger.take(done(judged.corpus.store, raw, Corpus(judged.corpus.store, [1, 2, 4]).work))
    assert judged.left() == ["score", "all"]
    judged.ledger.take(done(judged.corpus.store, raw, judged.corpus.work))
    assert (judged.left(), judged.looked) == ([], [RAW, SCORE, ALL])


def test_what_is_removed_is_not_good_nor_what_is_made_from_it(judged: Judged) -> None:
    judged.ledger.remove(SCORE)
    assert judged.left() == ["score", "all"]


def test_what_changed_meanwhile_is_found_once_all_is_forgotten(judged: Judged) -> None:
    judged.corpus.path(SCORE).unlink()
    assert judged.left() == []
    judged.ledger.forget()
    assert judged.left() == ["score", "all"]


@pytest.mark.parametrize(
    "other",
    [
        Target(ALL, made_from=(FileSet("everything", (RAW,)),), by="1"),
        Target(ALL, made_from=(FileSet("all", (RAW, SCORE)),), by="1"),
        Target(ALL, made_from=(RAW, SCORE), by="1"),
        Target(SCORE, (RAW,), by="2"),
        Target(SCORE, (ALL,)),
    ],
)
def test_what_is_made_by_or_from_something_else_is_another_target(judged: Judged, other: Target) -> None:
    assert judged.left(Job("other", (other,))) == ["other"]
    assert judged.left() == []


# --- what lies beside a file of an output


class Output:
    """Some tars, each beside facts, and sums beside an index that is made from all of these."""

    def __init__(self, store: Store, tars: int = 3) -> None:
        facts = [f"out/x/{at}.json" for at in range(tars)]
        self.store = store
        self.jobs = [Job(name, (Target(name),)) for name in facts]
        self.jobs.append(Job("index", (Target("out/x/index.json", (FileSet("facts", facts),)),)))

    def work(self, job: Job, making: Making) -> Report:
        (target,) = job.targets
        beside = target.name.replace("json", "tar")
        with making.writing(beside) as path:
            path.write_bytes(target.name.encode() * 1000)
        making.write_json(target.name, {"of": target.name}, beside=[beside])
        return Report(job.name)

    def run(self) -> list[str]:
        """Makes what is to be made; what that was, or why not."""
        ledger, said = Ledger(self.store), []
        for jobs in (self.jobs[:-1], self.jobs[-1:]):
            for job in ledger.unfinished(jobs):
                said.append(ledger.blocked([job]).get(job.name, job.name))
                if said[-1] == job.name:
                    ledger.take(done(self.store, ledger.handed(job), self.work))
        ledger.inventory.save()
        return said

    def path(self, name: str) -> Path:
        return Path(self.store.path(name))


@pytest.fixture
def read_whole(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The files that are read to compare them."""
    found: list[str] = []
    is_same = inventory.is_same
    monkeypatch.setattr(inventory, "is_same", lambda store, each: found.append(each.name) or is_same(store, each))
    return found


@pytest.fixture
def output(tmp_path: Path) -> Output:
    made = Output(Store(tmp_path / "run"))
    assert made.run() == [job.name for job in made.jobs]
    return made


TARS = [f"out/x/{at}.tar" for at in (0, 1, 2, "index")]


def test_what_was_written_is_not_compared(output: Output, read_whole: list[str]) -> None:
    assert output.run() == []
    assert read_whole == []


@pytest.mark.parametrize("lost", [False, True])
def test_a_file_of_an_output_is_compared_when_it_may_have_changed(
    lost: bool, output: Output, read_whole: list[str]
) -> None:
    flip(output.path(TARS[1]), 5)
    if lost:
        shutil.rmtree(output.path("ledger"))
    for _ in range(2):  # and what is damaged stays so
        (said,) = output.run()
        assert said.startswith(f"{output.path(TARS[1])} is damaged (it is not what was written): `curate verify ")
    assert sorted(read_whole) == sorted([*TARS, TARS[1]] if lost else [TARS[1]] * 2)
    output.path(TARS[1]).unlink()
    assert output.run() == ["out/x/1.json"]
    assert output.run() == []


def test_a_copied_output_is_compared_once(output: Output, read_whole: list[str], tmp_path: Path) -> None:
    shutil.copytree(tmp_path / "run", tmp_path / "copy", copy_function=shutil.copyfile)
    copied = Output(Store(tmp_path / "copy"))
    assert copied.run() == []
    assert sorted(read_whole) == TARS
    assert copied.run() == []
    assert len(read_whole) == len(TARS)


def test_what_lies_beside_is_compared_several_at_a_time(output: Output, monkeypatch: pytest.MonkeyPatch) -> None:
    together, is_same = threading.Barrier(len(TARS), timeout=30), inventory.is_same
    monkeypatch.setattr(inventory, "is_same", lambda store, each: together.wait() >= 0 and is_same(store, each))
    shutil.rmtree(output.path("ledger"))
    assert Ledger(output.store).unfinished(output.jobs) == []


def test_a_file_in_the_place_of_another_is_noticed_by_its_inode(output: Output) -> None:
    tar = output.path(TARS[0])
    before, other = tar.stat(), tar.with_name("other")
    other.write_bytes(b"x" * before.st_size)
    os.utime(other, ns=(before.st_atime_ns, before.st_mtime_ns))
    other.replace(tar)
    (said,) = output.run()
    assert f"{tar} is damaged" in said


@pytest.mark.parametrize("before", ["out/x/1.tar", "out/x/1.json"])
def test_a_kill_before_something_appears_leaves_it_missing(
    before: str, output: Output, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = {path: path.read_bytes() for path in output.path("out/x").iterdir()}
    publish = Store.publish

    def killed(store: Store, part: Path, name: str) -> Stat:
        if name == before:
            raise KeyboardInterrupt
        return publish(store, part, name)

    job = output.jobs[1]
    with monkeypatch.context() as patched:
        patched.setattr(Store, "publish", killed)
        with pytest.raises(KeyboardInterrupt):
            done(output.store, job, output.work)
    assert Ledger(output.store).state(job.targets[0]) == ("missing", "")
    assert output.run() == ["out/x/1.json"]
    assert {path: path.read_bytes() for path in output.path("out/x").iterdir()} == whole


# --- the summary


def test_the_summary_saves_opening_files(corpus: Corpus, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    said_by = inventory.said_by
    monkeypatch.setattr(inventory, "said_by", lambda store, name: asked.append(name) or said_by(store, name))
    assert (corpus.run(), asked) == ([], [])
    corpus.path(SCORE).write_bytes(corpus.path(SCORE).read_bytes())
    assert (corpus.run(), asked) == ([], [SCORE])
    assert (corpus.run(), asked) == ([], [SCORE])


@pytest.mark.parametrize("how", ["stray", "another table", "no folder"])
def test_a_summary_that_cannot_be_used_is_no_loss(corpus: Corpus, how: str) -> None:
    if how == "stray":
        corpus.path("ledger/readme.txt").write_text("not ours")
        corpus.path("ledger/zzz.parquet").write_bytes(corpus.path(SCORE).read_bytes())
    elif how == "another table":
        corpus.path(f"ledger/000009-{'0' * 32}.parquet").write_bytes(corpus.path(SCORE).read_bytes())
    else:
        shutil.rmtree(corpus.path("ledger"))
        corpus.path("ledger").write_text("")
    assert corpus.run() == []
    corpus.path(ALL).unlink()
    assert (corpus.run(), corpus.run()) == (["all"], [])


def test_a_file_that_the_summary_was_wrong_about_is_asked_again(corpus: Corpus) -> None:
    other = Corpus(Store(corpus.path("").parent / "other"), [1, 2, 4])
    other.run()
    at = corpus.path(SCORE).stat()
    corpus.path(SCORE).write_bytes(other.path(SCORE).read_bytes())
    os.utime(corpus.path(SCORE), ns=(at.st_atime_ns, at.st_mtime_ns))
    corpus.path(ALL).unlink()
    if corpus.path(SCORE).stat().st_size == at.st_size:
        ledger = Ledger(corpus.store)
        with pytest.raises(ChangedFile):
            corpus.run(ledger)
        ledger.doubt(corpus.jobs[2])
        ledger.inventory.save()
    assert corpus.run() == ["score", "all"]
    assert corpus.store.get_json(ALL) == {"sums": [6, 12]}


def test_a_damaged_summary_is_no_loss(corpus: Corpus) -> None:
    for path in corpus.path("ledger").iterdir():
        flip(path, 20)
    assert Summary(corpus.store).entries == {}
    assert corpus.run() == []
    assert Summary(corpus.store).entries.keys() == {RAW, SCORE, ALL}


def test_segments_are_made_one(corpus: Corpus) -> None:
    for _ in range(2 * MOST):
        corpus.path(ALL).unlink()
        corpus.run()
        assert len(list(corpus.path("ledger").iterdir())) <= MOST
    assert Summary(corpus.store).entries.keys() == {RAW, SCORE, ALL}
    assert corpus.run() == []


def test_deleted_files_leave_the_summary_where_their_folder_was_listed(corpus: Corpus) -> None:
    others = [f"{folder}/{at}.json" for folder in ("score", "elsewhere") for at in range(2)]
    jobs, ledger = [Job(name, (Target(name),)) for name in others], Ledger(corpus.store)
    for job in jobs:
        ledger.take(done(corpus.store, job, lambda job, making: making.write_json(job.name, {}) or Report("")))
    ledger.inventory.save()
    for name in others:
        corpus.store.remove(name)
    assert Summary(corpus.store).entries.keys() == {RAW, SCORE, ALL, *others}
    for _ in range(MOST):
        corpus.path(ALL).unlink()
        corpus.run()
    assert Summary(corpus.store).entries.keys() == {RAW, SCORE, ALL, *others[2:]}


def test_what_was_learned_before_all_was_forgotten_is_in_the_summary(corpus: Corpus) -> None:
    ledger = Ledger(corpus.store)
    for _ in range(2 * MOST):
        ledger.forget()
        corpus.path(ALL).unlink()
        corpus.run(ledger)
        assert Summary(corpus.store).entries.keys() == {RAW, SCORE, ALL}


class Seen:
    """File names that count how often somebody goes through them."""

    def __init__(self, *names: str) -> None:
        self.names, self.times = names, 0

    def __iter__(self):
        self.times += 1
        return iter(self.names)


def test_a_set_is_gone_through_once_for_all_jobs_that_are_made_from_it(tmp_path: Path) -> None:
    """Of a corpus it has hundreds of thousands of files, and each table of a group is made from all of them."""
    corpus, names = Corpus(Store(tmp_path)), Seen(RAW, SCORE)
    corpus.run()
    everything = FileSet("everything", names)
    tables = [Target(f"table/{at}.parquet", made_from=(everything,)) for at in range(64)]
    ledger, jobs = Ledger(corpus.store), [Job(f"{at}", tuple(tables[at : at + 8])) for at in range(0, 64, 8)]
    todo = ledger.unfinished(jobs)
    assert ledger.blocked(todo) == {}
    digests = {target.digest for job in todo for target in ledger.handed(job).targets}
    assert len(digests) == 64  # each under its own name
    assert b"" not in digests
    assert names.times <= 3
