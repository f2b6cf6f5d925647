"""`reproduce`: repeats a stored run in a fresh store and compares the two."""

from __future__ import annotations

from typing import Any

from stepladder.cli.arguments import Arguments


def reproduce(args: Arguments) -> dict[str, Any]:
    from stepladder.cli.terminal import Terminal
    from stepladder.studies.reproduce import reproduce as studies

    (folder,) = args.paths()
    result = studies.reproduce(folder, args.named_outputs, args.trust, Terminal())
    for line in result["lines"]:
        args.write_line(line)
    args.write_line(f"reproduced in {result['reproduction']} ({result['tolerance']['told']})")
    if args.verify:
        studies.verify(result)
        args.write_line("verified: the reproduction has the same results")
    return result
