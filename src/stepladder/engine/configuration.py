"""Properties of a model that its transformers configuration determines: windows, rotary switches, dropout.

Functions take the configuration of the text model (`config.get_text_config()`).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

_UNBOUNDED = 2**20
_LENGTHS = ("max_position_embeddings", "n_positions", "max_seq_len", "seq_length", "context_length", "n_ctx")
_KNOWN_ROPE = {"default", "linear", "yarn", "llama3", "proportional"}
_WINDOW = re.compile(
    r"window|chunk|block_size|block_length|^local_(?!experts)|_local_attention|^index_topk|^compress_rate"
)
_COUNTS = {"max_window_layers", "chunk_size_feed_forward"}


def window(config: Any, tokenizer: Any) -> int:
    """How many tokens fit, prompt and answer together. For models without a longest position (ALiBi, state spaces) it
    is the tokenizer's `model_max_length`, or 2**20."""
    for name in _LENGTHS:
        length = getattr(config, name, None)
        if isinstance(length, int) and length > 0:
            return length
    longest = getattr(tokenizer, "model_max_length", None)
    return longest if isinstance(longest, int) and longest < _UNBOUNDED else _UNBOUNDED


def rope_switch(config: Any) -> int | None:
    """The longest row up to which rotary frequencies do not depend on the row's length; None if they never do.

    LongRoPE (Ding et al. 2024, arXiv 2402.13753) changes all frequencies for rows longer than the original window,
    dynamic NTK scaling for every length above the model's own. An unknown kind of scaling counts as 0.
    """
    found = [_switch(config, rope) for rope in _rope_parameters(config)]
    return min((length for length in found if length is not None), default=None)


def has_dynamic_rope(config: Any) -> bool:
    """Whether rotary frequencies beyond `rope_switch` change with every length of a row (dynamic NTK scaling)."""
    return any("dynamic" in rope.get("rope_type", rope.get("type", "")) for rope in _rope_parameters(config))


def _switch(config: Any, rope: Mapping[str, Any]) -> int | None:
    kind = rope.get("rope_type", rope.get("type", "default"))
    original = rope.get("original_max_position_embeddings") or getattr(config, "original_max_position_embeddings", None)
    if "dynamic" in kind:
        return int(config.max_position_embeddings)
    if kind == "longrope" or "long_mscale" in rope:
        return int(original or config.max_position_embeddings)
    return None if kind in _KNOWN_ROPE else 0


def _rope_parameters(config: Any) -> Iterator[Mapping[str, Any]]:
    """The rotary parameters, of each kind of layer where the kinds have their own."""
    for name in ("rope_parameters", "rope_scaling"):
        rope = getattr(config, name, None)
        if isinstance(rope, Mapping):
            kinds = [each for each in rope.values() if isinstance(each, Mapping)]
            yield from kinds or [rope]


def windows(config: Any) -> list[int]:
    """All numbers of tokens that bound what a token attends to, as far as the configuration names them."""
    return [value for _, value in _windows(config)]


def unknown_windows(config: Any) -> list[int]:
    """Those of `windows` that are not sliding windows: chunks, blocks, the number of keys that an indexer keeps."""
    return [value for name, value in _windows(config) if name != "sliding_window"]


def masks_are_known(config: Any) -> bool:
    """Whether every layer attends to all earlier tokens, or to those in the window of `sliding_window`."""
    kinds = set(getattr(config, "layer_types", None) or ())
    return not unknown_windows(config) and kinds <= {"full_attention", "sliding_attention"}


def _windows(config: Any) -> Iterator[tuple[str, int]]:
    for name, value in config.to_dict().items():
        if not _WINDOW.search(name) or name in _COUNTS or name.endswith("_pattern"):
            continue
        for number in value.values() if isinstance(value, dict) else [value]:  # DeepSeek V4: by kind of layer
            if isinstance(number, int) and not isinstance(number, bool) and number > 0:
                yield name, number


def has_dropout(config: Any) -> bool:
    """Whether the configuration has dropout of any kind in the decoder."""
    return any(
        isinstance(value, int | float) and value > 0
        for name, value in config.to_dict().items()
        if "drop" in name and not name.startswith(("classifier", "summary"))
    )
