"""Fresh: what became of the targets of a run, as the ledger judges them, but by every byte. Looks at nothing else."""

from __future__ import annotations

from collections.abc import Mapping

from curate.inspect.condition import UNJUDGED, Finding
from curate.inspect.reading import Reading
from curate.inspect.targets import Targets
from curate.ledger.inventory import Fault
from curate.ledger.job import FileSet, Ref, Target
from curate.ledger.ledger import Ledger, files
from curate.ledger.state import FOREIGN, GOOD, MISSING, STALE
from curate.report import Entry
from curate.store.store import Store

States = Mapping[str, tuple[str, str]]
"""State of each target by its name, and why."""


def judge_targets(store: Store, readings: Mapping[str, Reading], targets: Targets) -> dict[str, Finding]:
    """What became of targets; notes in which folders not all of them can be known."""
    lasting = [*targets.lasting.values()]
    passing = [each for name, each in targets.passing.items() if name not in targets.lasting]
    states = states_of(store, readings, lasting)
    found, sets, misled = dict[str, Finding](), dict[FileSet, bool](), dict[str, int]()
    for target in lasting:
        (state, why), (folder, phase) = states[target.name], targets.places[target.name]
        if state == STALE and not all(is_told(ref, readings, states, sets) for ref in target.origin):
            state = UNJUDGED
        if state in (STALE, MISSING) and phase > misled.get(folder, phase):
            state = UNJUDGED if target.name in readings else ""
        if state == STALE:
            misled.setdefault(folder, phase)
        if state:
            found[target.name] = Finding(target.name, state, why)
    for folder, phase in targets.places.values():
        if phase > misled.get(folder, phase):  # what is stale may have told of files that should not be
            targets.ends.setdefault(folder, [])
    for name, (state, why) in states_of(store, readings, passing).items():
        if name in readings:
            found[name] = Finding(name, GOOD if state == STALE else state, why)
    return found


def states_of(store: Store, readings: Mapping[str, Reading], targets: list[Target]) -> States:
    """What the ledger says of targets, each without what lies beside it."""
    known = {name: each.says or each.stat for name, each in readings.items()}
    known |= {name: each._replace(beside=()) for name, each in known.items() if isinstance(each, Entry)}
    states = dict(zip((each.name for each in targets), Ledger(store, known).states(targets), strict=True))
    foreign = {name: Fault(*state) for name, state in states.items() if state[0] == FOREIGN}
    if any(isinstance(known[name], Entry) for name in foreign):  # by those nothing else can be judged
        states = dict(zip(states, Ledger(store, known | foreign).states(targets), strict=True))
    return states


def is_told(ref: Ref, readings: Mapping[str, Reading], states: States, sets: dict[FileSet, bool]) -> bool:
    """Whether something that a target depends on is itself as it should be."""
    if not isinstance(ref, FileSet):
        there = ref in readings and isinstance(readings[ref].says, Entry)
        return there and states.get(ref, (GOOD, ""))[0] == GOOD
    if ref not in sets:
        sets[ref] = all(is_told(name, readings, states, sets) for name in files([ref]))
    return sets[ref]
