"""The prompts of an experiment's first questions, as its model reads them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from stepladder.config.experiment import Experiment
from stepladder.methods.rendering import PromptView
from stepladder.resources import Silent
from stepladder.runs.run import RunContext
from stepladder.runs.stages import prepare

LEGEND = "Special tokens are in ⟦ ⟧. Text that only looks like a special token is not, and the model reads it as text."


@dataclass(frozen=True)
class Prompts:
    """The prompts of some questions, or the `reason` why the method has none."""

    prompts: tuple[PromptView, ...]
    reason: str | None = None

    def as_dict(self) -> dict[str, Any]:
        return {"prompts": [prompt.as_dict() for prompt in self.prompts], "reason": self.reason}

    def lines(self) -> list[str]:
        if self.reason is not None:
            return [self.reason]
        found = [LEGEND]
        for prompt in self.prompts:
            found += ["", f"--- question {prompt.id}, {prompt.tokens} tokens ---", prompt.text]
            found += [f"--- not asked: {prompt.failure} ---"] if prompt.failure else []
        return found


def first_prompts(experiment: Experiment, context: RunContext, count: int) -> Prompts:
    """The prompts of the first `count` questions. What the method shows beside a question is retrieved; nothing is
    trained."""
    prepared = prepare(experiment, context.trust, context.read)
    method = prepared.method.object
    render = getattr(method, "prompts", None)
    if render is None:
        name = experiment.label.split("-")[0] or type(method).__name__
        return Prompts((), f"The method {name} has no prompt: it asks no language model.")
    request = replace(prepared.main, name="prompts", questions=prepared.main.questions[:count])
    resources = context.resources(Silent())
    return Prompts(tuple(render(prepared.data.training, request, resources, experiment.seed)))
