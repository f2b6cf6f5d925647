"""`options`: lists the groups of the configuration and their options."""

from __future__ import annotations

from typing import Any

from stepladder.cli.arguments import WIDTH, Asked
from stepladder.errors import UserError


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
