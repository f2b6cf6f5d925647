"""Passes of one shape, recorded on a GPU and played again, with their gradients where there are any (CUDA graphs).

A step of short rows is some thousand small kernels, and to ask for each takes longer than to compute it; of a recording
all are asked for at once. Knows tensors, where they lie, and what is learnt; knows no model.
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

SEEN = 2  # a shape is recorded when it comes once more than so often: to record takes as long as some steps
KEPT = 16  # recordings at once where something is learnt: each keeps its gradients


class Recordings:
    """Recordings by their shape, on one piece of memory. What is `learnt` has to stay where it lies.

    Whatever is played takes the memory of what was played before, so gradients are asked for once, and at once.
    """

    def __init__(self, learnt: Sequence[Tensor]) -> None:
        self.learnt, self.able, self.plays = list(learnt), True, 0
        self.pool = torch.cuda.graph_pool_handle()
        self.kept: dict[Hashable, _Recording] = {}
        self.seen: Counter[Hashable] = Counter()

    def __call__(self, shape: Hashable, compute: Compute, inputs: Sequence[Tensor]) -> Tensor:
        """What `compute` gives of `inputs`; where something is learnt, one number for each of its places (n,), and
        gradients reach it.

        Equal `shape` means equal shapes and equal work, and nothing drawn at random.
        """
        self.seen[shape] += 1
        if shape not in self.kept:
            full = bool(self.learnt) and len(self.kept) >= KEPT
            if not (ON.cuda_graphs and self.able) or self.seen[shape] <= SEEN or full:
                return compute(*inputs)
            recording = self._recorded(compute, inputs)
            if recording is None:
                self.able = False
                torch.cuda.empty_cache()
                return compute(*inputs)
            self.kept[shape] = recording
        if not self.learnt:
            return self.kept[shape].play(inputs)
        play: Any = _Played.apply
        found: Tensor = play(self, self.kept[shape], len(inputs), *inputs, *self.learnt)
        return found

    def _recorded(self, compute: Compute, inputs: Sequence[Tensor]) -> _Recording | None:
        """None where an operation can not be recorded, or there is no memory for it."""
        here = torch.cuda.current_stream()
        try:
            with torch.cuda.device(inputs[0].device):
                return _Recording(compute, inputs, self.learnt, self.pool)
        except RuntimeError:
            torch.cuda.set_stream(here)  # a recording that was broken off leaves its own
            return None


class _Recording:
    def __init__(self, compute: Compute, inputs: Sequence[Tensor], learnt: Sequence[Tensor], pool: Any) -> None:
        self.inputs = [each.clone() for each in inputs]
        beside, here = torch.cuda.Stream(), torch.cuda.current_stream()  # type: ignore[no-untyped-call]
        beside.wait_stream(here)
        with torch.cuda.stream(beside):  # what libraries set up at first use is not to be recorded
            found = compute(*self.inputs)
            if learnt:
                torch.autograd.grad(found, learnt, torch.zeros_like(found))
            del found
        here.wait_stream(beside)
        self.there = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self.there, pool=pool):
            found = compute(*self.inputs)
        self.found = found.detach()
        if not learnt:
            return
        self.back, self.towards = torch.cuda.CUDAGraph(), torch.zeros_like(found)
        with torch.cuda.graph(self.back, pool=pool):
            gradients = torch.autograd.grad(found, learnt, self.towards)
            self.gradients = torch.cat([gradient.flatten() for gradient in gradients])
        self.shapes = [gradient.shape for gradient in gradients]

    def play(self, given: Sequence[Tensor]) -> Tensor:
        for place, now in zip(self.inputs, given, strict=True):
            place.copy_(now)
        self.there.replay()
        return self.found.clone()


class _Played(Function):
    @staticmethod
    def forward(ctx: Any, recordings: Recordings, recording: _Recording, inputs: int, *given: Tensor) -> Tensor:
        found = recording.play(given[:inputs])
        recordings.plays += 1
        ctx.recordings, ctx.recording, ctx.inputs, ctx.play = recordings, recording, inputs, recordings.plays
        return found

    @staticmethod
    def backward(ctx: Any, towards: Tensor) -> tuple[Tensor | None, ...]:
        recordings, recording = ctx.recordings, ctx.recording
        if recordings.plays != ctx.play:
            raise RuntimeError("another pass was played since, or its gradients were asked for before")
        recordings.plays += 1
        recording.towards.copy_(towards)
        recording.back.replay()
        parts = torch.split(recording.gradients.clone(), [shape.numel() for shape in recording.shapes])
        found = [part.view(shape) for part, shape in zip(parts, recording.shapes, strict=True)]
        return None, None, None, *[None] * ctx.inputs, *found
