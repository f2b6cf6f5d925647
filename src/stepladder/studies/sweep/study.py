"""A study as its workers see it: claim a trial, report on it, record its result.

Claims, drawing included, are made by one process at a time. A trial whose worker is gone is taken over by the next that
claims, under its own number and point. Samplers are made anew for every trial from the study's seed and the trial's
number, so that a resumed study continues instead of repeating its first trials. Optuna's storage holds values of the
study's objective only (`pruning.py`).
"""

from __future__ import annotations

import inspect
import json
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import optuna
from optuna.samplers import BaseSampler
from optuna.trial import FrozenTrial, TrialState

from stepladder.config.build import build
from stepladder.config.schema import Pruner, Sampler
from stepladder.config.space import Scalar
from stepladder.errors import ConfigError, Fault
from stepladder.store.identity import digest
from stepladder.store.store import differences
from stepladder.studies.sweep.drawing import draw
from stepladder.studies.sweep.plan import SweepPlan
from stepladder.studies.sweep.pruning import LOSSES, ends_by_loss
from stepladder.studies.sweep.results import Trial
from stepladder.studies.sweep.storage import opened
from stepladder.studies.sweep.trials import stale
from stepladder.types import Plain

ATTEMPTS = 5
"""How often a trial is begun before it counts as what kills its process."""

QUESTION_SCORES = "question_scores"
"""The user attribute with the objective on each validation row."""

STATES = {TrialState.COMPLETE: "complete", TrialState.PRUNED: "pruned", TrialState.FAIL: "failed"}


@dataclass(frozen=True)
class Ended:
    """How a trial ended, and what the storage keeps of it."""

    outcome: Literal["complete", "pruned", "failed"]
    values: list[float] | None = None
    seconds: float | None = None
    training_tokens: float | None = None
    reason: str | None = None


class Study:
    """The study of a plan, in its storage."""

    def __init__(self, plan: SweepPlan, folder: Path, begin: bool = True) -> None:
        """Begin the study, or go on with it.

        Raises ConfigError where it is there under other terms, UserError where its storage fails, or where there is
        none and none is to begin.
        """
        self.plan = plan
        directions = [o.direction for o in plan.objectives] if begin else None
        self._study, self._locks = opened(plan.settings.storage, folder, plan.study, directions)
        with self._locks.exclusive():
            self._agree()

    def _agree(self) -> None:
        """Store the terms and the metric names, or compare the terms with those that were stored before."""
        now = json.loads(json.dumps(self.plan.terms))
        before = self._study.user_attrs.get("terms")
        if before is None:
            self._study.set_user_attr("terms", now)
            self._study.set_metric_names([o.name for o in self.plan.objectives])
        elif "reports" not in before:
            what = (
                "the study was begun by an earlier version, which stored negated validation losses among the values "
                "of the objective"
            )
            to_do = "give another sweep.name: fits that are finished are read from the store, not made again"
            raise ConfigError(Fault(f"sweep.name={self.plan.study}", what, to_do))
        elif before != now:
            changed = [
                f"{key.replace('.', ' ', 1)} {'was not there' if one is None else f'was {one}'}, "
                f"{'is not there now' if two is None else f'is {two}'}"
                for key, one, two in differences(before, now)
            ]
            to_do = "set the old values to continue it, or another sweep.name to start a new study"
            raise ConfigError(
                Fault(f"sweep.name={self.plan.study}", "the study is another one: " + "; ".join(changed), to_do)
            )

    def trials(self) -> list[Trial]:
        return [_trial_of(t) for t in self._study.get_trials(deepcopy=False)]

    def _spent(self, trials: list[Trial]) -> float:
        """The seconds of all trials and of the proposer."""
        return sum(t.seconds for t in trials) + (self.plan.proposed.seconds if self.plan.proposed else 0.0)

    def ended(self, trials: list[Trial]) -> str | None:
        """Why no new trial is begun; None while there is more to do."""
        settings = self.plan.settings
        failed = [t for t in trials if t.state == "failed"]
        if len(failed) > settings.tolerated or (len(failed) >= 3 and len(failed) == len(trials) - _running(trials)):
            return "failures"
        if len(trials) >= settings.trials:
            return "trials"
        if len(trials) >= self.plan.limit:
            return "space"
        if trials and settings.seconds is not None and self._spent(trials) >= settings.seconds:
            return "seconds"
        one = len(self.plan.objectives) == 1
        if one and settings.patience is not None and stale(trials, self.plan.objectives) >= settings.patience:
            return "patience"
        return None

    def claim(self) -> Claim | str | None:
        """A trial to work on; the reason why there is none; or None while others still work on the last ones."""
        with self._locks.exclusive():
            frozen = self._study.get_trials(deepcopy=False)
            for orphan in frozen:
                owner = orphan.user_attrs.get("worker")
                if orphan.state == TrialState.RUNNING and (owner is None or not self._locks.alive(owner)):
                    adopted = self._adopt(orphan)
                    if adopted is not None:
                        return adopted
            trials = self.trials()
            reason = self.ended(trials)
            if reason is None and (claimed := self._begun(len(trials))) is not None:
                return claimed
            return None if _running(trials) else reason or "space"

    def _adopt(self, orphan: FrozenTrial) -> Claim | None:
        attempt = int(orphan.user_attrs.get("attempt", 0)) + 1
        trial = self._trial(orphan._trial_id)
        if attempt <= ATTEMPTS:
            trial.set_user_attr("attempt", attempt)
            trial.set_user_attr("worker", self._locks.me)
            return Claim(self, trial, tuple(orphan.user_attrs["overrides"]), dict(orphan.params), attempt)
        trial.set_user_attr("reason", f"its process was killed {ATTEMPTS} times, as happens where memory runs out")
        self._study.tell(trial.number, state=TrialState.FAIL)
        return None

    def _trial(self, trial_id: int) -> optuna.trial.Trial:
        self._study.sampler = optuna.samplers.RandomSampler()  # its point is stored: nothing more is drawn for it
        self._study.pruner = self._built(self.plan.pruner, Pruner)
        return optuna.trial.Trial(self._study, trial_id)

    def _begun(self, number: int) -> Claim | None:
        """Trial `number`, created with its whole point; None where every point of the space has had its trial."""
        plan = self.plan

        def sampler(attempt: int) -> BaseSampler | None:
            seed = int(digest([plan.seed, number, *([attempt] if attempt else [])])[:8], 16)
            return None if plan.is_grid else self._built(_seeded(plan.sampler, seed), Sampler)

        self._study.pruner = self._built(plan.pruner, Pruner)
        drawn = draw(self._study, plan.draft, sampler, int(digest([plan.seed, number, "unseen"])[:8], 16))
        if drawn is None:
            return None
        before = self._study._storage.get_study_system_attrs(self._study._study_id)
        for name, value in drawn.study_attrs.items():
            if before.get(name) != value:  # a quasi-random sampler counts its points there
                self._study._storage.set_study_system_attr(self._study._study_id, name, value)
        facts = {"overrides": list(drawn.overrides), "attempt": 1, "worker": self._locks.me}
        template = optuna.trial.create_trial(
            state=TrialState.RUNNING, params=dict(drawn.parameters), distributions=dict(drawn.distributions),
            user_attrs=facts, system_attrs=dict(drawn.system_attrs),
        )  # fmt: skip
        trial_id = self._study._storage.create_new_trial(self._study._study_id, template_trial=template)
        return Claim(self, self._trial(trial_id), drawn.overrides, drawn.parameters, attempt=1)

    def _built(self, node: Plain, kind: Any) -> Any:
        return build({"sweep": node}, {"sweep": kind}, self.plan.draft.trust)["sweep"].object

    def finish(self, claim: Claim, ended: Ended) -> None:
        """Record how a trial ended, unless another process has taken it over."""
        with self._locks.exclusive():
            found = next(t for t in self._study.get_trials(deepcopy=False) if t.number == claim.number)
            if found.state.is_finished() or found.user_attrs.get("worker") != self._locks.me:
                return
            for name in ("seconds", "training_tokens", "reason"):
                if (fact := getattr(ended, name)) is not None:
                    claim.note(name, fact)
            state = next(state for state, name in STATES.items() if name == ended.outcome)
            self._study.tell(claim.number, ended.values, state=state)

    def importances(self) -> tuple[Mapping[str, float], ...]:
        """For each objective, the parameters' shares in its variance (PED-ANOVA); empty where too little is known."""
        return tuple(self._shares(place) for place in range(len(self.plan.objectives)))

    def _shares(self, place: int) -> dict[str, float]:
        sign = -1.0 if self.plan.objectives[place].direction == "maximize" else 1.0  # low values are the good ones
        try:
            with warnings.catch_warnings(action="ignore"):
                return dict(
                    optuna.importance.get_param_importances(self._study, target=lambda t: sign * t.values[place])
                )
        except (ValueError, RuntimeError):
            return {}


@dataclass(frozen=True)
class Claim:
    """A trial that this process works on: its number, its point, and a way to report on it."""

    study: Study
    trial: optuna.trial.Trial
    overrides: tuple[str, ...]
    parameters: Mapping[str, Scalar]
    attempt: int

    @property
    def number(self) -> int:
        return int(self.trial.number)

    def note(self, name: str, fact: Any) -> None:
        """Store plain data with the trial."""
        self.trial.set_user_attr(name, fact)

    def report(self, loss: float, value: float | None, validation: int) -> bool:
        """Store what a validation found.

        Args:
            loss: The validation loss, in nats per answer token.
            value: The study's objective; None where the fit did not compute it, and the pruner judges by the loss.
            validation: Its number, counted from one.

        Returns:
            Whether the trial should end here.
        """
        before = list(self.trial.user_attrs.get(LOSSES, ()))[: validation - 1]
        self.note(LOSSES, [*before, loss])
        if len(self.study.plan.objectives) > 1:
            return False  # Optuna prunes by one objective only
        if value is None:
            return ends_by_loss(self.trial.study, self.number)
        self.trial.report(value, validation)
        return bool(self.trial.should_prune())


def _running(trials: list[Trial]) -> int:
    return sum(t.state == "running" for t in trials)


def _seeded(node: Plain, seed: int) -> dict[str, Any]:
    """The sampler's node with a seed, where it takes one and names none."""
    from stepladder.config.targets import resolve

    target = resolve(node["_target_"], "sweep.sampler")
    takes = inspect.isclass(target) and "seed" in inspect.signature(target).parameters
    return {**({"seed": seed} if takes else {}), **node}


def _trial_of(trial: FrozenTrial) -> Trial:
    known = trial.user_attrs
    ended = trial.datetime_complete
    return Trial(
        number=trial.number,
        state=STATES.get(trial.state, "running"),
        overrides=tuple(known.get("overrides", ())),
        parameters=dict(trial.params),
        values=tuple(trial.values) if trial.state == TrialState.COMPLETE else None,
        curve=dict(trial.intermediate_values),
        losses=tuple(known.get(LOSSES, ())),
        question_scores=tuple(known.get(QUESTION_SCORES, ())),
        seconds=float(known.get("seconds", 0.0)),
        tokens=int(known.get("training_tokens", 0)),
        reason=known.get("reason"),
        worker=known.get("worker"),
        began=trial.datetime_start.timestamp() if trial.datetime_start else 0.0,
        ended=ended.timestamp() if ended else 0.0,
    )
