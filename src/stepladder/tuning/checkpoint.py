"""Where a training stands, so that one which was cut short goes on. Knows parameters and an optimiser; knows no data.

Written after a validation, as seldom as it takes to cost a small share of the time. The order of rows is a function of
seed and step, so a step, the weights, the optimiser and the generators are all there is to it.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor
from torch.optim import Optimizer

from stepladder.tuning.best import Best

TIMES_APART = 20
"""Checkpoints are so many times further apart than the last one took to write."""


@dataclass(frozen=True)
class Standing:
    """After `step`: the facts so far, and the best validation with how many worse ones came since."""

    step: int
    facts: Mapping[str, Any]
    best_step: int
    best_loss: float
    worse: int


@dataclass
class Checkpoint:
    """`path` None writes nothing and finds nothing."""

    path: Path | None
    _written: float = field(default_factory=time.perf_counter)
    _took: float = 0.0

    def offer(self, step: int, best: Best, optimizer: Optimizer, facts: Mapping[str, Any]) -> None:
        """Write, where it is time to."""
        began = time.perf_counter()
        state = optimizer.state_dict()["state"]
        plain = all(
            isinstance(value, Tensor | float | int | None) for kept in state.values() for value in kept.values()
        )
        if self.path is None or not plain or began - self._written < TIMES_APART * self._took:
            return
        tensors: dict[str, Tensor] = {f"weights.{name}": parameter for name, parameter in best.trained.items()}
        tensors |= {
            f"optimizer.{i}.{k}": v for i, kept in state.items() for k, v in kept.items() if isinstance(v, Tensor)
        }
        tensors |= {f"generator.{device}": drawn for device, drawn in _generators().items()}
        numbers = {i: {k: v for k, v in kept.items() if not isinstance(v, Tensor)} for i, kept in state.items()}
        told = {**asdict(Standing(step, facts, best.step, best.loss, best.worse)), "numbers": numbers}
        self.path.parent.mkdir(parents=True, exist_ok=True)
        unfinished = self.path.with_suffix(".unfinished")
        save_file({n: t.detach().contiguous() for n, t in tensors.items()}, unfinished, {"standing": json.dumps(told)})
        unfinished.replace(self.path)
        self._written = time.perf_counter()
        self._took = self._written - began

    def standing(self, best: Best) -> Standing | None:
        """What was written, where there is something that belongs to the best weights that lie beside it."""
        if self.path is None or not self.path.exists():
            return None
        with safe_open(self.path, framework="pt") as file:
            told = json.loads(file.metadata()["standing"])
            weights = {name.removeprefix("weights.") for name in file.keys() if name.startswith("weights.")}  # noqa: SIM118
        found = Standing(**{k: v for k, v in told.items() if k != "numbers"})
        return found if weights == best.trained.keys() and found.best_step == best.kept() else None

    def restore(self, best: Best, optimizer: Optimizer) -> None:
        """Put weights, optimiser and generators back to where they were, where `standing` has found something."""
        assert self.path is not None
        with safe_open(self.path, framework="pt") as file:
            told = json.loads(file.metadata()["standing"])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        state: dict[int, dict[str, Any]] = {int(i): dict(numbers) for i, numbers in told["numbers"].items()}
        for name, tensor in tensors.items():
            kind, _, rest = name.partition(".")
            if kind == "optimizer":
                state[int(rest.partition(".")[0])][rest.partition(".")[2]] = tensor
            elif kind == "generator":
                _set_generator(rest, tensor)
        with torch.no_grad():
            for name, parameter in best.trained.items():
                parameter.copy_(tensors[f"weights.{name}"])
        optimizer.load_state_dict({**optimizer.state_dict(), "state": state})

    def remove(self) -> None:
        if self.path is not None:
            self.path.unlink(missing_ok=True)


def _generators() -> dict[str, Tensor]:
    cuda = {"cuda": torch.cuda.get_rng_state()} if torch.cuda.is_available() else {}
    return {"cpu": torch.get_rng_state(), **cuda}


def _set_generator(device: str, state: Tensor) -> None:
    if device == "cpu":
        torch.set_rng_state(state)
    elif torch.cuda.is_available():
        torch.cuda.set_rng_state(state)
