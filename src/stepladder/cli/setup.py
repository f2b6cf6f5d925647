"""Steps that several verbs start with: composing the configuration, and the context of a run."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from stepladder.cli.arguments import Arguments
from stepladder.io.redaction import mask

if TYPE_CHECKING:
    from stepladder.config.compose import Composed
    from stepladder.runs.run import RunContext


def composed(args: Arguments) -> tuple[Composed, dict[str, Any]]:
    """Compose the configuration, print its notices, and return the composition and the configuration without `auto`."""
    from stepladder.config.resolution import compose_resolved

    composition, config = compose_resolved(args.overrides, args.config_dir, args.trust)
    notify([*composition.notices, *composition.dropped])
    return composition, config


def run_context(args: Arguments, config: Mapping[str, Any], heavy: bool = True) -> RunContext:
    from stepladder.cli.terminal import Terminal
    from stepladder.config.resolution import validate
    from stepladder.runs.run import RunContext
    from stepladder.runs.stages import older_results
    from stepladder.store.store import Store

    terminal = Terminal()
    older = older_results(args.outputs)
    notify([older] if older else [])
    built = validate(config, args.trust, heavy)
    return RunContext(
        store=Store(args.outputs, terminal.note),
        compute=built["compute"].object,
        limits=built["preflight"].object,
        tracking=built["tracking"].object,
        progress=terminal,
        trust=args.trust,
    )


def notify(notices: Sequence[str]) -> None:
    """Print notes on stderr, with secrets masked."""
    for notice in notices:
        print(f"note: {mask(notice)}", file=sys.stderr)
