"""The fast engine runs exactly the models for which it computes what the reference engine computes."""

from __future__ import annotations

import pytest
import torch
import transformers
from architectures import FAMILIES, FAST, LABELS, PROMPTS, SHAPE, built, own_score

from stepladder.engine import admission
from stepladder.engine.admission import admitted, small_config, small_model
from stepladder.engine.configuration import rope_switch
from stepladder.engine.decoding.engine import FastEngine
from stepladder.engine.fast.network import FastNetwork
from stepladder.errors import ModelError


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("STEPLADDER_CACHE", str(tmp_path))


@pytest.mark.parametrize("name", FAMILIES)
def test_a_model_is_run_by_the_fast_engine_where_that_is_right_for_it(name):
    assert built(name).engine.name == ("fast" if name in FAST else "reference")


def test_an_attention_multiplier_is_supported():
    causal = transformers.GraniteForCausalLM(transformers.GraniteConfig(**SHAPE, attention_multiplier=0.2))
    assert admitted(causal, FastEngine)


@pytest.mark.parametrize("name", ["Mistral, sliding window", "Gemma 3, sliding in turns"])
def test_an_engine_that_ignores_windows_is_not_admitted(name, monkeypatch):
    """Rows of the test are longer than every window, also where those of the model are long."""
    kind, values = FAMILIES[name]
    config = getattr(transformers, kind)(**values | {"sliding_window": 200})
    causal = transformers.AutoModelForCausalLM.from_config(config)
    assert admitted(causal, FastEngine)
    monkeypatch.setattr(FastNetwork, "longest_row", None)
    monkeypatch.setattr(admission, "_key", lambda *_: "another")
    assert not admitted(causal, FastEngine)


def test_the_small_model_keeps_what_attention_depends_on():
    config = transformers.Gemma3TextConfig(
        hidden_size=640, intermediate_size=2048, num_hidden_layers=18, num_attention_heads=4, num_key_value_heads=1,
        head_dim=256, sliding_window=512, vocab_size=262144,
    )  # fmt: skip
    small = small_config(config, widths=True)
    assert small.num_hidden_layers == 12
    assert small.layer_types.count("full_attention") == 2
    assert small.sliding_window < admission.LONG
    assert (small.head_dim, small.query_pre_attn_scalar) == (256, config.query_pre_attn_scalar)
    assert small.rope_parameters == config.rope_parameters
    assert small.hidden_size == 128
    model = small_model(transformers.Gemma3ForCausalLM, config)
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
    assert sum(parameter.numel() for parameter in model.parameters()) < 10**7


def test_a_switch_of_rotary_frequencies_is_scaled_to_the_rows():
    factors = {"short_factor": [1.0] * 48, "long_factor": [2.0] * 48, "rope_theta": 10000.0, "rope_type": "longrope"}
    config = transformers.Phi3Config(original_max_position_embeddings=4096, max_position_embeddings=131072,
                                     rope_parameters=factors, pad_token_id=0)  # fmt: skip
    small = small_config(config, widths=True)
    assert rope_switch(small) == admission.SWITCH < admission.LONG
    assert small.max_position_embeddings / rope_switch(small) == 32
    assert small.hidden_size // small.num_attention_heads == 96
    with torch.device("meta"):
        causal = transformers.Phi3ForCausalLM(config)
    assert admitted(causal, FastEngine)


def test_the_result_is_remembered_by_configuration(monkeypatch, tmp_path):
    causal = transformers.LlamaForCausalLM(transformers.LlamaConfig(**SHAPE))
    assert admitted(causal, FastEngine)
    with monkeypatch.context() as patched:
        patched.setattr(admission, "_equals", None)
        assert admitted(causal, FastEngine)
        other = transformers.LlamaForCausalLM(transformers.LlamaConfig(**SHAPE | {"hidden_act": "gelu"}))
        with pytest.raises(TypeError):
            admitted(other, FastEngine)
    assert len(list((tmp_path / "admission").iterdir())) == 1


def test_a_model_that_is_not_admitted_is_run_by_the_reference_engine_with_a_note(monkeypatch, capsys):
    monkeypatch.setattr(admission, "_equals", lambda *_: False)
    model = built("Llama")
    assert model.engine_name == "reference"
    assert "note: the fast engine" in capsys.readouterr().err
    found = dict(model.score(PROMPTS[:1], [LABELS]))
    assert found[0].log_probabilities == pytest.approx([own_score(model, PROMPTS[0], each) for each in LABELS])


def test_a_head_that_does_more_than_we_know_is_run_by_the_reference_engine(monkeypatch):
    forward = transformers.Qwen2ForCausalLM.forward

    def doubled(self, *arguments, **named):
        out = forward(self, *arguments, **named)
        return transformers.modeling_outputs.CausalLMOutputWithPast(
            logits=out.logits * 2, past_key_values=out.past_key_values
        )

    monkeypatch.setattr(transformers.Qwen2ForCausalLM, "forward", doubled)
    model = built("Qwen2")
    assert model.engine_name == "reference"
    found = dict(model.score(PROMPTS, [LABELS] * len(PROMPTS)))
    for index, prompt in enumerate(PROMPTS):
        own = [own_score(model, prompt, label) for label in LABELS]
        assert found[index].log_probabilities == pytest.approx(own, abs=1e-4)


def test_a_model_whose_forward_fails_is_refused(monkeypatch):
    def failing(*_, **__):
        raise RuntimeError("no such kernel")

    monkeypatch.setattr(transformers.Qwen2ForCausalLM, "forward", failing)
    with pytest.raises(ModelError, match="can not be run: no such kernel"):
        built("Qwen2")
