"""The one training loop, run by Lightning. Knows batches, losses and steps; knows no text and no adapter.

A Lightning batch is one whole step: an effective batch in as many micro-batches as the machine needs. The loss is the
mean over the answers' tokens of the whole effective batch, so that how it is cut changes nothing.
"""

from __future__ import annotations

import math
import signal
import tempfile
import threading
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.plugins.environments import LightningEnvironment
from pytorch_lightning.utilities.exceptions import SIGTERMException
from torch import Tensor
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
from stepladder.tuning.training import Training
from stepladder.tuning.tuning import TrainingRow
from stepladder.tuning.weights import AtRest

TOKENS_AT_ONCE = {"cpu": 2048}
"""Tokens of a micro-batch with its padding, by device; elsewhere `TOKENS_ELSEWHERE`."""

TOKENS_ELSEWHERE = 16384


def answer_loss(model: LanguageModel, batch: Batch) -> Tensor:
    """The sum over the answers' tokens of their cross-entropy (natural), in float32."""
    return model.answer_losses(batch.ids, batch.mask, batch.answer).sum()


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
        self.training_config, self.peak, self.total = training, peak, steps.total
        self.validation, self.validated = validation, training.validated(len(steps.rows))
        self.checkpoints, self.best, self.curves = checkpoints, checkpoints.best, curves
        self.fitting, self.resources, self.at_rest = fitting, resources, at_rest
        self.step, self.loss, self.interrupted = 0, math.nan, False
        self.validation_loss: float | None = None

    def configure_optimizers(self) -> Optimizer:
        groups = [{"params": list(self.best.trained.values()), "weight_decay": self.training_config.weight_decay}]
        make = self.training_config.optimizer or partial(AdamW, fused=True)
        return make(groups, lr=self.peak)

    def go_on(self, standing: Standing) -> bool:
        """Take up what an earlier attempt had found; what it reported is told again. True where it was to end there."""
        self.step = standing.step
        self.resources.facts |= standing.facts
        self.fitting.go_on()
        self.best.step, self.best.loss, self.best.worse = standing.best_step, standing.best_loss, standing.worse
        stop, told = False, self.resources.on_validation
        if told is not None:
            for step, values in self.curves.validations():
                stop = told(step, values)
        return stop or self._patience_is_over

    @property
    def _patience_is_over(self) -> bool:
        patience = self.training_config.patience
        return patience is not None and self.best.worse >= patience

    def on_train_start(self) -> None:
        if self.step:
            optimizer: Any = self.optimizers()
            self.checkpoints.restore(optimizer.optimizer)

    def training_step(self, step: Step, _: int) -> None:
        if self.interrupted:
            raise KeyboardInterrupt
        began = time.perf_counter()
        optimizer: Any = self.optimizers()

        def learn(batches: Sequence[Batch]) -> float:
            optimizer.zero_grad()
            loss = torch.zeros((), device=self.device)
            for batch in batches:
                part = answer_loss(self.model, batch) / step.answer_tokens
                self._check_reached(part)
                self.manual_backward(part)
                loss += part.detach()
            return loss.item()

        self.step, self.loss = step.number, self.fitting(step.rows, learn)
        self._check_finite()
        if self.training_config.max_grad_norm is not None:
            clip_grad_norm_(self.best.trained.values(), self.training_config.max_grad_norm)
        rate = self.training_config.rate(step.number, self.total, self.peak)
        for group in optimizer.param_groups:
            group["lr"] = rate
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
            told = self.resources.on_validation
            tokens = self.resources.facts["training_tokens"]
            stop = told is not None and told(self.step, {**values, "training_tokens": tokens})
            self.trainer.should_stop = stop or self._patience_is_over

    def _validate(self) -> dict[str, float]:
        began = time.perf_counter()
        self.network.eval()
        with torch.no_grad(), self.trainer.precision_plugin.val_step_context():
            total = self.fitting(self.validation, lambda parts: sum(answer_loss(self.model, b).item() for b in parts))
        self.network.train()
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
        with self.at_rest():
            return self.resources.objective(self.model)

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
    device = next(model.module.parameters()).device
    room = Room(TOKENS_AT_ONCE.get(device.type, TOKENS_ELSEWHERE), resources.micro_batch)
    resources.pass_gate(look(model, rows, room, resources.gate, computed(training.precision, device)))
    if resources.rehearsal:
        return
    folder = resources.folder / "checkpoints" if resources.folder else None
    of = made_of(model.module, rows, validation, replace(training, learning_rate=peak), seed)
    checkpoints = Checkpoints(folder, of, Best(model.module, folder), resources.progress.note)
    standing = checkpoints.standing()
    steps = Steps(rows, training, seed, standing.step if standing else 0)
    module = AnswerTuning(
        model,
        training,
        peak,
        steps,
        validation,
        Fitting(room, device, resources),
        checkpoints,
        Curves(resources, standing.curves if standing else ""),
        resources,
        at_rest,
    )
    over = standing is not None and module.go_on(standing)
    model.module.train()
    if len(steps) and not over:
        with _quiet(), _interruptible(module):
            _trainer(device, training, TrainingProgress(resources, steps.total)).fit(module, steps)
    checkpoints.best.restore()


def _trainer(device: torch.device, training: Training, progress: TrainingProgress) -> Trainer:
    return Trainer(
        accelerator=device.type,
        devices=[device.index or 0] if device.type == "cuda" else 1,
        precision="bf16-mixed" if computed(training.precision, device) == torch.bfloat16 else "32-true",
        max_epochs=1,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        default_root_dir=tempfile.gettempdir(),
        callbacks=[progress],
        # Without this, variables of a cluster or of torchrun would make Lightning wait for other processes.
        plugins=[LightningEnvironment()],
    )


@contextmanager
def _quiet() -> Iterator[None]:
    """Lightning tells nothing of its own."""
    import logging

    logger = logging.getLogger("pytorch_lightning")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module="pytorch_lightning|lightning_fabric")
            yield
    finally:
        logger.setLevel(level)


@contextmanager
def _interruptible(module: AnswerTuning) -> Iterator[None]:
    """Ctrl-C and SIGTERM come out as KeyboardInterrupt: of the one Lightning makes `sys.exit(1)` and stops listening to
    the signal, of the other an exit without a fault.

    What a library swallows on its way is raised again before the next step.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    handler = signal.getsignal(signal.SIGINT)

    def interrupted(*_: Any) -> None:
        module.interrupted = True
        raise KeyboardInterrupt

    signal.signal(signal.SIGINT, interrupted)
    try:
        yield
    except SystemExit as error:
        if not isinstance(error, SIGTERMException) and not isinstance(error.__context__, KeyboardInterrupt):
            raise
        raise KeyboardInterrupt from None
    finally:
        signal.signal(signal.SIGINT, handler)
