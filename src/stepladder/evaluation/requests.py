"""What a suite makes its requests from, and a request together with the examples that its answers are judged by."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from stepladder.errors import ConfigError, Fault
from stepladder.types import Decoding, EvalRequest, Example, Passage, PromptOverride, Question


@dataclass(frozen=True)
class EvalBatch:
    """A request and the examples that its answers are judged by: one for each question, in any order."""

    request: EvalRequest
    examples: tuple[Example, ...]


@dataclass(frozen=True)
class EvalInputs:
    """What suites make their requests from.

    Attributes:
        main: The plain questions of the held-out `examples`.
        examples: The held-out examples.
        validation: Rows that may set a threshold or a temperature. Empty where `rows` is "validation".
        out_of_scope: Questions that no label fits. Empty where `rows` is "validation".
        corpus: The passages that retrieval searches.
        rows: Which split `examples` are. A search sees validation rows and nothing else.
        prompted: The method reads a prompt.
        retrieves: The method shows passages of the corpus.
        tunes: The method changes weights.
    """

    main: EvalRequest
    examples: tuple[Example, ...]
    validation: tuple[Example, ...] = ()
    out_of_scope: tuple[Question, ...] = ()
    corpus: tuple[Passage, ...] = ()
    rows: Literal["test", "validation"] = "test"
    prompted: bool = True
    retrieves: bool = False
    tunes: bool = False

    @property
    def plain(self) -> EvalBatch:
        return EvalBatch(self.main, self.examples)

    def ask(
        self,
        name: str,
        examples: Sequence[Example],
        override: PromptOverride | None = None,
        decoding: Decoding | None = None,
        tuned: bool = True,
    ) -> EvalBatch:
        """The main request with other examples, another prompt, another decoding or untuned weights."""
        questions = tuple(example.question for example in examples)
        decoding = self.main.decoding if decoding is None else decoding
        request = replace(self.main, name=name, questions=questions, decoding=decoding, override=override, tuned=tuned)
        return EvalBatch(request, tuple(examples))


def chosen(examples: Sequence[Example], rows: int | None, seed: int) -> list[Example]:
    """At most `rows` examples, in their order. The choice depends on their ids and `seed` only."""
    if rows is None or rows >= len(examples):
        return list(examples)
    order = sorted(examples, key=lambda e: hashlib.sha256(f"{seed}:{e.question.id}".encode()).digest())
    kept = {e.question.id for e in order[:rows]}
    return [e for e in examples if e.question.id in kept]


def rows_rule(rows: int | None) -> tuple[bool, Fault]:
    """The rule for `require` that a suite asks at least one question."""
    return rows is None or rows >= 1, Fault("rows", f"{rows} questions cannot be asked", "give at least 1, or null")


def unfit(what: str, to_do: str) -> ConfigError:
    """The error of a suite that does not support the data or the decoding; raised before anything runs."""
    return ConfigError(Fault("", what, to_do))


def demand_probabilities(inputs: EvalInputs, alone: bool) -> None:
    """Raise ConfigError unless answers have probabilities: of all labels, or of the answer only where `alone`."""
    decoding = inputs.main.decoding
    if decoding.mode != "choose":
        raise unfit(f"decoding.mode={decoding.mode} gives no probabilities of labels", "set decoding=choose")
    if not alone and decoding.probabilities != "all":
        raise unfit(
            f"decoding.probabilities={decoding.probabilities} gives no probabilities of the other labels",
            "set decoding.probabilities=all",
        )
