"""The method with a language model: prompt, context and tuning.

Joins the axes and knows how an answer is read off the model; knows no file format and no score. Training rows and
questions go through the same rendering, so that training sees the very prompt that prediction uses.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeAlias

from stepladder.context.context import Context
from stepladder.context.prompt import Prompt, Reformatted
from stepladder.dataset.labels import named_by
from stepladder.engine.values import Scores
from stepladder.errors import ConfigError, Fault, ModelError
from stepladder.io.files import read_json, write_text
from stepladder.methods.preflight import check_rendered
from stepladder.methods.rendering import Encoder, PromptView, Rendered, refused, render, render_conversations
from stepladder.methods.template import TEMPLATE, check_template, conversation_tokens
from stepladder.models.conversation import ConversationModel, ModelService
from stepladder.models.language_model import Checkpoint, Completion, HasChatFormat, LanguageModel, Thoughts
from stepladder.models.thoughts import MARKS
from stepladder.resources import Resources, Silent, StageReport
from stepladder.tuning.tuning import TrainingRow, Tuning
from stepladder.types import (
    Choice,
    Decoding,
    EvalRequest,
    Example,
    Json,
    Plain,
    Prediction,
    Question,
    Shown,
    Task,
    TrainingData,
)

BASE_MODEL = "base_model.json"
"""In a fit's artefact: the name of its base model, and the fingerprint of the content that it was made on."""

Answering: TypeAlias = LanguageModel | ConversationModel
"""What answers questions: a local model, which is given token ids, or a served one, which is given messages."""

DEMONSTRATION = Example(Question("demonstration", "Is it?"), ("It is.",))
"""Stands for any, where a chat template is asked whether it takes answered turns."""


@dataclass
class AdaptedModel:
    """A language model with a prompt, a context and a tuning."""

    model: Checkpoint | ModelService
    prompt: Prompt
    context: Context
    tuning: Tuning
    _fitted: LanguageModel | None = field(default=None, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if isinstance(self.model, ModelService) and self.tuning.reads:
            what = "a model behind an API has no weights here that could be fine-tuned"
            to_do = (
                "prompt it (zero_shot, structured, few_shot, rag), fine-tune a local model (model=smollm2_135m), or "
            )
            to_do += "compare both (comparison=api_vs_tuned)"
            raise ConfigError(Fault("model", what, to_do))

    @property
    def reads(self) -> frozenset[str]:
        """With the task, also where nothing is learnt: a stored fit can then be asked new questions of its task."""
        return self.context.reads | self.tuning.reads | {"labels"}

    @property
    def tunes(self) -> bool:
        return bool(self.tuning.reads)

    @property
    def rehearses(self) -> bool:
        """Whether a fit can be a rehearsal, which trains nothing."""
        return self.tunes and getattr(self.tuning, "rehearses", False)

    def fit(self, data: TrainingData, resources: Resources, seed: int = 0) -> None:
        """Fit the context, then the weights; a frozen model is not even loaded."""
        if isinstance(self.model, ModelService):
            self.model.check_access()
        self.context.fit(data, resources, seed)
        if not self.tuning.reads:
            return
        if not data.train:
            raise ModelError("There are no training rows to tune on", "dataset.train", "name training rows")
        base = self._local(resources)
        rows = self._rows(base, data, resources)
        judge = resources.judge
        if judge is not None:
            quiet = replace(resources, progress=Silent(), report=StageReport())
            resources = replace(
                resources, objective=lambda model: judge(lambda request: self._answered(model, request, quiet))
            )
        self._fitted = self.tuning.tune(base, rows[0], rows[1], resources, seed)
        resources.report.engine = self._fitted.engine_name
        check_template(self._fitted, conversation_tokens(base), "the tuned model")

    def _rows(
        self, base: LanguageModel, data: TrainingData, resources: Resources
    ) -> tuple[list[TrainingRow], list[TrainingRow]]:
        """Training and validation rows as token ids. A training row never shows itself; a validation row is no part of
        what is shown, so it is asked as a test row is."""
        made = []
        for examples, training in ((data.train, True), (data.validation, False)):
            questions = [example.question for example in examples]
            answers = [base.encode_answer(example.answers[0]) for example in examples]
            shown = self.context.show(questions, training=training)
            rendered = render(
                self._encoder(base, resources), self.prompt, data.task, questions, shown, [len(a) for a in answers]
            )
            if training:
                resources.preflight(check_rendered(base, self.prompt, data.task, rendered, shown, resources.limits))
            rows = [TrainingRow(r.id, r.ids, a) for r, a in zip(rendered, answers, strict=True) if not r.failure]
            if len(rows) < len(examples):
                left_out = len(examples) - len(rows)
                resources.progress.note(f"{left_out} rows do not fit the model's window and are left out of training")
                resources.report.record({"rows_too_long": resources.report.figures.get("rows_too_long", 0) + left_out})
            made.append(rows)
        return made[0], made[1]

    def refusals(self, task: Task, questions: Sequence[Question], shared: Path | None) -> dict[int, str]:
        """The questions that the model's chat template refuses, by their place, with the template's reason.

        Where demonstrations are shown, each question is asked after one. Results are stored in `shared` by the content
        of the model and of the conversations. A model that cannot tell without its weights refuses nothing here.
        """
        if not isinstance(self.model, HasChatFormat) or not questions:
            return {}
        shown = Shown(demonstrations=(DEMONSTRATION,) if "train" in self.context.reads else ())
        conversations = [self.prompt.messages(task, question, shown) for question in questions]
        return refused(self.model.chat, _key(self.model), conversations, shared)

    def prompts(self, data: TrainingData, request: EvalRequest, resources: Resources, seed: int) -> list[PromptView]:
        """The prompts of a request's questions as the model reads them; nothing is trained."""
        self.context.fit(data, resources, seed)
        model = _base(self.model, resources)
        chat = self.model.chat() if isinstance(self.model, HasChatFormat) else None
        rendered = self._render(model, self.prompt, request, resources)
        return [PromptView.of(each, chat) for each in rendered]

    def predict(self, request: EvalRequest, resources: Resources) -> Iterator[Prediction]:
        model = self._fitted if self._fitted is not None and request.tuned else _base(self.model, resources)
        return self._answered(model, request, resources)

    def _local(self, resources: Resources) -> LanguageModel:
        """The base model that is tuned."""
        base = _base(self.model, resources)
        assert not isinstance(base, ConversationModel), "refused when it was built"
        return base

    def _answered(self, model: Answering, request: EvalRequest, resources: Resources) -> Iterator[Prediction]:
        resources.report.engine = model.engine_name
        prompt: Prompt = self.prompt
        if request.override is not None and request.override.format is not None:
            prompt = Reformatted(prompt, request.override.format)
        rendered = self._render(model, prompt, request, resources)
        sound = [r for r in rendered if not r.failure]
        answered = _write
        if _scores_labels(model, request):
            alone = request.decoding.probabilities == "best" and request.decoding.normalise == "none"
            answered = _choose_best if alone else _choose
        by_id = {p.id: p for p in answered(model, prompt, request, sound, resources)}
        for r in rendered:
            found = by_id.get(r.id) or Prediction(r.id, "", shown=r.shown, prompt_tokens=len(r.ids), failure=r.failure)
            yield replace(found, prompt_hash=r.hash, calls=int(r.id in by_id))
        if isinstance(model, ConversationModel):
            _report(model, resources)

    def _render(self, model: Answering, prompt: Prompt, request: EvalRequest, resources: Resources) -> list[Rendered]:
        shown = self.context.show(request.questions, training=False)
        if "corpus" in self.context.reads:
            resources.report.record({"questions_without_passage": sum(not each.passages for each in shown)})
        passages = request.override.passages if request.override else None
        if passages is not None:
            shown = [replace(s, passages=passages[q.id]) for q, s in zip(request.questions, shown, strict=True)]
        if isinstance(model, ConversationModel):
            return render_conversations(prompt, request.task, request.questions, shown)
        if request.decoding.mode == "choose":
            longest: dict[tuple[str, ...], int] = {}
            for labels in {_labels(request.task, q) for q in request.questions}:
                longest[labels] = max(len(model.encode_answer(label)) for label in labels)
            reserved = [longest[_labels(request.task, q)] for q in request.questions]
        else:
            reserved = [request.decoding.max_new_tokens] * len(request.questions)
        return render(self._encoder(model, resources), prompt, request.task, request.questions, shown, reserved)

    def _encoder(self, model: LanguageModel, resources: Resources) -> Encoder:
        return Encoder(model, _key(self.model), resources.shared)

    def save(self, folder: Path) -> None:
        name = getattr(self.model, "name", type(self.model).__name__)
        base = {"name": name, "fingerprint": self.model.fingerprint()}
        write_text(folder / BASE_MODEL, json.dumps(base, indent=1, ensure_ascii=False))
        self.context.save(folder)
        if self._fitted is not None:
            self.tuning.save(folder, self._fitted)
            write_text(folder / TEMPLATE, json.dumps(conversation_tokens(self._fitted)))

    def load(self, folder: Path, resources: Resources) -> None:
        self._check_base(folder / BASE_MODEL)
        self.context.load(folder, resources)
        if self.tuning.reads:
            self._fitted = self.tuning.load(folder, self._local(resources), resources)
            if (folder / TEMPLATE).exists():
                check_template(self._fitted, json.loads((folder / TEMPLATE).read_text(encoding="utf-8")), str(folder))

    def _check_base(self, file: Path) -> None:
        """Raises ModelError where the model is not the one that the fit was made on. `file` was written by `save`."""
        made_on = read_json(file) if file.exists() else None
        found = json.loads(_key(self.model))
        if made_on is None or made_on.get("fingerprint") == found:
            return
        differing = ", ".join(_differing(made_on.get("fingerprint"), found))
        raise ModelError(
            f"The base model is not the one that this fit was made on, {made_on.get('name')}: {differing} differ",
            str(file),
            "say model.path=DIR (or model.repo, model.dtype) to name the model that it was made on, or fit again",
        )


def _differing(before: Any, now: Plain) -> list[str]:
    """The parts of two fingerprints that differ; of files their names."""
    before = before if isinstance(before, dict) else {}
    names = []
    for part in sorted(before.keys() | now.keys()):
        one, other = before.get(part), now.get(part)
        if isinstance(one, dict) and isinstance(other, dict):
            names += [name for name in sorted(one.keys() | other.keys()) if one.get(name) != other.get(name)]
        elif one != other:
            names.append(part)
    return names


def _key(model: Checkpoint | ModelService) -> str:
    return json.dumps(model.fingerprint(), sort_keys=True)


def _base(model: Checkpoint | ModelService, resources: Resources) -> Answering:
    """The untuned model, loaded once for all: whoever tunes it works on a copy that shares its memory."""
    key = _key(model)
    if key not in resources.models:
        if isinstance(model, ModelService):
            resources.models[key] = model.open(resources.shared, resources.progress.note)
        else:
            resources.models[key] = model.load(resources.devices.torch_device())
    loaded: Answering = resources.models[key]
    return loaded


def _scores_labels(model: Answering, request: EvalRequest) -> bool:
    """Whether labels are scored; a model behind an API may write them instead."""
    written = isinstance(model, ConversationModel) and model.labels == "written"
    return request.decoding.mode == "choose" and not written


def _report(model: ConversationModel, resources: Resources) -> None:
    """Report what became known of a server."""
    facts = model.facts()
    resources.report.server = facts.server
    resources.report.record(facts.figures)
    for note in facts.notes:
        resources.progress.note(f"note: {note}")


def _labels(task: Task, question: Question) -> tuple[str, ...]:
    assert isinstance(task.answer, Choice)
    return question.choices or task.answer.labels


def _choose(
    model: Answering, prompt: Prompt, request: EvalRequest, rendered: Sequence[Rendered], resources: Resources
) -> Iterator[Prediction]:
    """The likeliest label of each question; the probabilities of all labels sum to one."""
    candidates = [_labels(request.task, r.question) for r in rendered]
    prior = _priors(model, prompt, request, candidates) if request.decoding.normalise == "prior" else {}
    scored = model.score(_prompts(rendered), candidates, resources.micro_batch)
    unsure = 0
    for index, scores in resources.progress.track(scored, len(rendered), "choosing"):
        r, labels = rendered[index], candidates[index]
        weights = _normalised(scores, request.decoding, prior.get(labels))
        best = max(range(len(labels)), key=weights.__getitem__)
        unsure += any(weights[best] - w < model.noise for i, w in enumerate(weights) if i != best)
        total = math.log(sum(math.exp(w - weights[best]) for w in weights)) + weights[best]
        kept = range(len(labels)) if request.decoding.probabilities == "all" else [best]
        yield Prediction(
            id=r.id,
            text=labels[best],
            probabilities={labels[i]: math.exp(weights[i] - total) for i in kept},
            shown=r.shown,
            prompt_tokens=_counted(scores.prompt_tokens, len(r.ids)),
            new_tokens=_counted(scores.new_tokens, scores.lengths[best]),
            seconds=scores.seconds,
        )
    if model.noise:
        resources.report.record({"labels_within_noise": unsure})
    if unsure:
        resources.progress.note(
            f"{unsure} of {len(rendered)} labels are ahead of the next by less than {model.noise} nats, which is "
            "within the rounding of bf16: they may change with compute.micro_batch (model.dtype=float32 avoids it)"
        )


def _choose_best(
    model: Answering, prompt: Prompt, request: EvalRequest, rendered: Sequence[Rendered], resources: Resources
) -> Iterator[Prediction]:
    """The likeliest label of each question alone, with its probability among all texts."""
    candidates = [_labels(request.task, r.question) for r in rendered]
    found = model.choose(_prompts(rendered), candidates, resources.micro_batch)
    for index, best in resources.progress.track(found, len(rendered), "choosing"):
        r, label = rendered[index], candidates[index][best.place]
        yield Prediction(
            id=r.id,
            text=label,
            probabilities={label: math.exp(best.log_probability)},
            shown=r.shown,
            prompt_tokens=_counted(best.prompt_tokens, len(r.ids)),
            new_tokens=_counted(best.new_tokens, best.length),
            seconds=best.seconds,
        )


def _priors(
    model: Answering, prompt: Prompt, request: EvalRequest, candidates: Sequence[tuple[str, ...]]
) -> Mapping[tuple[str, ...], tuple[float, ...]]:
    """Of each set of labels: their log-probabilities after a question without content.

    Source: Zhao et al. 2021, Calibrate Before Use (arXiv 2102.09690), with "N/A" as the content-free input.
    """
    sets = sorted(set(candidates))
    messages: list[Any] = [prompt.messages(request.task, Question("", "N/A", choices=s), Shown()) for s in sets]
    encoded: list[Any] = messages if isinstance(model, ConversationModel) else [model.encode(m) for m in messages]
    scored = dict(model.score(encoded, sets))
    return {s: scored[i].log_probabilities for i, s in enumerate(sets)}


def _prompts(rendered: Sequence[Rendered]) -> list[Any]:
    """What the model is given: token ids, or messages."""
    return [r.prompt for r in rendered]


def _counted(by_server: int | None, here: int) -> int:
    return here if by_server is None else by_server


def _normalised(scores: Scores, decoding: Decoding, prior: Sequence[float] | None) -> list[float]:
    if decoding.normalise == "length":
        return [p / n for p, n in zip(scores.log_probabilities, scores.lengths, strict=True)]
    if prior is not None:
        return [p - q for p, q in zip(scores.log_probabilities, prior, strict=True)]
    return list(scores.log_probabilities)


def _write(
    model: Answering, prompt: Prompt, request: EvalRequest, rendered: Sequence[Rendered], resources: Resources
) -> Iterator[Prediction]:
    """The written answer to each question; for a choice it must be one of the labels."""
    decoding, answer = request.decoding, request.task.answer
    if decoding.mode == "choose":
        assert isinstance(model, ConversationModel)
        if decoding.normalise != "none":
            what = "the labels are written, not scored, so that there are no probabilities to normalise"
            raise ConfigError(Fault("decoding.normalise", what, "say decoding.normalise=none or model.choose=auto"))
        labels = [_labels(request.task, r.question) for r in rendered]
        written = model.write_label(_prompts(rendered), labels, decoding.max_new_tokens)
    else:
        written = model.generate(
            _prompts(rendered),
            decoding.max_new_tokens,
            temperature=decoding.temperature if decoding.mode == "sampled" else None,
            seed=decoding.seed,
            schema=answer.schema if decoding.mode == "json" and isinstance(answer, Json) else None,
            micro_batch=resources.micro_batch,
        )
    thoughts = _thoughts(model, decoding)
    counts = {"thoughts_removed": 0, "thoughts_unfinished": 0}
    for index, completion in resources.progress.track(written, len(rendered), "writing"):
        r = rendered[index]
        answer_alone = thoughts.removed_from(completion.text)
        unfinished = answer_alone.open and (answer_alone.removed or not completion.finished)
        counts["thoughts_removed"] += answer_alone.removed
        counts["thoughts_unfinished"] += unfinished
        if unfinished:
            text = completion.text.strip()
            failure: str | None = f"the thought was not finished within {completion.new_tokens} tokens"
        else:
            text, failure = _read_off(replace(completion, text=answer_alone.text), request, r.question)
        yield Prediction(
            id=r.id,
            text=text,
            shown=r.shown,
            prompt_tokens=_counted(completion.prompt_tokens, len(r.ids)),
            new_tokens=completion.new_tokens,
            seconds=completion.seconds,
            failure=failure,
        )
    if thoughts.marks:
        resources.report.record(counts)
        removed, open_ = counts.values()
        if open_:
            to_do = "raise decoding.max_new_tokens"
            resources.progress.note(f"{open_} of {len(rendered)} answers end inside a thought: {to_do}")
        if removed:
            resources.progress.note(f"thoughts are removed from {removed} of {len(rendered)} answers")


def _thoughts(model: Answering, decoding: Decoding) -> Thoughts:
    """The thoughts to remove from what is written; json is written under a schema and holds none."""
    if decoding.strip_thinking is False or decoding.mode == "json":
        return Thoughts()
    known = model.thoughts
    return replace(known, marks=MARKS) if decoding.strip_thinking and not known.marks else known


def _read_off(completion: Completion, request: EvalRequest, question: Question) -> tuple[str, str | None]:
    """The answer in what was written, and why there is none."""
    text = completion.text.strip()
    if isinstance(request.task.answer, Choice):
        label, failure = named_by(text, _labels(request.task, question))
        return (text, failure) if label is None else (label, None)
    if request.decoding.mode == "json" and not completion.finished:
        return text, f"the json was not finished within {request.decoding.max_new_tokens} tokens"
    return text, None
