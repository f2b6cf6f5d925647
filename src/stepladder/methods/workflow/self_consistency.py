"""The step `self_consistency`: the model answers several times, and the most frequent answer counts."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from stepladder.context.context import Context
from stepladder.context.prompt import Prompt
from stepladder.errors import ConfigError, Fault, require
from stepladder.evaluation.metrics.json_fields import NotJsonError, parsed
from stepladder.evaluation.metrics.text import normalised
from stepladder.methods.workflow.step import Ask, Stateless, with_costs_of
from stepladder.resources import Resources
from stepladder.types import Choice, Decoding, EvalRequest, Json, Prediction, Question, Task


@dataclass(frozen=True)
class SelfConsistency(Stateless):
    """Draws `samples` answers and keeps the most frequent one, of equally frequent ones the first.

    The shares of the answers are the probabilities of the prediction, so that the agreement is its confidence. Answers
    agree if the metrics count them as equal: JSON as values, text without case, punctuation and English articles.

    Source: Wang et al. 2023, Self-consistency improves chain of thought reasoning (arXiv 2203.11171).

    Args:
        samples: Number of answers per question.
        temperature: Of the draws. 0 takes the most probable token, so that all answers are equal.
    """

    samples: int = 5
    temperature: float = 0.7
    version: ClassVar[int] = 1

    def __post_init__(self) -> None:
        require(
            (self.samples >= 1, Fault("samples", f"{self.samples} samples give no answer", "give at least 1")),
            (self.temperature >= 0, Fault("temperature", f"{self.temperature} is negative", "give 0 or more")),
        )

    def check(self, task: Task, decoding: Decoding, prompt: Prompt, context: Context) -> None:
        if decoding.mode not in ("greedy", "sampled"):
            what = f"answers are drawn by sampling text, and decoding.mode={decoding.mode} does not sample"
            raise ConfigError(Fault("", what, "say decoding=greedy, or leave this step out"))

    def answer(self, request: EvalRequest, ask: Ask, resources: Resources) -> list[Prediction]:
        draws = [ask(replace(request, decoding=self._draw(request.decoding, n))) for n in range(self.samples)]
        return [
            self._agreed(question, request.task, own)
            for question, own in zip(request.questions, zip(*draws, strict=True), strict=True)
        ]

    def _draw(self, decoding: Decoding, number: int) -> Decoding:
        if self.temperature == 0:
            return replace(decoding, mode="greedy")
        seed = int(np.random.SeedSequence([decoding.seed, number]).generate_state(1)[0])
        return replace(decoding, mode="sampled", temperature=self.temperature, seed=seed)

    def _agreed(self, question: Question, task: Task, draws: Sequence[Prediction]) -> Prediction:
        groups: defaultdict[str, list[Prediction]] = defaultdict(list)
        for found in draws:
            if found.failure is None:
                groups[_comparable(found.text, task)].append(found)
        if not groups:
            return with_costs_of(draws[0], draws)
        answered = sum(map(len, groups.values()))
        best = max(groups.values(), key=len)[0]
        shares = {own[0].text: len(own) / answered for own in groups.values()}
        if isinstance(task.answer, Choice):
            shares = {label: shares.get(label, 0.0) for label in question.choices or task.answer.labels}
        return with_costs_of(replace(best, probabilities=shares), draws)


def _comparable(text: str, task: Task) -> str:
    """Equal for answers that the metrics count as equal."""
    if isinstance(task.answer, Choice):
        return text
    if isinstance(task.answer, Json):
        try:
            return json.dumps(parsed(text), sort_keys=True)
        except NotJsonError:
            return text
    return normalised(text)
