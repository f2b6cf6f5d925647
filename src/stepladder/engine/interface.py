"""What an engine does for a language model: on token ids and tensors, without texts, labels or files."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol

from torch import Tensor, nn

from stepladder.engine.grammar import JsonGrammar
from stepladder.engine.network import Network, Virtual
from stepladder.engine.sampling import Sampling
from stepladder.engine.values import Best, Generated, Scores

Tokens = Sequence[int]


class Engine(Protocol):
    """Scores labels, generates answers and computes training losses of one model.

    Results come in any order, each with the index of its prompt. In float32 all engines give the same results up to
    rounding, whatever the batch.
    """

    name: str

    @property
    def network(self) -> Network: ...

    def score(
        self, prompts: Sequence[Tokens], candidates: Sequence[Sequence[Tokens]], micro_batch: int | None = None
    ) -> Iterator[tuple[int, Scores]]:
        """Log-probability of every one of `candidates[i]` after `prompts[i]`."""
        ...

    def choose(
        self, prompts: Sequence[Tokens], candidates: Sequence[Sequence[Tokens]], micro_batch: int | None = None
    ) -> Iterator[tuple[int, Best]]:
        """The likeliest of `candidates[i]` after `prompts[i]`; the first of equally likely ones."""
        ...

    def generate(
        self,
        prompts: Sequence[Tokens],
        budgets: Sequence[int],
        sampling: Sampling,
        ends: frozenset[int],
        grammar: JsonGrammar | None = None,
        micro_batch: int | None = None,
    ) -> Iterator[tuple[int, Generated]]:
        """At most `budgets[i]` tokens after `prompts[i]`, up to one of `ends`, in the language of the `grammar`."""
        ...

    def answer_losses(self, ids: Tensor, mask: Tensor, answer: Tensor, noise: float | None = None) -> Tensor:
        """Cross-entropy (natural, float32) at the positions where `answer` is true: (answer.sum(),), row by row.

        Args:
            ids: Token ids (batch, length), padded on the right.
            mask: True at real tokens (batch, length).
            answer: True at the answers' tokens (batch, length), never at a row's first.
            noise: NEFTune's alpha; None for no noise.
        """
        ...

    def adapted(self, module: nn.Module, virtual: Virtual | None = None) -> Engine:
        """An engine for the same base model with an adapter or other weights."""
        ...
