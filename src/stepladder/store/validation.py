"""What the files of a store must look like to be believed: whoever reads them then need not ask again.

Knows plain data as stages write it; knows no file and no folder.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

from stepladder.config.value_types import fits
from stepladder.types import Plain

Number = int | float
Fields: TypeAlias = Mapping[str, Any]
"""The type of a value, by its name."""
FIGURE = {"value": Number, "low": Number, "high": Number, "n": int}
FINDING = {"name": str, "value": Number | bool, "told": str, "odd": bool, "stops": bool}
PREDICTION = {
    "id": str, "text": str, "probabilities": Mapping[str, Number] | None, "shown": list[str], "prompt_tokens": int,
    "new_tokens": int, "seconds": Number, "failure": str | None, "prompt_hash": str | None,
    "question": str, "expected": list[str],
}  # fmt: skip
COSTS = {
    "questions": int, "prompt_tokens": int, "new_tokens": int, "prompt_tokens_per_question": Number, "failures": int,
    "new_tokens_per_question": Number, "seconds_per_question": Number, "seconds_p50": Number, "seconds_p95": Number,
}  # fmt: skip
DONE = {"key": str, "facts": Plain, "finished": str}
PROVENANCE: Fields = {
    "time": str, "stepladder": str, "folder": str, "python": str, "platform": str, "devices": Plain,
    "distributions": Mapping[str, str], "source": str, "code": Plain | None, "config": Plain,
    "compute": Plain, "data": Mapping[str, Plain], "weights": Mapping[str, Mapping[str, str]],
    "command": list[str], "environment": Mapping[str, str], "engine": str,
}  # fmt: skip


def has(value: Any, fields: Fields) -> bool:
    """Whether `value` is a mapping with all of `fields`, each of its kind; others may be there too."""
    return isinstance(value, Mapping) and all(name in value and fits(value[name], of) for name, of in fields.items())


def only(value: Any, fields: Fields) -> dict[str, Any]:
    """What of a mapping is of the kind that `fields` say."""
    found = value if isinstance(value, Mapping) else {}
    return {name: found[name] for name, of in fields.items() if name in found and fits(found[name], of)}


def is_done(record: Any, kind: str) -> bool:
    """Whether done.json of a folder of this kind tells what a finished stage tells."""
    if not has(record, DONE) or not re.fullmatch("[0-9a-f]{32}", record["key"]):
        return False
    facts = record["facts"]
    files: dict[str, str] = {}
    for listed in (record.get("files", {}), record.get("replacing", {})):
        if not fits(listed, Mapping[str, str]):
            return False
        files |= listed
    if any(name.startswith("/") or ".." in name.split("/") for name in files):
        return False
    gate = facts.get("gate", [])
    if not isinstance(gate, list) or not all(has(found, FINDING) for found in gate):
        return False
    return {"fits": _of_fit, "predictions": _of_predictions, "scores": _of_scores}[kind](facts)


def _of_fit(facts: Plain) -> bool:
    return all(isinstance(value, int | float | None) for name, value in facts.items() if name != "gate")


def _of_predictions(facts: Plain) -> bool:
    return has(facts, COSTS) and facts["questions"] > 0


def _of_scores(facts: Plain) -> bool:
    scores, left_out = facts.get("scores"), facts.get("left_out", {})
    return (
        isinstance(scores, Mapping)
        and all(isinstance(s, Mapping) and all(has(figure, FIGURE) for figure in s.values()) for s in scores.values())
        and fits(left_out, Mapping[str, Mapping[str, str]])
    )


def rows_of(record: Any) -> Sequence[tuple[str, str]]:
    """Pairs of texts, as a list of rows keeps them; none where it is another list."""
    listed = record.get("rows") if isinstance(record, Mapping) else None
    pairs = [tuple(row) for row in listed if isinstance(row, list)] if isinstance(listed, list) else []
    return [(row[0], row[1]) for row in pairs if len(row) == 2 and all(isinstance(text, str) for text in row)]
