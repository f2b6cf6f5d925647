"""Tiny random models of many architectures, in float32: every kind of attention, position, norm and expert layer."""

from __future__ import annotations

import math

import torch
import transformers
from torch.nn.functional import cross_entropy

from stepladder.engine.select import create_engine
from stepladder.models.chat import Chat
from stepladder.models.local import CausalModel
from stepladder.models.toy import toy_tokenizer

SMALL = {
    "vocab_size": 261, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4,
    "max_position_embeddings": 256, "bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 0,
}  # fmt: skip
SHAPE = SMALL | {"intermediate_size": 48, "num_key_value_heads": 2}
OF_GPT = {
    "vocab_size": 261,
    "n_embd": 32,
    "n_layer": 2,
    "n_head": 4,
    "n_positions": 256,
    "bos_token_id": 0,
    "eos_token_id": 1,
}
LATENT = {
    "intermediate_size": 48, "num_key_value_heads": 4, "q_lora_rank": 16, "kv_lora_rank": 16, "qk_rope_head_dim": 8,
    "qk_nope_head_dim": 8, "v_head_dim": 8,
}  # fmt: skip
EXPERTS = {"num_local_experts": 4, "num_experts_per_tok": 2}
LONGROPE = {
    "rope_type": "longrope", "rope_theta": 10000.0, "original_max_position_embeddings": 24,
    "short_factor": [1.0] * 4, "long_factor": [2.0, 4.0, 8.0, 16.0],
}  # fmt: skip

REFERENCE = {
    "GPT-Neo, local layers": ("GPTNeoConfig", {
        "vocab_size": 261, "hidden_size": 32, "num_layers": 2, "num_heads": 4, "max_position_embeddings": 256,
        "window_size": 8, "attention_types": [[["global", "local"], 1]], "bos_token_id": 0, "eos_token_id": 1}),
    "Bloom, ALiBi": ("BloomConfig", {
        "vocab_size": 261, "hidden_size": 32, "n_layer": 2, "n_head": 4, "eos_token_id": 1}),
    "MPT, ALiBi": ("MptConfig", {"vocab_size": 261, "d_model": 32, "n_layers": 2, "n_heads": 4, "max_seq_len": 256}),
    "Falcon, ALiBi": ("FalconConfig", SMALL | {"alibi": True, "multi_query": False, "parallel_attn": False}),
    "Mamba, state space": ("MambaConfig", {
        "vocab_size": 261, "hidden_size": 32, "num_hidden_layers": 2, "eos_token_id": 1}),
    "Llama 4, chunks": ("Llama4TextConfig", SHAPE | {
        "head_dim": 8, "intermediate_size_mlp": 48, "num_local_experts": 2, "num_experts_per_tok": 1,
        "attention_chunk_size": 16, "no_rope_layer_interval": 2, "floor_scale": 20, "moe_layers": [1]}),
    "Doge, the best keys by rank": ("DogeConfig", SHAPE | {"keep_window_size": 8}),
    "DeepSeek V3.2, the best keys by an indexer": ("DeepseekV32Config", SMALL | LATENT | {
        "head_dim": 8, "n_routed_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 24,
        "first_k_dense_replace": 1, "n_shared_experts": 1, "n_group": 1, "topk_group": 1, "index_n_heads": 2,
        "index_head_dim": 8, "index_topk": 8}),
    "GPT-OSS, attention sinks": ("GptOssConfig", SHAPE | EXPERTS | {"sliding_window": 8, "head_dim": 8}),
    "DeepSeek V3, latent attention": ("DeepseekV3Config", SMALL | LATENT | {
        "n_routed_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 24, "first_k_dense_replace": 1,
        "n_shared_experts": 1, "n_group": 1, "topk_group": 1}),
    "MiniCPM3, latent attention": ("MiniCPM3Config", SMALL | LATENT),
    "JetMoE": ("JetMoeConfig", {
        "vocab_size": 261, "hidden_size": 32, "num_hidden_layers": 2, "num_key_value_heads": 2, "kv_channels": 8,
        "intermediate_size": 48, "max_position_embeddings": 256, "eos_token_id": 1} | EXPERTS),
    "Falcon, one key head": ("FalconConfig", SMALL | {"multi_query": True, "parallel_attn": True}),
    "Gemma 2, capped logits": ("Gemma2Config", SHAPE | {
        "head_dim": 16, "sliding_window": 8, "query_pre_attn_scalar": 16, "attn_logit_softcapping": 5.0,
        "final_logit_softcapping": 3.0}),
    "GPT-J, partial rotary": ("GPTJConfig", OF_GPT | {"rotary_dim": 4}),
    "HyperCLOVA X, logits multiplied": ("HyperCLOVAXConfig", SHAPE | {"logits_scaling": 0.25}),
}  # fmt: skip
FAST = {
    "Mistral, sliding window": ("MistralConfig", SHAPE | {"sliding_window": 8}),
    "Gemma 3, sliding in turns": ("Gemma3TextConfig", SHAPE | {
        "head_dim": 16, "sliding_window": 8, "query_pre_attn_scalar": 16,
        "layer_types": ["sliding_attention", "full_attention"]}),
    "Phi-3, LongRoPE": ("Phi3Config", SHAPE | {
        "sliding_window": None, "original_max_position_embeddings": 24, "rope_parameters": LONGROPE}),
    "Llama, LongRoPE": ("LlamaConfig", SHAPE | {"rope_parameters": LONGROPE | {"factor": 8.0}}),
    "Llama": ("LlamaConfig", SHAPE),
    "Qwen2": ("Qwen2Config", SHAPE),
    "Llama, wide heads, one key head": ("LlamaConfig", SHAPE | {"head_dim": 24, "num_key_value_heads": 1}),
    "Qwen3, normalised heads": ("Qwen3Config", SHAPE | {"head_dim": 16}),
    "Phi, partial rotary, biases": ("PhiConfig", SMALL | {"intermediate_size": 48, "partial_rotary_factor": 0.5}),
    "GPT-2": ("GPT2Config", OF_GPT),
    "GPT-NeoX, partial rotary, parallel": ("GPTNeoXConfig", SMALL | {"intermediate_size": 48, "rotary_pct": 0.5}),
    "OPT": ("OPTConfig", SMALL | {"ffn_dim": 48, "word_embed_proj_dim": 32}),
    "OLMo-2, norms after the layers": ("Olmo2Config", SHAPE),
    "OLMo, values clipped in place": ("OlmoConfig", SHAPE | {"clip_qkv": 1.0}),
    "Mixtral": ("MixtralConfig", SHAPE | EXPERTS | {"sliding_window": None}),
}  # fmt: skip
FAMILIES = REFERENCE | FAST
USUAL = (
    "Llama", "Qwen2", "Qwen3, normalised heads", "Mistral, sliding window", "Gemma 2, capped logits",
    "Gemma 3, sliding in turns", "Phi-3, LongRoPE", "GPT-2", "GPT-NeoX, partial rotary, parallel",
    "Falcon, one key head", "OPT", "Bloom, ALiBi", "OLMo-2, norms after the layers", "Mixtral",
)  # fmt: skip
"""Those on which every engine keeps the whole contract of a language model."""

PROMPTS = [[*range(100, 104), *range(20, 20 + n)] for n in (2, 13, 60, 14, 20)]
LABELS = ("no", "note", "notes of a meeting", "yes")


def randomised(module):
    """With weights that are large enough for every part of the model to matter."""
    with torch.no_grad():
        for parameter in module.parameters():
            if parameter.dim() > 1:
                parameter.normal_(0, 1.2 / math.sqrt(parameter.shape[-1]))
    return module.float().eval()


def built(name: str, engine: str = "auto") -> CausalModel:
    torch.manual_seed(0)
    kind, values = FAMILIES[name]
    module = randomised(transformers.AutoModelForCausalLM.from_config(getattr(transformers, kind)(**values)))
    return CausalModel(create_engine(module, engine), Chat(toy_tokenizer()))


def own_losses(forward, prompt: list[int], answer: list[int]) -> torch.Tensor:
    """Losses of the answer's tokens, by the model's own forward on one row."""
    logits = forward(input_ids=torch.tensor([[*prompt, *answer]])).logits[0, -len(answer) - 1 : -1]
    return cross_entropy(logits.float(), torch.tensor(answer), reduction="none")


def own_score(model, prompt: list[int], label: str) -> float:
    """Log-probability of a label after a prompt, by the model's own forward on one row."""
    with torch.no_grad():
        return -own_losses(model.module, prompt, model.encode_answer(label)).sum().item()
