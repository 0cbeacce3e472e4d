"""Resources: what a worker takes, from the lines of a recipe, and what of it a machine has. Starts nothing."""

from __future__ import annotations

from collections.abc import Mapping

from curate.recipe.recipe import Resource


def needs(resources: Mapping[str, Resource], stage: str, *scorers: str) -> Resource:
    """What a worker of a stage takes: the stage's own line, and what its scorers ask for, together."""
    lines = [resources[name] for name in (stage, *scorers) if name in resources]
    cpus = [line.cpus for line in lines if line.cpus is not None]
    memory = [line.memory for line in lines if line.memory is not None]
    workers = [line.workers for line in lines if line.workers is not None]
    return Resource(
        cpus=max(cpus, default=None),
        gpus=sum(line.gpus for line in lines),
        memory=max(memory, default=None),
        workers=workers[0] if workers else None,
    )


def size_of(resource: Resource) -> str:
    """A worker's size in words."""
    parts = {"CPU": 1 if resource.cpus is None else resource.cpus, "GPU": resource.gpus, "memory": resource.memory}
    return ", ".join(f"{value:g} {name}" for name, value in parts.items() if value)


def fitted(resource: Resource, total: Mapping[str, float]) -> Resource:
    """A worker's size cut down to this machine, so that a recipe for a cluster also runs here."""
    cpus = None if resource.cpus is None else min(resource.cpus, total.get("CPU", 1))
    return resource.model_copy(update={"cpus": cpus, "gpus": min(resource.gpus, total.get("GPU", 0)), "memory": None})
