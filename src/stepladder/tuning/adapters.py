"""What is trained of a model: an adapter of PEFT, its biases, or all of it.

With `low_rank_starts` the only module that imports PEFT.

Importing this module loads neither torch nor PEFT. The given model is never changed: the trained parameters belong to a
copy that shares the frozen weights.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from stepladder.engine.values import LowRank, VirtualTokens
from stepladder.errors import ConfigError, Fault, ModelError, StoreError
from stepladder.io.files import write_text
from stepladder.models.language_model import LanguageModel
from stepladder.tuning import low_rank_starts
from stepladder.tuning.low_rank_starts import silent
from stepladder.tuning.targets import check_targets, no_default_targets, try_unusual_layers

if TYPE_CHECKING:
    from peft import PeftConfig, PeftModel
    from torch import Tensor, nn

    from stepladder.engine.select import LowRankLinear


@dataclass(frozen=True)
class Full:
    """All weights are trained, in float32, and kept in the model's own dtype or, with `dtype=float32`, as trained.

    A bf16 weight has 8 bits of precision: a change below 1/512 of a weight is rounded away when it is kept in bf16.
    In float32 nothing is, and the tuned model takes 4 bytes a parameter on disk and in memory when it predicts.
    """

    version: ClassVar[int] = 1

    dtype: Literal["model", "float32"] = "model"

    def __post_init__(self) -> None:
        if self.dtype not in ("model", "float32"):
            raise ConfigError(Fault("adapter.dtype", f"'{self.dtype}' is not supported", "say model or float32"))


@dataclass(frozen=True)
class BitFit:
    """The bias terms are trained and nothing else (Ben Zaken, Goldberg and Ravfogel, 2022)."""

    version: ClassVar[int] = 1


@dataclass(frozen=True)
class QLora:
    """LoRA on a base in four bits (Dettmers et al., 2023), with PEFT's names. Needs the extra `quantized`."""

    version: ClassVar[int] = 1

    r: int = 16
    lora_alpha: int = 32
    lora_dropout: float = 0.0
    target_modules: str | Sequence[str] = "all-linear"
    quant_type: Literal["nf4", "fp4"] = "nf4"


DEFAULT_LEARNING_RATE = 1.5e-3
LEARNING_RATES = {
    "Full": 5e-5,
    "BitFit": 1e-3,
    "IA3Config": 5e-3,
    "PromptTuningConfig": 1e-2,
    "PrefixTuningConfig": 1e-2,
}
"""Peak learning rates by the adapter's class, for small models and some hundreds of rows. All other adapters (LoRA and
its variants) take `DEFAULT_LEARNING_RATE`."""

REFUSED = {
    "ADALORA": "its ranks follow a schedule of their own",
    "CPT": "it needs the ids of the prompt's own tokens",
    "MULTITASK_PROMPT_TUNING": "it needs a task id with every row",
    "POLY": "it needs a task id with every row",
    "XLORA": "it mixes adapters that are trained already",
}


def learning_rate(adapter: object) -> float:
    """The peak learning rate that suits an adapter, where `training.learning_rate` is null."""
    names = [base.__name__ for base in type(adapter).__mro__]
    return next((LEARNING_RATES[name] for name in names if name in LEARNING_RATES), DEFAULT_LEARNING_RATE)


def suggested_learning_rate(target: str) -> float:
    """What `learning_rate` returns for an adapter whose `_target_` is `target`, without importing its class."""
    return LEARNING_RATES.get(target.rpartition(".")[2], DEFAULT_LEARNING_RATE)


def attach(model: LanguageModel, adapter: object) -> LanguageModel:
    """The model with something on it to train: exactly its trained parameters ask for gradients.

    New weights are drawn from torch's global generator. Raises ModelError when the adapter does not fit the network.
    """
    if isinstance(adapter, Full | BitFit):
        return model.adapted(_own_weights(model.module, adapter))
    config = _configured(adapter)
    module = _ground(model.module, adapter)
    check_targets(module, getattr(config, "target_modules", None))
    start = low_rank_starts.with_residual_base if low_rank_starts.changes_base(config) else low_rank_starts.adapted
    try:
        wrapped = start(module, config)
    except ModelError as error:
        if "specify `target_modules`" in error.what:
            raise no_default_targets(module, config) from error
        raise
    if not isinstance(adapter, QLora):
        try_unusual_layers(wrapped)
    try:
        return _wrapped(model, wrapped)
    except ModelError as error:
        raise ModelError(
            f"{error.what}, with the virtual tokens of this {type(config).__name__} before every row",
            "adapter",
            "choose adapter=lora or prompt_tuning, or set adapter.num_attention_heads and adapter.token_dim",
        ) from error


def in_stored_form(base: LanguageModel, tuned: LanguageModel, adapter: object) -> LanguageModel:
    """The tuned model as `save` stores it and `load` returns it."""
    if not hasattr(tuned.module, "initial_low_rank"):
        return tuned
    config = low_rank_starts.stored_config(_configured(adapter))
    plain = low_rank_starts.as_plain_lora(tuned.module, _ground(base.module, adapter), config)
    return tuned if plain is None else _wrapped(base, plain)


def save(folder: Path, model: LanguageModel) -> None:
    """Write what was trained, with its tokenizer: in PEFT's form what PEFT made, else the whole model."""
    from stepladder.tuning.checksummed import disk_errors

    module: Any = model.module
    tokenizer = getattr(model, "tokenizer", None)
    with disk_errors(folder), silent():
        if hasattr(module, "peft_config"):
            module.save_pretrained(str(folder), save_embedding_layers=False)
            _in_order(folder / "adapter_config.json")
        else:
            module.save_pretrained(str(folder))
        if tokenizer is not None:
            tokenizer.save_pretrained(str(folder))


def check_stored(folder: Path, base: LanguageModel, tuned: LanguageModel, adapter: object) -> None:
    """Raises ModelError where the adapter that `save` writes is not, weight by weight, the one that was trained.

    An adapter of PEFT may rest on numbers that it draws and does not store. Of a model that was trained whole every
    weight is in its files, and nothing is compared.

    Args:
        folder: An empty directory to write to.
        base: The model without the adapter.
        tuned: The model with it, in its stored form.
        adapter: The configuration of the adapter.
    """
    import torch

    if not hasattr(tuned.module, "peft_config"):
        return
    save(folder, tuned)
    with torch.random.fork_rng(devices=[]):
        torch.seed()
        loaded = load(folder, base, adapter).module.state_dict()
    kept = tuned.module.state_dict()
    differing = [
        name
        for name in kept.keys() | loaded.keys()
        if name not in kept or name not in loaded or not _same(kept[name], loaded[name])
    ]
    if differing:
        what = (
            f"PEFT stores too little of this adapter to load it again: {len(differing)} of {len(kept)} weights differ"
        )
        to_do = "choose another adapter, or another init_lora_weights or init_weights"
        raise ModelError(f"{what}, such as {min(differing)}", "adapter", to_do)


def _same(one: object, other: object) -> bool:
    import torch

    if not isinstance(one, torch.Tensor) or not isinstance(other, torch.Tensor):
        return True  # settings that a layer keeps beside its weights, such as a quantised weight's
    if one.dtype != other.dtype or one.shape != other.shape:
        return False
    return one.data_ptr() == other.data_ptr() or torch.equal(one, other)


def _in_order(file: Path) -> None:
    """PEFT writes sets of names as they come, in another order in every process: equal fits are to be equal files."""
    config = json.loads(file.read_text(encoding="utf-8"))
    for name in ("target_modules", "exclude_modules", "feedforward_modules"):
        if isinstance(config.get(name), list):
            config[name].sort()
    write_text(file, json.dumps(config, indent=2, sort_keys=True))


def load(folder: Path, model: LanguageModel, adapter: object) -> LanguageModel:
    """What `save` wrote, on the untuned `model`."""
    base: Any = model.module
    device = next(base.parameters()).device
    peft_made = not isinstance(adapter, Full | BitFit)
    if not any(folder.glob("adapter_model.safetensors" if peft_made else "model*.safetensors")):
        raise StoreError("The fit holds no weights in safetensors", str(folder), "remove the folder and fit again")
    if not peft_made:
        if (folder / "adapter_config.json").exists():
            raise StoreError("The fit holds an adapter that is not its own", str(folder), "remove the folder")
        import torch

        kept_in = torch.float32 if isinstance(adapter, Full) and adapter.dtype == "float32" else base.dtype
        own = {"dtype": kept_in, "use_safetensors": True, "local_files_only": True}
        with silent():
            return model.adapted(type(base).from_pretrained(str(folder), **own).to(device).eval())
    import peft

    ground = _ground(base, adapter)
    with silent():  # by the experiment's own config: one in a folder may name files, tokenizers and modules to import
        own_config = {"config": low_rank_starts.stored_config(_configured(adapter)), "torch_device": str(device)}
        return _wrapped(model, peft.PeftModel.from_pretrained(ground, str(folder), **own_config).eval())


def _own_weights(module: nn.Module, adapter: Full | BitFit) -> nn.Module:
    """A copy whose weights, or biases alone, ask for gradients."""
    from stepladder.tuning.weights import shared_copy, trained

    own = shared_copy(module)
    for name, parameter in own.named_parameters():
        parameter.requires_grad_(isinstance(adapter, Full) or name.endswith("bias"))
    if trained(own) == 0:
        raise ModelError(
            f"BitFit trains biases, and this model ({type(module).__name__}) has none",
            "adapter",
            "choose adapter=lora or another that brings its own weights",
        )
    return own


def _ground(module: nn.Module, adapter: object) -> nn.Module:
    """A copy of the base as PEFT is to find it: for QLoRA in four bits."""
    from stepladder.tuning.weights import shared_copy

    ground = shared_copy(module)
    if getattr(adapter, "bias", "none") != "none":  # PEFT copies stored biases into those that are there
        for name, parameter in ground.named_parameters():
            if name.endswith("bias"):
                parameter.data = parameter.data.clone()
    if isinstance(adapter, QLora):
        from stepladder.tuning.quantized import quantize

        quantize(ground, adapter.quant_type)
    return ground


def _peft(adapter: object) -> PeftConfig:
    import peft

    if isinstance(adapter, QLora):
        own = {key: value for key, value in vars(adapter).items() if key != "quant_type"}
        return peft.LoraConfig(**own)
    if not isinstance(adapter, peft.PeftConfig):
        kind = type(adapter).__name__
        raise ConfigError(Fault("adapter", f"{kind} is no adapter", "give a PEFT config, such as peft.LoraConfig"))
    kind = str(getattr(adapter.peft_type, "value", adapter.peft_type))
    why = REFUSED.get(kind, "")
    if getattr(adapter, "megatron_config", None) or getattr(adapter, "tokenizer_kwargs", None):
        why = "megatron_config and tokenizer_kwargs may import or run what they name"
    if getattr(adapter, "alora_invocation_tokens", None):
        why = "an activated LoRA needs the tokens that start it"
    if why:
        raise ConfigError(Fault("adapter", f"{kind} can not be trained here: {why}", "choose another adapter"))
    low_rank_starts.check_start(adapter)
    return adapter


def _configured(adapter: object) -> PeftConfig:
    config = copy.deepcopy(_peft(adapter))
    config.task_type, config.inference_mode, config.base_model_name_or_path = "CAUSAL_LM", False, None
    return config


def _wrapped(model: LanguageModel, module: PeftModel) -> LanguageModel:
    if model.engine_name == "fast":
        _quicken(module)
    config = module.active_peft_config
    return model.adapted(module, _virtual(module, config.num_virtual_tokens) if config.is_prompt_learning else None)


def _quicken(module: nn.Module) -> None:
    """LoRA over a frozen linear layer, without frills, computes as one function; everything else as PEFT has it."""
    from peft.tuners import lora
    from torch import nn

    from stepladder.engine.select import fused_low_rank_linear

    linear = fused_low_rank_linear()
    if linear is None:
        return
    layers: list[Any] = [layer for layer in module.modules() if type(layer) is lora.Linear]
    for layer in layers:
        plain = type(layer.base_layer) is nn.Linear and not layer.lora_variant and not any(layer.lora_bias.values())
        if plain and not any(parameter.requires_grad for parameter in layer.base_layer.parameters()):
            layer.__class__ = _quick_kind(linear)


@cache
def _quick_kind(low_rank_linear: LowRankLinear) -> type:
    from peft.tuners import lora

    class QuickLinear(lora.Linear):  # type: ignore[misc]
        def forward(self, x: Tensor, *arguments: Any, **named: Any) -> Tensor:
            low = None if arguments or named or self._only is None else self.low_rank()
            if low is None or (self.training and low.dropout > 0):
                return super().forward(x, *arguments, **named)  # type: ignore[no-any-return]
            return low_rank_linear(x, self.base_layer.weight, self.base_layer.bias, [(0, low)])

        def low_rank(self) -> LowRank | None:
            """What is added to the base layer; None for nothing. Raises TypeError where it is more than one product."""
            name = self._only
            if name is not None:
                drops = getattr(self.lora_dropout[name], "p", 0.0)
                return LowRank(self.lora_A[name].weight, self.lora_B[name].weight, self.scaling[name], drops)
            if self.disable_adapters or self.merged:
                return None
            raise TypeError("several adapters at once")

        @property
        def _only(self) -> str | None:
            """The one adapter that adds to the base layer, if it is one."""
            names = [name for name in self.active_adapters if name in self.lora_A]
            return None if self.disable_adapters or self.merged or len(names) != 1 else names[0]

    return QuickLinear


def _virtual(module: PeftModel, length: int) -> Callable[[int], VirtualTokens]:
    """Prompt learning as virtual tokens: embeddings, or keys and values of every layer, in the base model's dtype."""
    import torch

    def virtual(batch: int) -> VirtualTokens:
        prompt: Tensor | Any = module.get_prompt(batch)
        if isinstance(prompt, torch.Tensor):
            return VirtualTokens(length, embeddings=prompt.to(module.get_base_model().dtype))
        return VirtualTokens(length, cache=prompt)

    return virtual
