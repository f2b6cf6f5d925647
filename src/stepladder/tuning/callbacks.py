"""Lightning callbacks of the user's own (`training.callbacks`): which can work, their state, and what they log."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pytorch_lightning import Callback
from pytorch_lightning.loggers.logger import Logger
from torch import Tensor

from stepladder.errors import ConfigError, Fault
from stepladder.tuning.curves import Curves

AVERAGED = "it replaces the trained weights at the end, and a fit keeps the weights of its best validation"
OWN_RATE = "the learning rate comes from training.learning_rate, training.schedule and training.warmup"
FROZEN = "what is trained is chosen by the adapter, before the first step"
OWN_SIZE = "micro-batches are chosen by compute.micro_batch and by the memory there is"
OWN_CHECKPOINTS = "the fit writes checkpoints of its own, as safetensors, and resumes from them"
OWN_PROGRESS = "the command shows progress itself"
REFUSED = {
    "StochasticWeightAveraging": AVERAGED, "WeightAveraging": AVERAGED, "EMAWeightAveraging": AVERAGED,
    "LearningRateFinder": OWN_RATE, "BaseFinetuning": FROZEN, "BatchSizeFinder": OWN_SIZE,
    "GradientAccumulationScheduler": OWN_SIZE, "Checkpoint": OWN_CHECKPOINTS, "ProgressBar": OWN_PROGRESS,
    "ModelPruning": FROZEN, "LambdaCallback": "its functions cannot be part of a configuration: write a Callback class",
    "BasePredictionWriter": "a fit makes no predictions by Lightning",
}  # fmt: skip
"""Lightning's callbacks, by class, that cannot do here what they do elsewhere, and the reason."""


def check(callbacks: Sequence[Any], validated: bool) -> None:
    """Raises ConfigError for callbacks that cannot work in this training loop.

    Args:
        callbacks: The value of `training.callbacks`.
        validated: Whether there are validation rows, so that `validation_loss` exists.
    """
    faults = []
    for place, callback in enumerate(callbacks):
        key, name = f"training.callbacks[{place}]", type(callback).__name__
        lightning = [
            base.__name__ for base in type(callback).__mro__ if base.__module__.startswith("pytorch_lightning")
        ]
        reason = next((REFUSED[base] for base in lightning if base in REFUSED), None)
        if reason:
            faults.append(Fault(key, f"{name} cannot work here: {reason}", "leave it out"))
        monitored = getattr(callback, "monitor", None)
        if monitored == "validation_loss" and not validated:
            what = f"{name} monitors validation_loss, and there are no validation rows"
            faults.append(Fault(key, what, "give validation rows, or monitor=loss"))
    if faults:
        raise ConfigError(faults)


def of_training(callbacks: Sequence[Any], states: Sequence[Any] | None) -> list[Callback]:
    """The callbacks of one fit: copies, each with the state that an earlier attempt left in its checkpoint."""
    own = [copy.deepcopy(callback) for callback in callbacks]
    for callback, state in zip(own, states or [], strict=False):
        if state:
            callback.load_state_dict(state)
    return own


class CurveLogger(Logger):  # type: ignore[misc]
    """Lightning's logger of a fit: what callbacks log goes into metrics.jsonl and to the trackers."""

    def __init__(self, curves: Curves) -> None:
        super().__init__()
        self._curves = curves

    @property
    def name(self) -> str:
        return "stepladder"

    @property
    def version(self) -> str:
        return ""

    def log_hyperparams(self, *_: Any, **__: Any) -> None:
        return

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Lightning counts steps from zero; metrics.jsonl counts them from one."""
        numbers = {name: float(value) for name, value in metrics.items() if name != "epoch"}
        numbers = {name: value for name, value in numbers.items() if math.isfinite(value)}
        if numbers:
            self._curves.of_callback((step or 0) + 1, numbers)


@dataclass(frozen=True)
class Kept:
    """The states of callbacks as a checkpoint can hold them: plain data, and tensors by their place in it."""

    plain: Any
    tensors: Mapping[str, Tensor]


def kept(callbacks: Sequence[Callback]) -> Kept | str:
    """The callbacks' states, or the name of the class whose state is neither plain data nor tensors."""
    tensors: dict[str, Tensor] = {}
    plain = []
    for place, callback in enumerate(callbacks):
        state = callback.state_dict()
        try:
            plain.append(_plain(state, f"callback.{place}", tensors))
        except TypeError:
            return type(callback).__name__
    return Kept(plain, tensors)


def restored(plain: Any, tensors: Mapping[str, Tensor]) -> Any:
    """What `kept` took apart."""
    if isinstance(plain, Mapping) and "tensor" in plain and len(plain) == 1:
        return tensors[plain["tensor"]]
    if isinstance(plain, Mapping):
        return {key: restored(value, tensors) for key, value in plain["items"]}
    if isinstance(plain, list):
        return [restored(value, tensors) for value in plain]
    return plain


def _plain(value: Any, name: str, tensors: dict[str, Tensor]) -> Any:
    if isinstance(value, Tensor):
        tensors[name] = value.detach().cpu()
        return {"tensor": name}
    if isinstance(value, Mapping):
        return {"items": [[_checked(k), _plain(v, f"{name}.{k}", tensors)] for k, v in value.items()]}
    if isinstance(value, list | tuple):
        return [_plain(v, f"{name}.{place}", tensors) for place, v in enumerate(value)]
    if value is None or isinstance(value, str | int | float | bool):
        return value
    raise TypeError(f"{type(value).__name__} is neither plain data nor a tensor")


def _checked(key: object) -> object:
    if isinstance(key, str | int):
        return key
    raise TypeError(f"a key of the kind {type(key).__name__}")
