"""`options`: lists the groups of the configuration and their options."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from stepladder.cli.arguments import WIDTH, Arguments
from stepladder.errors import UserError


def options(args: Arguments) -> dict[str, Any]:
    """The groups of the configuration, or the options of one with their keys."""
    from stepladder.config import catalogue

    folders = catalogue.folders(args.config_dir)
    if not args.words:
        groups = catalogue.catalogue(folders)
        for line in catalogue.lines_of_groups(groups, WIDTH):
            args.write_line(line)
        args.write_line("\nThe options of a group, with their keys: stepladder options GROUP")
        return {"groups": [asdict(group) for group in groups]}
    if len(args.words) > 1:
        raise UserError("'options' takes one group", "the command line", "see 'stepladder options --help'")
    group = catalogue.group(args.words[0], folders)
    for line in catalogue.lines_of_options(group, WIDTH):
        args.write_line(line)
    return asdict(group)
