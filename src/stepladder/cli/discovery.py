"""The verbs that help to write a command: init, options, completion. Imports nothing heavy before a verb needs it."""

from __future__ import annotations

import sys
from typing import Any

from stepladder.cli.arguments import FLAGS, OF_VERB, VERBS, WIDTH, Asked
from stepladder.errors import UserError


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


def options(asked: Asked) -> dict[str, Any]:
    """The groups of the configuration, or the options of one with their keys."""
    from stepladder.config import catalogue

    folders = catalogue.folders(asked.config_dir)
    if not asked.words:
        groups = catalogue.catalogue(folders)
        for line in catalogue.lines_of_groups(groups, WIDTH):
            asked.say(line)
        asked.say("\nThe options of a group, with their keys: stepladder options GROUP")
        return {"groups": [group.as_dict() for group in groups]}
    if len(asked.words) > 1:
        raise UserError("'options' takes one group", "the command line", "see 'stepladder options --help'")
    group = catalogue.group(asked.words[0], folders)
    for line in catalogue.lines_of_options(group, WIDTH):
        asked.say(line)
    return group.as_dict()


def completion(asked: Asked) -> dict[str, Any]:
    """A shell's script, which asks for `words LINE`: what the last word of a line can become."""
    from stepladder.config.completion import SHELLS, candidates, script

    shell, *line = asked.words or ("",)
    if shell == "words" and len(line) == 1:
        found = candidates(
            line[0], list(VERBS), {flag: OF_VERB.get(flag, ()) for flag in (*FLAGS, "--help")}, asked.config_dir
        )
        told: dict[str, Any] = {"candidates": found}
    elif shell in SHELLS and not line:
        told = {"shell": shell, "script": script(shell)}
    else:
        raise UserError(f"There is no completion for '{' '.join(asked.words)}'", "completion", "say bash, zsh or fish")
    if not asked.as_json:
        print(told.get("script") or "\n".join(told["candidates"]))
    return told
