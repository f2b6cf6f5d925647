"""`diff`: compares two stored runs and lists possible causes of each difference."""

from __future__ import annotations

from typing import TYPE_CHECKING

from stepladder.cli.arguments import Arguments

if TYPE_CHECKING:
    from stepladder.studies.reproduce.results import DiffResult


def diff(args: Arguments) -> DiffResult:
    from stepladder.studies.reproduce import reproduce as studies

    result = studies.diff(*args.paths())
    for line in result.lines:
        args.write_line(line)
    return result
