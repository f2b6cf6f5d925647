"""What shows a run while it works: nothing, several trackers as one, and Lightning's loggers.

Importing this module loads no Lightning. The settings, and Weights & Biases, are in `tracking.py`.
"""

from __future__ import annotations

import inspect
import shutil
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from stepladder.resources import Tracker
from stepladder.types import Plain


class RunTracker(Tracker, Protocol):
    """What a whole run sends to its trackers. A class that inherits from it shows what it overrides, but for `log`."""

    def log_scores(self, scores: Plain, costs: Plain) -> None:
        """`scores` by suite, metric and figure, `costs` by name: the run's summary."""
        return

    def log_state(self, state: Plain) -> None:
        """How the run ended, in its summary."""
        return

    def log_page(self, name: str, html: str) -> None:
        """A page of HTML."""
        return

    def log_predictions(self, rows: Sequence[Plain]) -> None:
        """A table with one row per question; sent only with `tracking.log_predictions`."""
        return

    def log_artifact(self, folder: Path, name: str, kind: str) -> None:
        """Every file of `folder` (the adapter of a fit), which must stay there until it is uploaded; sent only with
        `tracking.log_model`."""
        return


class Untracked(RunTracker):
    """A tracker that shows nothing."""

    def log(self, values: Mapping[str, float], step: int) -> None:
        return


class Several:
    """Several trackers as one. A point of a curve that comes again, as when a fit resumes, is shown once."""

    def __init__(self, trackers: Sequence[RunTracker]) -> None:
        self._trackers, self._shown = trackers, set[tuple[int, frozenset[str]]]()

    def log(self, values: Mapping[str, float], step: int) -> None:
        point = step, frozenset(values)
        if point not in self._shown:
            self._shown.add(point)
            for each in self._trackers:
                each.log(values, step)

    def log_scores(self, scores: Plain, costs: Plain) -> None:
        for each in self._trackers:
            each.log_scores(scores, costs)

    def log_state(self, state: Plain) -> None:
        for each in self._trackers:
            each.log_state(state)

    def log_page(self, name: str, html: str) -> None:
        for each in self._trackers:
            each.log_page(name, html)

    def log_predictions(self, rows: Sequence[Plain]) -> None:
        for each in self._trackers:
            each.log_predictions(rows)

    def log_artifact(self, folder: Path, name: str, kind: str) -> None:
        for each in self._trackers:
            each.log_artifact(folder, name, kind)


class LightningTracker(Untracked):
    """A Lightning logger of one run. It gets numbers and the configuration, no texts and no files."""

    def __init__(self, logger: Any) -> None:
        self._logger = logger

    def log(self, values: Mapping[str, float], step: int) -> None:
        self._logger.log_metrics(dict(values), step=step)

    def log_scores(self, scores: Plain, costs: Plain) -> None:
        found = {f"costs/{name}": value for name, value in costs.items()}
        for suite, metrics in scores.items():
            found |= {
                f"scores/{suite}/{name}": metric["value"] for name, metric in metrics.items() if "value" in metric
            }
        numbers = {name: v for name, v in found.items() if isinstance(v, int | float) and not isinstance(v, bool)}
        self._logger.log_metrics(numbers, step=int(costs.get("steps") or 0))


def lightning_loggers(
    kinds: Collection[str], own: Mapping[str, Callable[..., Any]], outputs: Path, run_id: str, group: str | None
) -> Iterator[Callable[[], Any]]:
    """Functions that make the Lightning loggers of a run, each under `outputs` in a folder of its own.

    Of the `kinds` (`csv`, `tensorboard`), what an earlier attempt at the run wrote is removed first, since this one
    shows the whole curve. `own` are other loggers by name, `group` is the study that the run belongs to.
    """
    for kind in kinds:
        shutil.rmtree(outputs / kind / run_id, ignore_errors=True)
    if "csv" in kinds:
        folder = str(outputs / "csv")
        yield lambda: _of_lightning("CSVLogger")(folder, name="", version=run_id, flush_logs_every_n_steps=1)
    if "tensorboard" in kinds:
        events = str(outputs / "tensorboard")
        yield lambda: _of_lightning("TensorBoardLogger")(events, name="", version=run_id, default_hp_metric=False)
    for name, make in own.items():
        offered = {"save_dir": str(outputs / name), "name": group or run_id, "version": run_id}
        yield partial(make, **{key: offered[key] for key in offered.keys() & inspect.signature(make).parameters.keys()})


def _of_lightning(name: str) -> Any:
    from pytorch_lightning import loggers

    return getattr(loggers, name)


@contextmanager
def opened(make: Callable[[], Any], config: Plain) -> Iterator[RunTracker]:
    """A tracker on the logger, closed when the block ends."""
    logger = make()
    logger.log_hyperparams(dict(config))
    status = "failed"
    try:
        yield LightningTracker(logger)
        status = "success"
    finally:
        logger.finalize(status)
