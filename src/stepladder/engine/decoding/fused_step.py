"""A decoding step of few tokens through a `FusedDecoder` in one compiled call, which attends in the KV-cache slots.

As single operations, a step of one token for each of some rows is hundreds of small ones, which wait for memory and for
each other; here all threads go through all layers together (`csrc/steps.cpp`).
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from ctypes import POINTER, c_float, c_int64, c_void_p, pointer
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import pad

from stepladder.engine.fast import kernels
from stepladder.engine.fast.decoder import FusedDecoder, Linear
from stepladder.engine.fast.kernels import TILE


@dataclass
class Slots:
    """Keys and values of a layer: those of a prefix that is attended to in place (1, key heads, columns, size), and the
    slots' (rows * capacity + 1, key heads, size), the last for tokens that nothing attends to."""

    prefix: tuple[Tensor, Tensor] | None
    keys: Tensor
    values: Tensor


class _Linear(ctypes.Structure):
    _fields_ = [
        ("weights", c_void_p * 3), ("outs", c_int64 * 3), ("bias", c_void_p), ("down", c_void_p), ("up", c_void_p),
        ("ins", c_int64), ("ranks", c_int64),
    ]  # fmt: skip


class _Layer(ctypes.Structure):
    _fields_ = [
        ("before", c_void_p), ("between", c_void_p), ("of_query", c_void_p), ("of_key", c_void_p),
        ("reading", _Linear), ("out", _Linear), ("gate_up", _Linear), ("down", _Linear),
        ("keys", c_void_p), ("values", c_void_p), ("keys_ahead", c_void_p), ("values_ahead", c_void_p),
    ]  # fmt: skip


class _Pass(ctypes.Structure):
    _fields_ = [
        *((name, c_int64) for name in (
            "tokens", "layers", "width", "inner", "heads", "key_heads", "size", "ahead", "fresh", "tiled"
        )),
        ("eps", c_float), ("scaling", c_float), ("layer", POINTER(_Layer)), ("norm", c_void_p), ("x", c_void_p),
        ("cosines", c_void_p), ("sines", c_void_p), ("place", c_void_p), ("first", c_void_p), ("whole", c_void_p),
        ("among", c_void_p),
    ]  # fmt: skip


class Steps:
    """Steps of a `decoder` on the slots of its layers. The weights must stay at their addresses meanwhile."""

    def __init__(self, decoder: FusedDecoder, slots: Sequence[Slots]) -> None:
        self.decoder, self.slots = decoder, slots
        self._held: list[Tensor] = []  # what is made for the steps alone
        self._tiled = _in_tiles(decoder)
        self._layers = (_Layer * len(slots))(*map(self._layer, decoder.layers, slots))
        first, prefix = decoder.layers[0], slots[0].prefix
        self._form: dict[str, Any] = {
            "layers": len(slots), "width": first.out.matrix.outs, "inner": first.gate_up.matrix.outs // 2,
            "heads": first.heads, "key_heads": first.key_heads, "size": first.size, "eps": first.before.eps,
            "ahead": 0 if prefix is None else prefix[0].shape[2], "scaling": first.scaling, "layer": self._layers,
            "norm": decoder.norm.weight.data_ptr(), "tiled": self._tiled,
        }  # fmt: skip

    def __call__(
        self, ids: Tensor, positions: Tensor, place: Tensor, first: Tensor, whole: Tensor, among: Tensor | None = None
    ) -> Tensor:
        """Hidden states (tokens, width) of a step.

        Args:
            ids: The tokens (tokens,).
            positions: Of the tokens (tokens,).
            place: The place among the slots that each token's keys and values go to (tokens,).
            first: Where the slot of each token's row begins (tokens,).
            whole: How many columns of its row each token attends to, after the shared prefix (tokens,).
            among: Which of the n columns after these each token attends to (tokens, n); None: none.
        """
        x: Tensor = self.decoder.embeddings(ids).contiguous()
        cosines, sines = self.decoder.rotation(x, positions)
        seen = torch.empty(len(ids), 0, dtype=torch.uint8) if among is None else among.to(torch.uint8)
        names = ("x", "cosines", "sines", "place", "first", "whole", "among")
        tensors = [part.contiguous() for part in (x, cosines, sines, place, first, whole, seen)]
        given = {name: tensor.data_ptr() for name, tensor in zip(names, tensors, strict=True)}
        kernels.step(x.dtype, pointer(_Pass(tokens=len(ids), fresh=seen.shape[1], **given, **self._form)))
        return x

    def _layer(self, layer: Any, slots: Slots) -> _Layer:
        of_query, of_key = ([norm.weight.data_ptr() for norm in layer.of_heads] or [None, None])[:2]
        keys_ahead = values_ahead = None
        if slots.prefix is not None:
            more = -slots.prefix[0].shape[2] % TILE
            keys, values = (pad(part[0], (0, 0, 0, more)) for part in slots.prefix)
            if self._tiled:
                ahead = [kernels.packed(part.flatten(0, 1)) for part in (keys, values.transpose(1, 2))]
            else:
                ahead = [part.transpose(1, 2).flatten(0, 1) for part in (keys, values)]
            keys_ahead, values_ahead = map(self._lasting, ahead)
        return _Layer(
            layer.before.weight.data_ptr(), layer.between.weight.data_ptr(), of_query, of_key,
            *map(self._linear, layer.linears), slots.keys.data_ptr(), slots.values.data_ptr(), keys_ahead, values_ahead,
        )  # fmt: skip

    def _linear(self, linear: Linear) -> _Linear:
        matrix, blocks = linear.matrix, linear.blocks
        made = _Linear(ins=matrix.ins, bias=None if matrix.bias is None else matrix.bias.data_ptr())
        parts = [(weight, len(weight)) for weight in matrix.weights]
        if self._tiled and matrix.packed is not None:
            parts = [(matrix.packed, matrix.outs)]
        for at, (weight, outs) in enumerate(parts):
            made.weights[at], made.outs[at] = weight.data_ptr(), outs
        if blocks is not None and linear.fitted is not None:
            more = -len(blocks.down) % TILE
            made.ranks = len(blocks.down) + more
            low = linear.fitted if self._tiled else (pad(blocks.down, (0, 0, 0, more)), pad(blocks.up, (0, more)))
            made.down, made.up = map(self._lasting, low)
        return made

    def _lasting(self, tensor: Tensor) -> int:
        self._held.append(tensor.contiguous())
        return self._held[-1].data_ptr()


def at_once(decoder: FusedDecoder) -> int:
    """How many tokens a step takes: 0 except on a CPU with vectors of 64 bytes, for multiples of these as widths."""
    weights = [weight for linear in decoder.linears for weight in linear.matrix.weights]
    norms = [norm for layer in decoder.layers for norm in (layer.before, layer.between, *layer.of_heads)]
    norms.append(decoder.norm)
    biases = [linear.matrix.bias for linear in decoder.linears if linear.matrix.bias is not None]
    tensors = [*weights, *biases, *(norm.weight for norm in norms), *decoder.embeddings.parameters()]
    dtype, device = weights[0].dtype, weights[0].device
    suits = (
        device.type == "cpu"
        and all(tensor.dtype == dtype and tensor.is_contiguous() for tensor in tensors)
        and all(weight.shape[1] % TILE == 0 for weight in weights)
        and all(layer.size % TILE == 0 for layer in decoder.layers)
        and len({norm.eps for norm in norms}) == 1
    )
    most = kernels.steps_at_once(dtype) if suits else 0
    return kernels.BY_TILES if most and _in_tiles(decoder) else most


def _in_tiles(decoder: FusedDecoder) -> bool:
    return all(linear.matrix.in_tiles for linear in decoder.linears)
