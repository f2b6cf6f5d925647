"""Where a run is shown while it works: nowhere, or in Weights & Biases. The only file that knows the W&B client.

Knows runs by the id it is given and values by their names; knows no method, no metric and no store. What goes out is
masked here, once, so that no caller can forget it. Importing this module does not load the client.
"""

from __future__ import annotations

import json
import netrc
import os
import shlex
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal, Protocol, get_args
from urllib.parse import urlsplit

from stepladder.errors import ConfigError, Fault, UserError, did_you_mean
from stepladder.masking import mask
from stepladder.resources import Tracker

Mode = Literal["auto", "online", "offline"]


@dataclass(frozen=True)
class NoTracking:
    """Shows nothing and writes nothing."""


@dataclass(frozen=True)
class Wandb:
    """Weights & Biases. `auto` means `WANDB_MODE` where that is set, else online with an API key, offline without."""

    project: str = "stepladder"
    entity: str | None = None
    mode: Mode = "auto"
    tags: Sequence[str] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "tags", tuple(self.tags))
        if self.mode not in get_args(Mode):
            raise ConfigError(Fault("mode", f"there is no mode '{self.mode}'", did_you_mean(self.mode, get_args(Mode))))
        if not self.project:
            raise ConfigError(Fault("project", "the project has no name", "say tracking.project=NAME"))


Tracking = Wandb | NoTracking


class RunTracker(Tracker, Protocol):
    """What a whole run shows."""

    def log_scores(self, scores: Mapping[str, Any], costs: Mapping[str, Any]) -> None:
        """`scores` by suite, metric and figure, `costs` by name: the run's summary."""
        ...

    def log_state(self, state: Mapping[str, Any]) -> None:
        """How the run ended, in its summary."""
        ...

    def log_page(self, name: str, html: str) -> None:
        """A page of HTML."""
        ...

    def log_predictions(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """A table with a row a question."""
        ...

    def log_artifact(self, folder: Path, name: str, kind: str) -> None:
        """Every file of `folder` (the adapter of a fit), where it lies: it must stay there until it is sent."""
        ...


class Untracked:
    """The tracker of a run that is shown nowhere."""

    def log(self, values: Mapping[str, float], step: int) -> None:
        return

    def log_scores(self, scores: Mapping[str, Any], costs: Mapping[str, Any]) -> None:
        return

    def log_state(self, state: Mapping[str, Any]) -> None:
        return

    def log_page(self, name: str, html: str) -> None:
        return

    def log_predictions(self, rows: Sequence[Mapping[str, Any]]) -> None:
        return

    def log_artifact(self, folder: Path, name: str, kind: str) -> None:
        return


class WandbTracker:
    """An open W&B run. Curves are drawn over our own `step`, so that a late or repeated step loses nothing."""

    def __init__(self, run: Any) -> None:
        self._run = run
        run.define_metric("*", step_metric="step")

    def log(self, values: Mapping[str, float], step: int) -> None:
        self._run.log({**values, "step": step})

    def log_scores(self, scores: Mapping[str, Any], costs: Mapping[str, Any]) -> None:
        self._run.summary.update(mask({"scores": scores, "costs": costs}))

    def log_state(self, state: Mapping[str, Any]) -> None:
        self._run.summary.update(mask(dict(state)))

    def log_page(self, name: str, html: str) -> None:
        import wandb

        self._run.log({name: wandb.Html(mask(html), inject=False)})

    def log_predictions(self, rows: Sequence[Mapping[str, Any]]) -> None:
        import wandb

        columns = list(dict.fromkeys(name for row in rows for name in row))
        cells = [[_cell(row.get(name)) for name in columns] for row in mask(rows)]
        self._run.log({"predictions": wandb.Table(columns=columns, data=cells, allow_mixed_types=True)})

    def log_artifact(self, folder: Path, name: str, kind: str) -> None:
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
    config: Mapping[str, Any] | None = None,
    name: str | None = None,
    tags: Sequence[str] = (),
) -> Iterator[RunTracker]:
    """A tracker for one run, closed when the block ends, however it ends.

    W&B writes under `outputs`/wandb. Offline it can not go on with a run, so a `run_id` that is already there goes on
    as `run_id`-r2, -r3, ... in the same group. Raises UserError when W&B can not start.
    """
    if isinstance(tracking, NoTracking) or (mode := resolve_mode(tracking)) == "disabled":
        yield Untracked()
        return
    outputs.mkdir(parents=True, exist_ok=True)
    offline = mode == "offline"
    run = _start(
        project=mask(tracking.project),
        entity=mask(tracking.entity),
        mode=mode,
        id=_free_id(outputs / "wandb", run_id) if offline else run_id,
        resume=None if offline else "allow",
        dir=str(outputs),
        group=group,
        job_type=job_type,
        name=mask(name),
        tags=mask([*tracking.tags, *tags]),
        config=mask(config or {}),
    )
    if offline:
        _say_offline(outputs.resolve() / "wandb")
    failed = True
    try:
        yield WandbTracker(run)
        failed = False
    finally:
        run.finish(exit_code=int(failed))


def replay(metrics: Path, tracker: Tracker) -> None:
    """Show the curves that a finished fit left in its metrics.jsonl."""
    for line in metrics.read_text(encoding="utf-8").splitlines():
        values = json.loads(line)
        tracker.log(values, values.pop("step"))


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


def resolve_mode(tracking: Wandb) -> str:
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
def _say_offline(folder: Path) -> None:
    command = f"wandb sync {shlex.quote(str(folder))}/offline-run-*"
    print(f"W&B is offline: runs are kept in {folder}; to send them: {command}", file=sys.stderr)


def _cell(value: Any) -> Any:
    scalar = value is None or isinstance(value, (str, int, float))
    return value if scalar else json.dumps(value, ensure_ascii=False)
