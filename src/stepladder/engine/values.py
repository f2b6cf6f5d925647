"""What an engine takes and returns: scores, generated tokens, virtual tokens, low-rank additions.

Importing this module loads no torch.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Best:
    """The likeliest candidate: its place among the candidates, its log-probability (natural, end token included) and
    its number of tokens. `prompt_tokens` and `new_tokens` as of `Scores`."""

    place: int
    log_probability: float
    length: int
    seconds: float
    prompt_tokens: int | None = None
    new_tokens: int | None = None


@dataclass(frozen=True)
class Scores:
    """Of each candidate answer: its log-probability (natural, end token included) and its number of tokens.

    `prompt_tokens` and `new_tokens` are what a server counted for all of its requests; None where the model is local.
    """

    log_probabilities: tuple[float, ...]
    lengths: tuple[int, ...]
    seconds: float
    prompt_tokens: int | None = None
    new_tokens: int | None = None

    def best(self, more_seconds: float = 0.0) -> Best:
        """The likeliest candidate, the first of equally likely ones."""
        log, place = max((log, -place) for place, log in enumerate(self.log_probabilities))
        seconds = self.seconds + more_seconds
        return Best(-place, log, self.lengths[-place], seconds, self.prompt_tokens, self.new_tokens)


@dataclass(frozen=True)
class Generated:
    """Generated token ids, end token included. `finished`: generation ended by itself (end token, or a complete JSON
    value), not at its length limit. `seconds`: this row's share of the time."""

    ids: tuple[int, ...]
    seconds: float
    finished: bool


@dataclass(frozen=True)
class VirtualTokens:
    """Trained virtual tokens before every prompt: `embeddings` (batch, length, width), or a transformers `cache` of
    keys and values. One of the two."""

    length: int
    embeddings: Tensor | None = None
    cache: Any = None


@dataclass(frozen=True)
class LowRank:
    """The addition of an adapter to a linear layer: `scaling` x down' up', with `down` (rank, in) and `up` (out, rank).

    In training, a share `dropout` of x is dropped before it. A layer that is a linear `base_layer` with only this
    addition returns it from a method `low_rank`.
    """

    down: Tensor
    up: Tensor
    scaling: float
    dropout: float = 0.0
