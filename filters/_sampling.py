"""Sampling: nucleus sampling that depends on a picture and a seed, not on the rest of the batch. Loads no model.

The most probable token after Gumbel noise has been added is a sample (Gumbel-max), so decoding is greedy and all rows
run together. The noise of a token is a hash of the row's key, the length of the text so far, and the token: rows that
have ended or stand elsewhere change nothing.
"""

from __future__ import annotations

import hashlib
from typing import Any

GOLDEN, FIRST, SECOND = (
    int.from_bytes(word.to_bytes(8, "big"), "big", signed=True)
    for word in (0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB)
)
"""The constants of splitmix64, as torch's int64 holds them."""


def key_of(picture: str, seed: int, candidate: int = 0) -> int:
    """What a row's noise depends on, 64 bits: the picture's sha256, the seed, and which of its captions it is."""
    digest = hashlib.sha256(f"{picture} {seed} {candidate}".encode()).digest()
    return int.from_bytes(digest[:8], "little", signed=True)


class Nucleus:
    """Leaves the tokens of the nucleus, with noise; comes last, after the repetition penalty.

    Args:
        keys: one for each row.
        top_p: the fewest tokens that hold this much probability stay (Holtzman et al. 2020).
        top_k: and of these no more than so many; 0 for all.
    """

    def __init__(self, keys: list[int], top_p: float, top_k: int = 0) -> None:
        self.keys, self.top_p, self.top_k = keys, top_p, top_k

    def __call__(self, ids: Any, logits: Any) -> Any:
        """(rows, vocabulary) for tokens so far (rows, length), as transformers calls it; float64."""
        import torch

        keys = torch.tensor(self.keys, device=logits.device)
        noise = gumbel(keys, ids.shape[1], logits.shape[1])
        return kept(logits.double(), self.top_p, self.top_k) + noise


def kept(logits: Any, top_p: float, top_k: int) -> Any:
    """Logits with -inf outside of the nucleus; the most probable token always stays."""
    ranked, order = logits.sort(descending=True, stable=True)
    probabilities = ranked.softmax(dim=-1)
    out = probabilities.cumsum(dim=-1) - probabilities >= top_p
    if top_k:
        out[:, top_k:] = True
    out[:, 0] = False
    return logits.masked_fill(out.scatter(1, order, out), float("-inf"))


def gumbel(keys: Any, step: int, width: int) -> Any:
    """Standard Gumbel noise, float64 (rows, width)."""
    import torch

    tokens = torch.arange(1, width + 1, device=keys.device)
    steps = torch.full_like(keys, step)
    bits = mixed(mixed(keys + steps * GOLDEN)[:, None] + tokens * GOLDEN)
    uniform = (shifted(bits, 11).double() + 0.5) * 2.0**-53
    return -(-uniform.log()).log()


def mixed(bits: Any) -> Any:
    """Splitmix64's finisher (Steele et al. 2014), on int64 that wraps."""
    bits = (bits ^ shifted(bits, 30)) * FIRST
    bits = (bits ^ shifted(bits, 27)) * SECOND
    return bits ^ shifted(bits, 31)


def shifted(bits: Any, by: int) -> Any:
    """To the right, zeros coming in."""
    return (bits >> by) & ((1 << (64 - by)) - 1)
