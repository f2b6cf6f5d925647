"""Decides by validation losses whether a trial ends early, where the study's objective is another figure.

Optuna takes the intermediate values of a trial for values of the study's objective: they order its plots, its samplers
and the value of a pruned trial. A validation loss is none, so it is stored as a user attribute, and the pruner is asked
about a copy of the study, in memory, whose intermediate values are these losses and go down.
"""

from __future__ import annotations

import copy

import optuna

LOSSES = "validation_losses"
"""The user attribute: the loss of every validation, the first one first."""


def ends_by_loss(study: optuna.Study, number: int) -> bool:
    """Whether the study's pruner ends trial `number`, judged by validation losses."""
    by_loss = optuna.create_study(study_name=study.study_name, direction="minimize", pruner=study.pruner)
    for trial in study.get_trials(deepcopy=False):
        of_loss = copy.copy(trial)
        of_loss.intermediate_values = dict(enumerate(trial.user_attrs.get(LOSSES, ()), start=1))
        if of_loss.state == optuna.trial.TrialState.COMPLETE:
            of_loss.values = [min(of_loss.intermediate_values.values(), default=float("inf"))]
        elif of_loss.state != optuna.trial.TrialState.RUNNING:
            of_loss.values = None
        by_loss.add_trial(of_loss)
    judged = by_loss.get_trials(deepcopy=False)[number]
    ends = bool(study.pruner.prune(by_loss, judged))
    own = study.get_trials(deepcopy=False)[number]
    # Successive halving notes on a trial how far it has come, and later trials are compared with that.
    for name, value in by_loss.get_trials(deepcopy=False)[number].system_attrs.items():
        if own.system_attrs.get(name) != value:
            study._storage.set_trial_system_attr(own._trial_id, name, value)
    return ends
