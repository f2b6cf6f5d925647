"""The best weights so far by what a validation found. Knows parameters and losses; knows no data and no loop."""

from __future__ import annotations

import math
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn


class Best:
    """Keeps the trained weights of the best validation: in `folder`/best.safetensors, or in memory without a folder."""

    def __init__(self, module: nn.Module, folder: Path | None) -> None:
        self.trained = {name: p for name, p in module.named_parameters() if p.requires_grad}
        self.path = folder / "best.safetensors" if folder else None
        self.memory: dict[str, Tensor] = {}
        self.step, self.loss, self.worse = 0, math.inf, 0

    def offer(self, step: int, loss: float) -> None:
        """Keep the weights of `step` when its loss is the lowest; else count one more `worse` validation."""
        if not loss < self.loss:
            self.worse += 1
            return
        self.step, self.loss, self.worse = step, loss, 0
        weights = {name: p.detach().to("cpu", copy=True).contiguous() for name, p in self.trained.items()}
        if self.path is None:
            self.memory = weights
            return
        self.path.parent.mkdir(parents=True, exist_ok=True)
        unfinished = self.path.with_suffix(".unfinished")
        save_file(weights, unfinished, metadata={"step": str(step)})
        unfinished.replace(self.path)

    def kept(self) -> int:
        """The step of the weights that lie in the folder; nought where there are none."""
        if self.path is None or not self.path.exists():
            return 0
        with safe_open(self.path, framework="pt") as file:
            return int(file.metadata()["step"])

    def restore(self) -> None:
        """Put the best weights back; when nothing was offered, the last ones stay."""
        if self.step == 0:
            return
        weights = load_file(self.path) if self.path else self.memory
        with torch.no_grad():
            for name, parameter in self.trained.items():
                parameter.copy_(weights[name])
