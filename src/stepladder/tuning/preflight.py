"""Preflight checks of a training: supervised tokens, end tokens, rows that influence each other, and gradients."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from stepladder.models.language_model import LanguageModel
from stepladder.tuning.batches import Batch, TokenBudget, collate, split
from stepladder.tuning.tuning import TrainingRow
from stepladder.types import CheckResult, PreflightLimits

SAME = 1e-3
"""Losses of a row in two batches of one shape are the same up to so much of them."""


def check_training(
    model: LanguageModel,
    rows: Sequence[TrainingRow],
    budget: TokenBudget,
    limits: PreflightLimits,
    precision: torch.dtype,
) -> list[CheckResult]:
    """Check batches, losses and gradients before the first step.

    Args:
        model: The model with its adapter; it stays unchanged.
        rows: The training rows.
        budget: The size of a micro-batch.
        limits: From where on a check stops the run.
        precision: The dtype of matrix products while training.
    """
    found = _labels(model, rows, budget, limits)
    if not found[0].value:
        return found  # there is no loss to look into
    distinct = {(*row.prompt_ids, *row.answer_ids): row for row in rows if row.answer_ids}
    few = sorted(distinct.values(), key=lambda row: row.length)[:2]
    batch = Batch(*(part.to(next(model.module.parameters()).device) for part in collate(few[::-1])))
    training = model.module.training
    model.module.eval()  # no dropout: nothing is drawn
    try:
        with torch.autocast(batch.ids.device.type, torch.bfloat16, enabled=precision == torch.bfloat16):
            return [*found, _apart(model, batch, limits), _touched(model, batch, limits)]
    finally:
        model.module.train(training)
        for parameter in model.module.parameters():
            parameter.grad = None


def _labels(
    model: LanguageModel, rows: Sequence[TrainingRow], budget: TokenBudget, limits: PreflightLimits
) -> list[CheckResult]:
    """Which tokens of the batches are supervised."""
    tokens = supervised = ended = 0
    ends = torch.tensor(sorted(model.ends))
    for part in split(rows, budget):
        batch = collate(part)
        last = (torch.arange(len(part)), batch.mask.sum(dim=1) - 1)
        tokens += int(batch.mask.sum())
        supervised += int(batch.answer.sum())
        ended += int((batch.answer[last] & torch.isin(batch.ids[last], ends)).sum())
    share, whole = supervised / tokens, ended / len(rows)
    few = limits.supervised is not None and share <= limits.supervised
    open_ = limits.ended is not None and whole < limits.ended
    return [
        CheckResult(
            "supervised",
            share,
            f"{share:.1%} of {tokens:,} tokens in {len(rows):,} training rows are supervised",
            not supervised,
            few,
            "make sure that the training rows have answers (dataset.target)",
        ),
        CheckResult(
            "ended",
            whole,
            f"{whole:.1%} of the answers are supervised up to an end token",
            ended < len(rows),
            open_,
            "without one, the model does not learn to stop: check the tokenizer's eos_token and its chat template",
        ),
    ]


def _apart(model: LanguageModel, batch: Batch, limits: PreflightLimits) -> CheckResult:
    """Whether a row's losses stay as they are when another row's tokens change and nothing else does."""
    with torch.no_grad():
        before = _by_row(model, batch)
        apart = True
        for changed in range(len(batch.ids)) if len(batch.ids) > 1 else ():
            after = _by_row(model, _drowned(batch, changed))
            apart &= all(
                torch.allclose(one, two, rtol=SAME, atol=SAME)
                for row, (one, two) in enumerate(zip(before, after, strict=True))
                if row != changed
            )
    message = (
        "no token of one row influences another row's loss"
        if apart
        else "tokens of one row influence another row's loss"
    )
    stops = limits.apart and not apart
    return CheckResult(
        "apart", apart, message, not apart, stops, "the model mixes the rows of a batch: use another one"
    )


def _by_row(model: LanguageModel, batch: Batch) -> tuple[Tensor, ...]:
    losses = model.answer_losses(*batch)
    return tuple(torch.split(losses, batch.answer.sum(dim=1).tolist()))


def _drowned(batch: Batch, row: int) -> Batch:
    """The batch with one token in place of all of a row's own, behind the first one in which the rows differ, so that
    what all rows begin with stays as long as it was."""
    same = int((batch.ids == batch.ids[:1]).all(dim=0).long().cumprod(dim=0).sum())
    ids = batch.ids.clone()
    ids[row, same : int(batch.mask[row].sum())] = ids[row, same]
    return Batch(ids, batch.mask, batch.answer)


def _touched(model: LanguageModel, batch: Batch, limits: PreflightLimits) -> CheckResult:
    """Whether anything that is trained has a gradient."""
    with torch.enable_grad():
        loss = model.answer_losses(*batch).sum()
        if loss.requires_grad:
            loss.backward()  # type: ignore[no-untyped-call]
    trained = [parameter for parameter in model.module.parameters() if parameter.requires_grad]
    reached = sum(parameter.grad is not None and bool(parameter.grad.any()) for parameter in trained)
    message = f"{reached} of {len(trained)} trained tensors have a nonzero gradient at the first step"
    if 0 < reached < len(trained):
        message += " (LoRA's A matrices start at zero gradient by design)"
    stops = limits.touched and not reached
    return CheckResult("touched", reached > 0, message, not reached, stops, "choose another adapter or other targets")
