"""Which modules of a model an adapter sits on, and what is wrong with a choice of them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from stepladder.errors import ModelError, did_you_mean

if TYPE_CHECKING:
    from torch import nn


def check_targets(module: nn.Module, targets: Sequence[str] | str | None) -> None:
    """Every named target must be there: PEFT itself is content when any one of them is."""
    if targets is None or (isinstance(targets, str) and targets.lower() == "all-linear"):
        return
    layers = dict(module.named_modules())
    if isinstance(targets, str):
        missing = [] if any(re.fullmatch(targets, name) for name in layers) else [targets]
    else:
        missing = [t for t in targets if not any(name == t or name.endswith(f".{t}") for name in layers)]
    if missing:
        known = _matrices(module)
        raise ModelError(
            f"The model has no module named {', '.join(map(repr, missing))}",
            "adapter.target_modules",
            f"{did_you_mean(missing[0], known)} (there are {', '.join(known)}; or say all-linear)",
        )


def _matrices(module: nn.Module) -> list[str]:
    """The names, without their paths, of all modules with a matrix of weights."""
    weights = ((name, getattr(layer, "weight", None)) for name, layer in module.named_modules())
    return sorted({name.rpartition(".")[2] for name, weight in weights if weight is not None and weight.dim() == 2})


def no_default_targets(module: nn.Module, config: object) -> ModelError:
    """For an adapter that names no modules, on a model for which PEFT has no default."""
    kind, known = type(config).__name__, ", ".join(_matrices(module))
    feedforward = hasattr(config, "feedforward_modules")
    also = ", and among them those of the feed-forward network as adapter.feedforward_modules" if feedforward else ""
    model_type = getattr(getattr(module, "config", None), "model_type", type(module).__name__)
    return ModelError(
        f"PEFT knows no default modules of a model of type '{model_type}' for {kind}",
        "adapter.target_modules",
        f"name the modules to adapt{also}; this model has {known}",
    )


def try_unusual_layers(wrapped: Any) -> None:
    """Run two tokens where PEFT adapts a layer of the model's own kind, such as a router that returns several tensors:
    PEFT takes it for a linear one, and fails no sooner than in the forward."""
    import torch

    bases = {type(layer.base_layer).__name__ for layer in wrapped.modules() if hasattr(layer, "base_layer")}
    unusual = sorted(bases - {"Linear", "Embedding", "Conv1D"})
    if unusual:
        device = next(wrapped.parameters()).device
        try:
            with torch.no_grad():
                wrapped(input_ids=torch.tensor([[0, 1]], device=device))
        except (ValueError, TypeError, AttributeError, AssertionError, LookupError, RuntimeError) as error:
            what = f"PEFT cannot adapt a layer of the model's own kind ({', '.join(unusual)}): {error}"
            raise ModelError(what, "adapter.target_modules", "name the modules to adapt, without that one") from error
