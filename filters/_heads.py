"""Heads: weights from a file that cannot run code, and small networks on an embedding. Knows no particular head.

A head is a few matrices, so it runs in numpy; in float64, because then neither the other rows of a batch nor the
machine's BLAS show in the float32 that is stored.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
import numpy.typing as npt

from curate.score.identity import file_sha256

DEMO = Path(__file__).resolve().parent / "demo_models"
PICKLES = (".pth", ".pt", ".bin")
NUMBERED = re.compile(r"(?:.*[._])?(\d+)\.(?:weight|bias)")
Array = npt.NDArray[np.float64]
Tensors = dict[str, npt.NDArray[Any]]


@dataclass(frozen=True)
class Linear:
    """A linear layer: weight (out, in), bias (out,), and its number in its module."""

    number: int
    weight: Array
    bias: Array

    def __call__(self, rows: Array) -> Array:
        """(n, in) to (n, out)."""
        with np.errstate(invalid="ignore"):  # NaN rows stay NaN
            return rows @ self.weight.T + self.bias


def weights_file(file: Path, sha256: str = "") -> Path:
    """The safetensors file to load: ``file`` itself, or the copy beside a pickle that is made of it once.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: a pickle without the sha256 that was pinned, or something that is neither.
    """
    copy = file.with_name(f"{file.stem}-{sha256[:12]}.safetensors")
    if file.suffix in PICKLES and sha256 and copy.is_file():
        return copy
    if not file.is_file():
        raise FileNotFoundError(f"there are no weights {file}")
    if file.suffix not in (".safetensors", *PICKLES):
        raise ValueError(f"{file}: weights are .safetensors, or a state dict as {', '.join(PICKLES)} with sha256:")
    if (sha256 or file.suffix in PICKLES) and (found := file_sha256(file)) != sha256:
        fault = f"not {sha256}" if sha256 else "and a pickle may run code: name it as sha256: if you trust the file"
        raise ValueError(f"{file} has the sha256 {found}, {fault}")
    if file.suffix == ".safetensors":
        return file
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    state = {name: tensor.clone().contiguous() for name, tensor in unpickled(file).items()}
    part = copy.with_name(f"{copy.name}.{uuid4().hex}.part")
    try:
        save_file(state, part)
    except SafetensorError as error:
        raise OSError(f"{copy} cannot be written ({error}); put {file.name} where it can") from error
    return part.replace(copy)


def unpickled(file: Path) -> dict[str, Any]:
    """The state dict in a pickle: at the top, or under ``weights`` or ``state_dict``; without DDP's "module."."""
    import pickle

    import torch

    try:
        state = torch.load(file, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise ValueError(f"{file} holds more than tensors, and is not loaded") from error
    if isinstance(state, dict):
        state = next((state[key] for key in ("weights", "state_dict") if isinstance(state.get(key), dict)), state)
    if not isinstance(state, dict) or not state or not all(isinstance(each, torch.Tensor) for each in state.values()):
        raise ValueError(f"{file} holds no state dict")
    return {name.removeprefix("module."): tensor for name, tensor in state.items()}


def tensors(file: Path) -> Tensors:
    """The tensors of a safetensors file by name."""
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        return dict(load_file(file))
    except SafetensorError as error:
        raise ValueError(f"{file} is damaged, or no safetensors file: {error}") from error


def linears(found: Tensors, file: Path, besides: Collection[str] = ()) -> list[Linear]:
    """The linear layers, in the order of the numbers in their names; each takes what the one before gives.

    Nothing else may be there but the tensors named ``besides``.
    ``layers.0.weight``, ``linear_1.weight`` and ``0.weight`` have numbers; a single layer may be ``weight``, ``bias``.
    """
    numbers = {name.rpartition(".")[0]: int(fits[1]) for name in found if (fits := NUMBERED.fullmatch(name))}
    if not numbers and {"weight", "bias"} <= found.keys():
        found, numbers = {".weight": found["weight"], ".bias": found["bias"]}, {"": 0}
    others = [name for name in found if name.rpartition(".")[0] not in numbers and name not in besides]
    if others or not numbers or len(set(numbers.values())) < len(numbers):
        raise ValueError(f"{file}: no chain of linear layers in {', '.join(sorted(found))}")
    chain: list[Linear] = []
    for prefix, number in sorted(numbers.items(), key=lambda item: item[1]):
        weight, bias = (np.asarray(found.get(f"{prefix}.{part}", ()), np.float64) for part in ("weight", "bias"))
        width = len(chain[-1].bias) if chain else weight.shape[-1]
        if weight.ndim != 2 or weight.shape[1] != width or bias.shape != weight.shape[:1]:
            shapes = f"weight {weight.shape} and bias {bias.shape}"
            raise ValueError(f"{file}: {prefix} has {shapes}; expected (n, {width or 'd'}) and (n,)")
        chain.append(Linear(number, weight, bias))
    if len(chain[-1].bias) != 1:
        raise ValueError(f"{file}: the last layer has {len(chain[-1].bias)} outputs; expected 1")
    return chain


def unit(vectors: Sequence[Sequence[float]], chain: Sequence[Linear], file: Path, known: Mapping[int, str]) -> Array:
    """Embeddings as rows (n, d) of length 1; a row is NaN where one has a NaN, an infinity or no length.

    ``known`` says which encoder has vectors of this width.
    """
    width = chain[0].weight.shape[1]
    if wrong := {len(vector) for vector in vectors} - {width}:
        shapes = " -> ".join(str(size) for size in (width, *(len(layer.bias) for layer in chain)))
        whose = f" of {known[width]}" if width in known else ""
        found = f"the column that it reads has {wrong.pop()}"
        raise ValueError(f"{file} ({shapes}): this head expects {width}-d embeddings{whose}; {found}")
    return normalised(np.array(vectors, np.float64))


def normalised(rows: Array) -> Array:
    """Rows of length 1; NaN where a row has a NaN, an infinity or no length."""
    length = np.linalg.norm(rows, axis=1, keepdims=True)
    return rows / np.where((length > 0) & (length < np.inf), length, np.nan)


def rows_of(name: str, values: Array) -> list[dict[str, float] | None]:
    """One column as rows; None where the value is NaN."""
    return [{name: float(value)} if np.isfinite(value) else None for value in values]
