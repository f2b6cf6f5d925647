"""Comparisons built from cells, for tests of what reports make of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from stepladder.dataset.accounts import RowCounts
from stepladder.runs.costs import Costs
from stepladder.runs.results import RunFolders, StageKeys, StagesReused
from stepladder.studies.results import Bill, Bills, Cell, ComparedRun, Comparison, Verdict

COUNTS = RowCounts(read=503, kept=500)


def run(name: str, costs: Costs, seed: int = 0, rows: RowCounts = COUNTS) -> ComparedRun:
    return ComparedRun(
        keys=StageKeys("f" * 32, "e" * 32, "d" * 32),
        folders=RunFolders("fits/f", "predictions/e", "scores/d", {"main": "predictions/e"}),
        reused=StagesReused(fit=True, predict=False, score=False),
        scores={},
        costs=costs,
        rows=rows,
        name=name,
        overrides=(f"method={name}",),
        seed=seed,
    )


def comparison(cells: Sequence[Cell], verdict: Verdict, rows: Sequence[ComparedRun], **more: Any) -> Comparison:
    bills = Bills("s", {cell.name: Bill(1.0, 0.1, 1.0, 9) for cell in cells})
    given = {"study": "ladder-1a2b", "title": "", "report": "report.html", "baseline": "zero_shot", "bills": bills}
    return Comparison(**{**given, "cells": tuple(cells), "verdict": verdict, "rows": tuple(rows), **more})
