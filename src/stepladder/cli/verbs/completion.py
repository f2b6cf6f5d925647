"""`completion`: prints the completion script of a shell, and the completions of a command line."""

from __future__ import annotations

from typing import Any

from stepladder.cli.arguments import FLAGS, OF_VERB, VERBS, Arguments
from stepladder.errors import UserError


def completion(args: Arguments) -> dict[str, Any]:
    """Print a shell's script, which calls `completion words LINE` for completions of the last word of LINE."""
    from stepladder.config.completion import SCRIPTS, candidates

    shell, *line = args.words or ("",)
    if shell == "words" and len(line) == 1:
        flags = {flag: OF_VERB.get(flag, ()) for flag in (*FLAGS, "--help")}
        result: dict[str, Any] = {"candidates": candidates(line[0], list(VERBS), flags, args.config_dir)}
    elif shell in SCRIPTS and not line:
        result = {"shell": shell, "script": SCRIPTS[shell]}
    else:
        raise UserError(f"There is no completion for '{' '.join(args.words)}'", "completion", "say bash, zsh or fish")
    if not args.as_json:
        print(result.get("script") or "\n".join(result["candidates"]))
    return result
