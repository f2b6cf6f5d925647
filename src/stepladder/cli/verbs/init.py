"""`init`: writes a first experiment file for a data file."""

from __future__ import annotations

import sys
from typing import Any

from stepladder.cli.arguments import Arguments


def init(args: Arguments) -> dict[str, Any]:
    from stepladder.runs.init import first_experiment

    (data,) = args.paths()
    made = first_experiment(str(data), args.config_dir, args.named_outputs)
    args.write_line(f"written: {made.experiment}")
    for guess in made.guesses:
        args.write_line(f"  dataset.{guess.key}: {guess.value} ({guess.why})")
    for note in made.notes:
        print(f"note: {note}", file=sys.stderr)
    args.write_line("next:")
    for command in made.commands:
        args.write_line(f"  {command}")
    return made.as_dict()
