"""Shared weight memory, and the dtype of weights while they train."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any, TypeAlias

import torch
from torch import nn

AtRest: TypeAlias = Callable[[], AbstractContextManager[None]]


def trained(module: nn.Module) -> int:
    """How many parameters ask for gradients."""
    return sum(parameter.numel() for parameter in module.parameters() if parameter.requires_grad)


def shared_copy(module: nn.Module) -> nn.Module:
    """The same network with parameters of its own that lie on the same memory until something is assigned to them."""
    memo: dict[int, Any] = {}
    for parameter in module.parameters():
        if type(parameter) is nn.Parameter:
            memo[id(parameter)] = nn.Parameter(parameter.data, requires_grad=False)
    return copy.deepcopy(module, memo)


@dataclass(frozen=True)
class Rounding:
    """Of the weights that training changed, how many still differ from the base in the dtype that they are kept in."""

    changed: int
    kept: int


@contextmanager
def in_training(
    module: nn.Module, frozen_too: bool, rounded: Callable[[Rounding], None] | None = None, keep_float32: bool = False
) -> Iterator[AtRest]:
    """Trained weights (`frozen_too`: all of them) in float32 and on memory of their own; afterwards trained weights are
    in the dtype they came in, frozen ones the very memory they were, all on the device they were on.

    Gives a context in which, while training lasts, the module is as it will be afterwards. `rounded` is called at the
    end where trained weights are rounded to another dtype; with `keep_float32` they stay in float32.
    """
    device = next(module.parameters()).device
    # Weights in four bits are of a kind of their own, and nobody's business here.
    before = [(parameter, parameter.data) for parameter in module.parameters() if type(parameter) is nn.Parameter]
    for parameter, data in before:
        if parameter.requires_grad:
            parameter.data = data.to(torch.float32, copy=True)
        elif frozen_too and data.is_floating_point():
            parameter.data = data.float()

    def resting(data: torch.Tensor) -> torch.dtype:
        return torch.float32 if keep_float32 else data.dtype

    @contextmanager
    def at_rest() -> Iterator[None]:
        now = [parameter.data for parameter, _ in before]
        for parameter, data in before:
            parameter.data = parameter.data.to(resting(data)) if parameter.requires_grad else data
        module.eval()
        try:
            yield
        finally:
            for (parameter, _), trained_data in zip(before, now, strict=True):
                parameter.data = trained_data
            module.train()

    try:
        yield at_rest
    finally:
        changed = kept = 0
        for parameter, data in before:
            now_trained = parameter.data
            parameter.data = now_trained.to(data.device, resting(data)) if parameter.requires_grad else data
            parameter.grad = None
            if rounded is not None and parameter.requires_grad and parameter.dtype != now_trained.dtype:
                changed += int((now_trained != data.to(now_trained.device)).sum())
                kept += int((parameter.data != data).sum())
        if rounded is not None and changed:
            rounded(Rounding(changed, kept))
        if next(module.parameters()).device != device:
            module.to(device)
        module.eval()
