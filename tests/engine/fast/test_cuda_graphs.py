"""When a pass is captured and replayed. A stand-in computes, and forgets its last result; test_gpu.py has a GPU."""

from __future__ import annotations

import pytest
import torch

from stepladder.engine.fast import cuda_graphs
from stepladder.engine.fast.cuda_graphs import CudaGraphs


class Replayed:
    """One memory for all graphs: gradients are those of the last replay."""

    made, last = 0, None

    def __init__(self, compute, inputs, trained, pool):
        type(self).made += 1
        self.compute, self.inputs, self.trained = compute, [each.clone() for each in inputs], trained
        self.output_gradient = torch.zeros_like(compute(*inputs))
        self.forward, self.backward, self.shapes = self, Back(self), [each.shape for each in trained]
        self.replay()

    def replay(self):
        with torch.enable_grad():
            Replayed.last = self.compute(*self.inputs)
        self.output = Replayed.last.detach()

    def run(self, inputs):
        for place, now in zip(self.inputs, inputs, strict=True):
            place.copy_(now)
        self.replay()
        return self.output.clone()


class Back:
    def __init__(self, whole):
        self.whole = whole

    def replay(self):
        gradients = torch.autograd.grad(Replayed.last, self.whole.trained, self.whole.output_gradient)
        self.whole.gradients = torch.cat([each.flatten() for each in gradients])


@pytest.fixture
def weight(monkeypatch):
    monkeypatch.setattr(torch.cuda, "graph_pool_handle", lambda: None)
    monkeypatch.setattr(
        CudaGraphs, "_captured", lambda self, *given: cuda_graphs._CapturedGraph(*given, self.trained, None)
    )
    monkeypatch.setattr(cuda_graphs, "_CapturedGraph", Replayed)
    Replayed.made = 0
    return torch.tensor([2.0, 3.0], requires_grad=True)


def step(graphs, weight, x, shape="one"):
    losses = graphs(shape, lambda x: weight[0] * x + weight[1], [x])
    return losses, lambda: torch.autograd.grad(losses.sum(), weight)[0]


def test_a_shape_is_captured_when_it_comes_again_and_again(weight):
    kept = CudaGraphs([weight])
    for n in range(1, 6):
        losses, gradient = step(kept, weight, torch.tensor([1.0, n]))
        assert losses.tolist() == [5.0, 2.0 * n + 3]
        assert gradient().tolist() == [1.0 + n, 2.0]
        assert Replayed.made == (n > cuda_graphs.WARMUP)
    assert kept.replays > 0


def test_gradients_are_taken_once_and_before_the_next_replay(weight):
    kept = CudaGraphs([weight])
    for shape in ("one", "two"):
        for _ in range(cuda_graphs.WARMUP + 1):
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


def test_what_can_not_be_captured_is_computed_and_not_tried_again(weight, monkeypatch):
    kept, tried = CudaGraphs([weight]), []
    monkeypatch.setattr(CudaGraphs, "_captured", lambda self, *given: tried.append(given))
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: None)
    for _ in range(cuda_graphs.WARMUP + 3):
        losses, gradient = step(kept, weight, torch.ones(2))
        assert (losses.tolist(), gradient().tolist()) == ([5.0, 5.0], [2.0, 2.0])
    assert len(tried) == 1


def test_no_more_are_kept_than_there_is_room_for(weight, monkeypatch):
    monkeypatch.setattr(cuda_graphs, "MOST", 1)
    kept = CudaGraphs([weight])
    for shape in ("one", "two"):
        for _ in range(cuda_graphs.WARMUP + 2):
            assert step(kept, weight, torch.ones(2), shape)[1]().tolist() == [2.0, 2.0]
    assert list(kept.graphs) == ["one"]


def test_where_nothing_is_trained_all_that_comes_again_is_replayed(weight, monkeypatch):
    monkeypatch.setattr(cuda_graphs, "MOST", 1)
    kept = CudaGraphs(())
    for shape in ("one", "two"):
        for n in range(cuda_graphs.WARMUP + 3):
            assert kept(shape, lambda x: 2 * x, [torch.tensor([1.0, n])]).tolist() == [2.0, 2.0 * n]
    assert Replayed.made == 2
