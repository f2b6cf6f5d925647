"""What the house asks of a language model. Knows tokens and messages; knows no dataset, no label, no training.

Importing this module loads no torch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from stepladder.engine.values import Best, Scores, VirtualTokens
from stepladder.types import Message, Plain

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn


@dataclass(frozen=True)
class Completion:
    """A written answer. `finished`: it ended by itself (end token, or a complete json value), not by its length."""

    text: str
    new_tokens: int
    seconds: float
    finished: bool


@dataclass(frozen=True)
class WithoutThoughts:
    """A written text without its thoughts: `text`, whether thoughts were `removed`, whether the last one is `open`."""

    text: str
    removed: bool
    open: bool


@dataclass(frozen=True)
class Thoughts:
    """How a model's thoughts are marked. `opened`: its prompts end inside a thought, which the answer goes on with."""

    marks: tuple[tuple[str, str], ...] = ()
    opened: bool = False

    def removed_from(self, text: str) -> WithoutThoughts:
        """What was written, without thoughts.

        Returns:
            The text after and between thoughts, without white space around it. Of a thought that does not end, its mark
            and all that follows are removed. With `opened` and no mark in the text the text is kept, since a model
            that was trained to answer at once writes its answer there.
        """
        removed = left_open = False
        for begin, end in self.marks:
            first, last = text.find(begin), text.find(end)
            if last >= 0 and (first < 0 or last < first):  # the prompt has begun this thought
                text, removed = text[last + len(end) :], True
            while (first := text.find(begin)) >= 0:
                removed = True
                last = text.find(end, first + len(begin))
                if last < 0:
                    text, left_open = text[:first], True
                    break
                text = text[:first] + text[last + len(end) :]
        return WithoutThoughts(text.strip(), removed, left_open or (self.opened and not removed))


@runtime_checkable
class LanguageModel(Protocol):
    """A causal model with its tokenizer and chat template.

    Prompts go in as token ids. `score` and `generate` may answer in any order: each result comes with the index of its
    prompt. In float32 a batch of one gives what a batch of many gives: log-probabilities to rounding (1e-3), and the
    same labels and greedy texts. In bf16 a batch of another size rounds differently, and a label or a text may change
    where two are nearly as likely; `noise` says how near.
    """

    @property
    def noise(self) -> float:
        """Two labels whose log-probabilities (natural) differ by less may change places with the batch; 0 in float32,
        where they do not."""
        ...

    @property
    def window(self) -> int:
        """How many tokens fit, prompt and answer together."""
        ...

    @property
    def ends(self) -> frozenset[int]:
        """The tokens at which writing stops."""
        ...

    @property
    def thoughts(self) -> Thoughts:
        """How the model marks thoughts before its answer; without marks where its chat template has none."""
        ...

    @property
    def module(self) -> nn.Module:
        """The network itself, for training."""
        ...

    @property
    def engine_name(self) -> str:
        """What computes: `fast` or `reference`."""
        ...

    def encode(self, messages: Sequence[Message]) -> list[int]:
        """The prompt's token ids, up to where the answer begins."""
        ...

    def encode_answer(self, text: str) -> list[int]:
        """The answer's token ids, the end token last: what training teaches and `score` scores."""
        ...

    def score(
        self, prompts: Sequence[Sequence[int]], candidates: Sequence[Sequence[str]], micro_batch: int | None = None
    ) -> Iterator[tuple[int, Scores]]:
        """Log-probability of every one of `candidates[i]` after `prompts[i]`."""
        ...

    def choose(
        self, prompts: Sequence[Sequence[int]], candidates: Sequence[Sequence[str]], micro_batch: int | None = None
    ) -> Iterator[tuple[int, Best]]:
        """The likeliest of `candidates[i]` after `prompts[i]`: what `score` would rank first, without scoring all."""
        ...

    def generate(
        self,
        prompts: Sequence[Sequence[int]],
        max_new_tokens: int,
        temperature: float | None = None,
        seed: int = 0,
        schema: Plain | None = None,
        micro_batch: int | None = None,
    ) -> Iterator[tuple[int, Completion]]:
        """Write after each prompt: the likeliest token, or drawn at `temperature` (row by row from `seed` and the
        prompt's index, so that batching changes nothing); under `schema` only what leads to valid JSON."""
        ...

    def answer_losses(self, ids: Tensor, mask: Tensor, answer: Tensor, noise: float | None = None) -> Tensor:
        """Cross-entropy (natural, float32) of the tokens at the positions where `answer` is true: (answer.sum(),), in
        row-major order. Minus the sum of a row's is what `score` calls the answer's log-probability.

        ids, mask, answer: (batch, length), padded on the right; `mask` true at real tokens. Gradients flow to whatever
        asks for them. `noise` is NEFTune's alpha: uniform noise of that scale on the embeddings, drawn anew each time.
        """
        ...

    def adapted(self, module: nn.Module, virtual: Callable[[int], VirtualTokens] | None = None) -> LanguageModel:
        """The same model with another network (wrapped or trained) and, for prompt learning, virtual tokens by batch
        size."""
        ...


class ChatFormat(Protocol):
    """The tokenizer of a model with its chat template, without the weights."""

    def refusal(self, messages: Sequence[Message]) -> str | None:
        """Why the chat template refuses a conversation, in the template's words; None where it takes it."""
        ...

    def pieces(self, ids: Sequence[int]) -> list[tuple[str, bool]]:
        """The text of a prompt's tokens in runs, and of each whether it is a special token."""
        ...


@runtime_checkable
class HasChatFormat(Protocol):
    """A checkpoint that can tell how it writes conversations before its weights are loaded."""

    def chat(self) -> ChatFormat: ...


@runtime_checkable
class Checkpoint(Protocol):
    """Where weights come from. Constructing one is light and touches no file. One that is also a `HasChatFormat` lets
    rows that its chat template refuses be found before anything is computed."""

    dtype: str

    def fingerprint(self) -> Plain:
        """What the loaded model depends on (content of weights and tokenizer, dtype), never a path. May fetch."""
        ...

    def load(self, device: torch.device | str | None = None) -> LanguageModel: ...
