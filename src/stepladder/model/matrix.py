"""A frozen matrix as the device wants it for products. Knows tensors alone."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import linear


class Matrix:
    """weight (out, in) and bias (out) of linear layers, neither of which is learnt.

    Where it is to be `packed`, and the device is a CPU, it is kept as oneDNN wants it: products of few rows take up to
    half the time. Of each way that it is used (`times`, and for learning `back`) there is then a copy.
    """

    def __init__(self, weight: Tensor, bias: Tensor | None, packed: bool = False, both: bool = False) -> None:
        self.dtype, self.outs, self.bias = weight.dtype, len(weight), bias
        self.packed = packed and weight.device.type == "cpu" and torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
        self.weight = _packed(weight) if self.packed else weight
        self.transposed = _packed(weight.T.contiguous()) if self.packed and both else None

    def times(self, x: Tensor, onto: Tensor | None = None) -> Tensor:
        """x (n, in) to (n, out), in the dtype of x; added to `onto` where given, perhaps in its place."""
        if not self.packed:
            weight, bias = self.weight.to(x.dtype), None if self.bias is None else self.bias.to(x.dtype)
            out = linear(x, weight, bias)
            return out if onto is None else out.add_(onto)
        return _product(x.to(self.dtype), self.weight, self.bias, onto).to(x.dtype)

    def back(self, x: Tensor) -> Tensor:
        """x (n, out) to (n, in), without the bias."""
        if self.transposed is None:
            return x @ self.weight.to(x.dtype)
        return _product(x.to(self.dtype), self.transposed, None, None).to(x.dtype)


def _packed(weight: Tensor) -> Tensor:
    found: Tensor = torch.ops.mkldnn._reorder_linear_weight(weight.detach(), 16)
    return found


def _product(x: Tensor, weight: Tensor, bias: Tensor | None, onto: Tensor | None) -> Tensor:
    product: Any = torch.ops.mkldnn._linear_pointwise
    if onto is None:
        out: Tensor = product(x, weight, bias, "none", [], "")
    else:
        out = product.binary(x, onto, weight, bias, "add")
    return out
