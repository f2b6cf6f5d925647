"""The results of two stored runs, compared: the fit's files, its curve, every prediction, every metric."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import fields
from itertools import zip_longest
from pathlib import Path
from typing import Any, Literal

from stepladder.evaluation.statistics.estimates import Measured
from stepladder.io.files import read_lines
from stepladder.io.serialise import from_plain
from stepladder.runs.predictions import read_predictions
from stepladder.runs.results import SuiteFigures
from stepladder.store.stored_run import Recorded, Stage
from stepladder.studies.reproduce.results import Aspect, MetricPair, State
from stepladder.studies.reproduce.tolerance import Tolerance
from stepladder.types import Prediction

NAMED = 3
"""So many rows that differ are named."""
_NOT_COMPARED = ("README.md", "base_model.json")
"""The model card, and the fingerprint of the base model, which `base weights` compares."""


def compared(before: Recorded, now: Recorded, band: Tolerance) -> list[Aspect]:
    """One aspect for each kind of result; nothing is explained yet."""
    return [
        _adapter(before, now, band),
        _curve(before, now, band),
        _rows(before, now, band),
        _metrics(before, now, band),
    ]


def _result(
    name: str, stage: Literal["fit", "predict", "score"], messages: Iterable[str], outside: bool, moved: bool = True
) -> Aspect:
    """An aspect whose state is `differs` where it is outside the tolerance, and `within` where it only moved."""
    state: State = "differs" if outside else "within" if moved else "same"
    return Aspect(name, "result", state, tuple(messages), stage)


def metrics(before: Recorded, now: Recorded, band: Tolerance) -> list[MetricPair]:
    """Every metric of the first run with that of the second."""
    found, other = [], _scores(now.score)
    for suite, measured in _scores(before.score).items():
        for name, was in measured.items():
            is_ = other.get(suite, {}).get(name)
            found.append(MetricPair(suite, name, was, is_, band.name, band.metric(was, is_)))
    return found


def _scores(score: Stage | None) -> SuiteFigures:
    facts = score.facts if score else {}
    found: SuiteFigures = from_plain(SuiteFigures, facts.get("scores", {}), str(score and score.folder))
    return found


def _metrics(before: Recorded, now: Recorded, band: Tolerance) -> Aspect:
    found = metrics(before, now, band)
    if not found or not _scores(now.score):
        return Aspect("metrics", "result", "not recorded", reaches="score")
    outside = [each for each in found if not each.within]
    moved = [each for each in found if each.now != each.was]
    messages = [f"{e.suite}.{e.metric} was {_value(e.was)}, is {_value(e.now)}" for e in outside or moved]
    return _result("metrics", "score", messages, bool(outside), bool(moved))


def _value(metric: Measured | None) -> str:
    return "not there" if metric is None else f"{metric.value} [{metric.low:.4g}, {metric.high:.4g}]"


def _rows(before: Recorded, now: Recorded, band: Tolerance) -> Aspect:
    """Predictions row by row, of every request that both have."""
    requests = [(n, s, now.predictions[n]) for n, s in before.predictions.items() if n in now.predictions]
    if not requests:
        return Aspect("predictions", "result", "not recorded", reaches="predict")
    messages: list[str] = []
    within = True
    for name, one, other in requests:
        was, is_ = _predictions(one), _predictions(other)
        unlike = list(_unlike(was, is_, exact=band.name == "exact"))
        within = within and was.keys() == is_.keys() and band.rows(len(unlike), len(was))
        if unlike:
            first = ", ".join(f"'{id_}' ({field})" for id_, field in unlike[:NAMED])
            messages.append(f"{len(unlike)} of {len(was.keys() | is_.keys())} rows of {name}: {first}")
    return _result("predictions", "predict", messages, not within, bool(messages))


def _predictions(stage: Stage) -> dict[str, Prediction]:
    return {found.id: found for found in read_predictions(stage.folder)}


def _unlike(was: Mapping[str, Prediction], now: Mapping[str, Prediction], exact: bool) -> Iterator[tuple[str, str]]:
    """Ids whose predictions differ, and in what: in anything but time where they must be equal, else in the answer."""
    for id_ in [*was, *(i for i in now if i not in was)]:
        one, other = was.get(id_), now.get(id_)
        if one is None or other is None:
            yield id_, "new" if one is None else "gone"
            continue
        names = [each.name for each in fields(one) if each.name != "seconds"] if exact else ["text", "failure"]
        unlike = [name for name in names if getattr(one, name) != getattr(other, name)]
        if unlike:
            yield id_, ", ".join(unlike)


def _curve(before: Recorded, now: Recorded, band: Tolerance) -> Aspect:
    """Losses and validations step by step: where the order of rows differs, the first step shows it."""
    one, other = _lines(before.fit), _lines(now.fit)
    if one == other:
        return _result("curve", "fit", (), outside=False, moved=False)
    if one is None or other is None:
        return Aspect("curve", "result", "not recorded", reaches="fit")
    was, is_ = next(pair for pair in zip_longest(one, other) if pair[0] != pair[1])
    message = f"first at step {(was or is_ or {}).get('step')}: {json.dumps(was)} then, {json.dumps(is_)} now"
    return _result("curve", "fit", [message], band.name == "exact")


def _lines(fit: Stage | None) -> list[dict[str, Any]] | None:
    file = fit.folder / "metrics.jsonl" if fit else None
    if file is None or not file.exists():
        return None
    try:
        lines = list(read_lines(file))
    except (ValueError, RecursionError):
        return None
    messages = [line for line in lines if isinstance(line, dict)]
    return [{name: value for name, value in line.items() if name != "seconds"} for line in messages]


def _adapter(before: Recorded, now: Recorded, band: Tolerance) -> Aspect:
    """The trained artefact, file by file."""
    if before.fit is None or now.fit is None:
        return Aspect("adapter", "result", "not recorded", reaches="fit")
    folders = (before.fit.folder / "artefact", now.fit.folder / "artefact")
    names = sorted({f.relative_to(folder).as_posix() for folder in folders for f in folder.rglob("*") if f.is_file()})
    first, second = folders
    messages = [
        f"artefact/{name} {distance}"
        for name in names
        if name not in _NOT_COMPARED and (distance := _distance(first / name, second / name))
    ]
    return _result("adapter", "fit", messages, bool(messages) and band.name == "exact", bool(messages))


def _distance(one: Path, other: Path) -> str:
    """How far two files of weights are apart; empty for equal files."""
    if not one.is_file() or not other.is_file():
        return "is in one run only"
    if one.read_bytes() == other.read_bytes():
        return ""
    if one.suffix != ".safetensors":
        return "has another content"
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        was, now = load_file(one), load_file(other)
    except (SafetensorError, OSError, ValueError):
        return "is broken in one of them"
    if was.keys() != now.keys() or any(was[n].shape != now[n].shape for n in was):
        return "has other matrices"
    apart = {name: float((was[name].double() - now[name].double()).abs().max()) for name in was}
    most = max(apart, key=apart.__getitem__)
    return f"is apart by {apart[most]:.3g} at the most ({most})"
