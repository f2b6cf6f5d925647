"""What answers cost: tokens and seconds, summed over predictions."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil
from typing import Any

from stepladder.types import Prediction


def cost(predictions: Sequence[Prediction]) -> dict[str, Any]:
    """Tokens, seconds and failures, of all and a question."""
    count = len(predictions)
    totals = {
        "prompt_tokens": sum(p.prompt_tokens for p in predictions),
        "new_tokens": sum(p.new_tokens for p in predictions),
    }
    return {
        "questions": count,
        **totals,
        **{f"{name}_per_question": round(total / count, 3) for name, total in totals.items()},
        "seconds_per_question": sum(p.seconds for p in predictions) / count,
        **{f"seconds_p{share}": _quantile([p.seconds for p in predictions], share) for share in (50, 95)},
        "failures": sum(p.failure is not None for p in predictions),
    }


def _quantile(values: Sequence[float], percent: int) -> float:
    """The smallest value that at least so many percent of the values do not exceed."""
    return sorted(values)[max(0, ceil(len(values) * percent / 100) - 1)]
