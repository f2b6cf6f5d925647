"""Preflight checks of rendered training rows: do they fit the window, and does prediction render the same tokens?"""

from __future__ import annotations

from collections.abc import Sequence

from stepladder.context.prompt import Prompt
from stepladder.methods.rendering import Rendered
from stepladder.models.language_model import LanguageModel
from stepladder.types import CheckResult, PreflightLimits, Shown, Task

RENDERED_AGAIN = 4
"""So many prompts are rendered a second time."""


def check_rendered(
    model: LanguageModel,
    prompt: Prompt,
    task: Task,
    rows: Sequence[Rendered],
    shown: Sequence[Shown],
    limits: PreflightLimits,
) -> list[CheckResult]:
    """What is to be message of training rows and of what was to be shown wanted each."""
    too_long = sum(row.failure is not None for row in rows)
    less = sum(not r.failure and r.shown != wanted.ids for r, wanted in zip(rows, shown, strict=True))
    share = (too_long + less) / len(rows)
    message = (
        f"{too_long:,} of {len(rows):,} training rows are longer than the context window and left out; "
        f"{less:,} have fewer demonstrations or passages to fit it"
    )
    stops = limits.lost is not None and share > limits.lost
    fix = "lower retrieval.k or demonstrations.k, or use a model with a longer context window"
    lost = CheckResult("lost", share, message, too_long + less > 0, stops, fix)
    whole = [(r, wanted) for r, wanted in zip(rows, shown, strict=True) if r.shown == wanted.ids]
    same = all(
        model.encode(prompt.messages(task, row.question, wanted)) == row.ids
        for row, wanted in whole[:: max(1, len(whole) // RENDERED_AGAIN)]
    )
    message = "training and prediction use the same prompt tokens"
    if not same:
        message = "training and prediction use different tokens for the same prompt"
    fix = "remove indexes/ in the outputs directory, and make sure that the chat template is deterministic"
    return [lost, CheckResult("template", same, message, not same, limits.template and not same, fix)]
