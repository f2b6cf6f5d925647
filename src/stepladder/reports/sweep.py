"""The report of a sweep: its trials, the best of them, and the importance of the parameters."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from stepladder.config.space import Numbers
from stepladder.evaluation.tables import Table, TableCell
from stepladder.reports.page import Block, Bullets, Code, Grid, Picture, Prose, Section, render
from stepladder.reports.plots import Mark, Value, bars, lines, parallel, scatter
from stepladder.studies.sweep.objectives import Objective
from stepladder.studies.sweep.plan import SweepPlan
from stepladder.studies.sweep.results import SweepResult, Trial
from stepladder.studies.sweep.trials import front

FEW = 20


def page(result: SweepResult, trials: Sequence[Trial], planned: SweepPlan) -> str:
    """The text of report.html."""
    return render(result.study, list(_sections(result, trials, planned)))


def _sections(result: SweepResult, trials: Sequence[Trial], planned: SweepPlan) -> Iterator[Section]:
    shares = result.importances
    yield Section("found", "Result", list(_summary(result, trials)))
    best = {t.number for t in front(trials, planned.objectives)}
    finished = [t for t in trials if t.values is not None]
    for place, objective in enumerate(planned.objectives):
        caption = "Every finished trial; the line is the best so far."
        history = Picture(_history(finished, best, objective, place), caption)
        yield Section(f"history-{place}", f"History: {objective.name}", [history])
        if place < len(shares) and shares[place]:
            caption = "Share of the variance that each parameter explains, by PED-ANOVA."
            if len(finished) < FEW:
                caption += f" Only {len(finished)} trials were finished, so the shares are uncertain."
            moves = Picture(bars(shares[place]), caption)
            yield Section(f"moves-{place}", f"Importance of the parameters: {objective.name}", [moves])
    yield from _validations(trials, best, planned.objectives)
    if len(planned.objectives) == 2:
        one, two = (o.name for o in planned.objectives)
        marks = [_mark(t, t.values[0], t.values[1], best) for t in finished if t.values]
        yield Section("front", "Front", [Picture(scatter(marks, one, two))])
    yield from _points(finished, best, planned)
    yield Section("trials", "Trials", [Grid(_table(trials, planned.objectives))])


def _validations(trials: Sequence[Trial], best: set[int], sought: Sequence[Objective]) -> Iterator[Section]:
    """The curves of the trials: the objective where fits computed it, and the validation loss, each on its own axis."""
    of_objective = {f"trial {t.number}": (t.curve, _kind(t, best)) for t in trials if t.curve}
    of_loss = {f"trial {t.number}": (dict(enumerate(t.losses, start=1)), _kind(t, best)) for t in trials if t.losses}
    drawn: list[Block] = []
    if of_objective and sought[0].name != "best_validation_loss":
        drawn.append(Picture(lines(of_objective, "validation", sought[0].name)))
    if of_loss:
        drawn.append(Picture(lines(of_loss, "validation", "validation loss")))
    if drawn:
        yield Section("validations", "Validations", drawn)


def _summary(result: SweepResult, trials: Sequence[Trial]) -> Iterator[Block]:
    for best in result.winners:
        reached = f"{', '.join(result.objective)} = {_figures(best.value)}"
        yield Prose(f"Best: trial {best.trial}, {reached}.", strong=True)
        yield Code(" ".join(best.overrides))
    ran = f"{len(trials)} trials were run on the validation rows"
    lines_ = [f"{ran}: {result.trials}. The study stopped {result.why_it_stopped}."]
    if result.default is not None:
        lines_.append(f"The default configuration has {_figures(result.default)} on the same rows.")
    if result.luck is not None:
        lines_.append(str(result.luck))
    if result.test is not None:
        scores = [
            f"{name} {m.value:.4f} [{m.low:.4f}, {m.high:.4f}]"
            for suite in result.test.scores.values()
            for name, m in suite.items()
        ]
        lines_.append(f"The winner, and no other trial, was scored on the test rows once: {', '.join(scores)}.")
    if result.plain is not None:
        lines_.append(str(result.plain))
    if result.proposed is not None:
        lines_.append(str(result.proposed))
    if len(result.objective) > 1:
        lines_.append("No trial was scored on the test rows: choosing a point of the front is up to you.")
    yield Bullets(lines_)


def _history(finished: Sequence[Trial], best: set[int], objective: Objective, place: int) -> str:
    marks, steps, reached = [], [], None
    for trial in finished:
        assert trial.values is not None
        value = trial.values[place]
        marks.append(_mark(trial, trial.number, value, best))
        reached = value if reached is None or objective.better(value, reached) else reached
        steps.append((trial.number, reached))
    return scatter(marks, "trial", objective.name, steps=steps)


def _points(finished: Sequence[Trial], best: set[int], planned: SweepPlan) -> Iterator[Section]:
    """Parallel coordinates, and one slice per parameter."""
    names = list(dict.fromkeys(name for trial in finished for name in trial.parameters))
    logs = {p.name for p in planned.draft.space if isinstance(p.domain, Numbers) and p.domain.log}
    first = planned.objectives[0].name
    rows: list[Mapping[str, Value]] = [{**t.parameters, first: t.values[0]} for t in finished if t.values]
    if not rows:
        return
    kinds = [_kind(t, best) for t in finished]
    drawn = Picture(parallel(rows, [*names, first], logs, kinds), "One line per trial, over its parameters.")
    yield Section("parallel", "Parallel coordinates", [drawn])
    slices: list[Block] = []
    for name in names:
        own = [(t, t.values[0]) for t in finished if t.values and name in t.parameters]
        marks = [_mark(t, t.parameters[name], value, best) for t, value in own]
        slices.append(Picture(scatter(marks, name, first, log=name in logs)))
    yield Section("slices", "Slices", slices)


def _table(trials: Sequence[Trial], sought: Sequence[Objective]) -> Table:
    rows: list[list[TableCell]] = []
    for t in trials:
        values = [_figures(v) for v in t.values or ()] or [""] * len(sought)
        rows.append([t.number, t.state, *values, f"{t.seconds:.1f}", f"{t.tokens:,}", " ".join(t.overrides), t.reason])
    return Table("Trials", ["trial", "state", *(o.name for o in sought), "s", "tokens", "point", "why it ended"], rows)


def _kind(trial: Trial, best: set[int]) -> str:
    return "best" if trial.number in best else trial.state


def _mark(trial: Trial, x: Value, y: Value, best: set[int]) -> Mark:
    return Mark(x, y, f"trial {trial.number}: {' '.join(trial.overrides)}", _kind(trial, best))


def _figures(value: float | Sequence[float]) -> str:
    return ", ".join(f"{v:.4g}" for v in value) if isinstance(value, Sequence) else f"{value:.4g}"
