"""CUDA graphs: passes of one shape are captured once and replayed, with their gradients where something is trained.

A step of short rows is some thousand small kernels, and launching them one by one takes longer than they do; a replayed
graph launches all of them at once.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function

from stepladder.engine.fast.techniques import ON

Compute = Callable[..., Tensor]

WARMUP = 2  # passes of a shape before it is captured: a capture takes as long as some steps
MOST = 16  # graphs at once where something is trained: each holds its gradients


class CudaGraphs:
    """Captured graphs by shape, in one memory pool. The `trained` tensors must stay at their addresses.

    A replay overwrites the memory of the one before, so gradients are taken once, and before the next pass.
    """

    def __init__(self, trained: Sequence[Tensor]) -> None:
        self.trained, self.available, self.replays = list(trained), True, 0
        self.pool = torch.cuda.graph_pool_handle()
        self.graphs: dict[Hashable, _CapturedGraph] = {}
        self.seen: Counter[Hashable] = Counter()

    def __call__(self, shape: Hashable, compute: Compute, inputs: Sequence[Tensor]) -> Tensor:
        """The result of `compute(*inputs)`; gradients reach the `trained` tensors.

        Args:
            shape: Equal for passes with equal shapes and equal work, nothing of it random.
            compute: Returns one number for each row (n,) where something is trained.
            inputs: The tensors that differ from pass to pass.
        """
        self.seen[shape] += 1
        if shape not in self.graphs:
            full = bool(self.trained) and len(self.graphs) >= MOST
            if not (ON.cuda_graphs and self.available) or self.seen[shape] <= WARMUP or full:
                return compute(*inputs)
            graph = self._captured(compute, inputs)
            if graph is None:
                self.available = False
                torch.cuda.empty_cache()
                return compute(*inputs)
            self.graphs[shape] = graph
        if not self.trained:
            return self.graphs[shape].run(inputs)
        replayed: Any = _Replayed.apply
        output: Tensor = replayed(self, self.graphs[shape], len(inputs), *inputs, *self.trained)
        return output

    def _captured(self, compute: Compute, inputs: Sequence[Tensor]) -> _CapturedGraph | None:
        """None where an operation cannot be captured, or memory runs out."""
        stream = torch.cuda.current_stream()
        try:
            with torch.cuda.device(inputs[0].device):
                return _CapturedGraph(compute, inputs, self.trained, self.pool)
        except RuntimeError:
            torch.cuda.set_stream(stream)  # a capture that fails leaves its own stream behind
            return None


class _CapturedGraph:
    def __init__(self, compute: Compute, inputs: Sequence[Tensor], trained: Sequence[Tensor], pool: Any) -> None:
        self.inputs = [each.clone() for each in inputs]
        side, stream = torch.cuda.Stream(), torch.cuda.current_stream()  # type: ignore[no-untyped-call]
        side.wait_stream(stream)
        with torch.cuda.stream(side):  # libraries set things up at first use, which must not be captured
            output = compute(*self.inputs)
            if trained:
                torch.autograd.grad(output, trained, torch.zeros_like(output))
            del output
        stream.wait_stream(side)
        self.forward = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self.forward, pool=pool):
            output = compute(*self.inputs)
        self.output = output.detach()
        if not trained:
            return
        self.backward, self.output_gradient = torch.cuda.CUDAGraph(), torch.zeros_like(output)
        with torch.cuda.graph(self.backward, pool=pool):
            gradients = torch.autograd.grad(output, trained, self.output_gradient)
            self.gradients = torch.cat([gradient.flatten() for gradient in gradients])
        self.shapes = [gradient.shape for gradient in gradients]

    def run(self, inputs: Sequence[Tensor]) -> Tensor:
        for own, new in zip(self.inputs, inputs, strict=True):
            own.copy_(new)
        self.forward.replay()
        return self.output.clone()


class _Replayed(Function):
    @staticmethod
    def forward(ctx: Any, graphs: CudaGraphs, graph: _CapturedGraph, inputs: int, *tensors: Tensor) -> Tensor:
        output = graph.run(tensors[:inputs])
        graphs.replays += 1
        ctx.graphs, ctx.graph, ctx.inputs, ctx.replay = graphs, graph, inputs, graphs.replays
        return output

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        graphs, graph = ctx.graphs, ctx.graph
        if graphs.replays != ctx.replay:
            raise RuntimeError("another pass was replayed since, or the gradients were taken before")
        graphs.replays += 1
        graph.output_gradient.copy_(gradient)
        graph.backward.replay()
        parts = torch.split(graph.gradients.clone(), [shape.numel() for shape in graph.shapes])
        found = [part.view(shape) for part, shape in zip(parts, graph.shapes, strict=True)]
        return None, None, None, *[None] * ctx.inputs, *found
