"""Quotes an override for a shell, for messages that say what to type."""

from __future__ import annotations

import shlex


def shell_word(key: str, value: str) -> str:
    """The override `key=value` as it is typed in a shell, with `value` as one string whatever characters it has."""
    for_the_shell = set("$`!\\") & set(f"{key}{value}")
    quote = '"' if "'" in value or (for_the_shell and '"' not in value) else "'"
    escaped = value.replace("\\" + quote, "\\\\" + quote).replace(quote, "\\" + quote)
    word = f"{key}={quote}{escaped}{quote}"
    if not for_the_shell:
        return '"' + word.replace('"', '\\"') + '"'
    return f"'{word}'" if "'" not in word else shlex.quote(word)
