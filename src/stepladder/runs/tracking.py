"""Where a run's metrics are shown while it works: nowhere, in Weights & Biases, in CSV files, in TensorBoard.

The only module that imports the W&B client. Metrics, costs and the configuration are sent;
question texts, answers, predictions and weights only where `log_predictions` and `log_model` say so. That holds offline
too, because an offline run is made to be uploaded later. What is sent is masked here, once, so that no caller can
forget it. Importing this module loads neither W&B nor Lightning.
"""

from __future__ import annotations

import importlib.util
import json
import netrc
import os
import shlex
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, Literal, get_args
from urllib.parse import urlsplit

from stepladder.errors import ConfigError, Fault, UserError, did_you_mean
from stepladder.io.redaction import mask
from stepladder.resources import Tracker
from stepladder.runs.trackers import RunTracker, Several, Untracked, lightning_loggers, opened
from stepladder.tuning.curves import shown
from stepladder.types import Plain

__all__ = ["NoTracking", "RunTracker", "Tracking", "Untracked", "Wandb", "open_tracker", "replay", "resolve_mode"]

Mode = Literal["auto", "online", "offline"]


@dataclass(frozen=True)
class Tracking:
    """Which trackers show a run. Without any, nothing is shown and nothing is written.

    Every option of `conf/tracking` sets the same class, so that `tracking=[wandb,csv]` is both.

    Args:
        wandb: Show runs in Weights & Biases, under OUTPUTS/wandb.
        csv: Write OUTPUTS/csv/RUN/metrics.csv and hparams.yaml by Lightning's CSVLogger.
        tensorboard: Write event files to OUTPUTS/tensorboard/RUN by Lightning's TensorBoardLogger.
        loggers: Lightning loggers of your own, by a name for each. Each is called once per run with those of
            `save_dir`, `name` and `version` that it takes.
        project: The W&B project.
        entity: The W&B user or team; None is the account's default.
        mode: `auto` is `WANDB_MODE` where that is set, else online with an API key and offline without one.
        tags: Of the W&B run.
        log_predictions: Send question texts, expected answers, predictions and messages of failed trials to W&B too.
        log_model: Upload the trained weights to W&B as an artifact.
    """

    wandb: bool = False
    csv: bool = False
    tensorboard: bool = False
    loggers: Mapping[str, Callable[..., Any]] = field(default_factory=dict)
    project: str = "stepladder"
    entity: str | None = None
    mode: Mode = "auto"
    tags: Sequence[str] = ()
    log_predictions: bool = False
    log_model: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "tags", tuple(self.tags))
        faults = []
        if self.mode not in get_args(Mode):
            faults.append(Fault("mode", f"there is no mode '{self.mode}'", did_you_mean(self.mode, get_args(Mode))))
        if not self.project:
            faults.append(Fault("project", "the project has no name", "say tracking.project=NAME"))
        if self.tensorboard and not any(importlib.util.find_spec(name) for name in ("tensorboard", "tensorboardX")):
            what, to_do = "the package tensorboard is not installed", "pip install tensorboard, or say tracking=csv"
            faults.append(Fault("tensorboard", what, to_do))
        if faults:
            raise ConfigError(faults)

    def has_shown(self, outputs: Path, run_id: str) -> bool:
        """Whether every tracker has shown the run before."""
        files = [(self.csv, f"csv/{run_id}"), (self.tensorboard, f"tensorboard/{run_id}"),
                 (self.wandb, f"wandb/*run-*-{run_id}*")]  # fmt: skip
        return not self.loggers and all(any(outputs.glob(pattern)) for active, pattern in files if active)


@dataclass(frozen=True)
class NoTracking(Tracking):
    """Shows nothing and writes nothing."""


@dataclass(frozen=True)
class Wandb(Tracking):
    """Weights & Biases alone."""

    wandb: bool = True


class WandbTracker:
    """An open W&B run. Curves are drawn over our own `step`, so that a late or repeated step loses nothing."""

    def __init__(self, run: Any, tracking: Tracking) -> None:
        self._run, self._tracking = run, tracking
        run.define_metric("*", step_metric="step")

    def log(self, values: Mapping[str, float], step: int) -> None:
        self._run.log({**values, "step": step})

    def log_scores(self, scores: Plain, costs: Plain) -> None:
        self._run.summary.update(mask({"scores": scores, "costs": costs}))

    def log_state(self, state: Plain) -> None:
        self._run.summary.update(mask(dict(state)))

    def log_page(self, name: str, html: str) -> None:
        import wandb

        self._run.log({name: wandb.Html(mask(html), inject=False)})

    def log_predictions(self, rows: Sequence[Plain]) -> None:
        if not self._tracking.log_predictions:
            return
        import wandb

        columns = list(dict.fromkeys(name for row in rows for name in row))
        cells = [[_cell(row.get(name)) for name in columns] for row in mask(rows)]
        self._run.log({"predictions": wandb.Table(columns=columns, data=cells, allow_mixed_types=True)})

    def log_artifact(self, folder: Path, name: str, kind: str) -> None:
        if not self._tracking.log_model:
            return
        import wandb

        artifact = wandb.Artifact(name, type=kind)
        for file in sorted(path for path in folder.resolve().rglob("*") if path.is_file()):
            artifact.add_file(str(file), name=file.relative_to(folder.resolve()).as_posix(), policy="immutable")
        self._run.log_artifact(artifact)


@contextmanager
def open_tracker(
    tracking: Tracking,
    outputs: Path,
    run_id: str,
    group: str | None = None,
    job_type: str | None = None,
    config: Plain | None = None,
    name: str | None = None,
    tags: Sequence[str] = (),
    announce: bool = True,
) -> Iterator[RunTracker]:
    """A tracker for one run, closed when the block ends, however it ends.

    W&B, CSV and TensorBoard write under `outputs`/wandb, /csv and /tensorboard. Offline W&B cannot resume a run, so a
    `run_id` that is already there continues as `run_id`-r2, -r3, ... in the same group; each has the whole curve. The
    others replace what an earlier attempt has written. `announce` prints where W&B keeps or sends runs.
    Raises UserError when W&B cannot start.
    """
    config = mask(config or {})
    kinds = [kind for kind in ("csv", "tensorboard") if getattr(tracking, kind)]
    with ExitStack() as stack:
        trackers: list[RunTracker] = [
            stack.enter_context(opened(make, config))
            for make in lightning_loggers(kinds, tracking.loggers, outputs, run_id, group)
        ]
        mode = resolve_mode(tracking) if tracking.wandb else "disabled"
        if mode != "disabled":
            about = {"group": group, "job_type": job_type, "name": mask(name), "tags": mask([*tracking.tags, *tags])}
            about["config"] = config
            trackers.append(stack.enter_context(_wandb(tracking, mode, outputs, run_id, about, announce)))
        yield Several(trackers) if trackers else Untracked()


@contextmanager
def _wandb(
    tracking: Tracking, mode: str, outputs: Path, run_id: str, about: Plain, announce: bool
) -> Iterator[RunTracker]:
    outputs.mkdir(parents=True, exist_ok=True)
    offline = mode == "offline"
    run = _start(
        project=mask(tracking.project),
        entity=mask(tracking.entity),
        mode=mode,
        id=_free_id(outputs / "wandb", run_id) if offline else run_id,
        resume=None if offline else "allow",
        dir=str(outputs),
        **about,
    )
    if announce:
        _say_once(_where_offline(outputs) if offline else _what_is_sent(tracking))
    failed = True
    try:
        yield WandbTracker(run, tracking)
        failed = False
    finally:
        run.finish(exit_code=int(failed))


def replay(metrics: Path, tracker: Tracker) -> None:
    """Show the curves that a finished fit left in its metrics.jsonl."""
    for line in metrics.read_text(encoding="utf-8").splitlines():
        tracker.log(*shown(json.loads(line)))


def _start(**arguments: Any) -> Any:
    import wandb

    settings = wandb.Settings(
        silent=True, console="off", save_code=False, disable_git=True, x_disable_meta=True, reinit="create_new"
    )
    try:
        return wandb.init(settings=settings, **arguments)
    except (wandb.errors.UsageError, wandb.errors.CommError) as error:
        raise UserError(
            f"W&B can not start: {mask(str(error))}",
            f"tracking.mode, {arguments['mode']} here",
            "run 'wandb login', or say tracking.mode=offline or tracking=none",
        ) from error


def resolve_mode(tracking: Tracking) -> str:
    """How W&B will run here and now: online, offline or disabled."""
    if tracking.mode != "auto":
        return tracking.mode
    wanted = os.environ.get("WANDB_MODE")
    if not wanted:
        return "online" if _has_key() else "offline"
    modes = {"online": "online", "run": "online", "offline": "offline", "dryrun": "offline", "disabled": "disabled"}
    if wanted not in modes:
        hint = did_you_mean(wanted, list(modes))
        raise ConfigError(Fault("WANDB_MODE (environment)", f"there is no mode '{wanted}'", hint))
    return modes[wanted]


def _has_key() -> bool:
    """Whether the W&B client would find a key: in the environment, or in the netrc file that `wandb login` writes."""
    if os.environ.get("WANDB_API_KEY", "").strip():
        return True
    files = [Path(os.environ["NETRC"])] if "NETRC" in os.environ else [Path.home() / ".netrc", Path.home() / "_netrc"]
    host = urlsplit(os.environ.get("WANDB_BASE_URL") or "https://api.wandb.ai").netloc
    for file in files:
        try:
            login = netrc.netrc(file).authenticators(host)
        except (OSError, netrc.NetrcParseError):
            continue
        if login and login[2]:
            return True
    return False


def _free_id(folder: Path, run_id: str) -> str:
    free, attempt = run_id, 1
    while any(folder.glob(f"offline-run-*-{free}")):
        attempt += 1
        free = f"{run_id}-r{attempt}"
    return free


@cache
def _say_once(text: str) -> None:
    print(text, file=sys.stderr)


def _where_offline(outputs: Path) -> str:
    folder = outputs.resolve() / "wandb"
    command = f"wandb sync {shlex.quote(str(folder))}/offline-run-*"
    return f"W&B is offline: runs are kept in {folder}; to send them: {command}"


def _what_is_sent(tracking: Tracking) -> str:
    sent = "metrics and configuration"
    sent += ", question texts, answers and predictions" if tracking.log_predictions else ""
    sent += ", weights" if tracking.log_model else ""
    return (
        f"W&B is online: {sent} are sent to the project {mask(tracking.project)}; tracking.mode=offline sends nothing"
    )


def _cell(value: Any) -> Any:
    return value if isinstance(value, str | int | float | None) else json.dumps(value, ensure_ascii=False)
