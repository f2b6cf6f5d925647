"""The method `workflow`: steps around a prompted or tuned model."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from stepladder.context.context import Context
from stepladder.context.prompt import Prompt
from stepladder.errors import ConfigError, Fault
from stepladder.methods.adapted_model import AdaptedModel
from stepladder.methods.rendering import PromptView
from stepladder.methods.workflow.step import Ask, Step
from stepladder.models.conversation import ModelService
from stepladder.models.language_model import Checkpoint
from stepladder.resources import Resources
from stepladder.tuning.tuning import Tuning
from stepladder.types import Decoding, EvalRequest, Prediction, Question, Task, TrainingData


@dataclass
class Workflow:
    """A language model with steps around it.

    Args:
        model: The language model.
        prompt: How a request is written.
        context: What is shown with a question.
        tuning: What the model learns.
        workflow: The steps by name. The first one is the outermost: it gets the question first and gives the answer.
    """

    model: Checkpoint | ModelService
    prompt: Prompt
    context: Context
    tuning: Tuning
    workflow: Mapping[str, Step]

    _model: AdaptedModel = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if not self.workflow:
            what = "the workflow has no steps"
            raise ConfigError(Fault("workflow", what, "name some: workflow=auto, workflow=shortlist, ..."))
        self._model = AdaptedModel(self.model, self.prompt, self.context, self.tuning)

    @property
    def reads(self) -> frozenset[str]:
        return self._model.reads.union(*(step.reads for step in self.workflow.values()))

    @property
    def tunes(self) -> bool:
        return self._model.tunes

    @property
    def rehearses(self) -> bool:
        return self._model.rehearses

    def check(self, task: Task, decoding: Decoding) -> None:
        """Raises ConfigError, with the faults of all steps that do not fit the task, decoding, prompt or context."""
        faults = []
        for name, step in self.workflow.items():
            try:
                step.check(task, decoding, self.prompt, self.context)
            except ConfigError as error:
                faults += [Fault(f"workflow.{name}", fault.what, fault.to_do) for fault in error.faults]
        if faults:
            raise ConfigError(faults)

    def fit(self, data: TrainingData, resources: Resources, seed: int = 0) -> None:
        self._model.fit(data, resources, seed)
        for step in self.workflow.values():
            step.fit(data, resources, seed)

    def refusals(self, task: Task, questions: Sequence[Question], shared: Path | None) -> dict[int, str]:
        """See `AdaptedModel.refusals`."""
        return self._model.refusals(task, questions, shared)

    def prompts(self, data: TrainingData, request: EvalRequest, resources: Resources, seed: int) -> list[PromptView]:
        """The prompts of the questions as the model would read them without the steps."""
        return self._model.prompts(data, request, resources, seed)

    def predict(self, request: EvalRequest, resources: Resources) -> Iterator[Prediction]:
        def ask_model(inner: EvalRequest) -> list[Prediction]:
            return list(self._model.predict(inner, resources))

        ask: Ask = ask_model
        for step in reversed(list(self.workflow.values())):
            ask = partial(step.answer, ask=ask, resources=resources)
        return iter(ask(request))

    def save(self, folder: Path) -> None:
        self._model.save(folder)
        for name, step in self.workflow.items():
            own = folder / "steps" / name
            own.mkdir(parents=True)
            step.save(own)

    def load(self, folder: Path, resources: Resources) -> None:
        self._model.load(folder, resources)
        for name, step in self.workflow.items():
            step.load(folder / "steps" / name, resources)
