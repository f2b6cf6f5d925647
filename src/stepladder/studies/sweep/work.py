"""A worker: claims trials and runs each on the validation rows until the study has ended.

One process, which keeps base models and read data from trial to trial and holds validation experiments only. Run as a
module it reads on stdin, as JSON, the command line that it works for.
"""

from __future__ import annotations

import gc
import json
import math
import os
import sys
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from optuna import TrialPruned

from stepladder.config.resolution import validate
from stepladder.dataset.loaded import Loaded
from stepladder.errors import StepladderError, UserError
from stepladder.io.files import read_lines
from stepladder.io.redaction import mask, mask_tracebacks, remember_secrets
from stepladder.resources import Progress, Silent
from stepladder.runs.run import RunContext, run_prepared
from stepladder.runs.stages import prepare
from stepladder.runs.tracking import RunTracker, Tracking, open_tracker
from stepladder.store.store import Store
from stepladder.studies.sweep.plan import SweepPlan, plan
from stepladder.studies.sweep.selection import question_scores
from stepladder.studies.sweep.storage import answering
from stepladder.studies.sweep.study import QUESTION_SCORES, Claim, Ended, Study

SECONDS_BETWEEN_LOOKS = 0.5


def work(planned: SweepPlan, context: RunContext, parent: int | None = None) -> str:
    """Run trials until there are no more, or until the process `parent` is gone; the reason why.

    Raises what is no failure of a trial.
    """
    study = Study(planned, context.store.study(planned.study))
    context = replace(context, progress=Silent())
    while parent is None or os.getppid() == parent:
        claim = study.claim()
        if isinstance(claim, str):
            return claim
        if claim is None:
            time.sleep(SECONDS_BETWEEN_LOOKS)
        else:
            run_trial(claim, planned, context)
            gc.collect()
            if not gc.get_freeze_count():
                gc.freeze()  # libraries and base models stay; to look through them is half a second every time
    return "the process that began the sweep is gone"


def sweep_context(planned: SweepPlan, outputs: Path, read: dict[str, Loaded], progress: Progress) -> RunContext:
    """What the runs of a sweep share: `read`, and base models once they are loaded."""
    built = validate(planned.config, planned.draft.trust)
    return RunContext(
        store=Store(outputs, progress.note), compute=built["compute"].object, tracking=built["tracking"].object,
        limits=built["preflight"].object, progress=progress, trust=planned.draft.trust, study=planned.study, read=read,
    )  # fmt: skip


def run_trial(claim: Claim, planned: SweepPlan, context: RunContext) -> None:
    """Run one trial and record in the study how it ended."""
    about = {"trial": claim.number, "parameters": dict(claim.parameters), "attempt": claim.attempt}
    tracked = open_tracker(
        context.tracking, context.store.root, f"{planned.study}-{claim.number:04}", group=planned.study,
        job_type="trial", config={**about, "overrides": list(claim.overrides)},
        name=f"{planned.study} trial {claim.number}",
    )  # fmt: skip
    began = time.perf_counter()
    with tracked as tracker:
        try:
            ended = _run(claim, planned, context, tracker)
        except Exception as error:
            bug = f"a bug: {type(error).__name__}: {mask(str(error))}"
            claim.study.finish(claim, Ended("failed", reason=bug))
            raise
        if ended.seconds is None:
            ended = replace(ended, seconds=round(time.perf_counter() - began, 3))
        values = dict(zip((o.name for o in planned.objectives), ended.values or [], strict=False))
        reason = public_reason(ended.reason, context.tracking)
        tracker.log_state({"state": ended.outcome, "values": values, "reason": reason})
    claim.study.finish(claim, ended)


def _run(claim: Claim, planned: SweepPlan, context: RunContext, tracker: RunTracker) -> Ended:
    watching = _Watching(claim, planned)
    try:
        experiment, _ = planned.draft.composed(claim.overrides)
        prepared = prepare(experiment, context.trust, context.read, context.store.shared())
        made = run_prepared(prepared, replace(context, on_validation=watching), tracker)
        metrics = made.fit.folder / "metrics.jsonl"
        if made.fit.reused and metrics.exists():  # others are measured against the curve of a fit that was made before
            for line in read_lines(metrics):
                if "validation_loss" in line:
                    watching.report(line)
        values = [objective.value(made) for objective in planned.objectives]
        if len(values) == 1 and (scores := question_scores(made, planned.objectives[0])) is not None:
            claim.note(QUESTION_SCORES, scores)
    except TrialPruned:
        return Ended("pruned", training_tokens=watching.tokens)
    except (UserError, RuntimeError, ValueError, ArithmeticError, MemoryError) as error:
        reason = f"{type(error).__name__}: {mask(str(error))}"[:2000]
        return Ended("failed", reason=reason, training_tokens=watching.tokens)
    costs = made.costs
    seconds = round((costs.fit_seconds or 0.0) + costs.seconds_per_question * costs.questions, 3)
    complete = Ended("complete", values, seconds if made.fit.reused else None, costs.training_tokens)
    if not all(math.isfinite(value) for value in values):
        return replace(complete, outcome="failed", values=None, reason=f"the objective is {values}")
    return complete


def public_reason(reason: str | None, tracking: Tracking) -> str | None:
    """Why a trial failed, as far as trackers may know: the kind of error alone, since a message may quote a row."""
    return reason if reason is None or tracking.log_predictions else reason.partition(":")[0]


class _Watching:
    """Passes what a fit reports to the study, and prunes the fit where the study says so."""

    def __init__(self, claim: Claim, planned: SweepPlan) -> None:
        self.claim, self.objectives = claim, planned.objectives
        self.seen, self.tokens = 0, 0

    def __call__(self, step: int, values: Mapping[str, float]) -> bool:
        self.tokens = int(values.get("training_tokens", self.tokens))
        if self.report(values) and not values.get("last"):  # nothing is saved by pruning a fit that is finished
            raise TrialPruned
        return False

    def report(self, values: Mapping[str, float]) -> bool:
        """Report a validation to the study. Returns whether the trial should end."""
        self.seen += 1
        return self.claim.report(values["validation_loss"], self.objectives[0].reported(values), self.seen)


def main() -> int:
    """Work for the command line on stdin; exit code as the command's own."""
    order = json.loads(sys.stdin.read())
    mask_tracebacks()
    remember_secrets(order["words"])
    try:
        config_dir = Path(order["config_dir"]) if order["config_dir"] else None
        read: dict[str, Loaded] = {}
        planned = plan(order["words"], config_dir, order["trust"], read, Path(order["outputs"]))
        context = sweep_context(planned, Path(order["outputs"]), read, Silent())
        with answering():
            work(planned, context, parent=order["parent"])
    except StepladderError as error:
        print(f"stepladder: {mask(str(error))}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
