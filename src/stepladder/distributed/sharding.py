"""Sharded weights (FSDP2): shards a model over devices and gathers it again."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn


def shard(root: nn.Module, module: nn.Module, mesh: Any) -> Callable[[], None]:
    """Shard all weights of `module` over `mesh`: layer by layer, the rest with `root`. Gradients are summed.

    Args:
        root: The module whose forward gathers the weights; it contains `module`.
        module: The network.
        mesh: A torch DeviceMesh of one dimension.

    Returns:
        A function that restores the original parameters, whole, with their trained values.
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
        parameter.data = data  # fully_shard had moved the whole parameter to the device of the shard

    def whole_again() -> None:
        for owner, name, parameter, _ in places:
            current = getattr(owner, name)
            if parameter.requires_grad and current is not parameter:
                parameter.data.copy_(whole(current.detach()))
        for owner, name, parameter, _ in places:
            setattr(owner, name, parameter)

    return whole_again


def _layers(module: nn.Module) -> list[nn.Module]:
    """The longest list of modules: a model's layers."""
    lists = [list(part) for part in module.modules() if isinstance(part, nn.ModuleList)]
    return max(lists, key=len, default=[])


def whole(tensor: Tensor) -> Tensor:
    """The whole of a tensor that may be sharded. Every rank takes part."""
    found: Tensor = tensor.full_tensor() if hasattr(tensor, "full_tensor") else tensor
    return found


def cut_like(tensor: Tensor, other: Tensor) -> Tensor:
    """This rank's shard of a whole `tensor`, sharded like `other`, which has the same shape."""
    if not hasattr(other, "full_tensor") or tensor.shape != other.shape:
        return tensor
    from torch.distributed.tensor import distribute_tensor

    like: Any = other
    with torch.no_grad():
        return distribute_tensor(tensor, like.device_mesh, like.placements, src_data_rank=None)
