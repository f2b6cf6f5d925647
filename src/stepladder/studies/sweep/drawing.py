"""Draws the next point of a study: one that no trial has had, for as long as the space has any.

A sampler works on a copy of the study in memory, so a point that is drawn twice leaves no trace in the storage. The
trial is created with its whole point at once.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import islice

import optuna
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler, RandomSampler
from optuna.trial import FrozenTrial

from stepladder.config.space import Choice, Parameter, Scalar
from stepladder.studies.sweep.plan import Draft
from stepladder.types import Plain

DRAWS = 8
"""How often the study's sampler is asked before an unseen point is drawn at random."""

RANDOM_DRAWS = 100
"""How many random draws look for an unseen point before all points are enumerated."""

MOST_ENUMERATED = 4096

Point = frozenset[tuple[str, str]]


@dataclass(frozen=True)
class Drawn:
    """A point, the overrides that set it, and the facts for Optuna's storage."""

    overrides: tuple[str, ...]
    parameters: Mapping[str, Scalar]
    distributions: Mapping[str, BaseDistribution]
    system_attrs: Plain
    study_attrs: Plain


def point(parameters: Mapping[str, Scalar]) -> Point:
    """What two trials with the same values have in common; floats are compared to twelve digits."""
    return frozenset((name, f"{v:.12g}" if isinstance(v, float) else repr(v)) for name, v in parameters.items())


def draw(study: optuna.Study, draft: Draft, sampler: Callable[[int], BaseSampler | None], seed: int) -> Drawn | None:
    """The next trial's point; None where every point of the space has had its trial.

    Args:
        study: Its trials are read; nothing is written to it.
        draft: The space.
        sampler: Makes the sampler of the n-th attempt, each with its own seed; None for a grid.
        seed: Of the random draws.
    """
    copy = _copied(study)
    seen = {point(trial.params) for trial in copy.get_trials(deepcopy=False)}
    if draft.size is not None and len(seen) >= draft.size:
        return None
    for attempt in range(DRAWS):
        made = sampler(attempt)
        if made is None:
            unseen = next((p for p in draft.points() if p is not None and point(p) not in seen), None)
            return None if unseen is None else _asked(copy, draft, RandomSampler(seed=seed), unseen)
        drawn = _asked(copy, draft, made)
        if point(drawn.parameters) not in seen:
            return drawn
    generator = random.Random(seed)
    for _ in range(RANDOM_DRAWS):
        drawn = _asked(copy, draft, RandomSampler(seed=generator.getrandbits(32)))
        if point(drawn.parameters) not in seen:
            return drawn
    listed = islice(draft.points(), len(seen) + MOST_ENUMERATED)
    left = [p for p in listed if p is not None and point(p) not in seen]
    return _asked(copy, draft, RandomSampler(seed=seed), generator.choice(left)) if left else None


def _copied(study: optuna.Study) -> optuna.Study:
    copy = optuna.create_study(study_name=study.study_name, directions=study.directions)
    for name, value in study._storage.get_study_system_attrs(study._study_id).items():
        copy._storage.set_study_system_attr(copy._study_id, name, value)
    copy.add_trials(study.get_trials(deepcopy=False))
    return copy


def _asked(copy: optuna.Study, draft: Draft, sampler: BaseSampler, fixed: Mapping[str, Scalar] | None = None) -> Drawn:
    """What `sampler` draws, or the point `fixed`."""
    copy.sampler = sampler
    if fixed is not None:
        copy.enqueue_trial(dict(fixed))
    trial = copy.ask()
    drawn: dict[str, Scalar] = {}
    overrides: list[str] = []
    space = draft.space
    while space:
        for parameter in space:
            drawn[parameter.name] = _suggested(trial, parameter)
            overrides.append(parameter.override(drawn[parameter.name]))
        space = draft.more(drawn)
    frozen: FrozenTrial = copy.get_trials(deepcopy=False)[trial.number]
    kept = {name: value for name, value in frozen.system_attrs.items() if name != "fixed_params"}
    study_attrs = copy._storage.get_study_system_attrs(copy._study_id)
    return Drawn(tuple(overrides), drawn, frozen.distributions, kept, study_attrs)


def _suggested(trial: optuna.trial.Trial, parameter: Parameter) -> Scalar:
    domain, name = parameter.domain, parameter.name
    if isinstance(domain, Choice):
        found: Scalar = trial.suggest_categorical(name, domain.values)
    elif domain.whole:
        step = 1 if domain.step is None else int(domain.step)
        found = trial.suggest_int(name, int(domain.low), int(domain.high), step=step, log=domain.log)
    else:
        found = trial.suggest_float(name, domain.low, domain.high, step=domain.step, log=domain.log)
    return found
