"""Progress of a sweep: a live table on a terminal, else one line per finished trial."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from stepladder.resources import Progress, Silent
from stepladder.runs.expected_time import spoken
from stepladder.studies.sweep.objectives import Objective
from stepladder.studies.sweep.plan import SweepPlan
from stepladder.studies.sweep.results import Trial
from stepladder.studies.sweep.trials import counts, front

SECONDS_BETWEEN_LOOKS = 1.0
ROWS_SHOWN = 12


@contextmanager
def watching(planned: SweepPlan, look: Callable[[], list[Trial]], progress: Progress) -> Iterator[None]:
    """Show what `look` finds while the block runs."""
    seen = {t.number for t in look() if t.state != "running"}
    over = threading.Event()
    console = Console(stderr=True)
    live = console.is_terminal and not isinstance(progress, Silent)

    def note_ended() -> None:
        trials = look()
        for trial in trials:
            if trial.state != "running" and trial.number not in seen:
                seen.add(trial.number)
                progress.note(line(planned, trial, trials))

    def loop() -> None:
        if not live:
            while not over.wait(SECONDS_BETWEEN_LOOKS):
                note_ended()
            return
        with Live(console=console, transient=True, auto_refresh=False) as shown:
            while not over.wait(SECONDS_BETWEEN_LOOKS):
                shown.update(table(planned, look()), refresh=True)

    watcher = threading.Thread(target=loop, daemon=True)
    watcher.start()
    try:
        yield
    finally:
        over.set()
        watcher.join()
        note_ended()


def line(planned: SweepPlan, trial: Trial, trials: Sequence[Trial]) -> str:
    """One trial and the state of the study, in a line."""
    ended = (trial.reason or f"after {len(trial.losses)} validations").split("\n")[0]
    text = figures(trial, planned.objectives) or ended
    best = front(trials, planned.objectives)
    lead = f"; best {figures(best[0], planned.objectives)} (trial {best[0].number})" if best else ""
    done = sum(t.state != "running" for t in trials)
    where = f"{done} of {_limit(planned, trials)}"
    return f"[{where}] trial {trial.number} {trial.state}: {text}{lead} | {' '.join(trial.overrides)}"


def figures(trial: Trial, sought: Sequence[Objective]) -> str:
    return ", ".join(f"{o.name} {v:.4g}" for o, v in zip(sought, trial.values or (), strict=False))


def seconds_left(planned: SweepPlan, trials: Sequence[Trial]) -> float | None:
    """What the trials to come will take at the pace of those that ended; None before the first has."""
    ended = [t.seconds for t in trials if t.state != "running"]
    if not ended:
        return None
    mean, now = sum(ended) / len(ended), time.time()
    running = [max(0.0, mean - (now - t.began)) for t in trials if t.state == "running"]
    waiting = max(0, planned.limit - len(trials)) * mean
    return (waiting + sum(running)) / max(1, len(running))


def table(planned: SweepPlan, trials: Sequence[Trial]) -> Group:
    """The study on a screen: what runs, the best, the last ones that ended."""
    drawn = Table(title=planned.study, title_justify="left")
    for name in ("trial", "state", *(o.name for o in planned.objectives), "seconds", "point"):
        drawn.add_column(name, overflow="fold" if name == "point" else "ellipsis")
    best = {t.number for t in front(trials, planned.objectives)[:1]}
    running = [t for t in trials if t.state == "running"]
    ended = sorted((t for t in trials if t.state != "running"), key=lambda t: t.ended, reverse=True)
    rows = [*running, *sorted(ended, key=lambda t: t.number not in best)]
    for trial in rows[:ROWS_SHOWN]:
        values = [f"{v:.4g}" for v in trial.values or ()] or [""] * len(planned.objectives)
        state = f"{trial.state} (best)" if trial.number in best else trial.state
        passed = time.time() - trial.began if trial.state == "running" else trial.seconds
        drawn.add_row(str(trial.number), state, *values, f"{passed:.0f}", Text(" ".join(trial.overrides)))
    return Group(drawn, Text(standing(planned, trials)))


def standing(planned: SweepPlan, trials: Sequence[Trial]) -> str:
    running = sum(t.state == "running" for t in trials)
    return f"{counts(trials)}, {running} running of {_limit(planned, trials)}"


def _limit(planned: SweepPlan, trials: Sequence[Trial]) -> str:
    seconds = seconds_left(planned, trials)
    return f"{planned.limit}" if seconds is None else f"{planned.limit}, about {spoken(seconds)} left"
