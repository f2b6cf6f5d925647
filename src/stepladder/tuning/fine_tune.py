"""Fine-tuning: attaches an adapter, trains it, and stores it.

Importing this module loads neither torch nor Lightning nor PEFT.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from stepladder.errors import ConfigError, DataError, Fault, ModelError
from stepladder.models.language_model import LanguageModel
from stepladder.resources import Devices, Resources
from stepladder.tuning import adapters
from stepladder.tuning.training import Training
from stepladder.tuning.tuning import TrainingRow

if TYPE_CHECKING:
    from stepladder.tuning.weights import Rounding

Adapter = Annotated[
    Any,
    "peft.PeftConfig",
    "stepladder.tuning.Full",
    "stepladder.tuning.BitFit",
    "stepladder.tuning.QLora",
]
"""An object of any of these classes. They are named, not imported: importing this module does not load PEFT."""


@dataclass(frozen=True)
class FineTune:
    """Trains `adapter` as `training` says."""

    version: ClassVar[int] = 1
    rehearses: ClassVar[bool] = True

    adapter: Adapter
    training: Training = field(default_factory=Training)

    @property
    def reads(self) -> frozenset[str]:
        return frozenset({"train", "validation", "seed"} | {"objective"} & {self.training.validate_with})

    def check_devices(self, devices: Devices) -> None:
        """Raises ConfigError for what several devices can not do together."""
        faults = []
        if devices.count > 1 and isinstance(self.adapter, adapters.QLora):
            what = "a base in four bits is trained on one device"
            faults.append(Fault("adapter", what, "say compute.devices=1 compute.nodes=1, or adapter=lora"))
        if devices.count > 1 and devices.strategy == "fsdp" and self.training.validate_with == "objective":
            what = "a sharded model cannot answer questions"
            faults.append(Fault("training.validate_with", what, "say training.validate_with=loss, or compute=ddp"))
        if faults:
            raise ConfigError(faults)

    def tune(
        self,
        model: LanguageModel,
        rows: Sequence[TrainingRow],
        validation: Sequence[TrainingRow],
        resources: Resources,
        seed: int = 0,
    ) -> LanguageModel:
        """Fine-tune on `rows`, and keep the weights that are best on `validation` (without any: the last).

        `resources.report` gets trained_parameters, learning_rate, steps, training_tokens, training_seconds, and with
        validation rows best_step and best_validation_loss. Raises ModelError when the adapter does not fit the model,
        a row does not fit its window, or the loss is not a number.
        """
        from stepladder.tuning import weights
        from stepladder.tuning.lightning_module import train
        from stepladder.tuning.randomness import own_randomness

        self.check_devices(resources.devices)
        _check_company(resources.devices)
        if not rows:
            raise DataError(
                "There is no training row to learn from", "dataset.train", "give training rows, or tuning=frozen"
            )
        if self.training.validate_with == "objective" and resources.objective is None:
            what = "nothing that runs this fit computes an objective"
            raise ConfigError(Fault("training.validate_with", what, "say training.validate_with=loss"))
        if not validation:
            resources.progress.note("no validation rows: the last weights are kept")
        device = next(model.module.parameters()).device
        with own_randomness(device, seed):
            tuned = adapters.attach(model, self.adapter)
            _check_lengths(tuned.window, [*rows, *validation])
            learning_rate = self.training.learning_rate or adapters.learning_rate(self.adapter)
            resources.report.record(
                {"trained_parameters": weights.trained(tuned.module), "learning_rate": learning_rate}
            )
            # Biases of norms meet their frozen weights inside one kernel, which wants one dtype.
            frozen_too = self.training.precision == "float32" or isinstance(self.adapter, adapters.BitFit)
            if self.training.lora_plus_ratio is not None:
                _check_up_projections(tuned)
            keep_float32 = isinstance(self.adapter, adapters.Full) and self.adapter.dtype == "float32"
            rounded = partial(_report_rounding, resources=resources)
            with weights.in_training(tuned.module, frozen_too, rounded, keep_float32) as at_rest:
                train(tuned, rows, validation, self.training, learning_rate, resources, seed, at_rest)
            tuned = adapters.in_stored_form(model, tuned, self.adapter)
        if resources.leads:
            with TemporaryDirectory() as folder:
                adapters.check_stored(Path(folder), model, tuned, self.adapter)
        return tuned

    def save(self, folder: Path, model: LanguageModel) -> None:
        adapters.save(folder, model)

    def load(self, folder: Path, model: LanguageModel, resources: Resources) -> LanguageModel:
        return adapters.load(folder, model, self.adapter)


def _check_up_projections(model: LanguageModel) -> None:
    """Raises ConfigError where LoRA+ has no B matrix of a LoRA to train."""
    if not any(p.requires_grad and ".lora_B." in name for name, p in model.module.named_parameters()):
        what = "LoRA+ raises the rate of LoRA's B matrices, and this adapter trains none"
        raise ConfigError(Fault("training.lora_plus_ratio", what, "say adapter=lora, or training.lora_plus_ratio=null"))


KEPT_CHANGES = 0.5
"""Where fewer of the changed weights survive rounding, that is reported."""


def _report_rounding(rounding: Rounding, resources: Resources) -> None:
    resources.report.record({"weights_changed": rounding.changed, "weights_kept": rounding.kept})
    share = rounding.kept / rounding.changed
    if share < KEPT_CHANGES:
        resources.progress.note(
            f"warning: rounding to the model's dtype undoes most of the training: {rounding.kept:,} of "
            f"{rounding.changed:,} changed weights ({share:.1%}) still differ from the base; "
            "say adapter.dtype=float32 (adapter=full) or model.dtype=float32, or raise training.learning_rate"
        )


def _check_company(devices: Devices) -> None:
    if devices.count == 1:
        return
    from torch import distributed

    if not (distributed.is_available() and distributed.is_initialized()):
        what = "this process is alone: a command over several devices starts one for each"
        raise ConfigError(Fault("compute.devices", what, "tune on one device, or by the command"))


def _check_lengths(window: int, rows: Sequence[TrainingRow]) -> None:
    long = [row for row in rows if row.length > window]
    if long:
        raise ModelError(
            f"{len(long)} of {len(rows)} rows are longer than the model's context window of {window} tokens; "
            f"row {long[0].id} has {long[0].length}",
            "prompt.on_overflow",
            "shorten the prompts (fewer passages or demonstrations), or set prompt.on_overflow=skip",
        )
