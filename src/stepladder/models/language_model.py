"""The protocol of a language model: messages and token ids in, scores, texts and losses out.

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
    """A generated answer. `finished`: it ended by itself (end token, or a complete JSON value), not by its length.
    `prompt_tokens`: as a server counted them; None where the model is local."""

    text: str
    new_tokens: int
    seconds: float
    finished: bool
    prompt_tokens: int | None = None


@dataclass(frozen=True)
class WithoutThoughts:
    """A text without its thoughts: `text`, whether thoughts were `removed`, whether the last one is `open`."""

    text: str
    removed: bool
    open: bool


@dataclass(frozen=True)
class Thoughts:
    """How a model's thoughts are marked. `opened`: prompts end inside a thought, which the answer continues."""

    marks: tuple[tuple[str, str], ...] = ()
    opened: bool = False

    def removed_from(self, text: str) -> WithoutThoughts:
        """The text without thoughts.

        Returns:
            The text after and between thoughts, stripped. A thought that does not end is removed with all that follows
            its mark. With `opened` and no mark in the text the text is kept: a model that was trained to answer
            directly puts its answer there.
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

    Prompts are token ids. `score`, `choose` and `generate` return results in any order, each with the index of its
    prompt. In float32 results do not depend on the batch: log-probabilities up to rounding (1e-3), labels and greedy
    texts exactly. In bf16 a batch of another size rounds differently, and a label or a text may change where two are
    nearly equally likely; `noise` is how nearly.
    """

    @property
    def noise(self) -> float:
        """Labels whose log-probabilities (nats) differ by less may change their order with the batch; 0 in float32."""
        ...

    @property
    def window(self) -> int:
        """How many tokens fit, prompt and answer together."""
        ...

    @property
    def ends(self) -> frozenset[int]:
        """The tokens at which generation stops."""
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
        """The prompt's token ids, up to the position where the answer begins."""
        ...

    def encode_answer(self, text: str) -> list[int]:
        """The answer's token ids with the end token: what training supervises and `score` scores."""
        ...

    def score(
        self, prompts: Sequence[Sequence[int]], candidates: Sequence[Sequence[str]], micro_batch: int | None = None
    ) -> Iterator[tuple[int, Scores]]:
        """Log-probability of every one of `candidates[i]` after `prompts[i]`."""
        ...

    def choose(
        self, prompts: Sequence[Sequence[int]], candidates: Sequence[Sequence[str]], micro_batch: int | None = None
    ) -> Iterator[tuple[int, Best]]:
        """The likeliest of `candidates[i]` after `prompts[i]`: what `score` ranks first, perhaps scoring fewer."""
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
        """Generate an answer to each prompt.

        Args:
            prompts: Token ids.
            max_new_tokens: How many tokens an answer has at most, the end token included.
            temperature: None for the likeliest token; else tokens are sampled.
            seed: With the prompt's index, the seed of its random numbers, whatever the batch.
            schema: A JSON schema that answers are constrained to.
            micro_batch: How many rows are generated at once; None chooses.
        """
        ...

    def answer_losses(self, ids: Tensor, mask: Tensor, answer: Tensor, noise: float | None = None) -> Tensor:
        """Cross-entropy (natural, float32) of the tokens at the positions where `answer` is true: (answer.sum(),), in
        row-major order. Minus the sum of a row's losses is the log-probability that `score` gives. Gradients flow.

        Args:
            ids: Token ids (batch, length), padded on the right.
            mask: True at real tokens (batch, length).
            answer: True at supervised tokens (batch, length), never at a row's first.
            noise: NEFTune's alpha: the scale of new uniform noise on the embeddings; None for no noise.
        """
        ...

    def adapted(self, module: nn.Module, virtual: Callable[[int], VirtualTokens] | None = None) -> LanguageModel:
        """The same model with another network (wrapped or trained) and, for prompt learning, virtual tokens by batch
        size."""
        ...


class ChatFormat(Protocol):
    """The tokenizer of a model with its chat template, without the weights."""

    def refusal(self, messages: Sequence[Message]) -> str | None:
        """Why the chat template refuses a conversation, in the template's words; None where it accepts it."""
        ...

    def pieces(self, ids: Sequence[int]) -> list[tuple[str, bool]]:
        """The text of a prompt's tokens in runs, each with whether it is a special token."""
        ...


@runtime_checkable
class HasChatFormat(Protocol):
    """A checkpoint with a chat format that is available before its weights are loaded."""

    def chat(self) -> ChatFormat: ...


@runtime_checkable
class Checkpoint(Protocol):
    """Where weights come from. Constructing one is light and reads no file. If it is also a `HasChatFormat`, rows that
    its chat template refuses are found before anything is computed."""

    dtype: str

    def fingerprint(self) -> Plain:
        """What the loaded model depends on (content of weights and tokenizer, dtype), never a path. May fetch."""
        ...

    def load(self, device: torch.device | str | None = None) -> LanguageModel: ...
