"""What several verbs begin with: the composed config, and the context of a run."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from stepladder.cli.arguments import Asked
from stepladder.io.redaction import mask

if TYPE_CHECKING:
    from stepladder.config.compose import Composed
    from stepladder.runs.run import Circumstances


def composed(asked: Asked) -> tuple[Composed, dict[str, Any]]:
    from stepladder.config.settle import settled

    composition, config = settled(asked.overrides, asked.config_dir, asked.trust)
    notify([*composition.notices, *composition.dropped])
    return composition, config


def run_context(asked: Asked, config: Mapping[str, Any], heavy: bool = True) -> Circumstances:
    from stepladder.cli.terminal import Terminal
    from stepladder.config.settle import validate
    from stepladder.runs.run import Circumstances
    from stepladder.runs.stages import older_results
    from stepladder.store.store import Store

    terminal = Terminal()
    older = older_results(asked.outputs)
    notify([older] if older else [])
    built = validate(config, asked.trust, heavy)
    return Circumstances(
        store=Store(asked.outputs, terminal.note),
        compute=built["compute"].object,
        limits=built["preflight"].object,
        tracking=built["tracking"].object,
        progress=terminal,
        trust=asked.trust,
    )


def notify(notices: Sequence[str]) -> None:
    for notice in notices:
        print(f"note: {mask(notice)}", file=sys.stderr)
