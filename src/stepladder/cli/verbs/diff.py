"""`diff`: compares two stored runs and lists possible causes of each difference."""

from __future__ import annotations

from typing import Any

from stepladder.cli.arguments import Arguments


def diff(args: Arguments) -> dict[str, Any]:
    from stepladder.studies.reproduce import reproduce as studies

    result = studies.diff(*args.paths())
    for line in result["lines"]:
        args.write_line(line)
    return result
