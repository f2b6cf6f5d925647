"""The attention of the package computes what the model's own computes, and rows do not attend to each other."""

from __future__ import annotations

import pytest
import torch
from torch.nn.functional import cross_entropy

from stepladder.engine.fast import attention
from stepladder.engine.fast.attention import Rows
from stepladder.models.toy import ToyCheckpoint

SHAPE = {
    "vocab_size": 261, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "max_position_embeddings": 512, "eos_token_id": 1, "pad_token_id": 0,
}  # fmt: skip
PREFIX = [5, 6, 7, 8, 9]
ROWS = [[*PREFIX, 70, 71, 72, 1], [*PREFIX, 79, 80, 1], [*PREFIX, 60, 61, 62, 63, 64, 1]]


def batch(rows=ROWS, answer=2):
    longest = max(map(len, rows))
    ids = torch.tensor([[*row, *[0] * (longest - len(row))] for row in rows])
    mask = torch.arange(longest) < torch.tensor([[len(row)] for row in rows])
    return ids, mask, mask & (torch.arange(longest) >= torch.tensor([[len(row) - answer] for row in rows]))


def gradients(model, losses):
    model.module.zero_grad()
    losses.sum().backward()
    return {name: p.grad.clone() for name, p in model.module.named_parameters()}


def plainly(model, rows=ROWS, answer=2):
    found = []
    for row in rows:
        logits = model.module(torch.tensor([row])).logits[0, -answer - 1 : -1]
        found.append(cross_entropy(logits, torch.tensor(row[-answer:]), reduction="none"))
    return torch.cat(found)


def test_a_shared_prefix_is_read_once_and_changes_neither_losses_nor_gradients(monkeypatch):
    model, read = ToyCheckpoint().load(), []
    through = attention.forward_with
    monkeypatch.setattr(
        attention, "forward_with", lambda *a, **k: (read.append(k["input_ids"].numel()), through(*a, **k))[1]
    )
    read.clear()
    ours = model.answer_losses(*batch())
    assert read == [len(PREFIX) + sum(len(row) - len(PREFIX) for row in ROWS)]
    torch.testing.assert_close(ours, plainly(model), atol=1e-5, rtol=1e-5)
    ours, theirs = gradients(model, ours), gradients(model, plainly(model))
    assert ours.keys() == theirs.keys()
    for name in ours:
        torch.testing.assert_close(ours[name], theirs[name], atol=1e-5, rtol=1e-4)


def test_rows_do_not_attend_to_each_other():
    model = ToyCheckpoint().load()
    embeddings = model.module.get_input_embeddings().weight
    embeddings.requires_grad_()
    losses = model.answer_losses(*batch([[70, 71, 72, 73, 1], [80, 81, 1]]))
    (reached,) = torch.autograd.grad(losses[:2].sum(), embeddings)
    assert reached[[70, 71, 72]].abs().sum() > 0
    assert reached[[80, 81]].abs().sum() == 0
    other = model.answer_losses(*batch([[70, 71, 72, 73, 1], [90, 91, 1]]))
    assert torch.equal(losses[:2], other[:2])


def test_the_prefix_ends_before_anything_is_wanted():
    """Rows that are all the same: what predicts the answer is read row by row."""
    model = ToyCheckpoint().load()
    rows = [[70, 71, 72, 1]] * 3
    torch.testing.assert_close(model.answer_losses(*batch(rows)), plainly(model, rows), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(model.answer_losses(*batch(rows, 3)), plainly(model, rows, 3), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("prefix", [0, 5])
@pytest.mark.parametrize("lengths", [[7], [4, 4, 4], [3, 7, 1, 7]], ids=str)
def test_short_and_long_rows_attend_alike(monkeypatch, lengths, prefix):
    torch.manual_seed(0)
    tokens, found = prefix + sum(lengths), []
    parts = [torch.randn(1, heads, tokens, 8, requires_grad=True) for heads in (4, 2, 2)]
    towards = torch.randn(1, tokens, 4, 8)
    for short in (512, 0):
        monkeypatch.setattr(attention, "SHORT", short)
        out = Rows(lengths, prefix, torch.device("cpu")).attend(0, *parts, 0.3, 0.0)
        assert ("AttendWithinRows" in str(out.grad_fn.next_functions)) == bool(short)
        found.append((out, *torch.autograd.grad(out, parts, towards)))
    for ours, fused in zip(*found, strict=True):
        torch.testing.assert_close(ours, fused, atol=1e-5, rtol=1e-4)


def test_the_models_own_attention_is_restored_afterwards():
    model = ToyCheckpoint().load()
    before = model.module.config._attn_implementation
    model.answer_losses(*batch())
    assert model.module.config._attn_implementation == before != attention.NAME


def test_padding_is_made_only_where_rows_differ():
    assert Rows([4, 4], 0, torch.device("cpu")).place is None
    assert Rows([4, 2], 0, torch.device("cpu")).place.tolist() == [0, 1, 2, 3, 4, 5]
    assert Rows([2, 4], 0, torch.device("cpu")).place.tolist() == [0, 1, 4, 5, 6, 7]


@pytest.mark.parametrize("masked", [False, True])
def test_the_fused_weights_are_the_plain_ones(masked):
    torch.manual_seed(0)
    query, key, value = (torch.randn(2, 3, n, 8) for n in (4, 9, 9))
    mask = torch.zeros(2, 1, 4, 9).masked_fill(torch.rand(2, 1, 4, 9) > 0.6, -torch.inf) if masked else None
    scores = query @ key.transpose(2, 3) * 0.3 + (0 if mask is None else mask)
    found, weight = attention.attention_with_weight(query, key, value, mask, 0.3)
    torch.testing.assert_close(weight, scores.logsumexp(-1))
    torch.testing.assert_close(found, scores.softmax(-1) @ value)
    plain = attention.attention_with_weight(query.to("meta"), key.to("meta"), value.to("meta"), None, 0.3)
    assert [part.shape for part in plain] == [found.shape, weight.shape]
