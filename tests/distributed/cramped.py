"""A toy model on devices with room for few rows."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any, ClassVar

from torch import Tensor

from stepladder.models.local import CausalModel
from stepladder.models.toy import ToyCheckpoint

MOST = 2


class CrampedModel(CausalModel):
    """Runs out of memory with more rows than `MOST`, after all has been computed."""

    def answer_losses(self, ids: Tensor, mask: Tensor, answer: Tensor) -> Tensor:
        found = super().answer_losses(ids, mask, answer)
        if len(ids) > MOST:
            raise MemoryError
        return found


@dataclass(frozen=True)
class Cramped(ToyCheckpoint):
    version: ClassVar[int] = 1

    def load(self, device: Any = None) -> CausalModel:
        loaded = super().load(device)
        return CrampedModel(**{each.name: getattr(loaded, each.name) for each in fields(CausalModel)})
