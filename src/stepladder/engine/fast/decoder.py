"""The fused decoder: the layers of Llama-like models in few operations.

Matrices that read the same input are one product. For predicting they are prepacked on a CPU, which makes products of
few rows up to twice as fast; in training, gradients reach the low-rank additions of adapters. `FastNetwork` compares it
with the model's own forward pass before it is used.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from itertools import accumulate
from typing import Any

import torch
from torch import Tensor, nn

from stepladder.engine.fast.attention import AttentionPattern
from stepladder.engine.fast.low_rank import joined, with_additions
from stepladder.engine.fast.matrix import Matrix, PrepackedWeights
from stepladder.engine.fast.operations import gated, rms_norm, rotated
from stepladder.engine.values import LowRank

FUSED = frozenset({"llama", "mistral", "qwen2", "qwen3"})
PACKED = 2**24  # bytes of a layer's matrices up to which they are prepacked for training, once for each direction


class _Joined:
    """Several linear layers of one input as one: (tokens, in) to (tokens, sum of outs)."""

    def __init__(self, layers: Sequence[Any], packs: PrepackedWeights | None, both: bool) -> None:
        opened = [_opened(layer) for layer in layers]
        weights, bias = [weight for weight, _, _ in opened], None
        if any(bias is not None for _, bias, _ in opened):
            bias = torch.cat([w.new_zeros(len(w)) if b is None else b.to(w.dtype) for w, b, _ in opened]).detach()
        self.matrix = Matrix(weights, bias, packs, both)
        starts = accumulate((len(weight) for weight in weights), initial=0)
        self.additions = [(first, low) for first, (_, _, low) in zip(starts, opened, strict=False) if low is not None]


class TrainingLinear(_Joined):
    """The layers while low-rank additions to them are trained. Prepacked for products in bf16, which gain most, as long
    as the copies are small."""

    def __init__(self, layers: Sequence[Any], packs: PrepackedWeights) -> None:
        weights = [_opened(layer)[0] for layer in layers]
        pays = weights[0].dtype == torch.bfloat16 and sum(weight.nbytes for weight in weights) <= PACKED
        super().__init__(layers, packs if pays else None, both=True)
        if any(low.dropout for _, low in self.additions):
            raise TypeError("the adapter has dropout")

    def __call__(self, x: Tensor, onto: Tensor | None = None) -> Tensor:
        out = with_additions(x, self.matrix, self.additions)
        return out if onto is None else onto + out


class Linear(_Joined):
    """The layers with their current weights, for predicting."""

    def __init__(self, layers: Sequence[Any], packs: PrepackedWeights) -> None:
        super().__init__(layers, packs, both=False)
        blocks = joined(self.additions, self.matrix.outs, self.matrix.dtype) if self.additions else None
        self.blocks, self.fitted = blocks, None if blocks is None else self.matrix.fitted(blocks)

    def __call__(self, x: Tensor, onto: Tensor | None = None) -> Tensor:
        """The product; added to `onto` where given."""
        return self.matrix.times(x, onto) if self.fitted is None else self.matrix.times_with(x, self.fitted, onto)[0]


def _opened(layer: Any) -> tuple[Tensor, Tensor | None, LowRank | None]:
    """Weight, bias and low-rank addition of a linear layer. Raises TypeError for layers of another kind."""
    if type(layer) is nn.Linear:
        return layer.weight, layer.bias, None
    if hasattr(layer, "low_rank"):  # a LoRA layer of `stepladder.tuning`
        return layer.base_layer.weight, layer.base_layer.bias, layer.low_rank()
    raise TypeError(f"{type(layer).__name__} is not a supported linear layer")


class _Norm:
    """The root mean square norm of a module with `weight` and `variance_epsilon`."""

    def __init__(self, module: Any) -> None:
        self.weight, self.eps = module.weight.detach(), module.variance_epsilon

    def __call__(self, x: Tensor) -> Tensor:
        return rms_norm(x, self.weight, self.eps)


class _Layer:
    def __init__(self, layer: Any, joined: Callable[[Sequence[Any]], Linear | TrainingLinear]) -> None:
        attention, mlp = layer.self_attn, layer.mlp
        if not isinstance(mlp.act_fn, nn.SiLU) and "silu" not in type(mlp.act_fn).__name__.lower():
            raise TypeError(f"{type(mlp.act_fn).__name__} is not silu")
        self.size, self.scaling = attention.head_dim, attention.scaling
        self.before, self.between = _Norm(layer.input_layernorm), _Norm(layer.post_attention_layernorm)
        self.of_heads = [_Norm(getattr(attention, name)) for name in ("q_norm", "k_norm") if hasattr(attention, name)]
        self.query_key_value = joined([attention.q_proj, attention.k_proj, attention.v_proj])
        self.heads = attention.q_proj.out_features // self.size
        self.key_heads = attention.k_proj.out_features // self.size
        self.out, self.down = joined([attention.o_proj]), joined([mlp.down_proj])
        self.gate_up = joined([mlp.gate_proj, mlp.up_proj])
        self.linears = self.query_key_value, self.out, self.gate_up, self.down

    def __call__(
        self, index: int, x: Tensor, cos: Tensor, sin: Tensor, pattern: AttentionPattern, wanted: Tensor | None = None
    ) -> Tensor:
        heads = torch.unflatten(self.query_key_value(self.before(x)), 1, (-1, self.size))
        turned, value = torch.split(heads, [self.heads + self.key_heads, self.key_heads], dim=1)
        if self.of_heads:
            of_query, of_key = self.of_heads
            turned = torch.cat([of_query(turned[:, : self.heads]), of_key(turned[:, self.heads :])], dim=1)
        turned = rotated(turned, cos, sin).transpose(0, 1)[None]
        query, key = torch.split(turned, [self.heads, self.key_heads], dim=1)
        with torch.autocast(x.device.type, enabled=False):
            seen = pattern.attend(index, query, key, value.transpose(0, 1)[None], self.scaling, 0.0).flatten(2)[0]
        if wanted is not None:
            seen, x = seen[wanted], x[wanted]
        x = self.out(seen, x)
        return self.down(gated(self.gate_up(self.between(x))), x)


class FusedDecoder:
    """Embeddings, layers, last norm and head of a causal model whose type is in `FUSED`.

    Args:
        causal: The model. Its parameters are those of now.
        packs: Where prepacked weights are kept.
        training: Whether gradients reach the low-rank additions; there is no head then.

    Raises:
        TypeError, AttributeError: The model is another one, or more than low-rank additions is trained.
    """

    def __init__(self, causal: Any, packs: PrepackedWeights, training: bool = False) -> None:
        model = causal.base_model
        if causal.config.get_text_config().model_type not in FUSED:
            raise TypeError("not a supported architecture")
        joined = partial(TrainingLinear if training else Linear, packs=packs)
        self.embeddings, self.rotary = model.embed_tokens, model.rotary_emb
        self.layers = [_Layer(layer, joined) for layer in model.layers]
        self.linears = [linear for layer in self.layers for linear in layer.linears]
        self.norm = _Norm(model.norm)
        self.head = None if training else Linear([causal.get_output_embeddings()], packs)
        if training:
            self._check_reached(model)

    @property
    def dtype(self) -> torch.dtype:
        return self.layers[0].out.matrix.dtype

    @property
    def form(self) -> object:
        """Equal for fused decoders of one base model that differ only in the values of their parameters."""
        places = tuple(tuple(first for first, _ in linear.additions) for linear in self.linears)
        return type(self.linears[0]), self.dtype, places

    def _check_reached(self, model: nn.Module) -> None:
        additions = [low for linear in self.linears for _, low in linear.additions]
        reached = {id(part) for low in additions for part in (low.down, low.up)}
        reached |= set(map(id, self.embeddings.parameters()))
        if any(p.requires_grad and id(p) not in reached for p in model.parameters()):
            raise TypeError("more than low-rank additions is trained")

    def __call__(
        self, ids: Tensor, positions: Tensor, pattern: AttentionPattern, wanted: Tensor | None = None
    ) -> Tensor:
        """Hidden states (tokens, width) of `ids` (tokens,) at `positions` (tokens,); only (n, width) at the places
        `wanted` (n,), if given."""
        x: Tensor = self.embeddings(ids)
        cos, sin = self.rotation(x, positions)
        for index, layer in enumerate(self.layers):
            x = layer(index, x, cos, sin, pattern, wanted if index + 1 == len(self.layers) else None)
        return self.norm(x)

    def rotation(self, x: Tensor, positions: Tensor) -> tuple[Tensor, Tensor]:
        """Cosines and sines (tokens, 1, size) of rotary embeddings at `positions` (tokens,), in the dtype of x."""
        cos, sin = (part[0, :, None] for part in self.rotary(x[None], position_ids=positions[None]))
        first, second = sin.chunk(2, dim=-1)
        return cos, torch.cat([-first, second], dim=-1)  # the sign for `rotated`, which rolls the halves


def signature(parameters: Iterable[nn.Parameter], contents: bool = True) -> int:
    """Changes with a parameter's memory, with whether it is trained, and, if `contents`, with its values."""
    return hash(tuple((p.data_ptr(), p.requires_grad, p._version if contents else 0) for p in parameters))
