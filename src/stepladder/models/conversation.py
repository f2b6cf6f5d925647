"""The protocol of a model that renders its own prompts: conversations in, scores and texts out.

A local `LanguageModel` takes token ids; a model behind an API has its tokenizer and chat template on the server.
Importing this module loads no torch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol, runtime_checkable

from stepladder.engine.values import Best, Scores
from stepladder.models.language_model import Completion, Thoughts
from stepladder.types import Message, Plain

Conversation = Sequence[Message]


@dataclass(frozen=True)
class ServerFacts:
    """What became known of the server.

    Attributes:
        server: For provenance: address, name, and what the server calls itself.
        figures: Measurements of the answers since the facts were last read.
        notes: What the user should know.
    """

    server: Plain
    figures: Mapping[str, float] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Tariff:
    """Prices of a model's tokens in one currency; None where they are unknown."""

    currency: str | None = None
    million_prompt_tokens: float = 0.0
    million_new_tokens: float = 0.0

    @property
    def known(self) -> bool:
        return self.million_prompt_tokens > 0 or self.million_new_tokens > 0

    def cost(self, prompt_tokens: Any, new_tokens: Any) -> Any:
        """In the currency, from numbers or arrays."""
        return (prompt_tokens * self.million_prompt_tokens + new_tokens * self.million_new_tokens) / 1e6


@runtime_checkable
class ConversationModel(Protocol):
    """A model that is given conversations. Results come in any order, each with the index of its conversation."""

    @property
    def engine_name(self) -> str: ...

    @property
    def noise(self) -> float:
        """As of a `LanguageModel`."""
        ...

    @property
    def thoughts(self) -> Thoughts: ...

    @property
    def labels(self) -> Literal["scored", "written"]:
        """Whether labels are scored exactly (`score`, `choose`), or written by the model (`write_label`)."""
        ...

    def score(
        self, prompts: Sequence[Conversation], candidates: Sequence[Sequence[str]], micro_batch: int | None = None
    ) -> Iterator[tuple[int, Scores]]:
        """Log-probability of every one of `candidates[i]` after `prompts[i]`."""
        ...

    def choose(
        self, prompts: Sequence[Conversation], candidates: Sequence[Sequence[str]], micro_batch: int | None = None
    ) -> Iterator[tuple[int, Best]]:
        """The likeliest of `candidates[i]` after `prompts[i]`."""
        ...

    def write_label(
        self, prompts: Sequence[Conversation], candidates: Sequence[Sequence[str]], max_new_tokens: int
    ) -> Iterator[tuple[int, Completion]]:
        """A text that names one of `candidates[i]`, or does not."""
        ...

    def generate(
        self,
        prompts: Sequence[Conversation],
        max_new_tokens: int,
        temperature: float | None = None,
        seed: int = 0,
        schema: Plain | None = None,
        micro_batch: int | None = None,
    ) -> Iterator[tuple[int, Completion]]:
        """An answer to each conversation."""
        ...

    def facts(self) -> ServerFacts:
        """What became known since the last call."""
        ...


@runtime_checkable
class ModelService(Protocol):
    """Where a `ConversationModel` is. Constructing one is light and sends nothing."""

    @property
    def tariff(self) -> Tariff:
        """The prices of the model's tokens."""
        ...

    def fingerprint(self) -> Plain:
        """What answers depend on as far as the client knows it."""
        ...

    def check_access(self) -> None:
        """Raises ConfigError where the service cannot be used as configured. Sends nothing."""
        ...

    def open(self, shared: Path | None, note: Callable[[str], None]) -> ConversationModel:
        """The model. Answers are stored in `shared`; None stores them for this process alone. `note` shows a line."""
        ...
