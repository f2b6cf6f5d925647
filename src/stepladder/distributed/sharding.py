"""Weights in pieces, one on each device (FSDP2), and whole again. Knows modules and parameters; knows no loss."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn


def shard(root: nn.Module, module: nn.Module, mesh: Any) -> Callable[[], None]:
    """Cut all weights of `module`, which is in `root`, into pieces over `mesh`: layer by layer, the rest with `root`,
    by whose forward they are whole while it computes. Gradients are summed over the devices.

    What is returned puts the parameters back that were there before, whole, with what was learnt in them.
    """
    from torch.distributed.fsdp import FSDPModule, fully_shard

    places = [
        (owner, name, parameter, parameter.data)
        for owner in module.modules()
        for name, parameter in owner.named_parameters(recurse=False, remove_duplicate=False)
    ]
    for part in (*_layers(module), root):
        fully_shard(part, mesh=mesh, reshard_after_forward=True)
    for part in root.modules():
        if isinstance(part, FSDPModule):
            part.set_gradient_divide_factor(1.0)
            part.set_force_sum_reduction_for_comms(True)
    for _, _, parameter, data in places:
        parameter.data = data  # where a piece lies on another device, all of it lay there for a moment

    def whole_again() -> None:
        for owner, name, parameter, _ in places:
            learnt = getattr(owner, name)
            if parameter.requires_grad and learnt is not parameter:
                parameter.data.copy_(whole(learnt.detach()))
        for owner, name, parameter, _ in places:
            setattr(owner, name, parameter)

    return whole_again


def _layers(module: nn.Module) -> list[nn.Module]:
    """The longest list of modules: a model's layers."""
    lists = [list(part) for part in module.modules() if isinstance(part, nn.ModuleList)]
    return max(lists, key=len, default=[])


def whole(tensor: Tensor) -> Tensor:
    """All of a tensor that may lie in pieces. Every rank takes part."""
    found: Tensor = tensor.full_tensor() if hasattr(tensor, "full_tensor") else tensor
    return found


def cut_like(tensor: Tensor, other: Tensor) -> Tensor:
    """What of a whole `tensor` lies here, where `other`, of the same shape, lies in pieces."""
    if not hasattr(other, "full_tensor") or tensor.shape != other.shape:
        return tensor
    from torch.distributed.tensor import distribute_tensor

    like: Any = other
    with torch.no_grad():
        return distribute_tensor(tensor, like.device_mesh, like.placements, src_data_rank=None)
