"""The head a chunk at a time gives the losses and gradients of the head at once."""

from __future__ import annotations

import pytest
import torch
from torch.nn.functional import cross_entropy

from stepladder.engine.fast import cross_entropy as room


@pytest.fixture
def given():
    torch.manual_seed(0)
    return torch.randn(11, 6, dtype=torch.float64, requires_grad=True), torch.randn(20, 6, dtype=torch.float64)


TARGETS = torch.tensor([3, 3, 0, 19, 7, 7, 7, 1, 2, 5, 18])


@pytest.mark.parametrize("chunk", [1, 4, 11, 100])
def test_a_frozen_head(monkeypatch, given, chunk):
    monkeypatch.setattr(room, "CHUNK", chunk)
    monkeypatch.setattr(room, "LARGE", 0 if chunk < 100 else 2**20)  # in chunks, and at once
    hidden, weight = given
    towards = torch.linspace(-1, 2, 11)
    plain = cross_entropy(hidden @ weight.T, TARGETS, reduction="none")
    (wanted,) = torch.autograd.grad((plain * towards).sum(), hidden)
    ours = room.frozen_head_losses(hidden, weight, TARGETS)
    (found,) = torch.autograd.grad((ours * towards).sum(), hidden)
    torch.testing.assert_close(ours, plain.float())
    torch.testing.assert_close(found, wanted, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("chunk", [4, 100])
def test_a_head_that_learns(monkeypatch, given, chunk):
    monkeypatch.setattr(room, "CHUNK", chunk)
    hidden, weight = given[0], given[1].requires_grad_()
    plain = cross_entropy((hidden @ weight.T).float(), TARGETS, reduction="none")
    wanted = torch.autograd.grad(plain.square().sum(), (hidden, weight))
    ours = room.head_losses(hidden, lambda rows: rows @ weight.T, TARGETS)
    found = torch.autograd.grad(ours.square().sum(), (hidden, weight))
    torch.testing.assert_close(ours, plain)
    for a, b in zip(found, wanted, strict=True):
        torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-4)


def test_without_gradients_none_is_kept(given):
    hidden, weight = given
    with torch.no_grad():
        assert room.frozen_head_losses(hidden, weight, TARGETS).grad_fn is None
