"""The best weights so far, by validation."""

from __future__ import annotations

import errno
import math
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn

from stepladder.distributed.collectives import Ranks
from stepladder.distributed.sharding import whole
from stepladder.tuning import checksummed


class Best:
    """Keeps the trained weights of the best validation: in a file of `folder`, or in memory without a folder.

    Earlier files stay: a checkpoint may belong to them.
    """

    def __init__(
        self,
        module: nn.Module,
        folder: Path | None,
        ranks: Ranks | None = None,
        last: Callable[[str], bool] | None = None,
    ) -> None:
        """`last`: names of weights that come after all others, as a second group of an optimiser's does."""
        self.last = last
        self.look_at(module)
        self.folder, self.ranks = folder, ranks or Ranks()
        self.path: Path | None = None
        self.memory: dict[str, Tensor] = {}
        self.step, self.loss, self.worse = 0, math.inf, 0

    def look_at(self, module: nn.Module) -> None:
        """What is trained is now what asks for gradients in `module`."""
        trained = [(name, p) for name, p in module.named_parameters() if p.requires_grad]
        last = self.last or (lambda _: False)
        self.trained = dict(sorted(trained, key=lambda named: last(named[0])))

    def offer(self, step: int, loss: float) -> None:
        """Keep the weights of `step` when its loss is the lowest; else count one more `worse` validation."""
        if not loss < self.loss:
            self.worse += 1
            return
        weights = {name: whole(p.detach()).to("cpu", copy=True).contiguous() for name, p in self.trained.items()}
        if self.folder is None:
            self.memory = weights
        else:
            made = checksummed.write(self.folder, f"best-{step:09}", weights).name if self.ranks.leads else ""
            self.path = self.folder / self.ranks.broadcast(made)
        self.step, self.loss, self.worse = step, loss, 0

    def restore(self) -> None:
        """Restore the best weights; without a validation the last ones stay.

        Raises OSError where the file is damaged.
        """
        if self.step == 0:
            return
        if self.path is not None and not checksummed.is_intact(self.path):
            raise OSError(errno.EIO, "The file of the best weights is damaged", str(self.path))
        weights = checksummed.tensors(self.path) if self.path else self.memory
        with torch.no_grad():
            for name, parameter in self.trained.items():
                parameter.copy_(weights[name])
