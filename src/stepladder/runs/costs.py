"""What runs cost: tokens, seconds, memory and failures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import ceil

from stepladder.io.serialise import inline, optional
from stepladder.types import Prediction


@dataclass(frozen=True)
class AnswerCosts:
    """What the answers to a request cost. Seconds are a question's share of its batch, p50 and p95 over questions.

    Calls are requests to the language model.
    """

    questions: int = 0
    prompt_tokens: int = 0
    new_tokens: int = 0
    prompt_tokens_per_question: float = 0.0
    new_tokens_per_question: float = 0.0
    seconds_per_question: float = 0.0
    seconds_p50: float = 0.0
    seconds_p95: float = 0.0
    failures: int = 0
    calls: int | None = optional()
    calls_per_question: float | None = optional()


@dataclass(frozen=True)
class Costs(AnswerCosts):
    """What a run cost when it was made: the fit, and the answers to the main request.

    Attributes:
        labels_used: Labelled rows that the method reads.
        fit_seconds: The whole fit, with loading and validation.
        training_peak_memory: Peak process memory of the fit, in bytes.
        peak_memory: Peak process memory of prediction, in bytes.
        labels_within_noise: Answers whose lead over the next label is smaller than the rounding of bf16.
        more: Further figures of the stages, such as `best_validation_loss`.
    """

    trained_parameters: float | None = 0
    training_tokens: float | None = 0
    training_seconds: float | None = 0.0
    labels_used: int = 0
    fit_seconds: float | None = None
    training_peak_memory: float | None = optional()
    peak_memory: float | None = optional()
    labels_within_noise: int | None = optional()
    more: Mapping[str, float | None] = inline()

    def figure(self, name: str) -> float | None:
        """The figure of that name; None where it was not measured."""
        found: float | None = getattr(self, name) if name in self.__dataclass_fields__ else self.more.get(name)
        return found


def answer_costs(predictions: Sequence[Prediction]) -> AnswerCosts:
    """Tokens, seconds and failures of predictions, in all and per question."""
    count = len(predictions)
    prompt_tokens, new_tokens = sum(p.prompt_tokens for p in predictions), sum(p.new_tokens for p in predictions)
    seconds = sorted(p.seconds for p in predictions)
    return AnswerCosts(
        questions=count,
        prompt_tokens=prompt_tokens,
        new_tokens=new_tokens,
        prompt_tokens_per_question=round(prompt_tokens / count, 3),
        new_tokens_per_question=round(new_tokens / count, 3),
        seconds_per_question=sum(p.seconds for p in predictions) / count,
        seconds_p50=_quantile(seconds, 50),
        seconds_p95=_quantile(seconds, 95),
        failures=sum(p.failure is not None for p in predictions),
        calls=sum(p.calls for p in predictions),
        calls_per_question=round(sum(p.calls for p in predictions) / count, 3),
    )


def _quantile(ordered: Sequence[float], percent: int) -> float:
    """The smallest value that at least so many percent of the values do not exceed."""
    return ordered[max(0, ceil(len(ordered) * percent / 100) - 1)]
