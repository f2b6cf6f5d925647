"""The one training loop, run by Lightning. Knows batches, losses and steps; knows no text and no adapter.

A Lightning batch is one whole step: an effective batch in as many micro-batches as the machine needs. The loss is the
mean over the answers' tokens of the whole effective batch, so that how it is cut changes nothing; nor how it is dealt
out over devices (`Ranks`): each adds what its rows give.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from pytorch_lightning import LightningModule
from torch import Tensor, nn
from torch.nn.utils import clip_grad_norm_
from torch.optim import AdamW, Optimizer

from stepladder.errors import ModelError
from stepladder.model.language_model import LanguageModel
from stepladder.precision import computed
from stepladder.resources import Resources
from stepladder.tuning.batches import Batch, Room, Step, Steps
from stepladder.tuning.best import Best
from stepladder.tuning.checkpoint import Checkpoints, Standing, made_of
from stepladder.tuning.curves import Curves
from stepladder.tuning.gate import look
from stepladder.tuning.memory import Fitting
from stepladder.tuning.progress import TrainingProgress
from stepladder.tuning.randomness import draw_apart
from stepladder.tuning.ranks import Ranks
from stepladder.tuning.sharding import shard
from stepladder.tuning.trainer import interruptible, quiet, trainer
from stepladder.tuning.training import Training
from stepladder.tuning.tuning import TrainingRow
from stepladder.tuning.weights import AtRest

TOKENS_AT_ONCE = {"cpu": 2048}
"""Tokens of a micro-batch with its padding, by device; elsewhere `TOKENS_ELSEWHERE`."""

TOKENS_ELSEWHERE = 16384


def answer_loss(model: LanguageModel, batch: Batch, noise: float | None = None) -> Tensor:
    """The sum over the answers' tokens of their cross-entropy (natural), in float32; `noise` is NEFTune's alpha."""
    return model.answer_losses(batch.ids, batch.mask, batch.answer, noise).sum()


def is_up_projection(name: str) -> bool:
    """Whether a weight is a LoRA's B matrix, which LoRA+ trains at a rate of its own."""
    return ".lora_B." in name


class AnswerLoss(nn.Module):
    """`answer_loss` as a module, by whose forward weights that lie in pieces are whole while it computes."""

    def __init__(self, model: LanguageModel, noise: float | None = None) -> None:
        super().__init__()
        self.model, self.network, self.noise = model, model.module, noise

    def forward(self, *batch: Tensor) -> Tensor:
        return answer_loss(self.model, Batch(*batch), self.noise if torch.is_grad_enabled() else None)


class AnswerTuning(LightningModule):  # type: ignore[misc]
    """Steps, validations, the best weights. `step`, `loss` and `validation_loss` are the latest."""

    def __init__(
        self,
        model: LanguageModel,
        training: Training,
        peak: float,
        steps: Steps,
        validation: Sequence[TrainingRow],
        fitting: Fitting,
        checkpoints: Checkpoints,
        curves: Curves,
        resources: Resources,
        at_rest: AtRest = nullcontext,
    ) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.model, self.network = model, model.module
        self.answer_loss = AnswerLoss(model, training.neftune_noise_alpha)
        self.ranks: Ranks = fitting.ranks
        self.whole_again: Callable[[], None] | None = None
        self.training_config, self.peak, self.total = training, peak, steps.total
        self.validation, self.validated = validation, training.validated(len(steps.rows))
        self.checkpoints, self.best, self.curves = checkpoints, checkpoints.best, curves
        self.fitting, self.resources, self.at_rest = fitting, resources, at_rest
        self.step, self.loss, self.interrupted = 0, math.nan, False
        self.validation_loss: float | None = None

    def configure_model(self) -> None:
        if self.ranks.sharded and self.whole_again is None:
            self.whole_again = shard(self.answer_loss, self.network, self.device_mesh["data_parallel"])
            self.best.look_at(self.network)

    def configure_optimizers(self) -> Optimizer:
        decay, ratio = self.training_config.weight_decay, self.training_config.lora_plus_ratio
        groups: list[dict[str, Any]] = [{"params": list(self.best.trained.values()), "weight_decay": decay}]
        if ratio is not None:  # in the order of `trained`, by which checkpoints name an optimiser's state
            trained = self.best.trained
            groups = [
                {"params": [p for name, p in trained.items() if is_up_projection(name) == up], "weight_decay": decay}
                for up in (False, True)
            ]
            groups[1]["ratio"] = ratio
            groups = [group for group in groups if group["params"]]
        make = self.training_config.optimizer or partial(AdamW, fused=True)
        return make(groups, lr=self.peak)

    def go_on(self, standing: Standing) -> bool:
        """Take up what an earlier attempt had found; what it reported is told again. True where it was to end there."""
        self.step = standing.step
        self.resources.facts |= standing.facts
        self.fitting.go_on()
        self.best.step, self.best.loss, self.best.worse = standing.best_step, standing.best_loss, standing.worse
        stop = False
        for step, values in self.curves.validations():
            stop = self._is_to_stop(step, values)
        return stop or self._patience_is_over

    def _is_to_stop(self, step: int, values: Mapping[str, float]) -> bool:
        """What who watches says, who stands beside rank 0."""
        told = self.resources.on_validation
        stop = told is not None and self.ranks.leads and bool(told(step, values))
        return bool(self.ranks.most(stop))

    @property
    def _patience_is_over(self) -> bool:
        patience = self.training_config.patience
        return patience is not None and self.best.worse >= patience

    def on_train_start(self) -> None:
        if self.step:
            optimizer: Any = self.optimizers()
            self.checkpoints.restore(optimizer.optimizer)

    def cpu(self) -> AnswerTuning:
        """Stays where it is: Lightning's last act is to move a model to the processor, whatever its size."""
        return self

    def training_step(self, step: Step, _: int) -> None:
        if self.interrupted:
            raise KeyboardInterrupt
        began = time.perf_counter()
        optimizer: Any = self.optimizers()

        def learn(batches: Sequence[Batch]) -> float:
            optimizer.zero_grad()
            loss = torch.zeros((), device=self.device)
            for batch in batches:
                part = self.answer_loss(*batch) / step.answer_tokens
                self._check_reached(part)
                self.manual_backward(part)
                loss += part.detach()
                del part  # and what it was computed by, before the next is
            return loss.item()

        self.step, self.loss = step.number, self.ranks.total(self.fitting(step.rows, learn))
        self._check_finite()
        self.ranks.sum_gradients(self.best.trained.values())
        if self.training_config.max_grad_norm is not None:
            clip_grad_norm_(self.best.trained.values(), self.training_config.max_grad_norm)
        rate = self.training_config.rate(step.number, self.total, self.peak)
        for group in optimizer.param_groups:
            group["lr"] = rate * group.get("ratio", 1)
        optimizer.step()
        self.curves.step(step.number, self.loss, step.tokens, time.perf_counter() - began, rate)

    def on_train_batch_end(self, *_: Any) -> None:
        due = bool(self.validation) and self.step in self.validated
        values = self._validate() if due else {}
        if self.step < self.total:
            optimizer: Any = self.optimizers()
            facts, curves = self.resources.facts, self.curves
            self.checkpoints.offer(self.step, optimizer.optimizer, facts, curves, validated=due)
        if due:
            stop = self._is_to_stop(self.step, {**values, "training_tokens": self.resources.facts["training_tokens"]})
            self.trainer.should_stop = stop or self._patience_is_over

    def _validate(self) -> dict[str, float]:
        began = time.perf_counter()
        self.ranks.check_alike(self.best.trained.values())
        self.network.eval()
        with torch.no_grad(), self.trainer.precision_plugin.val_step_context():
            own = self.fitting(self.validation, lambda parts: sum(self.answer_loss(*b).item() for b in parts))
        self.network.train()
        total = self.ranks.total(own)
        found = self._objective()
        self.validation_loss = total / sum(len(row.answer_ids) for row in self.validation)
        values = {"validation_loss": self.validation_loss, **found}
        self.curves.validation(self.step, values, time.perf_counter() - began)
        self.best.offer(self.step, -next(iter(found.values())) if found else self.validation_loss)
        if self.best.step == self.step:
            self.resources.facts |= {"best_step": self.step} | {f"best_{name}": v for name, v in values.items()}
        return values

    def _objective(self) -> Mapping[str, float]:
        """The main suite's figures where weights are chosen by them, the one that decides first."""
        if self.training_config.validate_with == "loss" or self.resources.objective is None:
            return {}
        found: Mapping[str, float] = {}
        if self.ranks.leads:
            with self.at_rest():
                found = self.resources.objective(self.model)
        return self.ranks.told(found)

    def _check_reached(self, loss: Tensor) -> None:
        if not loss.requires_grad:
            raise ModelError(
                "Nothing that is trained reaches the answer's loss",
                "adapter",
                "choose another adapter or other targets",
            )

    def _check_finite(self) -> None:
        if not math.isfinite(self.loss):
            raise ModelError(
                f"The loss is {self.loss} at step {self.step} of {self.total}",
                "training",
                "lower training.learning_rate, or set training.precision=float32",
            )


def train(
    model: LanguageModel,
    rows: Sequence[TrainingRow],
    validation: Sequence[TrainingRow],
    training: Training,
    peak: float,
    resources: Resources,
    seed: int,
    at_rest: AtRest = nullcontext,
) -> None:
    """Train what asks for gradients in `model.module`; afterwards it holds the best weights on `validation`.

    Raises ConfigError before the first step for what does not pass the gate.
    """
    ranks = Ranks.of(resources.devices)
    device = ranks.device or next(model.module.parameters()).device
    room = Room(TOKENS_AT_ONCE.get(device.type, TOKENS_ELSEWHERE), resources.micro_batch)
    resources.pass_gate(look(model, rows, room, resources.gate, computed(training.precision, device)))
    if resources.rehearsal:
        return
    folder = resources.folder / "checkpoints" if resources.folder else None
    of = made_of(model.module, rows, validation, replace(training, learning_rate=peak), seed)
    if ranks.told(of) != of:
        raise RuntimeError("the devices do not begin with the same rows, weights and settings")
    draw_apart(ranks.rank, seed)
    last = is_up_projection if training.lora_plus_ratio is not None else None
    checkpoints = Checkpoints(folder, of, Best(model.module, folder, ranks, last), resources.progress.note)
    standing = checkpoints.standing()
    steps = Steps(rows, training, seed, standing.step if standing else 0)
    module = AnswerTuning(
        model,
        training,
        peak,
        steps,
        validation,
        Fitting(room, device, resources, ranks),
        checkpoints,
        Curves(resources, standing.curves if standing else ""),
        resources,
        at_rest,
    )
    over = standing is not None and module.go_on(standing)
    model.module.train()
    if len(steps) and not over:
        with quiet(), interruptible(module):
            trainer(device, resources.devices, training, TrainingProgress(resources, steps.total)).fit(module, steps)
    if module.whole_again is not None:
        module.whole_again()
        checkpoints.best.look_at(model.module)
    if ranks.leads:
        checkpoints.best.restore()
