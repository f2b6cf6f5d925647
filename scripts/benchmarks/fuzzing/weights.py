"""Cases with invalid model folders in the layout of a hub, and with invalid checkpoints of an interrupted fit."""

from __future__ import annotations

import hashlib
import json
import struct
from typing import Any

from hypothesis import strategies as st

from fuzzing.bent import Draw, bent_data, bent_file, weighted
from fuzzing.case import MARKER, Case, Change, Texts
from fuzzing.stores import ASKED

ODD_CHECKPOINTS = ("step-x.safetensors", "step-999999999-x.safetensors", "best-1.safetensors")


@st.composite
def checkpoints(draw: Draw, texts: Texts) -> Case:
    """An interrupted fit with changed checkpoints, with or without a matching hash in the name."""
    names = [name for name in sorted(texts) if "/checkpoints/" in name]
    changes = []
    for _ in range(draw(st.sampled_from([1, 1, 2, 3]))):
        name = draw(st.sampled_from(names))
        way = draw(
            st.sampled_from(["bend", "bend", "seal", "seal", "seal", "remove", "swap", "rename", "link", "folder"])
        )
        if way in ("bend", "seal"):
            content = draw(bent_file(name, texts[name]) if draw(st.booleans()) else _with_other_metadata(texts[name]))
            if way == "seal":
                changes.append(Change("remove", name))
                name = f"{name.rpartition('-')[0]}-{hashlib.sha256(content).hexdigest()}.safetensors"
            changes.append(Change("write", name, content))
        elif way == "swap":
            changes.append(Change("write", name, texts[draw(st.sampled_from(names))]))
        elif way == "rename":
            changes.append(
                Change(
                    "rename",
                    name,
                    other=f"{name.rpartition('/')[0]}/{draw(st.sampled_from(ODD_CHECKPOINTS))}",
                )
            )
        elif way == "link":
            changes.append(Change("link", name, other="nothing"))
        else:
            changes.append(Change(way, name))
    return Case(
        "checkpoint",
        (("run", *ASKED["finetune"], "training.epochs=4", "training.validate_every=0.5"),),
        {},
        tuple(changes),
        "checkpoint",
    )


@st.composite
def _with_other_metadata(draw: Draw, content: bytes) -> bytes:
    """A checkpoint with other metadata."""
    (length,) = struct.unpack("<Q", content[:8])
    header = json.loads(content[8 : 8 + length])
    metadata = header.setdefault("__metadata__", {})
    record = json.loads(metadata.get("metadata", "null"))
    metadata["metadata"] = json.dumps(draw(bent_data(record)))
    new = json.dumps(header).encode()
    return struct.pack("<Q", len(new)) + new + content[8 + length :]


PICKLE = f"cos\nsystem\n(S'touch {MARKER}'\ntR.".encode()
TEMPLATES = (
    "", "{{", "{{ x.y }}", "{{ 1/0 }}", "{% for i in range(10**9) %}x{% endfor %}", "{{ messages[9].content }}",
    "{{ raise_exception('no') }}", "{{ ''.__class__.__mro__ }}", "{{ 1 + 'a' }}", "{% include 'x' %}",
    "{{ strftime_now('%Q') }}", "{{ messages }}", 3, None, [], {"a": "b"},
    [{"name": "default", "template": "{{ messages[0].content }}"}],
)  # fmt: skip


@st.composite
def models(draw: Draw, texts: Texts) -> Case:
    """A model folder in the layout of a hub, with faults."""
    names = sorted(texts)
    changes = []
    for _ in range(draw(st.sampled_from([1, 1, 1, 2]))):
        name = draw(st.sampled_from(names))
        way = draw(
            weighted(
                {
                    "bend": 4,
                    "remove": 1,
                    "foreign": 1,
                    "folder": 1,
                    "pickle": 1,
                    "template": 1,
                    "code": 1,
                    "config": 2,
                    "tokenizer": 1,
                }
            )
        )
        if way == "bend":
            changes.append(Change("write", name, draw(bent_file(name, texts[name]))))
        elif way == "foreign":
            changes.append(Change("write", name, texts[draw(st.sampled_from(names))]))
        elif way == "pickle":
            changes += [
                Change("write", f"model/{kept}", PICKLE)
                for kept in ("pytorch_model.bin", "training_args.bin", "model.pt")
            ]
            changes += [Change("remove", "model/model.safetensors")] if draw(st.booleans()) else []
        elif way == "template":
            changes.append(
                _with(texts, "model/tokenizer_config.json", "chat_template", draw(st.sampled_from(TEMPLATES)))
            )
            changes.append(Change("remove", "model/chat_template.jinja"))
        elif way == "code":
            changes.append(
                _with(
                    texts,
                    "model/config.json",
                    "auto_map",
                    {"AutoModelForCausalLM": "evil.Model", "AutoConfig": "evil.Config"},
                )
            )
            changes.append(Change("write", "model/evil.py", f"import os\nos.system('touch {MARKER}')\n".encode()))
        elif way == "config":
            key, value = draw(st.sampled_from(ODD_CONFIG))
            changes.append(_with(texts, "model/config.json", key, value))
        elif way == "tokenizer":
            key, value = draw(st.sampled_from(ODD_TOKENIZER))
            changes.append(_with(texts, "model/tokenizer_config.json", key, value))
        else:
            changes.append(Change(way, name))
    words = (
        "experiment=first_look",
        "dataset.source.rows=12",
        "model=folder",
        "model.path=model",
        "model.dtype=float32",
    )
    method = draw(st.sampled_from(["zero_shot", "zero_shot", "few_shot", "finetune"]))
    verb = draw(st.sampled_from(["run", "run", "run", "check", "show"]))
    own = ("--keys",) if verb == "show" else ()
    return Case("model", ((verb, *words, f"method={method}", *own),), {}, tuple(changes), "model")


ODD_CONFIG = (
    ("model_type", "nothing"), ("model_type", "bert"), ("model_type", "gpt2"), ("model_type", None),
    ("hidden_size", 0), ("hidden_size", -1),
    ("hidden_size", 63), ("hidden_size", "x"), ("hidden_size", 10**9), ("num_hidden_layers", 0),
    ("num_hidden_layers", 3), ("num_hidden_layers", 10**9),
    ("num_attention_heads", 0), ("num_attention_heads", 3), ("num_key_value_heads", 3), ("vocab_size", 1),
    ("vocab_size", 10**12), ("vocab_size", -1),
    ("max_position_embeddings", 0), ("max_position_embeddings", 1), ("max_position_embeddings", None),
    ("max_position_embeddings", 10**12), ("rope_theta", 0),
    ("rope_parameters", {"rope_type": "nothing"}), ("rope_parameters", None), ("hidden_act", "nothing"),
    ("rms_norm_eps", float("nan")), ("eos_token_id", None),
    ("eos_token_id", [1, 2]), ("eos_token_id", 10**6), ("pad_token_id", 10**6), ("architectures", ["Nothing"]),
    ("architectures", None), ("dtype", "nothing"),
    ("dtype", "float16"), ("torch_dtype", "int8"), ("quantization_config", {"quant_method": "nothing"}),
    ("quantization_config", {"quant_method": "bitsandbytes"}),
    ("tie_word_embeddings", True), ("attention_bias", True), ("head_dim", 7), ("intermediate_size", 0),
    ("_name_or_path", "/etc/passwd"), ("use_cache", "x"),
    ("sliding_window", 3), ("_attn_implementation", "flash_attention_2"), ("attn_implementation", "nothing"),
    ("text_config", {}), ("is_encoder_decoder", True),
)  # fmt: skip
ODD_TOKENIZER = (
    ("tokenizer_class", "Nothing"), ("tokenizer_class", "BertTokenizer"), ("tokenizer_class", 3),
    ("eos_token", None), ("eos_token", "x"), ("eos_token", 3),
    ("eos_token", {"__type": "AddedToken", "content": "y"}), ("pad_token", None), ("model_max_length", 3),
    ("model_max_length", "x"), ("added_tokens_decoder", {"x": 1}),
    ("added_tokens_decoder", {"999999": {"content": "z"}}), ("additional_special_tokens", 3),
    ("auto_map", {"AutoTokenizer": ["evil.T", None]}), ("clean_up_tokenization_spaces", "x"),
    ("split_special_tokens", True), ("padding_side", "up"), ("extra_special_tokens", [1]), ("backend", "nothing"),
)  # fmt: skip


def _with(texts: Texts, name: str, key: str, value: Any) -> Change:
    return Change("write", name, json.dumps({**json.loads(texts[name]), key: value}).encode())
