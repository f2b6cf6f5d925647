"""Loads a model from a folder of safetensors, configuration and tokenizer."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from transformers import AutoModel, AutoModelForCausalLM, AutoTokenizer

from stepladder.engine.logs import quiet
from stepladder.engine.precision import DTYPES, computed
from stepladder.engine.select import EngineName, create_engine
from stepladder.errors import ModelError
from stepladder.io.files import read_json
from stepladder.models.chat import Chat
from stepladder.models.local import CausalModel

_MEDIA = re.compile(r"(image|video|audio|boi|eoi|boa|eoa)(_\w+)?_token")


def load_causal(
    folder: Path, dtype: str, device: torch.device | str | None = None, engine: EngineName = "auto"
) -> CausalModel:
    """A causal model on `device` (None: the first GPU, else the CPU), run by `engine`, ready to predict.

    Raises:
        ModelError: The files are no causal model that can be loaded and run.
    """
    module, tokenizer = load_parts(AutoModelForCausalLM, folder, dtype, device)
    _check_vocabulary(module, tokenizer, folder)
    return CausalModel(create_engine(module, engine), Chat(tokenizer))


def load_encoder(folder: Path, dtype: str, device: torch.device | str | None = None) -> tuple[Any, Any]:
    """A model without a head, and its tokenizer."""
    return load_parts(AutoModel, folder, dtype, device)


def load_parts(kind: Any, folder: Path, dtype: str, device: torch.device | str | None) -> tuple[Any, Any]:
    """A transformers model and its tokenizer; every weight must be in the files."""
    if not any(folder.glob("*.safetensors")):
        pickled = sorted(file.name for file in folder.glob("*.bin"))
        found = f"only pickled weights ({', '.join(pickled)}), which could run code" if pickled else "no weights"
        raise ModelError(f"The model has {found}", str(folder), "save it again as safetensors")
    if (folder / "adapter_config.json").exists():
        to_do = "merge it into its base and save that, or name the base"
        raise ModelError("This folder holds an adapter, and an adapter may name any base", str(folder), to_do)
    _check_shards(folder)
    _check_layers(folder)
    own = {"local_files_only": True, "trust_remote_code": False}
    try:
        with quiet():
            tokenizer = AutoTokenizer.from_pretrained(folder, **own)
            tokenizer("a text")  # some of its settings are checked only here
            module, found = kind.from_pretrained(
                folder, dtype=DTYPES[dtype], use_safetensors=True, output_loading_info=True, **own
            )
    except Exception as error:  # broken files raise anything; the tokenizers library raises Exception itself
        why = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise ModelError(
            f"The model can not be loaded: {why}",
            str(folder),
            "check that its files are whole; code that comes with a model is never run",
        ) from error
    absent = sorted(found["missing_keys"]) + [str(key) for key in found["mismatched_keys"]]
    absent = [key for key in absent if "pooler" not in key]
    if absent:
        raise ModelError(
            f"{len(absent)} weights are not in the model's files or have another shape: {', '.join(absent[:3])}",
            str(folder),
            "fetch or save the model again",
        )
    device = device or ("cuda" if torch.cuda.is_available() else "cpu")
    module = module.to(device).eval()
    return module.float() if computed(dtype, device) == torch.float32 else module, tokenizer


def set_name(module: Any, name: str) -> None:
    """Name a model as on any machine: transformers and PEFT write this name into what they save."""
    module.name_or_path = module.config._name_or_path = name


def _check_shards(folder: Path) -> None:
    """Raises ModelError where an index names weights that are no safetensors, or that are not in the folder."""
    for index in folder.glob("*.safetensors.index.json"):
        shards = (read_json(index) or {}).get("weight_map")
        names = {str(name) for name in shards.values()} if isinstance(shards, dict) else set()
        strange = sorted(name for name in names if Path(name).name != name or not name.endswith(".safetensors"))
        if strange:
            what = f"The index names what is no safetensors file of the folder: {strange[0]}"
            raise ModelError(what, str(index), "save the model again")


def _check_layers(folder: Path) -> None:
    """Raises ModelError where the configuration has more layers than there are weights: building them would not end."""
    wanted = (read_json(folder / "config.json") or {}).get("num_hidden_layers")
    try:
        opened: list[Any] = [safe_open(file, "pt") for file in sorted(folder.glob("*.safetensors"))]
        there = sum(len(weights.keys()) for weights in opened)
    except (SafetensorError, OSError) as error:
        raise ModelError(
            f"The weights can not be read: {error}", str(folder), "fetch or save the model again"
        ) from error
    if isinstance(wanted, int) and wanted > there:
        what = f"The model's configuration has {wanted} layers, and its files {there} weights"
        raise ModelError(what, str(folder / "config.json"), "fetch or save the model again")


def _check_vocabulary(module: Any, tokenizer: Any, folder: Path) -> None:
    """Raises ModelError where the tokenizer has tokens without an embedding. Placeholders for images and sounds of
    multimodal models (Gemma 3 has them in its text models too) do not count."""
    rows = module.get_input_embeddings().weight.shape[0]
    media = {str(token) for name, token in tokenizer.special_tokens_map.items() if _MEDIA.fullmatch(name)}
    beyond = {token: at for token, at in tokenizer.get_vocab().items() if at >= rows and token not in media}
    if beyond:
        first = min(beyond, key=lambda token: beyond[token])
        raise ModelError(
            f"The tokenizer has token ids up to {max(beyond.values()):,} ({len(tokenizer):,} tokens), and the model "
            f"embeddings of {rows:,}; the first token without one is {first!r}",
            str(folder),
            "save the model again after model.resize_token_embeddings(len(tokenizer)), or take its own tokenizer",
        )
