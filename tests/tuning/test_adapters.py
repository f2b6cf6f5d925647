"""Adapters on the toy model: what is shipped trains, frozen weights stay, what was saved comes back."""

import sys

import peft
import pytest
import torch
from toys import LORA, QUICK, losses, rows, shipped, toy

from stepladder.errors import ConfigError, ModelError
from stepladder.resources import Resources
from stepladder.tuning.adapters import BitFit, Full
from stepladder.tuning.fine_tune import FineTune
from stepladder.tuning.training import Training
from stepladder.tuning.tuning import TrainingRow, Tuning


@pytest.mark.parametrize("dtype", ["float32", "bf16"])
@pytest.mark.parametrize("name", ["lora", "rslora", "dora", "ia3", "prompt_tuning", "prefix_tuning", "bitfit", "full"])
def test_every_shipped_adapter_trains_and_comes_back(name, dtype, tmp_path):
    model = toy(bias=True, dtype=dtype)
    before = {key: value.clone() for key, value in model.module.state_dict().items()}
    untuned = losses(model)
    tuning = FineTune(
        shipped(name), Training(epochs=10, batch_size=8, precision=dtype, learning_rate=2e-2, patience=None)
    )
    resources = Resources()
    tuned = tuning.tune(model, rows(model), rows(model), resources)

    assert isinstance(tuning, Tuning)
    assert resources.report.figures["best_validation_loss"] < 0.995 * untuned.mean().item()
    assert all(torch.equal(value, before[key]) for key, value in model.module.state_dict().items())
    assert torch.equal(losses(model), untuned)

    tuning.save(tmp_path, tuned)
    loaded = tuning.load(tmp_path, model, Resources())
    assert torch.equal(losses(loaded), losses(tuned))
    assert not torch.equal(losses(loaded), untuned)
    assert not list(tmp_path.glob("*.bin"))


def test_only_what_is_trained_differs_from_the_base():
    model = toy(bias=True)
    tuned = FineTune(BitFit(), QUICK).tune(model, rows(model), (), Resources())
    base = model.module.state_dict()
    changed = {name for name, value in tuned.module.state_dict().items() if not torch.equal(value, base[name])}
    assert changed
    assert all(name.endswith("bias") for name in changed)


def test_frozen_weights_lie_on_the_bases_own_memory():
    model = toy(dtype="bf16")
    tuned = FineTune(LORA, QUICK).tune(model, rows(model), (), Resources())
    base = model.module.model.layers[0].mlp.up_proj.weight
    assert tuned.module.get_base_model().model.layers[0].mlp.up_proj.base_layer.weight.data_ptr() == base.data_ptr()


def test_trained_parameters_of_lora():
    resources = Resources()
    config = peft.LoraConfig(r=4, target_modules=["q_proj"])
    FineTune(config, Training(epochs=1, precision="float32")).tune(toy(), rows(toy()), (), resources)
    assert resources.report.figures["trained_parameters"] == 2 * (64 * 4 + 4 * 64)


def test_saved_adapter_opens_in_plain_peft(tmp_path):
    model = toy()
    tuning = FineTune(LORA, QUICK)
    tuned = tuning.tune(model, rows(model), (), Resources())
    tuning.save(tmp_path, tuned)
    opened = peft.PeftModel.from_pretrained(toy().module, str(tmp_path))
    ids = torch.tensor([list(rows(model)[0].prompt_ids)])
    with torch.no_grad():
        assert torch.equal(opened(ids).logits, tuned.module(ids).logits)


def test_saved_full_model_opens_in_plain_transformers_with_its_tokenizer(tmp_path):
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model = toy(dtype="bf16")
    tuning = FineTune(Full(), QUICK)
    tuned = tuning.tune(model, rows(model), (), Resources())
    assert tuned.module.dtype == torch.bfloat16
    tuning.save(tmp_path, tuned)
    opened = AutoModelForCausalLM.from_pretrained(tmp_path)
    ids = torch.tensor([list(rows(model)[0].prompt_ids)])
    with torch.no_grad():
        assert torch.equal(opened(ids).logits, tuned.module(ids).logits)
    assert AutoTokenizer.from_pretrained(tmp_path)("abc")["input_ids"] == model.tokenizer("abc")["input_ids"]


def test_an_adapter_that_rewrites_the_base_leaves_the_given_one_as_it_was(tmp_path):
    model = toy()
    untuned = losses(model)
    tuning = FineTune(peft.LoraConfig(r=4, init_lora_weights="pissa", target_modules="all-linear"), QUICK)
    tuned = tuning.tune(model, rows(model), (), Resources())
    assert torch.equal(losses(model), untuned)
    tuning.save(tmp_path, tuned)
    torch.testing.assert_close(losses(tuning.load(tmp_path, model, Resources())), losses(tuned))


@pytest.mark.parametrize(
    ("adapter", "told"),
    [
        (peft.LoraConfig(target_modules=["q_prj"]), "q_proj"),
        (peft.LoraConfig(target_modules=["q_proj", "w_proj"]), "w_proj"),
        (peft.LoraConfig(target_modules=r".*attention\.q"), "attention"),
        (BitFit(), "biases"),
        (peft.AdaLoraConfig(total_step=10), "ADALORA"),
        ("lora", "no adapter"),
    ],
)
def test_an_adapter_that_does_not_fit_is_named(adapter, told):
    with pytest.raises((ModelError, ConfigError), match=told):
        FineTune(adapter, QUICK).tune(toy(), rows(toy()), (), Resources())


def test_virtual_tokens_take_their_share_of_the_window():
    model = toy(window=16)
    row = [TrainingRow("0", [1] * 14, [1])]
    FineTune(LORA, QUICK).tune(model, row, (), Resources())
    with pytest.raises(ModelError, match="12 tokens"):
        FineTune(peft.PromptTuningConfig(num_virtual_tokens=4), QUICK).tune(model, row, (), Resources())


def test_qlora_trains_on_a_base_in_four_bits(tmp_path):
    pytest.importorskip("bitsandbytes", reason="the extra 'quantized' is not installed")
    model = toy()
    untuned = losses(model)
    tuning = FineTune(shipped("qlora"), QUICK)
    resources = Resources()
    tuned = tuning.tune(model, rows(model), rows(model), resources)
    assert tuned.module.get_base_model().model.layers[0].mlp.up_proj.base_layer.weight.dtype == torch.uint8
    assert resources.report.figures["best_validation_loss"] < 0.95 * untuned.mean().item()
    assert torch.equal(losses(model), untuned)
    tuning.save(tmp_path, tuned)
    assert torch.equal(losses(tuning.load(tmp_path, model, Resources())), losses(tuned))


def test_qlora_without_its_extra_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "bitsandbytes", None)
    with pytest.raises(ModelError, match=r"stepladder\[quantized\]"):
        FineTune(shipped("qlora"), QUICK).tune(toy(), rows(toy()), (), Resources())
