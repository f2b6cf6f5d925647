"""Results of every family of models are those of plain transformers, one unpadded row at a time, whatever the batch.

Tiny random models in float32. The first group was wrong or refused before; the second stands for what the faster paths
run: every kind of attention, position, normalisation and expert layer that they meet.
"""

from __future__ import annotations

import math

import peft
import pytest
import torch
import transformers
from torch.nn.functional import cross_entropy

from stepladder.engine.admission import choose_path
from stepladder.engine.configuration import masks_are_known, rope_switch, unknown_windows, window
from stepladder.errors import ModelError
from stepladder.models.chat import Chat
from stepladder.models.local import CausalModel
from stepladder.models.toy import toy_tokenizer
from stepladder.tuning import adapters

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

PLAIN = {
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
}  # fmt: skip
CACHE = {
    "GPT-OSS, attention sinks": ("GptOssConfig", SHAPE | EXPERTS | {"sliding_window": 8, "head_dim": 8}),
    "DeepSeek V3, latent attention": ("DeepseekV3Config", SMALL | LATENT | {
        "n_routed_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 24, "first_k_dense_replace": 1,
        "n_shared_experts": 1, "n_group": 1, "topk_group": 1}),
    "MiniCPM3, latent attention": ("MiniCPM3Config", SMALL | LATENT),
    "JetMoE": ("JetMoeConfig", {
        "vocab_size": 261, "hidden_size": 32, "num_hidden_layers": 2, "num_key_value_heads": 2, "kv_channels": 8,
        "intermediate_size": 48, "max_position_embeddings": 256, "eos_token_id": 1} | EXPERTS),
    "Falcon, one key head": ("FalconConfig", SMALL | {"multi_query": True, "parallel_attn": True}),
    "Mistral, sliding window": ("MistralConfig", SHAPE | {"sliding_window": 8}),
    "Gemma 3, sliding in turns": ("Gemma3TextConfig", SHAPE | {
        "head_dim": 16, "sliding_window": 8, "query_pre_attn_scalar": 16,
        "layer_types": ["sliding_attention", "full_attention"]}),
    "GPT-J, partial rotary": ("GPTJConfig", OF_GPT | {"rotary_dim": 4}),
}  # fmt: skip
SLOTS = {
    "HyperCLOVA X, logits multiplied": ("HyperCLOVAXConfig", SHAPE | {"logits_scaling": 0.25}),
    "Phi-3, LongRoPE": ("Phi3Config", SHAPE | {
        "sliding_window": None, "original_max_position_embeddings": 24, "rope_parameters": LONGROPE}),
    "Llama, LongRoPE": ("LlamaConfig", SHAPE | {"rope_parameters": LONGROPE | {"factor": 8.0}}),
    "Llama": ("LlamaConfig", SHAPE),
    "Llama, wide heads, one key head": ("LlamaConfig", SHAPE | {"head_dim": 24, "num_key_value_heads": 1}),
    "Qwen3, normalised heads": ("Qwen3Config", SHAPE | {"head_dim": 16}),
    "Phi, partial rotary, biases": ("PhiConfig", SMALL | {"intermediate_size": 48, "partial_rotary_factor": 0.5}),
    "GPT-2": ("GPT2Config", OF_GPT),
    "OLMo, values clipped in place": ("OlmoConfig", SHAPE | {"clip_qkv": 1.0}),
    "Mixtral": ("MixtralConfig", SHAPE | EXPERTS | {"sliding_window": None}),
}  # fmt: skip
FAMILIES = PLAIN | CACHE | SLOTS

PROMPTS = [[*range(100, 104), *range(20, 20 + n)] for n in (2, 13, 60, 14, 20)]
LABELS = ("no", "note", "notes of a meeting", "yes")


def randomised(module):
    """With weights that are large enough for every part of the model to matter."""
    with torch.no_grad():
        for parameter in module.parameters():
            if parameter.dim() > 1:
                parameter.normal_(0, 1.2 / math.sqrt(parameter.shape[-1]))
    return module.float().eval()


def built(name: str) -> CausalModel:
    torch.manual_seed(0)
    kind, values = FAMILIES[name]
    module = transformers.AutoModelForCausalLM.from_config(getattr(transformers, kind)(**values))
    model = CausalModel(randomised(module), Chat(toy_tokenizer()))
    choose_path(model.network)
    return model


@pytest.fixture(scope="module", params=FAMILIES)
def model(request) -> CausalModel:
    return built(request.param)


def by_transformers(forward, prompt: list[int], answer: list[int]) -> torch.Tensor:
    """Losses of the answer's tokens, by the model's own forward on one row."""
    logits = forward(input_ids=torch.tensor([[*prompt, *answer]])).logits[0, -len(answer) - 1 : -1]
    return cross_entropy(logits.float(), torch.tensor(answer), reduction="none")


def test_takes_the_path_that_is_right_for_it():
    for path, families in {"plain": PLAIN, "cache": CACHE, "slots": SLOTS}.items():
        assert {built(name).network.path for name in families} == {path}


def test_labels_have_the_log_probabilities_of_whole_rows(model):
    found = dict(model.score(PROMPTS, [LABELS] * len(PROMPTS)))
    best = dict(model.choose(PROMPTS, [LABELS] * len(PROMPTS)))
    for index, prompt in enumerate(PROMPTS):
        with torch.no_grad():
            own = [-by_transformers(model.module, prompt, model.encode_answer(label)).sum().item() for label in LABELS]
        assert found[index].log_probabilities == pytest.approx(own, abs=1e-3)
        assert best[index].place == max(range(len(LABELS)), key=own.__getitem__)


def test_greedy_texts_are_those_of_generate(model):
    found = dict(model.generate(PROMPTS, 14))
    for index, prompt in enumerate(PROMPTS):
        ids = torch.tensor([prompt])
        how = {"do_sample": False, "max_new_tokens": 14, "eos_token_id": sorted(model.ends), "pad_token_id": 0}
        whole = model.module.generate(input_ids=ids, attention_mask=torch.ones_like(ids), **how)[0]
        assert found[index].text == model.chat.decode(whole[len(prompt) :].tolist())


def test_a_step_of_lora_has_the_gradients_of_peft(model):
    # PEFT refuses the other layers of a state space, and fails with the router of Llama 4.
    targets = {"mamba": ["in_proj"], "llama4_text": ["q_proj", "o_proj"]}.get(
        model.network.config.model_type, "all-linear"
    )
    tuned = adapters.attach(model, peft.LoraConfig(r=2, target_modules=targets, init_lora_weights=False))
    answer = model.encode_answer("note")
    ids, mask = model.network.pad([[*prompt, *answer] for prompt in PROMPTS])
    ends = mask[:, None]
    places = torch.arange(ids.shape[1])[None]
    losses = tuned.answer_losses(ids, places < ends, (places < ends) & (places >= ends - len(answer)))
    own = torch.cat([by_transformers(tuned.module, prompt, answer) for prompt in PROMPTS])
    torch.testing.assert_close(losses, own, atol=1e-3, rtol=0)
    trained = [parameter for parameter in tuned.module.parameters() if parameter.requires_grad]
    pairs = zip(*(torch.autograd.grad(each.sum(), trained, allow_unused=True) for each in (losses, own)), strict=True)
    for ours, theirs in pairs:
        assert (ours is None) == (theirs is None)
        if ours is not None:
            torch.testing.assert_close(ours, theirs, atol=1e-3 * (1 + theirs.abs().max().item()), rtol=0)


@pytest.mark.parametrize("name", ["Gemma 3, sliding in turns", "Mistral, sliding window", "Llama", "Bloom, ALiBi"])
@pytest.mark.parametrize("tokens", [3, 20])  # fewer than the window, and more
def test_prefix_tuning_is_that_of_peft(name, tokens):
    model = built(name)
    tuned = adapters.attach(model, peft.PrefixTuningConfig(num_virtual_tokens=tokens))
    found = dict(tuned.score(PROMPTS, [LABELS] * len(PROMPTS)))
    for index, prompt in enumerate(PROMPTS):
        with torch.no_grad():
            own = [-by_transformers(tuned.module, prompt, tuned.encode_answer(label)).sum().item() for label in LABELS]
        assert found[index].log_probabilities == pytest.approx(own, abs=1e-3)


def test_a_prefix_that_does_not_fit_the_model_is_refused():
    with pytest.raises(ModelError, match="virtual tokens of this PrefixTuningConfig") as caught:
        adapters.attach(built("Falcon, one key head"), peft.PrefixTuningConfig(num_virtual_tokens=4))
    assert "adapter=lora" in caught.value.to_do


def test_a_layer_that_peft_can_not_adapt_is_named():
    with pytest.raises(ModelError, match="Llama4Router"):
        adapters.attach(built("Llama 4, chunks"), peft.LoraConfig(r=2, target_modules="all-linear"))


@pytest.mark.parametrize("config", [peft.IA3Config(), peft.LoraConfig()])
def test_an_adapter_without_default_modules_names_those_of_the_model(config):
    module = transformers.AutoModelForCausalLM.from_config(transformers.ApertusConfig(**SHAPE)).eval()
    model = CausalModel(module, Chat(toy_tokenizer()))
    with pytest.raises(ModelError, match="no default modules of a model of type 'apertus'") as caught:
        adapters.attach(model, config)
    assert caught.value.where == "adapter.target_modules"
    assert "down_proj" in caught.value.to_do


@pytest.mark.parametrize(
    ("kind", "names"),
    [("LlamaConfig", ["attention_dropout"]), ("GPT2Config", ["attn_pdrop"]), ("GPT2Config", ["resid_pdrop"])],
)
def test_dropout_of_the_models_configuration_is_honoured(kind, names):
    values = (OF_GPT | {"attn_pdrop": 0.0, "resid_pdrop": 0.0, "embd_pdrop": 0.0}) if kind == "GPT2Config" else SHAPE
    torch.manual_seed(0)
    config = getattr(transformers, kind)(**values | dict.fromkeys(names, 0.5))
    model = CausalModel(transformers.AutoModelForCausalLM.from_config(config).eval(), Chat(toy_tokenizer()))
    choose_path(model.network)
    tuned = adapters.attach(model, peft.LoraConfig(r=2, target_modules="all-linear", init_lora_weights=False))
    ids = torch.tensor([[70, 71, 72, 73, 74, 75, 1]] * 2)  # equal rows: what is dropped of them is not
    answer = torch.zeros_like(ids, dtype=torch.bool)
    answer[:, 4:] = True
    still = tuned.answer_losses(ids, torch.ones_like(answer), answer)
    torch.testing.assert_close(still[:3], still[3:])
    tuned.module.train()
    losses = tuned.answer_losses(ids, torch.ones_like(answer), answer)
    assert not torch.allclose(losses[:3], losses[3:])
    assert not torch.allclose(losses, still)


def test_a_model_that_looks_at_later_tokens_is_refused():
    config = transformers.BertConfig(vocab_size=261, hidden_size=32, num_hidden_layers=2, num_attention_heads=4)
    torch.manual_seed(0)
    module = randomised(transformers.AutoModelForCausalLM.from_config(config))
    with pytest.raises(ModelError, match="not causal"):
        choose_path(CausalModel(module, Chat(toy_tokenizer())).network)


def test_rows_of_every_length_are_read_alone_where_their_length_matters():
    doge = built("Doge, the best keys by rank").network
    assert [doge.depends_on_length(tokens) for tokens in (8, 9)] == [False, True]
    assert not built("GPT-Neo, local layers").network.depends_on_length(200)


def test_what_a_configuration_says():
    phi = transformers.Phi3Config(**SHAPE, original_max_position_embeddings=24, rope_parameters=LONGROPE)
    assert rope_switch(phi) == 24
    dynamic = {"rope_type": "dynamic", "rope_theta": 10000.0, "factor": 4.0}
    assert rope_switch(transformers.LlamaConfig(**SHAPE, rope_parameters=dynamic)) == 256
    assert rope_switch(transformers.LlamaConfig(**SHAPE)) is None
    assert masks_are_known(transformers.Qwen2Config())
    assert not masks_are_known(transformers.GPTNeoConfig())
    assert not masks_are_known(transformers.Llama4TextConfig())
    assert unknown_windows(transformers.GPTNeoConfig(window_size=77)) == [77]
    assert unknown_windows(transformers.Qwen2Config(use_sliding_window=True, sliding_window=77)) == []
    assert window(transformers.MptConfig(max_seq_len=77), None) == 77
