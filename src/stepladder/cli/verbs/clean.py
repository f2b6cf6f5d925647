"""`clean`: removes unfinished directories and runs that belong to no study."""

from __future__ import annotations

from typing import Any

from stepladder.cli.arguments import Arguments


def clean(args: Arguments) -> dict[str, Any]:
    from stepladder.store.inventory import swept, wanted

    result = swept(args.outputs, wanted(args.words), args.dry_run)
    word = "would be removed" if args.dry_run else "removed"
    for each in result["removed"]:
        args.write_line(f"{word}: {each['folder']} ({each['reason']})")
    for folder in result["in_the_making"]:
        args.write_line(f"kept: {folder} (a process is working on it)")
    for folder in result["broken"]:
        args.write_line(f"kept: {folder} (it is broken: repair it, or remove it yourself)")
    args.write_line(f"{len(result['removed'])} folders, {result['bytes'] / 1e6:.1f} MB {word}")
    return result
