"""Pack: copy survivors, in order, into what trainers read. Reads verdicts; decides only where images stand.

Which documents go into which output shard follows from the verdicts alone, so the same input gives the same bytes,
whatever the number of workers. ``index.json`` comes last: where it is, the output is complete, so it is removed before
anything of it is made again.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from curate.ledger.job import Phase
from curate.ledger.making import OneByOne
from curate.pack import index, layout, write
from curate.pack.output_folder import Output, output
from curate.recipe.recipe import Resource
from curate.store.store import Store

__all__ = ["Output", "output", "phases"]


def phases(store: Store, output: Output, shards: Sequence[str], needs: Resource) -> Iterator[Phase]:
    """Writes the layout, the output shards, and what lies beside them."""
    yield from layout.phases(store, output, shards, needs)
    jobs = write.jobs_of(output, layout.runs_of_tars(store, output.folder))
    yield Phase("pack", jobs, OneByOne(store, write.WriteShard(output)), needs, spoils=(output.index,))
    job = index.job_of(output, len(jobs))
    yield Phase("pack index", [job], OneByOne(store, index.WriteIndex(output)), needs)
