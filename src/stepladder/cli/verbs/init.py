"""`init`: writes a first experiment file for a data file."""

from __future__ import annotations

import sys
from typing import Any

from stepladder.cli.arguments import Asked


def init(asked: Asked) -> dict[str, Any]:
    from stepladder.runs.init import first_experiment

    (data,) = asked.paths()
    made = first_experiment(str(data), asked.config_dir, asked.named_outputs)
    asked.say(f"written: {made.experiment}")
    for guess in made.guesses:
        asked.say(f"  dataset.{guess.key}: {guess.value} ({guess.why})")
    for note in made.notes:
        print(f"note: {note}", file=sys.stderr)
    asked.say("next:")
    for command in made.commands:
        asked.say(f"  {command}")
    return made.as_dict()
