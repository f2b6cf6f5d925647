"""Frozen matrices, prepacked for products on a CPU.

On a CPU with AMX tiles, products in bfloat16 are those of `csrc`: with few outputs and some hundred rows, oneDNN leaves
one of two threads without work, and it repacks few rows for each product.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import linear

from stepladder.engine.fast import kernels

KEPT = 2**30  # bytes of weights whose prepacked forms are kept
WIDEST = 4096  # inputs of a product by tiles at most: with more, oneDNN splits them and is faster


class Blocks(NamedTuple):
    """A low-rank product that is added to a matrix's: down (ranks, in) and up (out, ranks)."""

    down: Tensor
    up: Tensor

    @property
    def turned(self) -> Blocks:
        """The same for the backward pass."""
        return Blocks(self.up.T, self.down.T)


class PrepackedWeights:
    """Prepacked frozen weights of one base model, shared by all models that are tuned from it."""

    def __init__(self) -> None:
        self._kept: dict[tuple[object, ...], tuple[Sequence[Tensor], Tensor]] = {}

    def packed(self, weights: Sequence[Tensor], transposed: bool) -> Tensor:
        """`weights` (out, in), concatenated. Trained ones may change unnoticed, so they are packed anew each time."""
        if any(weight.requires_grad for weight in weights):
            return _packed(weights, transposed)
        key = transposed, *((w.data_ptr(), w._version, w.dtype, w.shape) for w in weights)
        if key not in self._kept:
            if sum(w.nbytes for memory, _ in self._kept.values() for w in memory) >= KEPT:
                self._kept.clear()
            # The memory itself is held: a parameter may be moved, and no other tensor may get its address.
            self._kept[key] = [w.detach() for w in weights], _packed(weights, transposed)
        return self._kept[key][1]


class Matrix:
    """Weights (out, in), concatenated, and bias (out,) of frozen linear layers.

    With `packs`, on a CPU, they are prepacked for tiles, or else for oneDNN: products of few rows take up to half the
    time. There is then a copy for each direction (`times`, and `back` if `both`). On a GPU, where memory is scarce,
    weights are used as they are.
    """

    def __init__(
        self, weights: Sequence[Tensor], bias: Tensor | None, packs: PrepackedWeights | None = None, both: bool = False
    ) -> None:
        self.bias = bias
        self.dtype, self.outs, self.ins = weights[0].dtype, sum(map(len, weights)), weights[0].shape[1]
        self.packed = self.transposed = None
        if packs is not None and weights[0].device.type == "cpu" and torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
            self.packed = packs.packed(weights, transposed=False)
            self.transposed = packs.packed(weights, transposed=True) if both else None
        joined = len(weights) > 1 and weights[0].device.type == "cpu" and self.packed is None
        self.weights = [torch.cat(list(weights)).detach()] if joined else [weight.detach() for weight in weights]

    @property
    def in_tiles(self) -> bool:
        """Whether forward products use tiles."""
        return _for_tiles(self.packed)

    def times(self, x: Tensor, onto: Tensor | None = None) -> Tensor:
        """x (n, in) to (n, out), in the dtype of x; added to `onto` if given, perhaps in its memory."""
        if self.packed is not None:
            return _product(x.to(self.dtype), self.packed, self.outs, self.bias, onto).to(x.dtype)
        bias = None if self.bias is None else self.bias.to(x.dtype)
        if len(self.weights) == 1:
            out = linear(x, self.weights[0].to(x.dtype), bias)
        else:
            out = x.new_empty(len(x), self.outs)
            for weight, part in zip(self.weights, self._parts(out), strict=True):
                torch.mm(x, weight.to(x.dtype).T, out=part)
            out = out if bias is None else out.add_(bias)
        return out if onto is None else out.add_(onto)

    def back(self, x: Tensor) -> Tensor:
        """x (n, out) to (n, in), without the bias."""
        if self.transposed is not None:
            return _product(x.to(self.dtype), self.transposed, self.ins, None, None).to(x.dtype)
        (weight, *others), (part, *parts) = self.weights, self._parts(x)
        found = part @ weight.to(x.dtype)
        for weight, part in zip(others, parts, strict=True):
            found.addmm_(part, weight.to(x.dtype))
        return found

    def fitted(self, blocks: Blocks, back: bool = False) -> Blocks:
        """The blocks in the form that `times_with` takes."""
        packed = self.transposed if back else self.packed
        alike = _for_tiles(packed) and blocks.down.dtype == self.dtype
        return Blocks(*map(kernels.packed, blocks)) if alike else blocks

    def times_with(
        self, x: Tensor, blocks: Blocks, onto: Tensor | None = None, back: bool = False
    ) -> tuple[Tensor, Tensor]:
        """`times` (or `back`), and what `fitted` blocks add; and the product (n, ranks or more) of x by the first."""
        packed = self.transposed if back else self.packed
        if blocks.down.dim() > 2 and packed is not None:
            outs, bias = (self.ins, None) if back else (self.outs, self.bias)
            return kernels.tiled_product(x, packed, outs, bias, onto, blocks)
        low = x @ blocks.down.T
        return (self.back(x) if back else self.times(x, onto)).addmm_(low, blocks.up.T), low

    def _parts(self, whole: Tensor) -> Sequence[Tensor]:
        """The columns of (n, out) that belong to each of the weights."""
        return torch.split(whole, [len(weight) for weight in self.weights], dim=1)


def _packed(weights: Sequence[Tensor], transposed: bool) -> Tensor:
    whole = torch.cat(list(weights)) if len(weights) > 1 else weights[0]
    whole = whole.detach().T if transposed else whole.detach()
    ins = whole.shape[1]
    if kernels.tiled(whole.dtype) and ins % kernels.TILE == 0 and ins <= WIDEST:
        return kernels.packed(whole)
    found: Tensor = torch.ops.mkldnn._reorder_linear_weight(whole.contiguous(), 16)
    return found


def _for_tiles(packed: Tensor | None) -> bool:
    return packed is not None and not packed.is_mkldnn


def _product(x: Tensor, weight: Tensor, outs: int, bias: Tensor | None, onto: Tensor | None) -> Tensor:
    if _for_tiles(weight):
        return kernels.tiled_product(x, weight, outs, bias, onto)[0]
    product: Any = torch.ops.mkldnn._linear_pointwise
    if onto is None:
        out: Tensor = product(x, weight, bias, "none", [], "")
    else:
        out = product.binary(x, onto, weight, bias, "add")
    return out
