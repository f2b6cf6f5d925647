"""What else of the families of models: prompt learning, dropout, refusals, and what their configurations say."""

from __future__ import annotations

import peft
import pytest
import torch
import transformers
from architectures import LABELS, LONGROPE, OF_GPT, PROMPTS, SHAPE, built, own_score, randomised

from stepladder.engine.configuration import masks_are_known, rope_switch, unknown_windows, window
from stepladder.engine.select import create_engine
from stepladder.errors import ModelError
from stepladder.models.chat import Chat
from stepladder.models.local import CausalModel
from stepladder.models.toy import toy_tokenizer
from stepladder.tuning import adapters


@pytest.mark.parametrize("name", ["Gemma 3, sliding in turns", "Mistral, sliding window", "Llama", "Bloom, ALiBi"])
@pytest.mark.parametrize("tokens", [3, 20])  # fewer than the window, and more
def test_prefix_tuning_is_that_of_peft(name, tokens):
    model = built(name)
    tuned = adapters.attach(model, peft.PrefixTuningConfig(num_virtual_tokens=tokens))
    found = dict(tuned.score(PROMPTS, [LABELS] * len(PROMPTS)))
    for index, prompt in enumerate(PROMPTS):
        own = [own_score(tuned, prompt, label) for label in LABELS]
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
    model = CausalModel(create_engine(module), Chat(toy_tokenizer()))
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
    module = transformers.AutoModelForCausalLM.from_config(config).eval()
    model = CausalModel(create_engine(module), Chat(toy_tokenizer()))
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
        create_engine(module)


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
