"""What differs between two stored runs, and which difference can explain which.

A difference of what a run is made from (configuration, seed, data, weights) reaches the first stage whose full form
shows it, and all later ones. Versions, code and machine may reach any stage. A difference of a result (adapter, curve,
predictions, metrics) can be explained by every difference that reaches its stage.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from typing import Any, TypeAlias

from stepladder.store.provenance import depended_on, normal
from stepladder.store.store import differences
from stepladder.store.stored_run import Recorded, Stage
from stepladder.studies.reproduce import outcomes
from stepladder.studies.reproduce.results import Aspect, RunDifferences, State
from stepladder.studies.reproduce.tolerance import tolerance

STAGES = ("fit", "predict", "score")
PARTS = ("train", "validation", "test")
NAMED = 3
"""So many of many differences of one kind are named."""
LONGEST = 80
"""How many characters of a value are shown."""
UNEXPLAINED = "nothing that is recorded: what is computed is not the same each time"
_WEIGHTS = re.compile(r"\.(files|package|commit|hub|conversion|toy)\b")
_MACHINE = ("processor", "cores", "threads", "cpu_capability", "cuda", "gpus", "kernels")

Forms: TypeAlias = dict[str, list[tuple[str, str, Any, Any]]]
"""What differs in the full forms of two runs, by aspect: stage, dotted key, was, is."""


def run_differences(before: Recorded, now: Recorded) -> RunDifferences:
    """Every aspect of two runs, what they are made from first."""
    forms = _forms(before, now)
    made_from = [
        _stored(before, now),
        _config(before, now, forms),
        _seed(before, now, forms),
        *_data(before, now, forms),
        _weights(before, now, forms),
    ]
    machine = _around("machine", before, now, _machine)
    versions = [(stage, f"the {stage}'s version was {was}, is {is_}") for stage, _, was, is_ in forms.get("code", ())]
    environment = [
        _around("versions", before, now, partial(_versions, depended_on())),
        _around("code", before, now, _code, versions),
        machine,
        _around("engine", before, now, _engine),
    ]
    tuned = before.fit is not None and bool(before.fit.facts.get("trained_parameters"))
    band = tolerance(machine.state != "differs", tuned)
    causes = [aspect for aspect in (*made_from, *environment) if aspect.state == "differs"]
    results = [_explained(result, causes) for result in outcomes.compared(before, now, band)]
    aspects = (*made_from, *environment, *results)
    # another machine is not a fault: it only widens the tolerance
    same = all(aspect.state != "differs" or aspect.name == "machine" for aspect in aspects)
    metrics = tuple(outcomes.metrics(before, now, band))
    return RunDifferences(
        same=same, tolerance=band, aspects=aspects, metrics=metrics, lines=tuple(aspect.line for aspect in aspects)
    )


def _explained(result: Aspect, causes: Iterable[Aspect]) -> Aspect:
    if result.state not in ("differs", "within"):
        return result
    last = STAGES.index(str(result.reaches))
    found = [c.name for c in causes if c.reaches is not None and STAGES.index(c.reaches) <= last]
    return replace(result, explained_by=tuple(found or [UNEXPLAINED]))


def _forms(before: Recorded, now: Recorded) -> Forms:
    """What differs in the full forms that keys are made from, by aspect: stage, dotted key, was, is."""
    found: Forms = {}
    for stage, one, other in _pairs(before, now):
        for key, was, is_ in differences(one.full, other.full):
            aspect = _aspect(key)
            if aspect == "data" and None in (was, is_):
                aspect = None  # one of them does not read it: that is another method, not other data
            if aspect:
                found.setdefault(aspect, []).append((stage, key, was, is_))
    return found


def _aspect(key: str) -> str | None:
    """Which aspect a key of a full form belongs to; None where it only names what came before."""
    top, _, rest = key.partition(".")
    if top in ("fit", "predictions", "stage"):
        return None
    if top == "version":
        return "code"
    if key in ("reads.seed", "probe.decoding.seed"):
        return "seed"
    if (top == "reads" and rest != "objective") or top in ("examples", "beside"):
        return "data"
    if top == "probe" and not rest.startswith("decoding"):
        return "data"
    return "base weights" if top == "method" and _WEIGHTS.search(key) else "config"


def _pairs(before: Recorded, now: Recorded) -> Iterator[tuple[str, Stage, Stage]]:
    """The stages that both have: the name of the stage, and both."""
    other = now.stages
    for name, stage in before.stages.items():
        if name in other:
            yield name.partition(" ")[0], stage, other[name]


def _first(stages: Iterable[str]) -> str | None:
    return min(stages, key=STAGES.index, default=None)


def _made_from(name: str, messages: Iterable[str], reaches: str | None) -> Aspect:
    lines = tuple(dict.fromkeys(messages))
    return Aspect(name, "made from", "differs" if lines else "same", lines, reaches)


def _stored(before: Recorded, now: Recorded) -> Aspect:
    """Files of a store that are not as they were when they were finished."""
    messages, reaches = [], []
    for run in (before, now):
        for name, stage in run.stages.items():
            changed = stage.changed()
            messages += [f"{stage.folder.parent.name}/{stage.folder.name}/{file} was changed later" for file in changed]
            reaches += [name.partition(" ")[0]] if changed else []
    return _made_from("stored files", messages, _first(reaches))


def _config(before: Recorded, now: Recorded, forms: Forms) -> Aspect:
    own = [d for d in differences(before.config, now.config) if d[0] != "seed"]
    messages = {key: f"{key} was {_value(was)}, is {_value(is_)}" for key, was, is_ in own}
    for stage, key, was, is_ in forms.get("config", ()):
        messages.setdefault(key, f"{key} was {_value(was)}, is {_value(is_)} (the {stage}'s full form)")
    reaches = [stage for stage, *_ in forms.get("config", ())]
    rows = [key for key, *_ in own if key.startswith("dataset.") or key == "rows"]
    reaches += [stage for stage, *_ in forms.get("data", ())] if rows else []
    return _made_from("config", messages.values(), _first(reaches))


def _value(value: object) -> str:
    text = repr(value)
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}..."


def _seed(before: Recorded, now: Recorded, forms: Forms) -> Aspect:
    was, is_ = before.config.get("seed"), now.config.get("seed")
    messages = [f"seed was {was}, is {is_}"] if was != is_ else []
    messages += [f"{key} was {a}, is {b}" for _, key, a, b in forms.get("seed", ()) if not messages]
    return _made_from("seed", messages, _first(stage for stage, *_ in forms.get("seed", ())))


def _data(before: Recorded, now: Recorded, forms: Forms) -> Iterator[Aspect]:
    """Content and split: rows that are the same but stand on other sides are another split."""
    one, other = before.data, now.data
    if not one or not other:
        yield Aspect("data", "made from", "not recorded")
        return
    parts = [name for name in {**one, **other} if one.get(name) != other.get(name)]
    reaches = _first(stage for stage, *_ in forms.get("data", ()))
    moved = _moved(before, now)
    messages = [line for part in parts for line in _changed(part, before, now)]
    messages += [f"{key} is another (the {s}'s full form)" for s, key, *_ in forms.get("data", ()) if not parts]
    yield _made_from("data", [] if moved else messages, reaches)
    yield _made_from("split", moved, reaches)


def _moved(before: Recorded, now: Recorded) -> list[str]:
    """Where all rows are the same and some are on another side: which ones."""
    first, second = _sides(before), _sides(now)
    if first is None or second is None or first.keys() != second.keys():
        return []
    moved = [f"row '{row[0]}' was in {first[row]}, is in {second[row]}" for row in first if first[row] != second[row]]
    return _few(moved, "on another side")


def _sides(run: Recorded) -> dict[tuple[str, str], str] | None:
    """The part of each row, by id and hash; None where the rows are not recorded."""
    parts = {part: run.rows(part) for part in PARTS}
    if None in parts.values():
        return None
    return {row: part for part, rows in parts.items() for row in (rows or {}).items()}


def _changed(part: str, before: Recorded, now: Recorded) -> Iterator[str]:
    was, is_ = before.rows(part), now.rows(part)
    counts = [run.data.get(part, {}).get("rows", 0) for run in (before, now)]
    if was is None or is_ is None:
        yield f"{part}: {counts[0]} rows were others than the {counts[1]} now (which ones is not recorded)"
        return
    changed = [f"row '{id_}' has another content" for id_ in was if id_ in is_ and was[id_] != is_[id_]]
    there, before_there = _elsewhere(part, now), _elsewhere(part, before)
    gone = [i for i in was if i not in is_]
    changed += [f"row '{id_}' has another content, and is in {there[id_]} now" for id_ in gone if id_ in there]
    gone = [f"row '{id_}' is gone" for id_ in gone if id_ not in there]
    new = [f"row '{id_}' is new" for id_ in is_ if id_ not in was and id_ not in before_there]
    if was.keys() == is_.keys() and not changed:
        yield f"{part}: the same rows in another order"
    for lines, what in ((changed, "with another content"), (gone, "gone"), (new, "new")):
        yield from (f"{part}: {line}" for line in _few(lines, what))


def _elsewhere(part: str, run: Recorded) -> dict[str, str]:
    """By id, the other part that a row is in."""
    others = ((name, run.rows(name)) for name in PARTS if name != part)
    return {id_: name for name, rows in others for id_ in rows or ()}


def _few(lines: list[str], what: str) -> list[str]:
    more = len(lines) - NAMED
    return lines if more <= 0 else [*lines[:NAMED], f"{more} more row{'s' if more > 1 else ''} {what}"]


def _weights(before: Recorded, now: Recorded, forms: Forms) -> Aspect:
    one, other = before.weights, now.weights
    found = [(f"{m} {file}", a, b) for m in one.keys() & other.keys() for file, a, b in _files(one[m], other[m])]
    found += [(key.replace(".files.", " "), was, is_) for _, key, was, is_ in forms.get("base weights", ())]
    messages = (f"{key} was {_short(was)}, is {_short(is_)}" for key, was, is_ in found)
    return _made_from("base weights", messages, "fit" if found else None)


def _files(one: Mapping[str, str], other: Mapping[str, str]) -> Iterator[tuple[str, Any, Any]]:
    """The files whose hashes differ, with both hashes."""
    for name in {**one, **other}:
        if one.get(name) != other.get(name):
            yield name, one.get(name), other.get(name)


def _short(value: object) -> object:
    return f"{value[:12]}..." if isinstance(value, str) and len(value) > 24 else value


def _around(
    name: str,
    before: Recorded,
    now: Recorded,
    found: Callable[[Stage, Stage], list[str] | None],
    more: Iterable[tuple[str, str]] = (),
) -> Aspect:
    """An aspect of the environment; `found` gives what differs between two stages, None where it is not recorded.

    `more` are further differences, each with the stage that it reaches.
    """
    by_stage = [(stage, found(one, other)) for stage, one, other in _pairs(before, now)]
    lines = [*((stage, line) for stage, messages in by_stage for line in messages or ()), *more]
    recorded = any(messages is not None for _, messages in by_stage)
    state: State = "differs" if lines else "same" if recorded else "not recorded"
    messages = tuple(dict.fromkeys(line for _, line in lines))
    return Aspect(name, "circumstance", state, messages, _first(stage for stage, _ in lines))


def _versions(needed: frozenset[str], one: Stage, other: Stage) -> list[str] | None:
    kept, here = one.provenance.get("distributions"), other.provenance.get("distributions")
    if not kept or not here:
        return None
    was, is_ = ({normal(n): v for n, v in s.items() if normal(n) != "stepladder"} for s in (kept, here))
    was["python"], is_["python"] = one.provenance.get("python"), other.provenance.get("python")
    return [
        f"{name} was {a or 'not there'}, is {b or 'not there'}"
        for name, a, b in differences(was, is_)
        if not needed or name == "python" or name in needed
    ]


def _code(one: Stage, other: Stage) -> list[str] | None:
    kept, here = one.provenance.get("source"), other.provenance.get("source")
    if not kept or not here:
        return None
    return [f"Stepladder's modules are others: {_commit(one)} then, {_commit(other)} now"] if kept != here else []


def _commit(stage: Stage) -> str:
    code = stage.provenance.get("code") or {}
    if not code.get("commit"):
        return f"version {stage.provenance.get('stepladder')}"
    return f"commit {str(code['commit'])[:12]}{' with changes' if code.get('dirty') else ''}"


def _machine(one: Stage, other: Stage) -> list[str] | None:
    kept, here = (
        {**{n: s.provenance.get("devices", {}).get(n) for n in _MACHINE}, **(s.provenance.get("compute") or {})}
        for s in (one, other)
    )
    known = [name for name in kept if kept[name] is not None and here.get(name) is not None]
    changed = [f"{name} was {kept[name]}, is {here[name]}" for name in known if kept[name] != here[name]]
    return changed if known else None


def _engine(one: Stage, other: Stage) -> list[str] | None:
    """What ran the language model: `fast` or `reference`; None on both sides for a method without one."""
    was, is_ = one.provenance.get("engine"), other.provenance.get("engine")
    if was == is_:
        return []
    stage = one.full.get("stage")
    return [f"the {stage}'s engine was {was}, is {is_}"] if was and is_ else None
