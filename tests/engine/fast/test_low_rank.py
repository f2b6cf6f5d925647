"""LoRA as one function gives what PEFT's own layer gives, forwards and backwards, and steps aside where it can not."""

from __future__ import annotations

import copy

import peft
import pytest
import torch
from torch import nn
from toys import losses, toy

from stepladder.engine.fast.low_rank import low_rank_linear
from stepladder.engine.values import LowRank
from stepladder.tuning import adapters


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_it_is_peft_s_layer(dtype, bias):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(12, 20, bias=bias, dtype=dtype))
    config = peft.LoraConfig(r=4, lora_alpha=12, target_modules=["0"], init_lora_weights=False)
    layer = peft.get_peft_model(model, config).base_model.model[0]
    a, b = layer.lora_A["default"].weight, layer.lora_B["default"].weight
    x = torch.randn(2, 5, 12, dtype=dtype, requires_grad=True)
    towards = torch.randn(2, 5, 20, dtype=dtype)
    theirs = layer(x)
    wanted = torch.autograd.grad(theirs, (x, a, b), towards)
    ours = low_rank_linear(x, layer.base_layer.weight, layer.base_layer.bias, [(0, LowRank(a, b, 3.0))])
    found = torch.autograd.grad(ours, (x, a, b), towards)
    near = {"atol": 1e-5, "rtol": 1e-4} if dtype == torch.float32 else {"atol": 0.2, "rtol": 0.05}
    torch.testing.assert_close(ours, theirs, **near)
    assert ours.dtype == dtype
    for mine, peft_s in zip(found, wanted, strict=True):
        assert mine.dtype == peft_s.dtype
        torch.testing.assert_close(mine, peft_s, **near)


def test_the_input_asks_for_nothing_when_it_needs_nothing():
    x, weight = torch.randn(3, 4), torch.randn(5, 4)
    a, b = torch.randn(2, 4, requires_grad=True), torch.randn(5, 2, requires_grad=True)
    low_rank_linear(x, weight, None, [(0, LowRank(a, b, 1.0))]).sum().backward()
    assert x.grad is None
    torch.testing.assert_close(b.grad, torch.ones(5, 1) * (x @ a.T).sum(0).detach())


@pytest.mark.parametrize("additions", [True, False])
def test_the_model_may_change_the_result_in_place(additions):
    # OLMo clips queries, keys and values in place, Gemma 3n scales a projection.
    x, weight = torch.randn(2, 3, 4, requires_grad=True), torch.randn(5, 4)
    a, b = torch.randn(2, 4, requires_grad=True), torch.randn(5, 2, requires_grad=True)
    found = low_rank_linear(x, weight, None, [(0, LowRank(a, b, 1.0))] if additions else [])
    found *= 2
    wanted = 2 * (x @ (weight + b @ a if additions else weight).T)
    torch.testing.assert_close(found, wanted)
    towards = torch.randn(2, 3, 5)
    torch.testing.assert_close(*(torch.autograd.grad(each, x, towards)[0] for each in (found, wanted)))


def quick(model):
    return [m for m in model.module.modules() if type(m).__name__ == "QuickLinear"]


def lora(**more):
    return peft.LoraConfig(r=4, target_modules="all-linear", init_lora_weights=False, **more)


def test_plain_lora_and_rslora_are_quick_and_dora_and_trained_biases_are_not():
    assert len(quick(adapters.attach(toy(), lora()))) == 14
    assert len(quick(adapters.attach(toy(), lora(use_rslora=True)))) == 14
    assert not quick(adapters.attach(toy(), lora(use_dora=True)))


@pytest.mark.parametrize("more", [{}, {"use_rslora": True}, {"lora_dropout": 0.5}], ids=["plain", "rslora", "dropout"])
def test_the_whole_model_is_as_peft_has_it(monkeypatch, more):
    torch.manual_seed(1)
    tuned = adapters.attach(toy(), lora(**more))
    torch.manual_seed(1)
    monkeypatch.setattr(adapters, "_quicken", lambda module: None)
    plain = adapters.attach(toy(), lora(**more))
    torch.testing.assert_close(losses(tuned), losses(plain), atol=1e-4, rtol=1e-4)
    if "lora_dropout" in more:
        tuned.module.train()
        assert not torch.equal(losses(tuned), losses(tuned))


def test_a_disabled_or_merged_or_copied_adapter_is_peft_s_business():
    model = toy()
    tuned = adapters.attach(model, lora())
    with_it = losses(tuned)
    with tuned.module.disable_adapter():
        torch.testing.assert_close(losses(tuned), losses(model))
    torch.testing.assert_close(losses(model.adapted(copy.deepcopy(tuned.module))), with_it)
    tuned.module.merge_adapter()
    torch.testing.assert_close(losses(tuned), with_it, atol=1e-3, rtol=1e-3)
