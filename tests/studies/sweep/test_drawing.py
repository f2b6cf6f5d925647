"""How points are drawn: each once, until the space has no more; and what pruning by loss leaves in Optuna's storage."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import optuna
import pytest
from optuna import samplers
from optuna.trial import TrialState, create_trial

from stepladder.config.schema import Sweep
from stepladder.config.space import parameters
from stepladder.studies.sweep.drawing import draw
from stepladder.studies.sweep.plan import Draft
from stepladder.studies.sweep.pruning import LOSSES, ends_by_loss

SAMPLERS: dict[str, Callable[[int], Any]] = {
    "tpe": lambda seed: samplers.TPESampler(seed=seed, n_startup_trials=2),
    "random": lambda seed: samplers.RandomSampler(seed=seed),
    "cma_es": lambda seed: samplers.CmaEsSampler(seed=seed, n_startup_trials=2),
    "gp": lambda seed: samplers.GPSampler(seed=seed, n_startup_trials=4),
    "quasi_random": lambda seed: samplers.QMCSampler(seed=seed),
    "nsga": lambda seed: samplers.NSGAIISampler(seed=seed, population_size=3),
    "grid": lambda _: None,
}
SPACES = {
    "one choice": ({"r": "choice(4,8,16)"}, None, 3),
    "mixed": ({"r": "choice(4,8)", "n": "range(1,4)", "x": "range(0.1,0.35,0.1)"}, None, 18),
    "kinds of values": ({"v": "choice(1,'1','true','null',1.5,x)"}, None, 6),
    "log integers": ({"n": "tag(log,range(1,9))", "b": "choice(true,false)"}, None, 16),
    "conditional": (
        {"method": "choice(rag,few_shot,plain)"},
        lambda drawn: {"rag": {"k": "range(1,5)"}, "few_shot": {"m": "choice(a,b)"}}.get(drawn["method"], {}),
        7,
    ),
}


def draft(space: Mapping[str, str], conditions: Any = None) -> Draft:
    return Draft((), parameters(space), Sweep(sampler=None, pruner=None, conditions=conditions), {})


def drawn(space: Draft, kind: str, count: int, states: tuple[TrialState, ...] = (TrialState.COMPLETE,)) -> list[Any]:
    """Up to `count` points, each recorded as a trial that has ended in one of `states`, or that still runs."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(direction="maximize")
    found: list[Any] = []
    for number in range(count):
        made = draw(study, space, lambda attempt, n=number: SAMPLERS[kind](100 * n + attempt), number)
        if made is None:
            break
        found.append(tuple(made.overrides))
        state = states[number % len(states)]
        value = float(number % 3) if state == TrialState.COMPLETE else None
        study.add_trial(
            create_trial(
                state=state, value=value, params=dict(made.parameters), distributions=dict(made.distributions),
                system_attrs=dict(made.system_attrs),
            )
        )  # fmt: skip
    return found


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", SAMPLERS)
@pytest.mark.parametrize("name", SPACES)
def test_a_finite_space_is_covered_before_a_point_repeats(name: str, kind: str) -> None:
    texts, conditions, size = SPACES[name]
    space = draft(texts, conditions)
    assert space.size == size
    found = drawn(space, kind, size + 5)
    assert len(found) == len(set(found)) == size


@pytest.mark.parametrize("kind", ["tpe", "random"])
def test_points_that_run_failed_or_were_pruned_are_not_drawn_again(kind: str) -> None:
    states = (TrialState.RUNNING, TrialState.FAIL, TrialState.PRUNED)
    found = drawn(draft({"r": "choice(4,8)", "n": "range(1,4)"}), kind, 10, states)
    assert len(found) == len(set(found)) == 6


def test_an_endless_branch_is_drawn_from_once_the_finite_one_is_covered() -> None:
    space = draft(
        {"method": "choice(linear,rag)"}, lambda drawn: {"x": "interval(0,1)"} if drawn["method"] == "linear" else {}
    )
    assert space.size is None
    found = drawn(space, "tpe", 12)
    assert len(set(found)) == 12
    assert sum(point[0] == "method=rag" for point in found) <= 1


def test_a_large_space_is_not_counted() -> None:
    assert draft({f"k{n}": "range(0,10)" for n in range(6)}).size is None
    assert len(set(drawn(draft({f"k{n}": "range(0,10)" for n in range(6)}), "random", 5))) == 5


def test_a_grid_keeps_the_order_of_the_space() -> None:
    found = drawn(draft({"a": "choice(1,2)", "b": "choice(x,y)"}), "grid", 9)
    assert found == [("a=1", "b=x"), ("a=2", "b=x"), ("a=1", "b=y"), ("a=2", "b=y")]


@pytest.mark.parametrize(
    "pruner",
    [
        optuna.pruners.MedianPruner(n_startup_trials=2, n_warmup_steps=0),
        optuna.pruners.PercentilePruner(50.0, n_startup_trials=2),
        optuna.pruners.SuccessiveHalvingPruner(min_resource=1, reduction_factor=2),
        optuna.pruners.HyperbandPruner(min_resource=1, max_resource=4, reduction_factor=2),
        optuna.pruners.PatientPruner(optuna.pruners.MedianPruner(n_startup_trials=2), patience=0),
        optuna.pruners.ThresholdPruner(upper=5.0),
        optuna.pruners.NopPruner(),
    ],
    ids=lambda pruner: type(pruner).__name__,
)
@pytest.mark.filterwarnings("ignore")
def test_pruning_by_loss_decides_as_optuna_does_on_a_study_of_losses(pruner: Any) -> None:
    """The same curves, as intermediate values of a study of losses and as losses of a study of accuracies."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    direct = optuna.create_study(direction="minimize", pruner=pruner, study_name="s")
    ours = optuna.create_study(direction="maximize", pruner=pruner, study_name="s")
    decisions: dict[str, list[bool]] = {"direct": [], "ours": []}
    for curve in ([4, 3, 2, 1], [4, 3, 2, 1.5], [9, 8, 7, 6], [3, 2, 1, 0.5], [5, 6, 7, 8], [9, 9, 9, 9]):
        by_loss, of_accuracy = direct.ask(), ours.ask()
        cut = False
        for step, loss in enumerate(curve, start=1):
            by_loss.report(loss, step)
            of_accuracy.set_user_attr(LOSSES, [float(each) for each in curve[:step]])
            decisions["direct"].append(by_loss.should_prune())
            decisions["ours"].append(ends_by_loss(ours, of_accuracy.number))
            cut = cut or decisions["direct"][-1]
        direct.tell(
            by_loss, None if cut else float(min(curve)), state=TrialState.PRUNED if cut else TrialState.COMPLETE
        )
        ours.tell(of_accuracy, None if cut else 0.5, state=TrialState.PRUNED if cut else TrialState.COMPLETE)
    assert decisions["ours"] == decisions["direct"]
    assert all(trial.value in (None, 0.5) and not trial.intermediate_values for trial in ours.trials)
