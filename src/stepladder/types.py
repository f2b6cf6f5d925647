"""The words of the house: plain values that every room may use.

Knows no file, no model and no configuration. Nothing here can reach a test answer by accident: a method learns from
`TrainingData`, which has no test split, and is asked a `Question`, which has no answer.
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
    """The answer is one of `labels`; with no labels, every question brings its own `choices`."""

    labels: tuple[str, ...] = ()
    definitions: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Text:
    """The answer is free text."""


@dataclass(frozen=True)
class Json:
    """The answer is one JSON value that a JSON schema describes."""

    schema: Mapping[str, Any]


Answer: TypeAlias = Choice | Text | Json

Plain: TypeAlias = Mapping[str, Any]
"""A mapping of a configuration or of a JSON file: plain values by name, of no fixed form."""


@dataclass(frozen=True)
class Task:
    """What is asked of every question, and what kind of answer counts."""

    instruction: str
    answer: Answer

    @property
    def kind(self) -> Literal["choice", "text", "json"]:
        if isinstance(self.answer, Choice):
            return "choice"
        return "text" if isinstance(self.answer, Text) else "json"


@dataclass(frozen=True)
class Question:
    """All that a method may see when it is asked."""

    id: str
    text: str
    history: tuple[Message, ...] = ()
    system: str = ""
    choices: tuple[str, ...] = ()
    group: str | None = None
    tags: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Example:
    """A question with the `answers` that count, and the ids of the passages that hold them (`gold`) where known.

    The first answer is the one that training teaches. The answer of a json task is its text in the dataset's own key
    order, without needless white space.
    """

    question: Question
    answers: tuple[str, ...]
    gold: tuple[str, ...] = ()


@dataclass(frozen=True)
class Passage:
    """A piece of the corpus that retrieval may show."""

    id: str
    text: str


@dataclass(frozen=True)
class TrainingData:
    """All that a method may learn from."""

    task: Task
    train: tuple[Example, ...]
    validation: tuple[Example, ...] = ()
    corpus: tuple[Passage, ...] = ()


DecodingMode = Literal["choose", "greedy", "sampled", "json"]


@dataclass(frozen=True)
class Decoding:
    """How an answer is read off the model.

    `choose` scores the labels; `greedy` and `sampled` write freely; `json` writes under the task's schema. `normalise`
    divides a label's log-probability by its tokens (`length`) or takes off what it has without a question (`prior`).
    `probabilities`: of `all` labels, summing to one; or the `best` label alone, found without scoring all of them (when
    nothing is normalised), with its probability among all texts. `seed` counts only where something is drawn.
    `strip_thinking` removes a reasoning model's thoughts (`<think>…</think>`) from what `greedy` and `sampled` write;
    None does so where the model's chat template has thoughts. `choose` and `json` write none.
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
    """What a context shows beside a question: demonstrations (examples with answers) and passages, best first."""

    demonstrations: tuple[Example, ...] = ()
    passages: tuple[Passage, ...] = ()

    @property
    def ids(self) -> tuple[str, ...]:
        return tuple(e.question.id for e in self.demonstrations) + tuple(p.id for p in self.passages)


@dataclass(frozen=True)
class Format:
    """Other words around the same content: templates that hold {instruction} and {question}, once each."""

    instruction: str = "{instruction}"
    question: str = "{question}"

    def __post_init__(self) -> None:
        wrong = [name for name in ("instruction", "question") if getattr(self, name).count(f"{{{name}}}") != 1]
        if wrong:
            raise ConfigError(
                [Fault(n, f"'{getattr(self, n)}' has not one place for {{{n}}}", f"write {{{n}}} once") for n in wrong]
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
    """One answer. `probabilities` by label, summing to one over all labels; `shown` the ids of what was read beside the
    question; `seconds` this question's share of its batch; `failure` why there is no usable answer (then `text` is what
    was written); `prompt_hash` a digest of the rendered prompt's token ids, None for a method without a prompt."""

    id: str
    text: str
    probabilities: Mapping[str, float] | None = None
    shown: tuple[str, ...] = ()
    prompt_tokens: int = 0
    new_tokens: int = 0
    seconds: float = 0.0
    failure: str | None = None
    prompt_hash: str | None = None


@runtime_checkable
class Embedder(Protocol):
    """Turns texts into unit vectors."""

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Shape (len(texts), width), float32, each row of length one."""
        ...

    def fingerprint(self) -> Mapping[str, Any]:
        """What the vectors depend on: the content of the weights, never a path."""
        ...


@dataclass(frozen=True)
class PreflightLimits:
    """From where on a preflight check stops a run; None or False: the check is reported and stops nothing.

    Args:
        supervised: More than this share of the training rows' tokens is supervised.
        ended: At least this share of the answers is supervised up to an end token.
        lost: At most this share of the training rows is rejected, too long for the context window, or has less context.
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
        name: The key of `preflight` that limits it.
        value: A share, or whether it holds.
        message: The result in words.
        warns: Whether it is worth a warning.
        stops: Whether it stops the run.
        fix: What the user can do about it.
    """

    name: str
    value: float | bool
    message: str = field(metadata={"json": "told"})
    warns: bool = field(default=False, metadata={"json": "odd"})
    stops: bool = False
    fix: str = field(default="", metadata={"json": None})

    def as_dict(self) -> dict[str, Any]:
        """Plain data, as stored and as printed with --json."""
        return {"name": self.name, "value": self.value, "told": self.message, "odd": self.warns, "stops": self.stops}

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> CheckResult:
        return cls(stored["name"], stored["value"], stored["told"], stored["odd"], stored["stops"])
