"""The training loop: a LightningModule that trains on answers.

A Lightning batch is one optimiser step: an effective batch, computed in as many micro-batches as memory needs. Its
validation batch is all validation rows. Callbacks see `loss` after every step and `validation_loss` after every
validation.

The loss is the mean over the answer tokens of the whole effective batch. So neither the micro-batches nor the number of
devices changes it: each device adds the loss of its rows.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from pytorch_lightning import LightningModule
from torch import Tensor, nn
from torch.nn.utils import clip_grad_norm_
from torch.optim import AdamW, Optimizer

from stepladder.distributed.collectives import Ranks
from stepladder.distributed.sharding import shard
from stepladder.engine.precision import computed
from stepladder.errors import ConfigError, Fault, ModelError
from stepladder.models.language_model import LanguageModel
from stepladder.resources import Resources
from stepladder.tuning.batches import Batch, Step, Steps, TokenBudget
from stepladder.tuning.best import Best
from stepladder.tuning.callbacks import CurveLogger, check, of_training
from stepladder.tuning.checkpoint import Checkpoints, TrainingState, training_hash
from stepladder.tuning.curves import Curves
from stepladder.tuning.micro_batcher import MicroBatcher
from stepladder.tuning.preflight import check_training
from stepladder.tuning.progress import TrainingProgress
from stepladder.tuning.randomness import draw_apart
from stepladder.tuning.timing import training_seconds
from stepladder.tuning.trainer import continue_after, interruptible, quiet, trainer
from stepladder.tuning.training import Training
from stepladder.tuning.tuning import TrainingRow
from stepladder.tuning.weights import AtRest

TOKENS_AT_ONCE = {"cpu": 2048}
"""Tokens of a micro-batch with its padding, by device; elsewhere `TOKENS_ELSEWHERE`."""

TOKENS_ELSEWHERE = 16384


def answer_loss(model: LanguageModel, batch: Batch, noise: float | None = None) -> Tensor:
    """The sum of the cross-entropy (nats, float32) over the answers' tokens; `noise` is NEFTune's alpha."""
    rows = (batch.ids, batch.mask, batch.answer)  # a model of the user's own may have no `noise`
    return (model.answer_losses(*rows) if noise is None else model.answer_losses(*rows, noise)).sum()


def is_up_projection(name: str) -> bool:
    """Whether a weight is a LoRA's B matrix, which LoRA+ trains at a rate of its own."""
    return ".lora_B." in name


class AnswerLoss(nn.Module):
    """`answer_loss` as a module: FSDP gathers sharded weights in a module's forward."""

    def __init__(self, model: LanguageModel, noise: float | None = None) -> None:
        super().__init__()
        self.model, self.network, self.noise = model, model.module, noise

    def forward(self, *batch: Tensor) -> Tensor:
        return answer_loss(self.model, Batch(*batch), self.noise if torch.is_grad_enabled() else None)


class EpochSteps:
    """Lightning's training data: the steps of the current epoch that are left."""

    def __init__(self, steps: Steps) -> None:
        self.steps, self.made = steps, steps.after

    def __len__(self) -> int:
        return self.steps.per_epoch

    def __iter__(self) -> Iterator[Step]:
        yield from self.steps.of_epoch(self.made // self.steps.per_epoch, self.made)


@dataclass(frozen=True)
class WholeBatch:
    """Lightning's validation data: all rows as one batch."""

    rows: Sequence[TrainingRow]

    def __len__(self) -> int:
        return 1

    def __iter__(self) -> Iterator[Step]:
        yield Step(0, self.rows)


class AnswerTuning(LightningModule):  # type: ignore[misc]
    """Steps, validations, the best weights. `step`, `loss` and `validation_loss` are the latest."""

    def __init__(
        self,
        model: LanguageModel,
        training: Training,
        learning_rate: float,
        steps: Steps,
        validation: Sequence[TrainingRow],
        micro_batcher: MicroBatcher,
        checkpoints: Checkpoints,
        curves: Curves,
        resources: Resources,
        at_rest: AtRest = nullcontext,
    ) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.model, self.network = model, model.module
        self.answer_loss = AnswerLoss(model, training.neftune_noise_alpha)
        self.ranks: Ranks = micro_batcher.ranks
        self.whole_again: Callable[[], None] | None = None
        self.training_config, self.learning_rate, self.total = training, learning_rate, steps.total
        self.data = EpochSteps(steps)
        self.validation, self.validated = validation, training.validated(len(steps.rows))
        self.checkpoints, self.best, self.curves = checkpoints, checkpoints.best, curves
        self.micro_batcher, self.resources, self.at_rest = micro_batcher, resources, at_rest
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
        made = make(groups, lr=self.learning_rate)
        if not isinstance(made, Optimizer):
            what = f"it made a {type(made).__name__}, which is no torch.optim.Optimizer"
            raise ConfigError(
                Fault("training.optimizer", what, "name an optimiser class, training.optimizer=torch.optim.SGD")
            )
        return made

    def train_dataloader(self) -> EpochSteps:
        return self.data

    def val_dataloader(self) -> WholeBatch:
        return WholeBatch(self.validation)

    def transfer_batch_to_device(self, batch: Any, device: torch.device, dataloader_idx: int) -> Any:
        """Rows are token ids; their tensors are made where they are computed with."""
        return batch

    def resume(self, state: TrainingState) -> bool:
        """Continue from a stored state; `on_validation` gets the earlier validations again.

        Returns:
            Whether the training was to stop there.
        """
        self.step = state.step
        self.resources.report.record(state.figures)
        self.micro_batcher.resume()
        self.best.step, self.best.loss, self.best.worse = state.best_step, state.best_loss, state.worse
        stop = False
        for step, values in self.curves.validations():
            last = step == state.step and self._patience_is_over
            stop = self._is_to_stop(step, {**values, "last": last})
        return stop or self._patience_is_over

    def _is_to_stop(self, step: int, values: Mapping[str, float]) -> bool:
        """The stop decision of the observer attached to rank 0."""
        observer = self.resources.on_validation
        stop = observer is not None and self.ranks.leads and bool(observer(step, values))
        return bool(self.ranks.max(stop))

    @property
    def _patience_is_over(self) -> bool:
        patience = self.training_config.patience
        return patience is not None and self.best.worse >= patience

    def on_train_start(self) -> None:
        if self.step:
            optimizer: Any = self.optimizers()
            self.checkpoints.restore(optimizer.optimizer)
        self._set_rate(self.step + 1)

    def _set_rate(self, step: int) -> None:
        optimizer: Any = self.optimizers()
        rate = self.training_config.rate(step, self.total, self.learning_rate)
        for group in optimizer.param_groups:
            group["lr"] = rate * group.get("ratio", 1)  # LoRA+ (`configure_optimizers`)

    def cpu(self) -> AnswerTuning:
        """Does nothing: Lightning moves a model to the CPU at the end, whatever its size."""
        return self

    def training_step(self, step: Step, _: int) -> dict[str, Tensor]:
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
                del part  # frees its graph before the next micro-batch
            return loss.item()

        self.step, self.loss = step.number, self.ranks.sum(self.micro_batcher(step.rows, learn))
        self._check_finite()
        self.ranks.sum_gradients(self.best.trained.values())
        if self.training_config.max_grad_norm is not None:
            clip_grad_norm_(self.best.trained.values(), self.training_config.max_grad_norm)
        rate = float(optimizer.param_groups[0]["lr"])
        optimizer.step()
        self.data.made = step.number
        self.curves.step(step.number, self.loss, step.tokens, time.perf_counter() - began, rate)
        if step.number < self.total:
            self._set_rate(step.number + 1)
        self.log("loss", self.loss, logger=False)
        return {"loss": torch.tensor(self.loss)}

    def on_train_batch_end(self, *_: Any) -> None:
        if not self.validation or self.step not in self.validated:
            self._offer_checkpoint(validated=False)
        elif self.step == self.total:
            self.trainer.should_stop = True  # Lightning validates before it stops, whatever the interval

    def _offer_checkpoint(self, validated: bool) -> None:
        if self.step < self.total:
            optimizer: Any = self.optimizers()
            self.checkpoints.offer(
                self.step, optimizer.optimizer, self.resources.report.figures, self.curves, validated
            )

    def validation_step(self, batch: Step, _: int) -> None:
        rows = batch.rows
        self.validation_began = time.perf_counter()
        self.ranks.check_alike(self.best.trained.values())
        own = self.micro_batcher(rows, lambda parts: sum(self.answer_loss(*b).item() for b in parts))
        self.validation_loss = self.ranks.sum(own) / sum(len(row.answer_ids) for row in rows)

    def on_validation_epoch_end(self) -> None:
        """Compute the objective as prediction does, without the training's mixed precision."""
        assert self.validation_loss is not None
        found = self._objective()
        self.found = {"validation_loss": self.validation_loss, **found}
        self.curves.validation(self.step, self.found, time.perf_counter() - self.validation_began)
        self.best.offer(self.step, -next(iter(found.values())) if found else self.validation_loss)
        if self.best.step == self.step:
            self.resources.report.record({"best_step": self.step} | {f"best_{n}": v for n, v in self.found.items()})
        for name, value in self.found.items():
            self.log(name, value, batch_size=1, logger=False)

    def on_validation_end(self) -> None:
        """Runs after all callbacks: one of them may have stopped the training."""
        self._offer_checkpoint(validated=True)
        last = self.step == self.total or self._patience_is_over or bool(self.trainer.should_stop)
        tokens = self.resources.report.figures["training_tokens"]
        stop = self._is_to_stop(self.step, {**self.found, "training_tokens": tokens, "last": last})
        self.trainer.should_stop = last or stop

    def _objective(self) -> Mapping[str, float]:
        """The main suite's figures where they choose the best weights, the deciding one first."""
        if self.training_config.validate_with == "loss" or self.resources.objective is None:
            return {}
        found: Mapping[str, float] = {}
        if self.ranks.leads:
            with self.at_rest():
                found = self.resources.objective(self.model)
        return self.ranks.broadcast(found)

    def _check_reached(self, loss: Tensor) -> None:
        if not loss.requires_grad:
            raise ModelError(
                "No trained parameter influences the answer's loss",
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


def _fitted(module: AnswerTuning, training: Training, steps: Steps, device: torch.device) -> None:
    """Run Lightning's trainer over the remaining steps."""
    resources, own = module.resources, module.checkpoints.callbacks
    apart = training.steps_apart(len(steps.rows)) if module.validation else None
    callbacks = [TrainingProgress(resources, steps.total, steps.after), *own]
    made = trainer(device, resources.devices, training, apart, callbacks, CurveLogger(module.curves))
    continue_after(made, steps.after, steps.per_epoch)
    made.fit(module)


def train(
    model: LanguageModel,
    rows: Sequence[TrainingRow],
    validation: Sequence[TrainingRow],
    training: Training,
    learning_rate: float,
    resources: Resources,
    seed: int,
    at_rest: AtRest = nullcontext,
) -> None:
    """Train the parameters of `model.module` that require gradients, and restore the best ones on `validation`.

    Args:
        model: The model, with its adapter attached.
        rows: Training rows.
        validation: Validation rows; without any the last weights are kept.
        training: The training's settings.
        learning_rate: The peak learning rate.
        resources: Devices, and where to write.
        seed: Of the order of rows and of dropout.
        at_rest: A context in which weights have their stored dtype, for the objective.

    Raises:
        ConfigError: A preflight check stops the fit. Raised before the first step.
    """
    check(training.callbacks, bool(validation))
    ranks = Ranks.of(resources.devices)
    device = ranks.device or next(model.module.parameters()).device
    budget = TokenBudget(TOKENS_AT_ONCE.get(device.type, TOKENS_ELSEWHERE), resources.micro_batch)
    resources.preflight(check_training(model, rows, budget, resources.limits, computed(training.precision, device)))
    if resources.rehearsal:
        began = time.perf_counter()
        seconds = training_seconds(model, rows, validation, training, resources, budget)
        resources.report.record({"expected_training_seconds": seconds, "timing_seconds": time.perf_counter() - began})
        return
    folder = resources.folder / "checkpoints" if resources.folder else None
    identity = training_hash(model.module, rows, validation, replace(training, learning_rate=learning_rate), seed)
    if ranks.broadcast(identity) != identity:
        raise RuntimeError("the devices do not start with the same rows, weights and settings")
    draw_apart(ranks.rank, seed)
    last = is_up_projection if training.lora_plus_ratio is not None else None
    checkpoints = Checkpoints(folder, identity, Best(model.module, folder, ranks, last), resources.progress.note)
    state = checkpoints.state()
    states = checkpoints.callback_states() if state and training.callbacks else None
    checkpoints.callbacks = of_training(training.callbacks, states)
    steps = Steps(rows, training, seed, state.step if state else 0)
    module = AnswerTuning(
        model,
        training,
        learning_rate,
        steps,
        validation,
        MicroBatcher(budget, device, resources, ranks),
        checkpoints,
        Curves(resources, state.curves if state else ""),
        resources,
        at_rest,
    )
    over = state is not None and module.resume(state)
    model.module.train()
    if len(steps) and not over:
        with quiet(), interruptible(module):
            _fitted(module, training, steps, device)
    if module.whole_again is not None:
        module.whole_again()
        checkpoints.best.look_at(model.module)
    if ranks.leads:
        checkpoints.best.restore()
