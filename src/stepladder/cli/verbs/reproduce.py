"""`reproduce`: repeats a stored run in a fresh store and compares the two."""

from __future__ import annotations

from typing import TYPE_CHECKING

from stepladder.cli.arguments import Arguments

if TYPE_CHECKING:
    from stepladder.studies.reproduce.results import ReproductionResult


def reproduce(args: Arguments) -> ReproductionResult:
    from stepladder.cli.terminal import Terminal
    from stepladder.studies.reproduce import reproduce as studies

    (folder,) = args.paths()
    result = studies.reproduce(folder, args.named_outputs, args.trust, Terminal())
    for line in result.lines:
        args.write_line(line)
    args.write_line(f"reproduced in {result.reproduction} ({result.tolerance.message})")
    if args.verify:
        studies.verify(result)
        args.write_line("verified: the reproduction has the same results")
    return result
