"""The body of Llama and its kin in as few operations as it takes, for predicting.

Knows weights, positions and who sees whom (`Sight`); knows no token's text and no gradient. Matrices that read the same
input are one product; on a CPU they are kept as oneDNN wants them, which makes products of few rows up to twice as
fast. What it computes is what the model's own forward computes: `Network` tries it before it is used.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import linear, rms_norm, silu

from stepladder.model.attention import Sight
from stepladder.model.language_model import LowRank

KIN = frozenset({"llama", "mistral", "qwen2", "qwen3"})


class Linear:
    """Several linear layers of one input as one: (tokens, in) to (tokens, sum of outs)."""

    def __init__(self, layers: Sequence[Any]) -> None:
        parts = [_opened(layer) for layer in layers]
        weights = [weight for weight, _, _ in parts]
        weight = torch.cat(weights) if len(weights) > 1 else weights[0]
        self.bias = None
        if any(bias is not None for _, bias, _ in parts):
            self.bias = torch.cat([w.new_zeros(len(w)) if b is None else b.to(w.dtype) for w, b, _ in parts])
        self.packed = weight.device.type == "cpu" and torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
        self.weight = torch.ops.mkldnn._reorder_linear_weight(weight, 16) if self.packed else weight
        self.low: list[tuple[slice, slice, Tensor]] = []
        downs: list[Tensor] = []
        begin = rank = 0
        for weight, _, low in parts:
            if low is not None:
                ranks = slice(rank, rank + len(low.down))
                self.low.append((slice(begin, begin + len(weight)), ranks, low.up.to(weight.dtype).T))
                downs.append(low.down.to(weight.dtype))
                rank = ranks.stop
            begin += len(weight)
        self.down = torch.cat(downs).T if downs else None

    def __call__(self, x: Tensor, onto: Tensor | None = None) -> Tensor:
        """The product; added to `onto` where given."""
        out = self._product(x, onto)
        if self.down is not None:
            inner = x @ self.down
            for outs, ranks, up in self.low:
                out[:, outs].addmm_(inner[:, ranks], up)
        return out

    def _product(self, x: Tensor, onto: Tensor | None) -> Tensor:
        out: Tensor
        if not self.packed:
            out = linear(x, self.weight, self.bias)
            return out if onto is None else out.add_(onto)
        product = torch.ops.mkldnn._linear_pointwise
        if onto is None:
            out = product(x, self.weight, self.bias, "none", [], "")
        else:
            out = product.binary(x, onto, self.weight, self.bias, "add")
        return out


def _opened(layer: Any) -> tuple[Tensor, Tensor | None, LowRank | None]:
    """Weight, bias and low-rank addition of a linear layer. Raises TypeError for layers of another kind."""
    if type(layer) is nn.Linear:
        return layer.weight.detach(), layer.bias, None
    if hasattr(layer, "low_rank"):  # what `stepladder.tuning` puts on the model says itself what it is
        return layer.base_layer.weight.detach(), layer.base_layer.bias, layer.low_rank()
    raise TypeError(f"{type(layer).__name__} is not a linear layer that is known here")


class _Norm:
    """The root mean square norm (Zhang and Sennrich 2019), rounded once, at its end."""

    def __init__(self, module: Any) -> None:
        self.weight, self.eps = module.weight.detach(), module.variance_epsilon

    def __call__(self, x: Tensor) -> Tensor:
        return rms_norm(x, self.weight.shape, self.weight, self.eps)


class _Layer:
    def __init__(self, layer: Any) -> None:
        attention, mlp = layer.self_attn, layer.mlp
        if not isinstance(mlp.act_fn, nn.SiLU) and "silu" not in type(mlp.act_fn).__name__.lower():
            raise TypeError(f"{type(mlp.act_fn).__name__} is not silu")
        self.size, self.scaling = attention.head_dim, attention.scaling
        self.before, self.between = _Norm(layer.input_layernorm), _Norm(layer.post_attention_layernorm)
        self.of_heads = [_Norm(getattr(attention, name)) for name in ("q_norm", "k_norm") if hasattr(attention, name)]
        self.reading = Linear([attention.q_proj, attention.k_proj, attention.v_proj])
        self.heads, self.key_heads = (
            getattr(attention, name).out_features // self.size for name in ("q_proj", "k_proj")
        )
        self.out, self.gate_up, self.down = (
            Linear([attention.o_proj]),
            Linear([mlp.gate_proj, mlp.up_proj]),
            Linear([mlp.down_proj]),
        )

    def __call__(self, index: int, x: Tensor, cos: Tensor, sin: Tensor, sight: Sight) -> Tensor:
        heads = torch.unflatten(self.reading(self.before(x)), 1, (-1, self.size))
        turned, value = heads[:, : -self.key_heads], heads[:, -self.key_heads :]
        if self.of_heads:
            of_query, of_key = self.of_heads
            turned = torch.cat([of_query(turned[:, : self.heads]), of_key(turned[:, self.heads :])], dim=1)
        turned = torch.addcmul(turned * cos, turned.roll(self.size // 2, -1), sin).transpose(0, 1)[None]
        query, key = turned[:, : self.heads], turned[:, self.heads :]
        seen = sight.attend(index, query, key, value.transpose(0, 1)[None], self.scaling, 0.0)
        x = self.out(seen.flatten(2)[0], x)
        gate, up = self.gate_up(self.between(x)).chunk(2, dim=1)
        return self.down(silu(gate).mul_(up), x)


class Body:
    """Embeddings, layers, last norm and head of a causal model of `KIN`, as its parameters are when this is made.

    Raises TypeError or AttributeError for any other model.
    """

    def __init__(self, causal: Any) -> None:
        model = causal.base_model
        if causal.config.get_text_config().model_type not in KIN:
            raise TypeError("not of the kin")
        self.embeddings, self.rotary = model.embed_tokens, model.rotary_emb
        self.layers = [_Layer(layer) for layer in model.layers]
        self.norm = _Norm(model.norm)
        self.head = Linear([causal.get_output_embeddings()])

    def __call__(self, ids: Tensor, positions: Tensor, sight: Sight) -> Tensor:
        """Hidden states (tokens, width) of `ids` (tokens,) at `positions` (tokens,)."""
        x: Tensor = self.embeddings(ids)
        cos, sin = (part[0, :, None] for part in self.rotary(x[None], position_ids=positions[None]))
        half = sin.shape[-1] // 2
        sin = torch.cat([-sin[..., :half], sin[..., half:]], dim=-1)  # the sign that turning the halves wants
        for index, layer in enumerate(self.layers):
            x = layer(index, x, cos, sin, sight)
        return self.norm(x)


def signature(causal: nn.Module) -> int:
    """Changes when a parameter is changed or put elsewhere."""
    return hash(tuple((p.data_ptr(), p._version) for p in causal.parameters()))
