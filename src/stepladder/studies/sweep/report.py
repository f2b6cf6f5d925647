"""The page of a sweep: what was looked at, what was best, and what seems to matter. One file, no script, no network.

Knows the object of `sweep --json` and trials as plain values; computes no statistics.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from html import escape
from typing import Any

from stepladder.config.space import Numbers
from stepladder.runs.masking import mask
from stepladder.studies.sweep.objectives import Objective
from stepladder.studies.sweep.plan import SweepPlan
from stepladder.studies.sweep.plots import Mark, Value, bars, lines, parallel, scatter
from stepladder.studies.sweep.trials import Trial, front

FEW = 20
STYLE = """
body{font:15px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#222}
svg{width:100%;max-width:40rem;font:11px system-ui,sans-serif}.axis{stroke:#888;fill:none}.line{stroke:#1a6;fill:none}
circle.complete{fill:#36c}circle.best{fill:#d33}circle.pruned{fill:#bbb}circle.default{fill:#000}.bar{fill:#36c}
polyline{fill:none;stroke:#36c;opacity:.5}polyline.pruned{stroke:#bbb}polyline.best{stroke:#d33;opacity:1;stroke-width:2}
table{border-collapse:collapse}td,th{padding:.15rem .6rem;border-bottom:1px solid #ddd;text-align:left}
code{background:#f4f4f4;padding:0 .2rem}
"""


def page(
    told: Mapping[str, Any], trials: Sequence[Trial], planned: SweepPlan, shares: Sequence[Mapping[str, float]]
) -> str:
    """The text of report.html."""
    body = "".join(_sections(told, trials, planned, shares))
    title = escape(str(told["study"]))
    text = f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{title}</title><style>{STYLE}</style>'
    return f"{text}<h1>{title}</h1>{mask(body)}</html>\n"


def _sections(
    told: Mapping[str, Any], trials: Sequence[Trial], planned: SweepPlan, shares: Sequence[Mapping[str, float]]
) -> Iterator[str]:
    yield _summary(told, trials)
    best = {t.number for t in front(trials, planned.objectives)}
    finished = [t for t in trials if t.values is not None]
    for place, objective in enumerate(planned.objectives):
        yield f"<h2>History: {escape(objective.name)}</h2>" + _history(finished, best, objective, place, told)
        if place < len(shares) and shares[place]:
            caution = "" if len(finished) >= FEW else f" Only {len(finished)} trials were finished: little to go by."
            yield f"<h2>What moves {escape(objective.name)}</h2>{bars(shares[place])}<p>PED-ANOVA.{caution}</p>"
    curves = {f"trial {t.number}": (t.curve, _kind(t, best)) for t in trials if t.curve}
    if curves:
        yield "<h2>Validations</h2>" + lines(curves, "validation", "reported value")
    if len(planned.objectives) == 2:
        one, two = (o.name for o in planned.objectives)
        marks = [Mark(t.values[0], t.values[1], _named(t), _kind(t, best)) for t in finished if t.values]
        yield "<h2>Front</h2>" + scatter(marks, one, two)
    yield from _points(finished, best, planned)
    yield "<h2>Trials</h2>" + _table(trials, planned.objectives)


def _summary(told: Mapping[str, Any], trials: Sequence[Trial]) -> str:
    counts = ", ".join(f"{count} {state}" for state, count in told["trials"].items())
    best = told["best"] if isinstance(told["best"], list) else [told["best"]]
    looked = f"{len(trials)} trials were looked at on the validation rows"
    lines_ = [f"<p>{looked}: {counts}. The study ended by {told['ended_by']}.</p>"]
    lines_ += [
        f"<p>Best: trial {b['trial']}, {escape(', '.join(told['objective']))} = {_figures(b['value'])}, "
        f"<code>{escape(' '.join(b['overrides']))}</code></p>"
        for b in best
    ]
    if told["beats_default"] is not None:
        word = "beats" if told["beats_default"] else "does not beat"
        lines_.append(f"<p>It {word} the default configuration, {_figures(told['default'])} on the same rows.</p>")
    if told["test"]:
        scores = [
            f"{name} {m['value']:.4f} [{m['low']:.4f}, {m['high']:.4f}]"
            for suite in told["test"]["scores"].values()
            for name, m in suite.items()
        ]
        lines_.append(
            f"<p>The winner, and no other trial, was scored on the test rows once: {escape(', '.join(scores))}.</p>"
        )
    elif len(told["objective"]) > 1:
        lines_.append(
            "<p>No trial was scored on the test rows: which point of the front to take is for a person to say.</p>"
        )
    return "".join(lines_)


def _history(
    finished: Sequence[Trial], best: set[int], objective: Objective, place: int, told: Mapping[str, Any]
) -> str:
    marks, steps, reached = [], [], None
    for trial in finished:
        assert trial.values is not None
        value = trial.values[place]
        marks.append(Mark(trial.number, value, _named(trial), _kind(trial, best)))
        reached = value if reached is None or objective.better(value, reached) else reached
        steps.append((trial.number, reached))
    return scatter(marks, "trial", objective.name, steps=steps)


def _points(finished: Sequence[Trial], best: set[int], planned: SweepPlan) -> Iterator[str]:
    """Parallel coordinates, and a slice a parameter."""
    names = list(dict.fromkeys(name for trial in finished for name in trial.parameters))
    logs = {p.name for p in planned.draft.space if isinstance(p.domain, Numbers) and p.domain.log}
    first = planned.objectives[0].name
    rows: list[Mapping[str, Value]] = [{**t.parameters, first: t.values[0]} for t in finished if t.values]
    if rows:
        kinds = [_kind(t, best) for t in finished]
        yield "<h2>Parallel coordinates</h2>" + parallel(rows, [*names, first], logs, kinds)
        yield "<h2>Slices</h2>"
    for name in names:
        marks = [
            Mark(t.parameters[name], t.values[0], _named(t), _kind(t, best))
            for t in finished
            if t.values and name in t.parameters
        ]
        yield scatter(marks, name, first, log=name in logs)


def _table(trials: Sequence[Trial], sought: Sequence[Objective]) -> str:
    head = "".join(
        f"<th>{escape(n)}</th>" for n in ("trial", "state", *(o.name for o in sought), "s", "tokens", "point")
    )
    rows = []
    for t in trials:
        values = [_figures(v) for v in t.values or ()] or [""] * len(sought)
        point = f"<code>{escape(' '.join(t.overrides))}</code>" + (f"<br>{escape(t.reason)}" if t.reason else "")
        cells = [str(t.number), t.state, *values, f"{t.seconds:.1f}", f"{t.tokens:,}", point]
        rows.append("<tr>" + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>")
    return f"<table><tr>{head}</tr>{''.join(rows)}</table>"


def _kind(trial: Trial, best: set[int]) -> str:
    return "best" if trial.number in best else trial.state


def _named(trial: Trial) -> str:
    return f"trial {trial.number}: {' '.join(trial.overrides)}"


def _figures(value: float | Sequence[float]) -> str:
    return ", ".join(f"{v:.4g}" for v in value) if isinstance(value, Sequence) else f"{value:.4g}"
