"""When a pass is recorded and played, and when not. What a GPU does of it stands in test_gpu.py; here a stand-in that
computes, and forgets what it had computed before."""

from __future__ import annotations

import pytest
import torch

from stepladder.engine.fast import cuda_graphs
from stepladder.engine.fast.cuda_graphs import Recordings


class Played:
    """Has the one memory of all: what is played last is what gradients are of."""

    made, last = 0, None

    def __init__(self, compute, inputs, learnt, pool):
        type(self).made += 1
        self.compute, self.inputs, self.learnt = compute, [each.clone() for each in inputs], learnt
        self.towards = torch.zeros_like(compute(*inputs))
        self.there, self.back, self.shapes = self, Back(self), [each.shape for each in learnt]
        self.replay()

    def replay(self):
        with torch.enable_grad():
            Played.last = self.compute(*self.inputs)
        self.found = Played.last.detach()

    def play(self, given):
        for place, now in zip(self.inputs, given, strict=True):
            place.copy_(now)
        self.replay()
        return self.found.clone()


class Back:
    def __init__(self, whole):
        self.whole = whole

    def replay(self):
        gradients = torch.autograd.grad(Played.last, self.whole.learnt, self.whole.towards)
        self.whole.gradients = torch.cat([each.flatten() for each in gradients])


@pytest.fixture
def weight(monkeypatch):
    monkeypatch.setattr(torch.cuda, "graph_pool_handle", lambda: None)
    monkeypatch.setattr(Recordings, "_recorded", lambda self, *given: cuda_graphs._Recording(*given, self.learnt, None))
    monkeypatch.setattr(cuda_graphs, "_Recording", Played)
    Played.made = 0
    return torch.tensor([2.0, 3.0], requires_grad=True)


def step(recordings, weight, x, shape="one"):
    losses = recordings(shape, lambda x: weight[0] * x + weight[1], [x])
    return losses, lambda: torch.autograd.grad(losses.sum(), weight)[0]


def test_a_shape_is_recorded_when_it_comes_again_and_again(weight):
    kept = Recordings([weight])
    for n in range(1, 6):
        losses, gradient = step(kept, weight, torch.tensor([1.0, n]))
        assert losses.tolist() == [5.0, 2.0 * n + 3]
        assert gradient().tolist() == [1.0 + n, 2.0]
        assert Played.made == (n > cuda_graphs.SEEN)
    assert kept.plays > 0


def test_gradients_are_asked_for_once_and_before_anything_else_is_played(weight):
    kept = Recordings([weight])
    for shape in ("one", "two"):
        for _ in range(cuda_graphs.SEEN + 1):
            step(kept, weight, torch.ones(2), shape)[1]()
    _, first = step(kept, weight, torch.ones(2), "one")
    _, second = step(kept, weight, torch.ones(2), "two")
    with pytest.raises(RuntimeError, match="another pass"):
        first()
    losses, again = step(kept, weight, torch.ones(2), "two")
    torch.autograd.grad(losses.sum(), weight, retain_graph=True)
    with pytest.raises(RuntimeError, match="before"):
        again()
    with pytest.raises(RuntimeError, match="another pass"):
        second()


def test_what_can_not_be_recorded_is_computed_and_not_tried_again(weight, monkeypatch):
    kept, tried = Recordings([weight]), []
    monkeypatch.setattr(Recordings, "_recorded", lambda self, *given: tried.append(given))
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: None)
    for _ in range(cuda_graphs.SEEN + 3):
        losses, gradient = step(kept, weight, torch.ones(2))
        assert (losses.tolist(), gradient().tolist()) == ([5.0, 5.0], [2.0, 2.0])
    assert len(tried) == 1


def test_no_more_are_kept_than_there_is_room_for(weight, monkeypatch):
    monkeypatch.setattr(cuda_graphs, "KEPT", 1)
    kept = Recordings([weight])
    for shape in ("one", "two"):
        for _ in range(cuda_graphs.SEEN + 2):
            assert step(kept, weight, torch.ones(2), shape)[1]().tolist() == [2.0, 2.0]
    assert list(kept.kept) == ["one"]


def test_where_nothing_is_learnt_all_that_comes_again_is_played(weight, monkeypatch):
    monkeypatch.setattr(cuda_graphs, "KEPT", 1)
    kept = Recordings(())
    for shape in ("one", "two"):
        for n in range(cuda_graphs.SEEN + 3):
            assert kept(shape, lambda x: 2 * x, [torch.tensor([1.0, n])]).tolist() == [2.0, 2.0 * n]
    assert Played.made == 2
