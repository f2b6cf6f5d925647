"""Training through the fused decoder is training through the model's own forward pass."""

from __future__ import annotations

import peft
import pytest
import torch
from toys import rows, toy

from stepladder.engine.fast.network import FastNetwork
from stepladder.engine.precision import has_bf16
from stepladder.tuning import adapters
from stepladder.tuning.batches import collate


def lora(**more):
    return peft.LoraConfig(**({"r": 4, "target_modules": "all-linear", "init_lora_weights": False} | more))


def learnt(model, autocast=False):
    """The losses, and the gradient of everything that is learnt."""
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        losses = model.answer_losses(*collate(rows(model)))
    learns = [p for p in model.module.parameters() if p.requires_grad]
    return losses.detach(), torch.autograd.grad(losses.sum(), learns)


SOME = {
    "all": {},
    "some": {"target_modules": ["v_proj", "up_proj", "down_proj"]},
    "ranks": {"use_rslora": True, "rank_pattern": {"k_proj": 2}},
    "embeddings": {"modules_to_save": ["embed_tokens"]},
}


@pytest.mark.parametrize("more", SOME.values(), ids=SOME)
@pytest.mark.parametrize("bias", [False, True], ids=["", "bias"])
def test_losses_and_gradients_are_equal(monkeypatch, more, bias):
    torch.manual_seed(0)
    model = adapters.attach(toy(bias=bias), lora(**more))
    assert model.engine.network.training_decoder() is not None
    ours, found = learnt(model)
    monkeypatch.setattr(FastNetwork, "training_decoder", lambda self: None)
    plain, wanted = learnt(model)
    torch.testing.assert_close(ours, plain, atol=1e-5, rtol=1e-5)
    for mine, own in zip(found, wanted, strict=True):
        torch.testing.assert_close(mine, own, atol=1e-4, rtol=1e-3)


@pytest.mark.skipif(not has_bf16("cpu"), reason="a processor without bf16 products computes in float32")
@pytest.mark.parametrize(("dtype", "autocast"), [("bf16", False), ("bf16", True), ("float32", True)])
def test_in_bf16_they_are_near(monkeypatch, dtype, autocast):
    torch.manual_seed(0)
    model = adapters.attach(toy(dtype), lora())
    assert model.engine.network.training_decoder() is not None
    ours, found = learnt(model, autocast)
    monkeypatch.setattr(FastNetwork, "training_decoder", lambda self: None)
    plain, wanted = learnt(model, autocast)
    torch.testing.assert_close(ours, plain, atol=0.05, rtol=0.02)
    for mine, own in zip(found, wanted, strict=True):
        assert mine.dtype == own.dtype
        assert (mine - own).norm() < 0.05 * own.norm()


@pytest.mark.parametrize(
    "adapter",
    [lora(lora_dropout=0.1), lora(use_dora=True), adapters.Full(), adapters.BitFit(), peft.IA3Config()],
    ids=["dropout", "dora", "full", "bitfit", "ia3"],
)
def test_training_more_than_low_rank_additions_uses_no_fused_decoder(adapter):
    if isinstance(adapter, peft.IA3Config):
        adapter.target_modules, adapter.feedforward_modules = ["k_proj", "down_proj"], ["down_proj"]
    model = adapters.attach(toy(bias=True), adapter)
    assert model.engine.network.training_decoder() is None
    assert all(torch.isfinite(gradient).all() for gradient in learnt(model)[1])


def test_with_a_trained_norm_there_is_no_fused_decoder():
    model = adapters.attach(toy(), lora())
    model.engine.network.causal.base_model.norm.weight.requires_grad_()
    assert model.engine.network.training_decoder() is None


def test_it_is_replaced_when_the_trained_parameters_change_and_only_then():
    model = adapters.attach(toy(), lora())
    body = model.engine.network.training_decoder()
    learns = [p for p in model.module.parameters() if p.requires_grad]
    with torch.no_grad():
        learns[0].add_(0.1)
    assert model.engine.network.training_decoder() is body
    learns[0].requires_grad_(False)
    assert model.engine.network.training_decoder() is not body


@pytest.mark.parametrize("bias", ["all", "lora_only"])
def test_trained_biases_of_frozen_layers_get_gradients(bias):
    model = adapters.attach(toy(bias=True), lora(bias=bias))
    trained = {name: p for name, p in model.module.named_parameters() if p.requires_grad}
    assert any("q_proj" in name and name.endswith("bias") for name in trained)
    losses = model.answer_losses(*collate(rows(model)))
    gradients = torch.autograd.grad(losses.sum(), list(trained.values()), allow_unused=True)
    assert all(gradient is not None for gradient in gradients)
