"""A technique of the fast engine changes no result when it is switched off."""

from __future__ import annotations

from dataclasses import fields

import peft
import pytest
import torch
from toys import rows

from stepladder.engine.fast.techniques import ON, Techniques
from stepladder.models.toy import ToyCheckpoint
from stepladder.tuning import adapters
from stepladder.tuning.batches import collate
from stepladder.types import Message

SCHEMA = {"type": "object", "properties": {"sure": {"type": "boolean"}}, "required": ["sure"]}


def results():
    """Log-probabilities, texts, JSON, losses and gradients."""
    torch.manual_seed(0)
    model = adapters.attach(
        ToyCheckpoint(hidden=128).load(), peft.LoraConfig(r=4, target_modules="all-linear", init_lora_weights=False)
    )
    prompts = [model.encode([Message("user", f"{'some words ' * n}and number {n}")]) for n in range(5)]
    scores = dict(model.score(prompts, [("yes", "no", "not")] * 5))
    texts = [dict(model.generate(prompts, 12, micro_batch=2, schema=schema)) for schema in (None, SCHEMA)]
    losses = model.answer_losses(*collate(rows(model)))
    trained = [parameter for parameter in model.module.parameters() if parameter.requires_grad]
    gradients = torch.autograd.grad(losses.sum(), trained)
    numbers = [torch.tensor([scores[n].log_probabilities for n in range(5)]), losses.detach(), *gradients]
    return numbers, [run[n].text for run in texts for n in range(5)]


@pytest.fixture(scope="module")
def all_on():
    return results()


@pytest.mark.parametrize("name", [field.name for field in fields(Techniques)])
def test_results_are_the_same_without_it(monkeypatch, name, all_on):
    monkeypatch.setattr(ON, name, False)
    numbers, texts = results()
    assert texts == all_on[1]
    for found, wanted in zip(numbers, all_on[0], strict=True):
        torch.testing.assert_close(found, wanted, atol=1e-4, rtol=1e-3)
