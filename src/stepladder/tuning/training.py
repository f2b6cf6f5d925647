"""How training goes: its length, its pace, its precision. Knows no model and no data.

Importing this module loads no torch.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

from stepladder.errors import ConfigError, Fault

Callback = Annotated[Any, "pytorch_lightning.Callback"]
"""By name, since Lightning is not to be imported to bind a configuration."""


@dataclass(frozen=True)
class Training:
    """
    epochs: how often every row is seen.
    batch_size: rows a step, over all devices and micro-batches together.
    learning_rate: its peak; None takes what suits the adapter (`stepladder.tuning.adapters.LEARNING_RATES`).
    schedule: how the rate goes down from its peak to nought, or `constant`.
    warmup: share of all steps in which the rate rises to its peak.
    max_grad_norm: the norm to which gradients are clipped; None clips nothing.
    precision: of the products while training; trained weights and the optimiser are float32 in both.
    patience: stop after so many validations without a better one; None never stops early.
    validate_every: validations are so many epochs apart (0.5: twice an epoch); the end is always validated.
    validate_with: what the best weights are chosen by: the validation loss; or the objective, the main metric of the
        model's answers to the validation rows, which takes the time of giving them.
    optimizer: an optimiser of torch to be called with parameters and `lr`; None is AdamW.
    neftune_noise_alpha: NEFTune (Jain et al. 2023, arXiv 2310.05914): in training steps, uniform noise from -1 to 1
        times alpha / sqrt(length x width) is added to the embeddings of each row; None adds none. Validation and
        prediction have no noise. Rows then run through the model's own layers, padded, without the fused decoder.
    lora_plus_ratio: LoRA+ (Hayou et al. 2024, arXiv 2402.12354): LoRA's B matrices learn at so many times
        `learning_rate`, at least 1; None trains all weights at one rate.
    callbacks: Lightning callbacks, in the order in which Lightning calls them (`stepladder.tuning.callbacks`).
    """

    version: ClassVar[int] = 1

    epochs: int = 3
    batch_size: int = 8
    learning_rate: float | None = None
    schedule: Literal["cosine", "linear", "constant"] = "cosine"
    warmup: float = 0.05
    weight_decay: float = 0.0
    max_grad_norm: float | None = 1.0
    precision: Literal["bf16", "float32"] = "bf16"
    patience: int | None = 2
    validate_every: float = 1.0
    validate_with: Literal["loss", "objective"] = "loss"
    optimizer: Callable[..., Any] | None = None
    neftune_noise_alpha: float | None = None
    lora_plus_ratio: float | None = None
    callbacks: Sequence[Callback] = ()

    def __post_init__(self) -> None:
        rules = (
            ("epochs", self.epochs >= 1, "at least 1"),
            ("batch_size", self.batch_size >= 1, "at least 1"),
            ("learning_rate", self.learning_rate is None or self.learning_rate > 0, "above 0, or null"),
            ("schedule", self.schedule in ("cosine", "linear", "constant"), "cosine, linear or constant"),
            ("warmup", 0 <= self.warmup < 1, "a share of all steps, from 0 to below 1"),
            ("weight_decay", self.weight_decay >= 0, "0 or more"),
            ("max_grad_norm", self.max_grad_norm is None or self.max_grad_norm > 0, "above 0, or null"),
            ("precision", self.precision in ("bf16", "float32"), "bf16 or float32"),
            ("patience", self.patience is None or self.patience >= 1, "at least 1, or null"),
            ("validate_every", self.validate_every > 0, "above 0"),
            ("validate_with", self.validate_with in ("loss", "objective"), "loss or objective"),
            ("neftune_noise_alpha", _is_null_or(self.neftune_noise_alpha, above=0), "above 0 (5 to 15), or null"),
            (
                "lora_plus_ratio",
                self.lora_plus_ratio is None or 1 <= self.lora_plus_ratio < math.inf,
                "1 or more, or null",
            ),
        )
        faults = [
            Fault(key, f"{getattr(self, key)!r} is out of range", right) for key, fine, right in rules if not fine
        ]
        if faults:
            raise ConfigError(faults)

    def steps(self, rows: int) -> int:
        """How many steps training takes when nothing stops it early."""
        return self.epochs * math.ceil(rows / self.batch_size)

    def steps_apart(self, rows: int) -> int:
        """How many steps lie between two validations."""
        return max(1, round(self.validate_every * self.steps(rows) / self.epochs))

    def validated(self, rows: int) -> frozenset[int]:
        """The steps, counted from one, after which the model is validated."""
        total, apart = self.steps(rows), self.steps_apart(rows)
        return frozenset(range(apart, total, apart)) | {total}

    def rate(self, step: int, total: int, peak: float) -> float:
        """The learning rate of `step` (counted from one) of `total`."""
        rising = round(self.warmup * total)
        if step <= rising:
            return peak * step / rising
        if self.schedule == "constant":
            return peak
        left = (total - step + 1) / (total - rising)
        return peak * (left if self.schedule == "linear" else (1 - math.cos(math.pi * left)) / 2)


def _is_null_or(value: float | None, above: float) -> bool:
    return value is None or above < value < math.inf
