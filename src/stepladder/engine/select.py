"""Chooses the engine of a model. The only module that knows whether there is a fast engine.

The packages `fast`, `decoding` and `csrc` beside this module can be deleted: every model is then run by `reference`.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal

from torch import Tensor, nn

from stepladder.engine import admission
from stepladder.engine.interface import Engine
from stepladder.engine.reference import ReferenceEngine

if TYPE_CHECKING:
    from stepladder.engine.decoding.engine import FastEngine

EngineName = Literal["auto", "reference"]
LowRankLinear = Callable[[Tensor, Tensor, Tensor | None, Any], Tensor]


def create_engine(module: nn.Module, requested: EngineName = "auto", admit: bool = True) -> Engine:
    """The engine that runs a model: the fast one where it computes what `reference` computes.

    Args:
        module: A transformers causal model.
        requested: `reference`, or `auto` for the fastest engine that is admitted.
        admit: Whether the fast engine has to be admitted first; False for an architecture that its tests cover.

    Raises:
        ModelError: The model cannot be run, or is not causal.
    """
    reference = ReferenceEngine(module)
    if admit:
        admission.check_causal(reference.network)
    kind = fast_engine()
    if requested == "reference" or kind is None:
        return reference
    if admit and not admission.admitted(reference.network.causal, kind):
        print(
            f"note: the fast engine is not equal to transformers for models of type "
            f"'{reference.network.config.model_type}'; model.engine=reference runs it",
            file=sys.stderr,
        )
        return reference
    return kind(module)


def fast_engine() -> type[FastEngine] | None:
    """The class of the fast engine; None where its packages are deleted."""
    try:
        from stepladder.engine.decoding.engine import FastEngine
    except ModuleNotFoundError as error:
        if not str(error.name).startswith("stepladder.engine."):
            raise
        return None
    return FastEngine


def fused_low_rank_linear() -> LowRankLinear | None:
    """A frozen linear layer with low-rank additions as one function with its own backward pass; None if switched off.

    Only for models that the fast engine runs.
    """
    from stepladder.engine.fast.low_rank import low_rank_linear
    from stepladder.engine.fast.techniques import ON

    return low_rank_linear if ON.fused_lora else None
