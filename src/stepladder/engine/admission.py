"""Whether an engine may run a model: a test against the reference engine on a small random model of the same kind.

The small model is built from the model's own configuration: two layers of each kind of attention, reduced widths, and
the same rotary, window, sink and scaling fields, with lengths scaled down to those of the test's rows. Results are kept
in the user's cache, by the configuration and the versions of the packages that compute.
"""

from __future__ import annotations

import copy
import hashlib
import json
import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
import transformers
from torch import nn

from stepladder.engine.configuration import has_dynamic_rope, masks_are_known, rope_switch
from stepladder.engine.interface import Engine
from stepladder.engine.logs import quiet
from stepladder.engine.network import Network
from stepladder.engine.reference import FAULTS, ReferenceEngine, near
from stepladder.engine.sampling import Sampling
from stepladder.errors import ModelError, UserError
from stepladder.io.cache import cache_folder, note_down

TOLERANCE = 1e-3
"""Largest difference of log-probabilities (natural, float32)."""
WINDOW, SWITCH, LONG = 16, 24, 44
"""Tokens: scaled sliding windows, scaled switches of rotary frequencies, and the longest row, which exceeds both."""
VOCABULARY, LARGEST = 512, 10**8
"""Tokens, and parameters, of the small model at most."""
LIMITS = {"intermediate_size": 256, "ffn_dim": 256, "n_inner": 256, "moe_intermediate_size": 64,
          "shared_expert_intermediate_size": 64, "num_experts": 8, "num_local_experts": 8, "n_routed_experts": 8,
          "num_experts_per_tok": 4, "n_group": 2, "topk_group": 1}  # fmt: skip
"""Largest values of configuration fields that determine the size of feed-forward layers."""
Results = tuple[list[float], list[tuple[int, ...]]]
Build = Callable[[nn.Module], Engine]


def check_causal(network: Network) -> None:
    """Raises ModelError where the model's own forward pass fails or looks at later tokens."""
    row = [at * 7919 % network.vocabulary for at in range(1, 7)]
    with network.predicting():
        try:
            own, changed = (
                network.forward(torch.tensor([ids], device=network.device))[0][0] for ids in (row, [*row[:-1], row[0]])
            )
        except FAULTS as error:
            why = (str(error).strip().splitlines() or [type(error).__name__])[0]
            raise _unfit(network, f"can not be run: {why}") from error
    if not near(own[:-1], changed[:-1]):
        raise _unfit(network, "is not causal: a token's result depends on the tokens after it")


def admitted(causal: Any, build: Build) -> bool:
    """Whether the engines that `build` makes compute what the reference engine computes.

    Args:
        causal: The model; its configuration and device are read, its weights are not.
        build: Makes an engine of a model.
    """
    config = causal.config.get_text_config()
    if not masks_are_known(config) or rope_switch(config) == 0:
        return False
    device = next(causal.parameters()).device
    device = torch.device("cpu") if device.type == "meta" else device  # weights that are loaded later
    note = cache_folder() / "admission" / f"{_key(config, device)}.json"
    with suppress(OSError, ValueError):
        known = json.loads(note.read_text(encoding="utf-8"))
        if isinstance(known, bool):
            return known
    with quiet():
        small = small_model(type(causal), config)
    right = None if small is None else _results(ReferenceEngine(small.to(device)))
    found = right is not None and _equals(partial(build, small), right)
    with suppress(UserError):  # a cache that cannot be written costs the test again
        note.parent.mkdir(exist_ok=True)
        note_down(note, json.dumps(found))
    return found


def small_model(kind: type[Any], config: Any) -> Any:
    """A small random float32 model of a class and text configuration; None where none can be built."""
    for widths in (True, False):
        with torch.random.fork_rng(devices=[]), suppress(*FAULTS):
            torch.manual_seed(0)
            small = small_config(config, widths)
            with torch.device("meta"):
                shape = _built(kind, small)
            if sum(parameter.numel() for parameter in shape.parameters()) <= LARGEST:
                model = _built(kind, small).float().eval()
                _randomise(model)
                ReferenceEngine(model).network.forward(torch.tensor([[1, 2]]))
                return model
    return None


def small_config(config: Any, widths: bool) -> Any:
    """A configuration with two layers of each kind and lengths scaled to the test's rows; `widths` are reduced too."""
    small = copy.deepcopy(config)
    layers = _layers(config)
    for name, value in config.to_dict().items():
        if isinstance(value, list) and len(value) == config.num_hidden_layers:
            setattr(small, name, value[:layers])
        elif name == "sliding_window" and isinstance(value, int):
            small.sliding_window = WINDOW  # shorter than some rows of the test, longer than others
        elif name.endswith("_token_id"):
            setattr(small, name, None if value is None else 0)
    small.num_hidden_layers = layers
    small.vocab_size = min(config.vocab_size, VOCABULARY)
    _scale_rotary(small, config)
    if widths:
        _reduce_widths(small, config)
    return small


def _layers(config: Any) -> int:
    """How many of the first layers hold two of each kind of attention, and one of each kind of feed-forward layer."""
    kinds = list(getattr(config, "layer_types", None) or ["attention"] * config.num_hidden_layers)
    seconds = [[at for at, each in enumerate(kinds) if each == kind][:2][-1] for kind in set(kinds)]
    dense = getattr(config, "first_k_dense_replace", None) or 0
    step = getattr(config, "decoder_sparse_step", None) or 0
    return int(min(max(2, 1 + max(seconds), dense + 1, step), config.num_hidden_layers))


def _scale_rotary(small: Any, config: Any) -> None:
    """The switch of rotary frequencies becomes SWITCH tokens; the ratio of lengths stays."""
    if rope_switch(config) is None or has_dynamic_rope(config):  # dynamic NTK begins where the model's window ends
        return
    original = rope_switch(config) or SWITCH
    if original <= SWITCH:
        return
    small.max_position_embeddings = max(SWITCH, round(config.max_position_embeddings / original * SWITCH))
    for name in ("rope_parameters", "rope_scaling"):
        for rope in _nested(getattr(small, name, None)):
            if "original_max_position_embeddings" in rope:
                rope["original_max_position_embeddings"] = SWITCH
    if getattr(small, "original_max_position_embeddings", None):
        small.original_max_position_embeddings = SWITCH


def _nested(value: Any) -> Iterator[dict[str, Any]]:
    if isinstance(value, dict):
        yield value
        for each in value.values():
            yield from _nested(each)


def _reduce_widths(small: Any, config: Any) -> None:
    """Fewer heads of the same size, and what depends on their number; fewer experts, and narrower ones."""
    heads = config.num_attention_heads
    name = "num_kv_heads" if hasattr(config, "num_kv_heads") else "num_key_value_heads"  # Falcon has the first
    key_heads = getattr(config, name, None) or heads
    size = getattr(config, "head_dim", None) or config.hidden_size // heads
    few_keys = min(key_heads, 4 if key_heads == heads else 2)
    few = few_keys * min(heads // key_heads, 2)
    if config.hidden_size == heads * size:
        small.hidden_size = few * size
    else:
        small.hidden_size = min(config.hidden_size, 128)
    if getattr(config, "word_embed_proj_dim", None) == config.hidden_size:  # OPT
        small.word_embed_proj_dim = small.hidden_size
    small.num_attention_heads = few
    if getattr(config, name, None):
        setattr(small, name, few_keys)
    for name, limit in LIMITS.items():
        value = getattr(config, name, None)
        if isinstance(value, int):
            setattr(small, name, min(value, limit))


def _built(kind: type[Any], config: Any) -> Any:
    build = getattr(kind, "_from_config", None)
    if isinstance(config, getattr(kind, "config_class", None) or ()) and build is not None:
        return build(config)
    return transformers.AutoModelForCausalLM.from_config(config)


def _randomise(model: nn.Module) -> None:
    """Weights that are large enough for every part of the model to matter: biases, norms and sinks too."""
    with torch.no_grad():
        for parameter in model.parameters():
            noise = torch.randn_like(parameter)
            if parameter.dim() > 1:
                parameter.copy_(noise * 1.2 / math.sqrt(parameter.shape[-1]))
            else:
                parameter.add_(noise * 0.2)


def _equals(engine: Callable[[], Engine], right: Results) -> bool:
    """Whether an engine gives the reference engine's results."""
    found = _results(engine())
    if found is None:
        return False
    near = all(abs(a - b) <= TOLERANCE for a, b in zip(found[0], right[0], strict=True))
    return near and found[1] == right[1]


def _results(engine: Engine) -> Results | None:
    """Log-probabilities of candidates and of answers in training, and greedy tokens with the best candidates, of rows
    of mixed length; None where the engine cannot run the model."""
    try:
        return _computed(engine)
    except FAULTS:
        return None


def _computed(engine: Engine) -> Results:
    network = engine.network
    tokens = [at * 7919 % (network.vocabulary - 2) + 2 for at in range(1, 100)]
    prompts = [tokens[:LONG], [*tokens[:2], *tokens[50:53]], [*tokens[:2], *tokens[60:77]]]
    candidates = [[tokens[80:81], [*tokens[80:83], 1], [*tokens[80:82], *tokens[90:94]], tokens[95:97]]] * len(prompts)
    scores = dict(engine.score(prompts, candidates))
    numbers = [log for index in range(len(prompts)) for log in scores[index].log_probabilities]
    ids, lengths = network.pad([[*prompt, *candidates[0][2]] for prompt in prompts])
    place = torch.arange(ids.shape[1], device=ids.device)
    mask = place < lengths[:, None]
    with torch.no_grad():
        numbers += engine.answer_losses(ids, mask, mask & (place >= lengths[:, None] - 6)).tolist()
    texts = dict(engine.generate(prompts, [6] * len(prompts), Sampling(None, 0), frozenset()))
    best = dict(engine.choose(prompts, candidates))
    return numbers, [(*texts[index].ids, best[index].place) for index in range(len(prompts))]


def _key(config: Any, device: torch.device) -> str:
    """Changes with the configuration, the packages, the code of the engines and the kind of device."""
    described: Mapping[str, Any] = {name: value for name, value in config.to_dict().items() if name != "_name_or_path"}
    code = [file.read_bytes() for file in sorted(Path(__file__).parent.rglob("*.py"))]
    parts = [json.dumps(described, sort_keys=True, default=str), *map(version, ("torch", "transformers")), device.type]
    return hashlib.sha256(b"\0".join([*(part.encode() for part in parts), *code])).hexdigest()[:32]


def _unfit(network: Network, why: str) -> ModelError:
    return ModelError(
        f"A model of type '{network.config.model_type}' can not be used: it {why}",
        "model",
        "choose a decoder-only language model (Llama, Qwen, Mistral, Gemma, Phi, ...)",
    )
