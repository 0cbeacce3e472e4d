"""Making: the files that one job makes: written aside, and there, with notes, when all that was read is checked.

Decides nothing: what a file is made from, and by, is said by its target.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, Self, TypeVar

import pyarrow as pa

from curate.ledger.inventory import Fault, said_by
from curate.ledger.job import FileSet, Job, Jobs, Ref, Target
from curate.report import Beside, Entry, Failure, Report, StopRun, described
from curate.store import digest, record, table
from curate.store.digest import DamagedFile, ForeignFile
from curate.store.files import ChangedFile, Files
from curate.store.notes import spelled
from curate.store.store import Stat, Store

Value = TypeVar("Value")
LASTING = (DamagedFile, ForeignFile, ChangedFile)
"""What a job raises because of a file; it would raise it again."""


class Making:
    """What one job reads (``files``) and writes. ``made``: what was committed."""

    def __init__(self, store: Store, job: Job) -> None:
        self.store, self.files, self.made = store, Files(store, job.expected), list[Entry]()
        self._targets = {target.name: target for target in job.targets}
        self._parts = dict[str, Path]()
        self._pending = list[Entry]()

    @contextmanager
    def writing(self, name: str) -> Iterator[Path]:
        """A local path for a file that lies beside a target, and is there no later than that."""
        part = self._parts[name] = self.store.part(name)
        yield part

    def write(
        self,
        name: str,
        rows: pa.Table,
        row_group: int = table.ROW_GROUP,
        says: Sequence[str] | None = None,
        beside: Sequence[str] = (),
        **notes: str,
    ) -> None:
        """Writes a table. ``says``: the columns that are its content; ``beside``: what was written to lie beside it."""
        entry = self._entry(name, digest.of_table(rows if says is None else rows.select(says)), beside)
        self._put(entry, table.encode(rows, row_group, **spelled(entry), **notes))

    def write_json(self, name: str, value: Mapping[str, Any], beside: Sequence[str] = ()) -> None:
        """Writes an object."""
        entry = self._entry(name, record.content(value), beside)
        self._put(entry, record.encode(value, **spelled(entry)))

    def keeps(self, *names: str) -> bool:
        """Whether an earlier try of the job made these targets already, by the same from the same: so they stay.

        Of what is made from files of the job itself, those have been made, or looked at here, before.
        """
        if not self.files.compared:  # then nothing appears before all is done, and all must be read
            return False
        found = [self._found(name) for name in names]
        for entry in found:
            if entry is not None and None not in found:
                self.files.makes(entry.name, None, entry.content)
                self.made.append(entry)
        return None not in found

    def _found(self, name: str) -> Entry | None:
        """A target that is there, if it was made by the same from the same."""
        target = self._targets[name]
        try:
            entry = said_by(self.store, name)
        except FileNotFoundError:
            return None
        if isinstance(entry, Fault):
            return None
        return entry if (entry.by, entry.made_from) == (target.by, self._origin(target)) else None

    def _entry(self, name: str, content: bytes, beside: Sequence[str]) -> Entry:
        target, parts = self._targets[name], [(each, self._parts[each]) for each in beside]
        files = (Beside(each, part.stat().st_size, digest.of_path(part)) for each, part in parts)
        return Entry(name, 0, "", target.by, self._origin(target), content, tuple(files))

    def _origin(self, target: Target) -> bytes:
        """The digest of what a target is made from: the ledger's; or ours, where its own job makes some of it."""
        return target.digest or digest.of_origin(target.name, self._digest(target.origin))

    def _digest(self, refs: Iterable[Ref]) -> bytes:
        """One digest of the content of files and sets, as the ledger takes it."""
        named = (
            (ref.name, self._digest(ref.files)) if isinstance(ref, FileSet) else (ref, self.files.content(ref))
            for ref in refs
        )
        return digest.of_files(dict(named))

    def _put(self, entry: Entry, data: bytes) -> None:
        part = self._parts[entry.name] = self.store.part(entry.name)
        part.write_bytes(data)
        self.files.makes(entry.name, part, entry.content)
        self._pending.append(entry)

    def commit(self, early: bool = False) -> None:
        """Has appear what was written, in order; ``early``: if what was read could be checked by now.

        A target goes before what lies beside it is replaced, so that a kill leaves it missing, and never damaged.

        Raises:
            ChangedFile: what was read is not what was expected.
        """
        if early and not self.files.compared:
            return
        self.files.compare()
        for entry in self._pending:
            if entry.beside:
                self.store.remove(entry.name)
            beside = tuple(each._replace(stamp=self._publish(each.name).stamp) for each in entry.beside)
            stat = self._publish(entry.name)
            self.files.makes(entry.name, None, entry.content)
            self.made.append(entry._replace(size=stat.size, stamp=stat.stamp, beside=beside))
        self._pending = []

    def _publish(self, name: str) -> Stat:
        stat = self.store.publish(self._parts[name], name)
        del self._parts[name]
        return stat

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for part in self._parts.values():
            part.unlink(missing_ok=True)


class Held(Generic[Value]):
    """What a worker keeps of some files from job to job; made again for a job to which they say something else."""

    def __init__(self, *names: str) -> None:
        self._contents, self._value = dict.fromkeys(names, b""), list[Value]()

    def get(self, files: Files, make: Callable[[Files], Value]) -> Value:
        """What ``make`` made of the files; it reads all of them, and the job has read them too.

        Raises:
            ChangedFile: they are not what was expected.
        """
        if not self._value or not all(files.expects(name, content) for name, content in self._contents.items()):
            self._value = [make(files)]
            self._contents = {name: files.contents[name] for name in self._contents}
        for name, content in self._contents.items():
            files.saw(name, content)
        return self._value[0]


@dataclass(frozen=True)
class OneByOne:
    """A worker that does one job after the other with a function, or an object that holds what is expensive.

    What it writes appears when a job is done, if it has not committed it before.
    """

    store: Store
    work: Callable[[Job, Making], Report]

    def __call__(self, jobs: Jobs) -> None:
        """See ``Worker``. What a job raises is its failure; only StopRun ends the run."""
        while (job := jobs.take()) is not None:
            try:
                jobs.done(job, done(self.store, job, self.work))
            except StopRun:
                raise
            except Exception as error:
                jobs.done(job, Failure("", job.name, described(error), isinstance(error, LASTING)))


def done(store: Store, job: Job, work: Callable[[Job, Making], Report]) -> Report:
    """Does one job, and says what it made."""
    began = time.monotonic()
    with Making(store, job) as making:
        report = work(job, making)
        making.commit()
    report.made, report.seconds = making.made, time.monotonic() - began
    return report
