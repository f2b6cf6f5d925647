"""What training is given: losses of the answers' tokens, by the same path that scores."""

from __future__ import annotations

import pytest
import torch
from torch.nn.functional import cross_entropy

from stepladder.models.toy import ToyCheckpoint

ROWS = [([70, 71, 72], [90, 91, 1]), ([80], [92, 1]), ([60, 61, 62, 63, 64, 65], [93, 94, 95, 96, 1])]


def padded(rows=ROWS):
    longest = max(len(prompt) + len(answer) for prompt, answer in rows)
    ids = torch.full((len(rows), longest), 200)
    mask, answers = torch.zeros(2, len(rows), longest, dtype=torch.bool)
    for row, (prompt, answer) in enumerate(rows):
        whole = len(prompt) + len(answer)
        ids[row, :whole] = torch.tensor(prompt + answer)
        mask[row, :whole] = True
        answers[row, len(prompt) : whole] = True
    return ids, mask, answers


def plainly(model, rows=ROWS):
    """Each row alone through the network's own forward, its answer's losses in float32."""
    found = []
    for prompt, answer in rows:
        logits = model.module(torch.tensor([prompt + answer])).logits[0, len(prompt) - 1 : -1]
        found.append(cross_entropy(logits.float(), torch.tensor(answer), reduction="none"))
    return torch.cat(found)


def test_they_are_the_networks_own_in_row_order():
    model = ToyCheckpoint().load()
    losses = model.answer_losses(*padded())
    assert losses.shape == (3 + 2 + 5,)
    assert torch.allclose(losses, plainly(model), atol=1e-5)


def test_training_and_scoring_agree():
    model = ToyCheckpoint().load()
    prompt = [70, 71, 72]
    answer = model.encode_answer("yes")
    ids = torch.tensor([prompt + answer])
    answers = torch.arange(ids.shape[1])[None] >= len(prompt)
    losses = model.answer_losses(ids, torch.ones_like(answers), answers)
    ((_, scores),) = model.score([prompt], [["yes"]])
    assert -float(losses.sum().detach()) == pytest.approx(scores.log_probabilities[0], abs=1e-4)


def test_gradients_flow_to_whatever_asks_and_nothing_leaks_from_padding():
    model = ToyCheckpoint().load()
    ids, mask, answers = padded()
    grown = torch.nn.functional.pad(ids, (0, 7), value=150)
    more = torch.nn.functional.pad(torch.stack([mask, answers]), (0, 7))
    gradients = []
    for batch in ((ids, mask, answers), (grown, more[0], more[1])):
        model.module.zero_grad()
        model.answer_losses(*batch).sum().backward()
        gradients.append(model.module.model.layers[0].self_attn.q_proj.weight.grad.clone())
    assert gradients[0].abs().max() > 0
    assert torch.allclose(*gradients, atol=1e-6)


def test_predicting_leaves_training_mode_as_it_was():
    model = ToyCheckpoint().load()
    model.module.train()
    list(model.score([[70]], [["a"]]))
    assert model.module.training
    assert torch.is_grad_enabled()


def test_an_answer_needs_a_token_before_it():
    model = ToyCheckpoint().load()
    everything = torch.ones(1, 3, dtype=torch.bool)
    with pytest.raises(ValueError, match="first token"):
        model.answer_losses(torch.tensor([[70, 71, 1]]), everything, everything)
