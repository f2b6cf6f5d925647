"""Starts of a LoRA's weights: which can be trained, and what is stored of those that change the base weights.

The second module, next to `adapters`, that imports PEFT. Importing it loads neither torch nor PEFT.
"""

from __future__ import annotations

import copy
import io
import math
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr
from typing import TYPE_CHECKING, Any

from stepladder.errors import ConfigError, Fault, ModelError

if TYPE_CHECKING:
    from peft import PeftConfig, PeftModel
    from torch import Tensor, nn

UNSUPPORTED_INITIALISATIONS = {
    "eva": "it is computed from activations on training data, which training does not collect",
    "corda": "it is computed from activations on training data, which training does not collect",
    "lora_ga": "it is computed from gradients on training data, which training does not collect",
    "loftq": "it quantises the base model, so that the adapter fits no other copy of the base",
}
"""Values of `init_lora_weights` that PEFT accepts and that cannot be trained here, with the reason."""

BASE_CHANGING_INITIALISATIONS = ("pissa", "olora")
"""What `init_lora_weights` begins with where PEFT moves a low-rank part of the base weights into the adapter."""


@contextmanager
def silent() -> Iterator[None]:
    """Without progress bars over files and without notices of what a dependency will rename."""
    with warnings.catch_warnings(), redirect_stderr(io.StringIO()):
        warnings.simplefilter("ignore", FutureWarning)
        yield


def adapted(module: nn.Module, config: PeftConfig) -> PeftModel:
    """PEFT's adapter on the module. Raises ModelError when it does not fit."""
    import peft

    try:
        with silent():
            return peft.get_peft_model(module, config).eval()
    except (ValueError, TypeError, AttributeError, AssertionError, IndexError, RuntimeError) as error:
        raise ModelError(f"PEFT can not put this {type(config).__name__} on the model: {error}", "adapter") from error


def changes_base(config: PeftConfig) -> bool:
    return str(getattr(config, "init_lora_weights", "")).lower().startswith(BASE_CHANGING_INITIALISATIONS)


def with_residual_base(module: nn.Module, config: PeftConfig) -> PeftModel:
    """An adapter that starts as a part of the base weights: W = R + s B0 A0, where R replaces the base weight W.

    The returned model remembers A0 and B0 as `initial_low_rank`, so that `as_plain_lora` can move the part back.
    Only the layers that the adapter sits on get weights of their own, also where a weight is tied.

    Raises ModelError where PEFT's start is not the function of the base model.
    """
    import peft
    from peft.tuners.lora import LoraLayer

    before = [(parameter, parameter.data) for parameter in module.parameters()]
    for parameter, data in before:
        parameter.data = data.clone()  # PEFT subtracts in place
    weights = {name: parameter.data.clone() for name, parameter in module.named_parameters(remove_duplicate=False)}
    wrapped = adapted(module, config)
    residuals: list[tuple[Any, Tensor]] = []
    prefix = "base_model.model."
    for name, layer in wrapped.named_modules():
        if not isinstance(layer, LoraLayer):
            continue
        base: Any = layer.get_base_layer()
        own: Any = layer
        delta = own.get_delta_weight("default").float()
        whole = weights[f"{name.removeprefix(prefix)}.weight"].float()
        start = base.weight.float() + delta
        if (start - whole).norm() > 0.01 * whole.norm():
            what = f"init_lora_weights={config.init_lora_weights} changes what {name.removeprefix(prefix)} computes"
            raise ModelError(what, "adapter.init_lora_weights", "use init_lora_weights=true, or other target_modules")
        residuals.append((base, (whole - delta).to(base.weight.dtype)))
    for parameter, data in before:
        parameter.data = data
    for base, residual in residuals:
        base.weight = type(base.weight)(residual, requires_grad=False)
    factors = ("lora_A", "lora_B", "lora_embedding_A", "lora_embedding_B")
    state = peft.get_peft_model_state_dict(wrapped, save_embedding_layers=False)
    wrapped.initial_low_rank = {
        name: value.clone() for name, value in state.items() if any(f".{factor}" in name for factor in factors)
    }
    return wrapped


def stored_config(given: PeftConfig) -> PeftConfig:
    """What `load` and plain PEFT open the stored adapter with; a start that changes the base became a plain LoRA."""
    config: Any = copy.deepcopy(given)
    if not changes_base(config):
        return config
    scaled = math.sqrt(2) if config.use_rslora else 2  # twice the rank, the same scaling
    config.init_lora_weights = True
    config.r, config.lora_alpha = 2 * config.r, scaled * config.lora_alpha
    config.rank_pattern = {name: 2 * rank for name, rank in config.rank_pattern.items()}
    config.alpha_pattern = {name: scaled * alpha for name, alpha in config.alpha_pattern.items()}
    return config


def as_plain_lora(trained: Any, ground: nn.Module, config: PeftConfig) -> PeftModel | None:
    """What `with_residual_base` began, after training, as a plain LoRA of twice the rank on the unchanged base.

    R + s B A = W + s [B, -B0] [A; A0]. None where the trained model did not start from a part of the base weights.

    Args:
        trained: The trained model of PEFT.
        ground: The base model, with the weights W.
        config: `stored_config` of the adapter.
    """
    initial: dict[str, Tensor] | None = getattr(trained, "initial_low_rank", None)
    if initial is None:
        return None
    import peft
    import torch

    state = peft.get_peft_model_state_dict(trained, save_embedding_layers=False)
    for name, start in initial.items():
        if name.endswith(".bias"):
            continue  # of the layer's own: nothing of it was taken from the base
        down = any(f".{factor}" in name for factor in ("lora_A", "lora_embedding_A"))
        state[name] = torch.cat([state[name], start if down else -start], dim=0 if down else 1)
    plain = adapted(ground, config)
    peft.set_peft_model_state_dict(plain, state)
    return plain


def check_start(adapter: PeftConfig) -> None:
    """Raises ConfigError for a start of LoRA's weights that would not be what it says, or could not be stored."""
    named = getattr(adapter, "init_lora_weights", True)
    kind = named.lower() if isinstance(named, str) else ""
    why = UNSUPPORTED_INITIALISATIONS.get(kind, "")
    if changes_base(adapter) and getattr(adapter, "target_parameters", None):
        why = "it serves linear layers only, and adapter.target_parameters names weights of another kind"
    if why:
        known = "true, false, gaussian, orthogonal, mica, pissa, pissa_niter_N or olora"
        raise ConfigError(Fault("adapter.init_lora_weights", f"'{named}' can not be used: {why}", f"say {known}"))
