"""`reproduce`: repeats a stored run in a fresh store and compares the two."""

from __future__ import annotations

from typing import Any

from stepladder.cli.arguments import Asked


def reproduce(asked: Asked) -> dict[str, Any]:
    from stepladder.cli.terminal import Terminal
    from stepladder.studies.reproduce import reproduce as studies

    (folder,) = asked.paths()
    told = studies.reproduce(folder, asked.named_outputs, asked.trust, Terminal())
    for line in told["lines"]:
        asked.say(line)
    asked.say(f"reproduced in {told['reproduction']} ({told['tolerance']['told']})")
    if asked.verify:
        studies.verify(told)
        asked.say("verified: the reproduction has the same results")
    return told
