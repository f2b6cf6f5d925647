"""`predict`: answers the questions of a file with a stored fit."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

from stepladder.cli.arguments import Arguments
from stepladder.cli.setup import notify


def predict(args: Arguments) -> dict[str, Any]:
    from stepladder.cli.terminal import Terminal
    from stepladder.dataset.writing import check_destination
    from stepladder.runs.answer import answer
    from stepladder.runs.run import RunContext
    from stepladder.store.store import Store
    from stepladder.studies.recommended import recommended, study_of

    args, settings = args.without_settings()
    folder, file = args.paths()
    if args.to is not None:
        check_destination(args.to, file)
    result: dict[str, Any] = {}
    study = study_of(str(folder), args.outputs)
    if study is not None:
        chosen = recommended(study)
        folder, result = chosen.folder, {"recommended": chosen.method}
        notify([f"answered by the recommended method: {chosen.method}" + (f" ({chosen.note})" if chosen.note else "")])
    terminal = Terminal()
    context = RunContext(store=Store(args.outputs, terminal.note), progress=terminal, trust=args.trust)
    answered = answer(folder, file, context, model=settings["model"], reading=settings["dataset"])
    rows = [asdict(prediction) for prediction in answered.predictions]
    if args.to is not None:
        answered.write(args.to)
        args.write_line(f"{len(answered.by_record)} rows with {len(rows)} answers in {args.to}")
    elif not args.as_json:
        for row in rows:
            print(json.dumps(row, ensure_ascii=False))
    to = str(args.to) if args.to else None
    accounts = answered.accounts.as_dict()
    return {"folder": str(folder), "file": str(file), "to": to, **result, "predictions": rows, "rows": accounts}
