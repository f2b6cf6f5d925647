"""`check`: validates the configuration, reads the data and estimates a run, without training."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

from stepladder.cli.arguments import Arguments
from stepladder.cli.setup import composed, run_context

_IMPORTED = time.monotonic()


def check(args: Arguments) -> dict[str, Any]:
    from stepladder.config.experiment import Experiment
    from stepladder.resources import raise_on_stops
    from stepladder.runs.check import expectations, in_store, rehearsed
    from stepladder.runs.expected_time import expected_time
    from stepladder.runs.stages import prepare
    from stepladder.studies.variants import cells

    composition, config = composed(args)
    context = run_context(args, config)
    experiment = Experiment.from_config(config, composition.choices)
    prepared = prepare(experiment, args.trust, context.read)
    stored = in_store(prepared, context.store)
    started = _seconds_of_process()
    findings, facts = rehearsed(prepared, context)
    refused = [found for found in findings if found.stops]
    time = None
    if not refused and context.compute.slurm is None:
        # A rehearsal loads the model and renders the prompts, as the run does, and then times some steps.
        started += max(0.0, _seconds_of_process() - started - facts.get("timing_seconds", 0.0))
        time = expected_time(prepared, prepare(experiment, args.trust, context.read), context, facts, stored, started)
    result = expectations(prepared, context.store, max(1, cells(config["comparison"]["vary"]) - 1), findings, time)
    for line in result["lines"]:
        args.write_line(line)
    raise_on_stops(findings)
    return result


def _seconds_of_process() -> float:
    """Seconds since this process started, imports included, or since this module was loaded if /proc is missing.

    Source: proc(5), field `starttime` of /proc/self/stat, in clock ticks since boot.
    """
    try:
        began = int(Path("/proc/self/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[19])
        return time.clock_gettime(time.CLOCK_BOOTTIME) - began / os.sysconf("SC_CLK_TCK")
    except (OSError, ValueError, AttributeError, IndexError):
        return time.monotonic() - _IMPORTED
