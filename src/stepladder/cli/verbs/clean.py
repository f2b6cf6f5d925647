"""`clean`: removes what is unfinished or belongs to no study."""

from __future__ import annotations

from typing import Any

from stepladder.cli.arguments import Asked


def clean(asked: Asked) -> dict[str, Any]:
    from stepladder.store.inventory import swept, wanted

    told = swept(asked.outputs, wanted(asked.words), asked.dry_run)
    word = "would be removed" if asked.dry_run else "removed"
    for each in told["removed"]:
        asked.say(f"{word}: {each['folder']} ({each['reason']})")
    for folder in told["in_the_making"]:
        asked.say(f"left: {folder} (a process is working on it)")
    for folder in told["broken"]:
        asked.say(f"left: {folder} (it is broken: repair it, or remove it yourself)")
    asked.say(f"{len(told['removed'])} folders, {told['bytes'] / 1e6:.1f} MB {word}")
    return told
