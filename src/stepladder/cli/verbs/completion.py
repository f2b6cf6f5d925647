"""`completion`: prints a shell's script, and answers what the last word of a line can become."""

from __future__ import annotations

from typing import Any

from stepladder.cli.arguments import FLAGS, OF_VERB, VERBS, Asked
from stepladder.errors import UserError


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
