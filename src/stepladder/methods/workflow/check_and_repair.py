"""The step `check_and_repair`: answers are checked, and the model is asked again with the faults of its answer."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar

from stepladder.context.context import Context
from stepladder.context.prompt import Prompt
from stepladder.errors import Fault, require
from stepladder.methods.workflow.answer_checks import AnswerCheck, TaskForm
from stepladder.methods.workflow.step import Ask, Stateless, with_costs_of
from stepladder.resources import Resources
from stepladder.types import Decoding, EvalRequest, Prediction, Question, Task

PLACES = ("{question}", "{faults}")


@dataclass(frozen=True)
class CheckAndRepair(Stateless):
    """Asks again, at most `attempts` times, where an answer has faults.

    Where the answer is inside a faulty text (`fixed` of the validator), it is taken out of it instead. The first answer
    without faults is kept; if there is none, the one with the fewest faults, the earliest of these.

    Args:
        attempts: Largest number of further requests per question.
        validator: Finds the faults of an answer.
        template: The question of a further request; contains {question} and {faults}, and {answer} if wanted.
    """

    attempts: int = 2
    validator: AnswerCheck = field(default_factory=TaskForm)
    template: str = "{question}\n\n{faults}"
    version: ClassVar[int] = 1

    def __post_init__(self) -> None:
        missing = [place for place in PLACES if self.template.count(place) != 1]
        what = f"it must contain {', '.join(missing)} exactly once"
        require(
            (self.attempts >= 1, Fault("attempts", f"{self.attempts} attempts repair nothing", "give at least 1")),
            (not missing, Fault("template", what, "write each once")),
        )

    def check(self, task: Task, decoding: Decoding, prompt: Prompt, context: Context) -> None:
        return

    def answer(self, request: EvalRequest, ask: Ask, resources: Resources) -> list[Prediction]:
        tried: list[list[tuple[Prediction, list[str]]]] = [[] for _ in request.questions]
        places = list(range(len(tried)))
        for _ in range(1 + self.attempts):
            part = replace(request, questions=tuple(self._question(request.questions[i], tried[i]) for i in places))
            for place, answer in zip(places, ask(part), strict=True):
                tried[place].append(self._checked(answer, request.questions[place], request.task))
            # a question that was not asked, such as one that is longer than the context window, is not asked again
            places = [place for place in places if tried[place][-1][1] and tried[place][-1][0].calls]
            if not places:
                break
        return [
            with_costs_of(min(own, key=lambda each: len(each[1]))[0], [answer for answer, _ in own]) for own in tried
        ]

    def _checked(self, answer: Prediction, question: Question, task: Task) -> tuple[Prediction, list[str]]:
        """The answer, taken out of its text if it has faults that this removes, and its faults."""
        faults = self.validator.faults(answer, question, task)
        fixed = getattr(self.validator, "fixed", None)
        text = fixed(answer, question, task) if faults and answer.calls and fixed is not None else None
        if text is not None:
            taken_out = replace(answer, text=text, failure=None)
            if not self.validator.faults(taken_out, question, task):
                return taken_out, []
        return answer, faults

    def _question(self, question: Question, tried: Sequence[tuple[Prediction, list[str]]]) -> Question:
        """The question itself, or a further request that names the faults of the latest answer."""
        if not tried:
            return question
        answer, faults = tried[-1]
        places = {"{question}": question.text, "{answer}": answer.text, "{faults}": " ".join(faults)}
        text = re.sub("|".join(map(re.escape, places)), lambda found: places[found[0]], self.template)
        return replace(question, text=text)
