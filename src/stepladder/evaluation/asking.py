"""What a suite may make its probes from, and a probe with the examples that its answers are judged by.

Knows rows and traits of the method that is asked; knows no method and no prediction.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from stepladder.errors import ConfigError, Fault
from stepladder.types import Decoding, Example, Passage, Probe, Question, Reading


@dataclass(frozen=True)
class Asked:
    """A probe, and the examples that its answers are judged by: one a question, in any order."""

    probe: Probe
    examples: tuple[Example, ...]


@dataclass(frozen=True)
class Material:
    """All that probes are made from.

    main: the plain questions of the held-out `examples`. rows: which rows those are; where they are the validation
    rows, nothing else is handed out, so that no search can come to rest on what is for the last look alone.
    validation: rows that may settle a threshold or a temperature. out_of_scope: questions of no label.
    prompted: the method reads a prompt. retrieves: it shows passages of the corpus. tunes: it has changed weights.
    """

    main: Probe
    examples: tuple[Example, ...]
    validation: tuple[Example, ...] = ()
    out_of_scope: tuple[Question, ...] = ()
    corpus: tuple[Passage, ...] = ()
    rows: Literal["test", "validation"] = "test"
    prompted: bool = True
    retrieves: bool = False
    tunes: bool = False

    @property
    def plain(self) -> Asked:
        return Asked(self.main, self.examples)

    def ask(
        self,
        name: str,
        examples: Sequence[Example],
        reading: Reading | None = None,
        decoding: Decoding | None = None,
        tuned: bool = True,
    ) -> Asked:
        """The main probe, changed: other examples, or the same ones read or answered in another way."""
        questions = tuple(example.question for example in examples)
        decoding = self.main.decoding if decoding is None else decoding
        probe = replace(self.main, name=name, questions=questions, decoding=decoding, reading=reading, tuned=tuned)
        return Asked(probe, tuple(examples))


def chosen(examples: Sequence[Example], rows: int | None, seed: int) -> list[Example]:
    """At most `rows` examples, in their order; which ones hangs on their ids alone."""
    if rows is None or rows >= len(examples):
        return list(examples)
    order = sorted(examples, key=lambda e: hashlib.sha256(f"{seed}:{e.question.id}".encode()).digest())
    kept = {e.question.id for e in order[:rows]}
    return [e for e in examples if e.question.id in kept]


def unfit(what: str, to_do: str) -> ConfigError:
    """What a suite raises that can not serve the data or the decoding, before anything runs."""
    return ConfigError(Fault("", what, to_do))


def demand_probabilities(material: Material, alone: bool) -> None:
    """Raise ConfigError unless answers have probabilities: of all labels, or where that does, of the answer `alone`."""
    decoding = material.main.decoding
    if decoding.mode != "choose":
        raise unfit(f"decoding.mode={decoding.mode} gives no probabilities of labels", "say decoding=choose")
    if not alone and decoding.probabilities != "all":
        raise unfit(
            f"decoding.probabilities={decoding.probabilities} gives no probabilities of the other labels",
            "say decoding.probabilities=all",
        )
