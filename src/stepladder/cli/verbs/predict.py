"""`predict`: answers the questions of a file with a stored fit."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

from stepladder.cli.arguments import Asked
from stepladder.cli.setup import notify


def predict(asked: Asked) -> dict[str, Any]:
    from stepladder.cli.terminal import Terminal
    from stepladder.dataset.writing import check_destination
    from stepladder.runs.answer import answer
    from stepladder.runs.run import Circumstances
    from stepladder.store.store import Store
    from stepladder.studies.recommended import recommended, study_of

    asked, settings = asked.without_settings()
    folder, file = asked.paths()
    if asked.to is not None:
        check_destination(asked.to, file)
    told: dict[str, Any] = {}
    study = study_of(str(folder), asked.outputs)
    if study is not None:
        chosen = recommended(study)
        folder, told = chosen.folder, {"recommended": chosen.method}
        notify([f"answered by the recommended method: {chosen.method}" + (f" ({chosen.note})" if chosen.note else "")])
    terminal = Terminal()
    around = Circumstances(store=Store(asked.outputs, terminal.note), progress=terminal, trust=asked.trust)
    answered = answer(folder, file, around, model=settings["model"], reading=settings["dataset"])
    rows = [asdict(prediction) for prediction in answered.predictions]
    if asked.to is not None:
        answered.write(asked.to)
        asked.say(f"{len(answered.by_record)} rows with {len(rows)} answers in {asked.to}")
    elif not asked.as_json:
        for row in rows:
            print(json.dumps(row, ensure_ascii=False))
    to = str(asked.to) if asked.to else None
    accounts = answered.accounts.as_dict()
    return {"folder": str(folder), "file": str(file), "to": to, **told, "predictions": rows, "rows": accounts}
