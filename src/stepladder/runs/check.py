"""What a run would do, told before anything is computed.

Knows prepared experiments and the store; loads no model.
"""

from __future__ import annotations

from typing import Any

from stepladder.records import Choice
from stepladder.runs.stages import Prepared
from stepladder.runs.store import Store


def expectations(prepared: Prepared, store: Store) -> dict[str, Any]:
    """Rows, labels, what has to be computed and how often, as plain data; `lines` tell the same to a person."""
    rows = prepared.data.accounts.as_dict()
    task = prepared.data.task
    labels = len(task.answer.labels) if isinstance(task.answer, Choice) else None
    stored = {
        "fit": store.find("fits", prepared.fit_form.key) is not None,
        "predict": all(store.find("predictions", prepared.predict_form(p).key) for p in prepared.probes.values()),
        "score": store.find("scores", prepared.score_form.key) is not None,
    }
    steps = _steps(prepared)
    asked = sum(len(probe.questions) for probe in prepared.probes.values())
    lines = [
        f"rows: {rows['read']} read, {rows['kept']} kept, {rows['rejected']} rejected",
        f"task: {task.kind}" + (f", {labels} labels" if labels else ""),
        f"train {len(prepared.data.train)}, validation {len(prepared.data.validation)}, {prepared.experiment.rows} "
        f"{len(prepared.examples)}, passages {len(prepared.data.corpus)}",
        f"to expect: {steps or 'no'} optimiser steps, {asked} questions asked",
        "in the store: " + (", ".join(name for name, there in stored.items() if there) or "nothing of this yet"),
    ]
    return {
        "rows": rows,
        "kind": task.kind,
        "labels": labels,
        "steps": steps,
        "questions": asked,
        "stored": stored,
        "lines": lines,
    }


def _steps(prepared: Prepared) -> int:
    """Optimiser steps at the most: early stopping may end a fit before."""
    training: Any = getattr(getattr(prepared.method.object, "tuning", None), "training", None)
    if training is None:
        return 0
    return int(training.steps(len(prepared.data.train)))
