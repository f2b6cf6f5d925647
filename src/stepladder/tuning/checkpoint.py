"""Checkpoints of a training: an interrupted fit resumes from one and gives the same bytes as without the interruption.

The order of rows is a function of seed and step. So the training state is a step, the trained weights, the optimiser's
state, the random generators and the metrics so far.

A checkpoint is one checksummed file; the best weights that it belongs to are another. The two newest checkpoints are
kept. Where one is damaged, that is reported and the other is used.
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
from stepladder.tuning import callbacks, checksummed
from stepladder.tuning.best import Best
from stepladder.tuning.curves import Curves
from stepladder.tuning.randomness import restore_generators, states
from stepladder.tuning.training import Training
from stepladder.tuning.tuning import TrainingRow
from stepladder.types import Plain

VERSION = 2
"""Raised when the content of a checkpoint changes."""

TIMES_APART = 20
"""The time between two checkpoints is at least so many times the time that the last one took to write."""

SECONDS_APART = 30.0
"""Between two checkpoints without a validation in between there are at least so many seconds."""

KEPT = 2
HASHED_VALUES = 8
"""So many values of each weight enter the hash that identifies a training."""


@dataclass(frozen=True)
class TrainingState:
    """The training after `step`, apart from tensors.

    figures: of the stage so far. curves: the lines of metrics.jsonl so far. best_step, best_loss, best_file: the best
    validation, and the file with its weights. worse: how many validations since were not better.
    """

    step: int
    figures: Mapping[str, float]
    curves: str
    best_step: int
    best_loss: float
    best_file: str | None
    worse: int


class Checkpoints:
    """The checkpoints of one training.

    Args:
        folder: Where they are; None writes nothing and finds nothing.
        training_hash: Identifies the training (`training_hash`); checkpoints of others are not used.
        best: The best weights so far.
        note: Shows a line to a person.
    """

    def __init__(self, folder: Path | None, training_hash: str, best: Best, note: Callable[[str], None]) -> None:
        self.folder, self.training_hash, self.best, self.note = folder, training_hash, best, note
        self._kept: list[tuple[Path, str | None]] = []
        self._written, self._took, self._able = time.perf_counter(), 0.0, True
        self.callbacks: Sequence[Any] = ()

    def offer(
        self, step: int, optimizer: Optimizer, figures: Mapping[str, float], curves: Curves, validated: bool
    ) -> None:
        """Write a checkpoint if it is time to. Raises OSError where the disk does not take it."""
        if self.folder is None or not self._able:
            return
        if validated:
            self._tidy()
        began = time.perf_counter()
        passed = began - self._written
        due = passed >= TIMES_APART * self._took and (validated or passed >= SECONDS_APART)
        if not self.ranks.max(due and self.ranks.leads):
            return
        of_optimizer = optimizer.state_dict()["state"]
        if not all(isinstance(v, Tensor | float | int | None) for own in of_optimizer.values() for v in own.values()):
            self._able = False
            self.note("the state of this optimiser cannot be stored: an interrupted fit starts again")
            return
        states = callbacks.kept(self.callbacks)
        if isinstance(states, str):
            self._able = False
            self.note(f"the state of the callback {states} cannot be stored: an interrupted fit starts again")
            return
        best = self.best
        file = best.path.name if best.path else None
        state = TrainingState(step, figures, curves.text, best.step, best.loss, file, best.worse)
        metadata = {
            "training_hash": self.training_hash,
            "state": asdict(state),
            "numbers": {
                i: {k: v for k, v in own.items() if not isinstance(v, Tensor)} for i, own in of_optimizer.items()
            },
            "ranks": self.ranks.count,
            "callbacks": states.plain,
        }
        tensors, stem = {**self._tensors(of_optimizer), **states.tensors}, f"step-{step:09}"
        made = checksummed.write(self.folder, stem, tensors, metadata).name if self.ranks.leads else ""
        self._kept = [(self.folder / self.ranks.broadcast(made), file), *self._kept][:KEPT]
        self._tidy()
        self._written = time.perf_counter()
        self._took = self._written - began

    def _tensors(self, of_optimizer: Mapping[int, Plain]) -> dict[str, Tensor]:
        found = {f"weights.{name}": whole(parameter.detach()) for name, parameter in self.best.trained.items()}
        for i, kept in of_optimizer.items():
            found |= {f"optimizer.{i}.{name}": whole(v) for name, v in kept.items() if isinstance(v, Tensor)}
        for name, drawn in states(_device(self.best)).items():
            found |= {f"{_prefix(rank)}{name}": each for rank, each in enumerate(self.ranks.gathered(drawn))}
        return found

    @property
    def ranks(self) -> Ranks:
        return self.best.ranks

    def state(self) -> TrainingState | None:
        """The state in the newest checkpoint that is intact and belongs to this training; None without one.

        Rank 0 reads it for all ranks. Checkpoints that cannot be used are reported and removed.
        """
        newest = self._newest() if self.ranks.leads else None
        found: TrainingState | None = None
        for name, plain in self.ranks.broadcast([(newest[0].name, asdict(newest[1]))] if newest else []):
            assert self.folder is not None
            found = TrainingState(**plain)
            self._kept = [(self.folder / name, found.best_file)]
            self.best.path = self.folder / found.best_file if found.best_file else None
        if self.folder is not None and self.folder.exists():
            self._tidy()
        return found

    def _newest(self) -> tuple[Path, TrainingState] | None:
        for path in sorted(self.folder.glob(f"step-*{checksummed.SUFFIX}"), reverse=True) if self.folder else ():
            fault, state = self._read(path)
            if state is not None:
                before = checksummed.metadata(path).get("ranks", 1)
                if before != self.ranks.count:
                    change = f"this fit began on {before} devices and continues on {self.ranks.count}"
                    self.note(f"{change}: in the same order, with results that are the same up to rounding")
                return path, state
            self.note(f"the checkpoint {path.name[:14]} is not used: {fault}")
        return None

    def _read(self, path: Path) -> tuple[str, TrainingState | None]:
        if not checksummed.is_intact(path):
            return "its content is not what was written", None
        try:
            metadata, tensors = checksummed.metadata(path), checksummed.tensors(path)
        except ValueError as error:
            return str(error), None
        if not isinstance(metadata, dict) or metadata.get("training_hash") != self.training_hash:
            return "it belongs to another training", None
        state = _training_state(metadata.get("state"))
        if state is None or not self._fits(metadata.get("numbers"), tensors) or not self._has_generators(tensors):
            return "its content is not that of a checkpoint", None
        if state.best_file is None:
            return "", state
        if not self._is_best(path.with_name(Path(state.best_file).name)):
            return "the best weights that belong to it are missing or broken", None
        return "", state

    def _fits(self, numbers: Any, tensors: Mapping[str, Tensor]) -> bool:
        """Whether the trained weights are there, and an optimiser's state that is alike for all of them: numbers, or
        tensors of the weight's shape."""
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
        """Whether the trained weights are there, with their shapes and dtypes."""
        return all(
            name in tensors and (tensors[name].shape, tensors[name].dtype) == (parameter.shape, parameter.dtype)
            for name, parameter in self.best.trained.items()
        )

    def _has_generators(self, tensors: Mapping[str, Tensor]) -> bool:
        """Whether the states of generators can be restored."""
        before = states(_device(self.best))
        try:
            restore_generators(_generators(tensors), _device(self.best))
        except (ValueError, TypeError, LookupError, RuntimeError, OverflowError):
            return False
        finally:
            restore_generators(before, _device(self.best))
        return True

    def _is_best(self, path: Path) -> bool:
        try:
            return checksummed.is_intact(path) and self._holds(checksummed.tensors(path))
        except ValueError:
            return False

    def callback_states(self) -> list[Any]:
        """The states of the callbacks, once `state` has found a checkpoint."""
        path = self._kept[0][0]
        found: list[Any] = callbacks.restored(
            checksummed.metadata(path).get("callbacks", []), checksummed.tensors(path)
        )
        return found

    def restore(self, optimizer: Optimizer) -> None:
        """Restore weights, optimiser and generators, once `state` has found a checkpoint."""
        path = self._kept[0][0]
        tensors, numbers = checksummed.tensors(path), checksummed.metadata(path)["numbers"]
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
            restore_generators(drawn, _device(self.best))

    def _tidy(self) -> None:
        """Remove files that no kept checkpoint needs."""
        assert self.folder is not None
        if not self.ranks.leads:
            return
        wanted = {path.name for path, _ in self._kept} | {best for _, best in self._kept}
        wanted |= {self.best.path.name} if self.best.path else set()
        for path in self.folder.glob(f"*{checksummed.SUFFIX}"):
            if path.name not in wanted:
                path.unlink(missing_ok=True)


def _prefix(rank: int) -> str:
    """The names of a rank's generators begin with this."""
    return f"generator.{rank}." if rank else "generator."


def _training_state(plain: Any) -> TrainingState | None:
    """From a checkpoint's metadata; None where these are something else."""
    kinds: dict[str, Any] = {
        "step": int, "figures": dict, "curves": str, "best_step": int, "best_loss": int | float,
        "best_file": str | None, "worse": int,
    }  # fmt: skip
    if not isinstance(plain, dict) or plain.keys() != kinds.keys():
        return None
    if not all(isinstance(plain[name], kind) for name, kind in kinds.items()):
        return None
    try:
        lines = [json.loads(line) for line in plain["curves"].splitlines()]
    except ValueError:
        return None
    sound = all(isinstance(line, dict) and isinstance(line.get("step"), int) for line in lines)
    figures = plain["figures"]
    numbers = {"steps", "training_tokens", "training_seconds"} <= figures.keys()
    numbers = numbers and all(isinstance(figure, int | float | None) for figure in figures.values())
    return TrainingState(**plain) if sound and numbers and plain["step"] >= 0 else None


def _generators(tensors: Mapping[str, Tensor], rank: int = 0) -> dict[str, Tensor]:
    own = _prefix(rank)
    return {name.removeprefix(own): tensor for name, tensor in tensors.items() if name.startswith(own)}


def _device(best: Best) -> torch.device:
    return next((parameter.device for parameter in best.trained.values()), torch.device("cpu"))


def training_hash(
    module: nn.Module, rows: Sequence[TrainingRow], validation: Sequence[TrainingRow], training: Training, seed: int
) -> str:
    """A hash that two trainings share if one can resume from the other's checkpoints.

    Args:
        module: The network before the first step; the first few values of each weight enter the hash.
        rows: The training rows.
        validation: The validation rows.
        training: The training's settings.
        seed: Of the order of rows and of all draws.
    """
    optimizer: Any = training.optimizer
    named = [getattr(getattr(optimizer, "func", optimizer), "__qualname__", ""), getattr(optimizer, "keywords", "")]
    named += [type(callback).__qualname__ for callback in training.callbacks]
    plain = replace(training, optimizer=None, callbacks=())
    digest = hashlib.sha256(json.dumps([VERSION, str(plain), str(named), seed]).encode())
    for row in (*rows, None, *validation):
        digest.update(b"" if row is None else json.dumps([row.id, len(row.prompt_ids)]).encode())
        digest.update(b"" if row is None else np.array([*row.prompt_ids, *row.answer_ids], np.int64).tobytes())
    for name, parameter in module.named_parameters():
        few = parameter.detach().flatten()[:HASHED_VALUES].float().tolist()
        digest.update(json.dumps([name, list(parameter.shape), parameter.requires_grad, few]).encode())
    return digest.hexdigest()
