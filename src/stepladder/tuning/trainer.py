"""Builds the Lightning Trainer: quiet, interruptible, on one device or on several."""

from __future__ import annotations

import logging
import signal
import tempfile
import threading
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Protocol

import torch
from pytorch_lightning import Callback, Trainer
from pytorch_lightning.loggers.logger import Logger
from pytorch_lightning.plugins.environments import LightningEnvironment
from pytorch_lightning.strategies import DDPStrategy, ModelParallelStrategy
from pytorch_lightning.utilities.exceptions import SIGTERMException

from stepladder.engine.precision import computed
from stepladder.resources import Devices
from stepladder.tuning.training import Training


class Replicas(DDPStrategy):  # type: ignore[misc]
    """All of the model in each process; the loop sums gradients once a step.

    torch's own wrapper sums them in each backward pass. That cannot be repeated when memory ran out, waits for ever if
    one process has more micro-batches than another, and averages over processes instead of tokens.
    """

    def configure_ddp(self) -> None:
        return


class Interruptible(Protocol):
    interrupted: bool


def trainer(
    device: torch.device,
    devices: Devices,
    training: Training,
    validated_every: int | None,
    callbacks: Sequence[Callback],
    logger: Logger,
) -> Trainer:
    """For a training on `device`, which is one of `devices`.

    Args:
        device: What this process computes on.
        devices: All devices of the fit.
        training: Its epochs and its precision.
        validated_every: Steps between two validations, counted over epochs; None validates nothing.
        callbacks: In the order in which Lightning calls them.
        logger: Takes what callbacks log.
    """
    where: dict[str, Any] = {"devices": [device.index or 0] if device.type == "cuda" else 1}
    if devices.count > 1:
        sharded = ModelParallelStrategy(data_parallel_size=devices.count, tensor_parallel_size=1)
        where = {"devices": devices.devices, "num_nodes": devices.nodes}
        where["strategy"] = sharded if devices.strategy == "fsdp" else Replicas()
    return Trainer(
        **where,
        accelerator=device.type,
        precision="bf16-mixed" if computed(training.precision, device) == torch.bfloat16 else "32-true",
        max_epochs=training.epochs,
        val_check_interval=validated_every,
        check_val_every_n_epoch=None,
        limit_val_batches=0 if validated_every is None else None,
        log_every_n_steps=1,
        logger=logger,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        default_root_dir=tempfile.gettempdir(),
        callbacks=list(callbacks),
        # Without this, variables of a cluster or of torchrun would make Lightning wait for other processes.
        plugins=[LightningEnvironment()],
    )


def continue_after(trainer: Trainer, step: int, per_epoch: int) -> None:
    """Set Lightning's counters to where they were after `step`, so that callbacks see the same epochs, batches and
    global steps as in a fit that was never interrupted."""
    loop = trainer.fit_loop
    epoch, batch = divmod(step, per_epoch)
    for progress in (loop.epoch_progress.current, loop.epoch_progress.total):
        progress.ready = progress.started = epoch + bool(batch)
        progress.processed = progress.completed = epoch
    batches = loop.epoch_loop.batch_progress
    for counted, progress in ((batch, batches.current), (step, batches.total)):
        progress.ready = progress.started = progress.processed = progress.completed = counted
    steps = loop.epoch_loop.manual_optimization.optim_step_progress.total
    steps.ready = steps.completed = step
    loop.epoch_loop._batches_that_stepped = step - bool(batch)  # Lightning adds one where it resumes within an epoch
    loop.restarting = bool(batch)


@contextmanager
def quiet() -> Iterator[None]:
    """Silences Lightning's own messages."""
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
def interruptible(module: Interruptible) -> Iterator[None]:
    """Turns Ctrl-C and SIGTERM into KeyboardInterrupt; Lightning exits instead.

    An interrupt that a library swallows is raised again before the next step.
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
