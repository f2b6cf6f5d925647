"""Where a training stands, so that one which was cut short goes on and ends as if it had not been.

The order of rows is a function of seed and step, so a step, the weights, the optimiser, the generators and what was
found so far are all there is to it. Knows parameters and an optimiser; of rows only whether they are the same.

A checkpoint is one sealed file, beside the sealed file of the best weights that it belongs to. The two newest are kept:
where one is broken, that is told and the other is taken.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from stepladder.distributed.collectives import Ranks
from stepladder.distributed.sharding import cut_like, whole
from stepladder.tuning import callbacks, sealed
from stepladder.tuning.best import Best
from stepladder.tuning.curves import Curves
from stepladder.tuning.randomness import put_back, states
from stepladder.tuning.training import Training
from stepladder.tuning.tuning import TrainingRow

FORM = 1
"""Raised when a checkpoint holds something else."""

TIMES_APART = 20
"""Checkpoints are so many times further apart than the last one took to write,"""

SECONDS_APART = 30.0
"""and so many seconds where no validation comes between them."""

KEPT = 2
FEW = 8


@dataclass(frozen=True)
class Standing:
    """After `step`: the facts and the lines of metrics so far, and the best validation with how many worse ones came
    since."""

    step: int
    facts: Mapping[str, Any]
    curves: str
    best_step: int
    best_loss: float
    best_file: str | None
    worse: int


class Checkpoints:
    """The checkpoints of one training (`of` names it) in `folder`; None writes nothing and finds nothing."""

    def __init__(self, folder: Path | None, of: str, best: Best, note: Callable[[str], None]) -> None:
        self.folder, self.of, self.best, self.note = folder, of, best, note
        self._kept: list[tuple[Path, str | None]] = []
        self._written, self._took, self._able = time.perf_counter(), 0.0, True
        self.callbacks: Sequence[Any] = ()

    def offer(self, step: int, optimizer: Optimizer, facts: Mapping[str, Any], curves: Curves, validated: bool) -> None:
        """Write, where it is time to. Raises OSError where the disk does not take it."""
        if self.folder is None or not self._able:
            return
        if validated:
            self._tidy()
        began = time.perf_counter()
        passed = began - self._written
        due = passed >= TIMES_APART * self._took and (validated or passed >= SECONDS_APART)
        if not self.ranks.max(due and self.ranks.leads):
            return
        state = optimizer.state_dict()["state"]
        if not all(isinstance(v, Tensor | float | int | None) for kept in state.values() for v in kept.values()):
            self._able = False
            self.note("the state of this optimiser can not be kept: a fit that is cut short begins anew")
            return
        states = callbacks.kept(self.callbacks)
        if isinstance(states, str):
            self._able = False
            self.note(f"the state of the callback {states} cannot be stored: an interrupted fit starts again")
            return
        best = self.best
        file = best.path.name if best.path else None
        standing = Standing(step, facts, curves.text, best.step, best.loss, file, best.worse)
        numbers = {i: {k: v for k, v in kept.items() if not isinstance(v, Tensor)} for i, kept in state.items()}
        told = {"of": self.of, "standing": asdict(standing), "numbers": numbers, "ranks": self.ranks.count}
        told["callbacks"] = states.plain
        tensors, stem = {**self._tensors(state), **states.tensors}, f"step-{step:09}"
        made = sealed.seal(self.folder, stem, tensors, told).name if self.ranks.leads else ""
        self._kept = [(self.folder / self.ranks.broadcast(made), file), *self._kept][:KEPT]
        self._tidy()
        self._written = time.perf_counter()
        self._took = self._written - began

    def _tensors(self, state: Mapping[int, Mapping[str, Any]]) -> dict[str, Tensor]:
        found = {f"weights.{name}": whole(parameter.detach()) for name, parameter in self.best.trained.items()}
        for i, kept in state.items():
            found |= {f"optimizer.{i}.{name}": whole(v) for name, v in kept.items() if isinstance(v, Tensor)}
        for name, drawn in states(_device(self.best)).items():
            found |= {f"{_of(rank)}{name}": each for rank, each in enumerate(self.ranks.gathered(drawn))}
        return found

    @property
    def ranks(self) -> Ranks:
        return self.best.ranks

    def standing(self) -> Standing | None:
        """Where the newest checkpoint stands that is whole and belongs to this training; others are told and go. Rank 0
        looks, and tells the others."""
        newest = self._found() if self.ranks.leads else None
        found: Standing | None = None
        for name, told in self.ranks.broadcast([(newest[0].name, asdict(newest[1]))] if newest else []):
            assert self.folder is not None
            found = Standing(**told)
            self._kept = [(self.folder / name, found.best_file)]
            self.best.path = self.folder / found.best_file if found.best_file else None
        if self.folder is not None and self.folder.exists():
            self._tidy()
        return found

    def _found(self) -> tuple[Path, Standing] | None:
        for path in sorted(self.folder.glob(f"step-*{sealed.KIND}"), reverse=True) if self.folder else ():
            fault, standing = self._looked_at(path)
            if standing is not None:
                before = sealed.told(path).get("ranks", 1)
                if before != self.ranks.count:
                    told = f"this fit was begun on {before} devices, not {self.ranks.count}, and goes on"
                    self.note(f"{told}: in the same order, with figures that are the same up to rounding")
                return path, standing
            self.note(f"the checkpoint {path.name[:14]} is not used: {fault}")
        return None

    def _looked_at(self, path: Path) -> tuple[str, Standing | None]:
        if not sealed.is_whole(path):
            return "its content is not what was written", None
        try:
            told, tensors = sealed.told(path), sealed.tensors(path)
        except ValueError as error:
            return str(error), None
        if not isinstance(told, dict) or told.get("of") != self.of:
            return "it belongs to another training", None
        standing = _standing(told.get("standing"))
        if standing is None or not self._fits(told.get("numbers"), tensors) or not self._can_be_drawn_from(tensors):
            return "it does not tell what a checkpoint tells", None
        if standing.best_file is None:
            return "", standing
        if not self._is_best(path.with_name(Path(standing.best_file).name)):
            return "the best weights that belong to it are missing or broken", None
        return "", standing

    def _fits(self, numbers: Any, tensors: Mapping[str, Tensor]) -> bool:
        """Whether there are the trained weights, and of an optimiser the same things for each that it has any for: a
        number, or as many as the weight has."""
        if not isinstance(numbers, dict) or not all(isinstance(kept, dict) for kept in numbers.values()):
            return False
        trained = [*self.best.trained.values()]
        kinds = {i: {(name, "one") for name in kept} for i, kept in numbers.items()}
        for name, tensor in tensors.items():
            kind, _, rest = name.partition(".")
            i, _, own = rest.partition(".")
            if kind == "optimizer":
                if i not in kinds or not i.isdecimal() or int(i) >= len(trained):
                    return False
                whole = tensor.shape == trained[int(i)].shape
                if not whole and tensor.numel() != 1:
                    return False
                kinds[i].add((own, "whole" if whole else "one"))
        alike = len({frozenset(kind) for kind in kinds.values()}) <= 1
        return alike and self._holds({n.removeprefix("weights."): t for n, t in tensors.items()})

    def _holds(self, tensors: Mapping[str, Tensor]) -> bool:
        """Whether there are the trained weights."""
        return all(
            name in tensors and (tensors[name].shape, tensors[name].dtype) == (parameter.shape, parameter.dtype)
            for name, parameter in self.best.trained.items()
        )

    def _can_be_drawn_from(self, tensors: Mapping[str, Tensor]) -> bool:
        """Whether generators can stand where they are said to stand."""
        before = states(_device(self.best))
        try:
            put_back(_generators(tensors), _device(self.best))
        except (ValueError, TypeError, LookupError, RuntimeError, OverflowError):
            return False
        finally:
            put_back(before, _device(self.best))
        return True

    def _is_best(self, path: Path) -> bool:
        try:
            return sealed.is_whole(path) and self._holds(sealed.tensors(path))
        except ValueError:
            return False

    def callback_states(self) -> list[Any]:
        """The states of the callbacks, where `standing` has found a checkpoint."""
        path = self._kept[0][0]
        found: list[Any] = callbacks.restored(sealed.told(path).get("callbacks", []), sealed.tensors(path))
        return found

    def restore(self, optimizer: Optimizer) -> None:
        """Put weights, optimiser and generators back to where they were, where `standing` has found something."""
        path = self._kept[0][0]
        tensors, numbers = sealed.tensors(path), sealed.told(path)["numbers"]
        state: dict[int, dict[str, Any]] = {int(i): dict(kept) for i, kept in numbers.items()}
        parameters = list(self.best.trained.values())
        for name, tensor in tensors.items():
            kind, _, rest = name.partition(".")
            if kind == "optimizer":
                place, _, what = rest.partition(".")
                state[int(place)][what] = cut_like(tensor, parameters[int(place)])
        with torch.no_grad():
            for name, parameter in self.best.trained.items():
                parameter.copy_(cut_like(tensors[f"weights.{name}"], parameter))
        optimizer.load_state_dict({**optimizer.state_dict(), "state": state})
        if drawn := _generators(tensors, self.ranks.rank):
            put_back(drawn, _device(self.best))

    def _tidy(self) -> None:
        """Nothing stays in the folder that nothing kept belongs to."""
        assert self.folder is not None
        if not self.ranks.leads:
            return
        wanted = {path.name for path, _ in self._kept} | {best for _, best in self._kept}
        wanted |= {self.best.path.name} if self.best.path else set()
        for path in self.folder.glob(f"*{sealed.KIND}"):
            if path.name not in wanted:
                path.unlink(missing_ok=True)


def _of(rank: int) -> str:
    """What the names of a rank's generators begin with."""
    return f"generator.{rank}." if rank else "generator."


def _standing(told: Any) -> Standing | None:
    """As a checkpoint tells it; None where it tells something else."""
    kinds: dict[str, Any] = {
        "step": int, "facts": dict, "curves": str, "best_step": int, "best_loss": int | float,
        "best_file": str | None, "worse": int,
    }  # fmt: skip
    if not isinstance(told, dict) or told.keys() != kinds.keys():
        return None
    if not all(isinstance(told[name], kind) for name, kind in kinds.items()):
        return None
    try:
        lines = [json.loads(line) for line in told["curves"].splitlines()]
    except ValueError:
        return None
    sound = all(isinstance(line, dict) and isinstance(line.get("step"), int) for line in lines)
    numbers = {"steps", "training_tokens", "training_seconds"} <= told["facts"].keys()
    numbers = numbers and all(isinstance(fact, int | float | None) for fact in told["facts"].values())
    return Standing(**told) if sound and numbers and told["step"] >= 0 else None


def _generators(tensors: Mapping[str, Tensor], rank: int = 0) -> dict[str, Tensor]:
    own = _of(rank)
    return {name.removeprefix(own): tensor for name, tensor in tensors.items() if name.startswith(own)}


def _device(best: Best) -> torch.device:
    return next((parameter.device for parameter in best.trained.values()), torch.device("cpu"))


def made_of(
    module: nn.Module, rows: Sequence[TrainingRow], validation: Sequence[TrainingRow], training: Training, seed: int
) -> str:
    """A hash that two trainings have in common when one may go on where the other was cut short.

    `module` is as it stands before the first step; of each of its weights the first few count.
    """
    optimizer: Any = training.optimizer
    named = [getattr(getattr(optimizer, "func", optimizer), "__qualname__", ""), getattr(optimizer, "keywords", "")]
    named += [type(callback).__qualname__ for callback in training.callbacks]
    plain = replace(training, optimizer=None, callbacks=())
    digest = hashlib.sha256(json.dumps([FORM, str(plain), str(named), seed]).encode())
    for row in (*rows, None, *validation):
        told = "" if row is None else json.dumps([row.id, len(row.prompt_ids)])
        digest.update(told.encode())
        digest.update(b"" if row is None else np.array([*row.prompt_ids, *row.answer_ids], np.int64).tobytes())
    for name, parameter in module.named_parameters():
        few = parameter.detach().flatten()[:FEW].float().tolist()
        digest.update(json.dumps([name, list(parameter.shape), parameter.requires_grad, few]).encode())
    return digest.hexdigest()
