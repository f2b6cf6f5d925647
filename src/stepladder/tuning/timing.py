"""Times a few training steps to estimate how long a training takes, without changing a weight."""

from __future__ import annotations

import time
from collections.abc import Sequence
from functools import partial

import torch
from torch.optim import AdamW

from stepladder.engine.precision import computed
from stepladder.models.language_model import LanguageModel
from stepladder.resources import Resources
from stepladder.tuning.batches import Batch, Step, Steps, TokenBudget
from stepladder.tuning.micro_batcher import MicroBatcher
from stepladder.tuning.training import Training
from stepladder.tuning.tuning import TrainingRow

SECONDS = 4.0
"""No further step is timed after so many seconds."""

MOST_STEPS = 4


def training_seconds(
    model: LanguageModel,
    rows: Sequence[TrainingRow],
    validation: Sequence[TrainingRow],
    training: Training,
    resources: Resources,
    budget: TokenBudget,
) -> float:
    """The expected seconds of a training: steps and validations, by the seconds per token of a few real ones.

    Args:
        model: With the adapter attached. Its trained weights are stepped with a learning rate of zero.
        rows: The training rows.
        validation: The validation rows.
        training: How it is trained; early stopping is not foreseen.
        resources: Those of the rehearsal.
        budget: What is in the machine at once.
    """
    device = next(model.module.parameters()).device
    trained = [parameter for parameter in model.module.parameters() if parameter.requires_grad]
    optimizer = (training.optimizer or partial(AdamW, fused=True))([{"params": trained, "weight_decay": 0.0}], lr=0.0)
    micro_batcher = MicroBatcher(budget, device, resources)
    bf16 = computed(training.precision, device) == torch.bfloat16

    def learn(batches: Sequence[Batch]) -> None:
        optimizer.zero_grad()
        for batch in batches:
            with torch.autocast(device.type, torch.bfloat16, enabled=bf16):
                loss = model.answer_losses(batch.ids, batch.mask, batch.answer).sum()
            loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        _wait(device)

    def judge(batches: Sequence[Batch]) -> None:
        with torch.no_grad(), torch.autocast(device.type, torch.bfloat16, enabled=bf16):
            for batch in batches:
                model.answer_losses(batch.ids, batch.mask, batch.answer).sum().item()

    steps = list(Steps(rows, training, seed=0))
    model.module.train()
    first, per_token = _timed(
        [lambda step=step: micro_batcher(step.rows, learn) for step in _typical(steps)], _typical(steps)
    )
    total = first + per_token * sum(step.tokens for step in steps[1:])
    if validation:
        some = Step(0, validation[:: max(1, len(validation) // 8)])
        model.module.eval()
        _, per_token = _timed([lambda: micro_batcher(some.rows, judge)] * 2, [some, some], at_least=1)
        total += per_token * sum(row.length for row in validation) * len(training.validated(len(rows)))
    model.module.zero_grad(set_to_none=True)
    return total


def _typical(steps: Sequence[Step]) -> list[Step]:
    """The first step, which is slower, and some others of about the mean length."""
    mean = sum(step.tokens for step in steps) / len(steps)
    rest = sorted(steps[1:], key=lambda step: abs(step.tokens - mean))[: MOST_STEPS - 1]
    return [steps[0], *rest]


def _timed(works: Sequence[object], steps: Sequence[Step], at_least: int = 2) -> tuple[float, float]:
    """Seconds of the first work, and seconds per token of the others; of the first where it took too long."""
    first = spent = 0.0
    tokens = 0
    began = time.perf_counter()
    for number, (work, step) in enumerate(zip(works, steps, strict=True)):
        started = time.perf_counter()
        assert callable(work)
        work()
        seconds = time.perf_counter() - started
        if number == 0:
            first = seconds
        else:
            spent, tokens = spent + seconds, tokens + step.tokens
        if (number or at_least == 1) and time.perf_counter() - began > SECONDS:
            break
    return first, spent / tokens if tokens else first / max(1, steps[0].tokens)


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
