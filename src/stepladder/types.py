"""The shared value types: plain data that every package uses.

A method learns from `TrainingData`, which has no test split, and answers a `Question`, which has no answer. So no
method can see a test answer by accident.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeAlias, runtime_checkable

from stepladder.errors import ConfigError, Fault

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Role = Literal["system", "user", "assistant"]


@dataclass(frozen=True)
class Message:
    """One turn of a conversation."""

    role: Role
    content: str


@dataclass(frozen=True)
class Choice:
    """The answer is one of `labels`. Without labels, every question has its own `choices`."""

    labels: tuple[str, ...] = ()
    definitions: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Text:
    """The answer is free text."""


@dataclass(frozen=True)
class Json:
    """The answer is a JSON value that satisfies a JSON schema."""

    schema: Mapping[str, Any]


Answer: TypeAlias = Choice | Text | Json

Plain: TypeAlias = Mapping[str, Any]
"""A mapping of a configuration or of a JSON file: plain values by name, of no fixed form."""


@dataclass(frozen=True)
class Task:
    """The instruction for all questions, and the kind of answer."""

    instruction: str
    answer: Answer

    @property
    def kind(self) -> Literal["choice", "text", "json"]:
        if isinstance(self.answer, Choice):
            return "choice"
        return "text" if isinstance(self.answer, Text) else "json"


@dataclass(frozen=True)
class Question:
    """A question, with everything that a method may see of it."""

    id: str
    text: str
    history: tuple[Message, ...] = ()
    system: str = ""
    choices: tuple[str, ...] = ()
    group: str | None = None
    tags: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Example:
    """A question with its reference answers.

    Attributes:
        question: The question.
        answers: The accepted answers. Training uses the first one. A JSON answer is compact JSON text, with the keys in
            the order of the dataset.
        gold: Ids of the passages that contain the answer, if known.
    """

    question: Question
    answers: tuple[str, ...]
    gold: tuple[str, ...] = ()


@dataclass(frozen=True)
class Passage:
    """A passage of the corpus for retrieval."""

    id: str
    text: str


@dataclass(frozen=True)
class TrainingData:
    """The data that a method may learn from."""

    task: Task
    train: tuple[Example, ...]
    validation: tuple[Example, ...] = ()
    corpus: tuple[Passage, ...] = ()


DecodingMode = Literal["choose", "greedy", "sampled", "json"]


@dataclass(frozen=True)
class Decoding:
    """How an answer is obtained from the model.

    Args:
        mode: `choose` scores the labels; `greedy` and `sampled` generate text; `json` generates JSON under the schema.
        max_new_tokens: The largest number of generated tokens.
        temperature: Of `sampled`.
        normalise: `length` divides a label's log-probability by its number of tokens; `prior` subtracts its
            log-probability without a question.
        probabilities: `all` gives probabilities of all labels, which sum to one; `best` finds the most probable label
            without scoring all of them, with its probability among all texts.
        seed: Of `sampled`. strip_thinking: Remove thinking blocks (`<think>…</think>`) from the text of `greedy` and
            `sampled`; None does so if the chat template has thinking tags.
    """

    mode: DecodingMode
    max_new_tokens: int = 128
    temperature: float = 1.0
    normalise: Literal["none", "length", "prior"] = "none"
    probabilities: Literal["all", "best"] = "all"
    seed: int = 0
    strip_thinking: bool | None = None


@dataclass(frozen=True)
class Shown:
    """What a context shows with a question: demonstrations (examples with answers) and passages, best first."""

    demonstrations: tuple[Example, ...] = ()
    passages: tuple[Passage, ...] = ()

    @property
    def ids(self) -> tuple[str, ...]:
        return tuple(e.question.id for e in self.demonstrations) + tuple(p.id for p in self.passages)


@dataclass(frozen=True)
class Format:
    """A prompt format: templates with {instruction} and {question}, once each."""

    instruction: str = "{instruction}"
    question: str = "{question}"

    def __post_init__(self) -> None:
        wrong = [name for name in ("instruction", "question") if getattr(self, name).count(f"{{{name}}}") != 1]
        if wrong:
            raise ConfigError(
                [
                    Fault(n, f"'{getattr(self, n)}' must contain {{{n}}} exactly once", f"write {{{n}}} once")
                    for n in wrong
                ]
            )


@dataclass(frozen=True)
class PromptOverride:
    """What a request changes in the prompt: its format, or the passages, by question id."""

    format: Format | None = None
    passages: Mapping[str, tuple[Passage, ...]] | None = None


@dataclass(frozen=True)
class EvalRequest:
    """Questions that an evaluation suite gives to a fitted method. Every experiment has the request `main`."""

    name: str
    task: Task
    questions: tuple[Question, ...]
    decoding: Decoding
    override: PromptOverride | None = None
    tuned: bool = True


@dataclass(frozen=True)
class Prediction:
    """The answer of a method to a question.

    Attributes:
        id: Id of the question.
        text: The answer, or the generated text if there is no usable answer.
        probabilities: By label, summing to one over all labels.
        shown: Ids of the demonstrations and passages shown.
        prompt_tokens: Number of tokens of the prompt.
        new_tokens: Number of generated tokens.
        seconds: The question's share of the time of its batch.
        failure: Why there is no usable answer.
        prompt_hash: A digest of the prompt's token ids (of several prompts: of the first); None without a prompt.
        calls: How often the language model scored labels or generated text. The tokens are those of all calls.
        candidates: The labels that a workflow left to choose from; empty if all were.
    """

    id: str
    text: str
    probabilities: Mapping[str, float] | None = None
    shown: tuple[str, ...] = ()
    prompt_tokens: int = 0
    new_tokens: int = 0
    seconds: float = 0.0
    failure: str | None = None
    prompt_hash: str | None = None
    calls: int = 0
    candidates: tuple[str, ...] = ()


@runtime_checkable
class Embedder(Protocol):
    """Turns texts into unit vectors."""

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Shape (len(texts), width), float32, each row of length one."""
        ...

    def fingerprint(self) -> Mapping[str, Any]:
        """An identification of the weights by content, never by a path."""
        ...


@dataclass(frozen=True)
class PreflightLimits:
    """The limits of the preflight checks. With None or False the check is reported and does not stop the run.

    Args:
        supervised: More than this share of the training tokens is supervised.
        ended: At least this share of the answers ends with a supervised end token.
        lost: At most this share of the training rows is rejected, too long for the context window, or shortened.
        template: Training and prediction use the same prompt tokens.
        apart: No token of one row influences another row's loss.
        touched: Gradients reach what is trained.
        shown: At most this share of the test rows is among the demonstrations or in the retrieval index.
        overlap: At most this share of the test rows is among the training rows.
    """

    supervised: float | None = 0.0
    ended: float | None = 1.0
    lost: float | None = 0.5
    template: bool = True
    apart: bool = True
    touched: bool = True
    shown: float | None = 0.0
    overlap: float | None = None

    def __post_init__(self) -> None:
        shares = {field.name: getattr(self, field.name) for field in fields(self)}
        faults = [
            Fault(name, f"{share} is not a share", "give a number from 0 to 1, or null")
            for name, share in shares.items()
            if not isinstance(share, bool) and share is not None and not 0 <= share <= 1
        ]
        if faults:
            raise ConfigError(faults)


@dataclass(frozen=True)
class CheckResult:
    """The result of one preflight check.

    Args:
        name: The key of `preflight` with its limit.
        value: A share, or whether the condition holds.
        message: The result as text.
        warns: Whether it is a warning.
        stops: Whether it stops the run.
        fix: How the user can fix it.
    """

    name: str
    value: float | bool
    message: str = field(metadata={"json": "told"})
    warns: bool = field(default=False, metadata={"json": "odd"})
    stops: bool = False
    fix: str = field(default="", metadata={"json": None})
