"""The resources of a stage: devices, directories, progress and trackers. They are not part of an experiment or a
key."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, TypeVar

from stepladder.errors import ConfigError, Fault
from stepladder.types import CheckResult, EvalRequest, Plain, Prediction, PreflightLimits

T = TypeVar("T")


class Tracker(Protocol):
    """Logs curves and scores during a run."""

    def log(self, values: Mapping[str, float], step: int) -> None: ...


class Progress(Protocol):
    """Shows the progress of long work."""

    def track(self, items: Iterable[T], total: int, what: str) -> Iterator[T]:
        """Iterate over `items` and show how many of `total` are done."""
        ...

    def note(self, text: str) -> None:
        """Print one line."""
        ...


class Silent:
    """A tracker and progress without output."""

    def log(self, values: Mapping[str, float], step: int) -> None:
        return

    def track(self, items: Iterable[T], total: int, what: str) -> Iterator[T]:
        yield from items

    def note(self, text: str) -> None:
        return


@dataclass(frozen=True)
class Devices:
    """The devices of a run.

    Args:
        accelerator: Lightning's name: `cpu`, `gpu` or `auto`.
        devices: Number of devices per node.
        nodes: Number of nodes.
        strategy: `ddp` or `fsdp`; None for one device.
        slurm: Parameters of a Slurm job; None starts processes on this machine.
    """

    accelerator: str = "auto"
    devices: int = 1
    nodes: int = 1
    strategy: str | None = None
    slurm: Plain | None = None

    @property
    def alone(self) -> Devices:
        """A single device on this machine."""
        return Devices(self.accelerator, slurm=self.slurm)

    @property
    def count(self) -> int:
        return self.devices * self.nodes

    def torch_device(self) -> str:
        """The torch device that a model is loaded on.

        Raises:
            ConfigError: A GPU is requested and not available. Not raised with Slurm, whose jobs run on other machines.
        """
        import torch

        if self.accelerator == "cpu" or not torch.cuda.is_available():
            if self.accelerator == "gpu" and self.slurm is None:
                what = f"a GPU is requested, and torch {torch.__version__} finds none on this machine"
                raise ConfigError(Fault("compute.accelerator", what, "set compute=auto or compute=cpu"))
            return "cpu"
        training = torch.distributed.is_available() and torch.distributed.is_initialized()
        # A sharded model may be too large for one device: it is moved to the devices layer by layer.
        return "cpu" if training and self.strategy == "fsdp" else "cuda"


@dataclass
class StageReport:
    """What a stage reports; stored with its result.

    Attributes:
        figures: Measurements (trained_parameters, steps, best_step, ...).
        checks: Results of preflight checks.
        engine: The engine that ran the language model; None without one.
        server: What is known of the server that answered; None without one.
    """

    figures: dict[str, float] = field(default_factory=dict)
    checks: list[CheckResult] = field(default_factory=list)
    engine: str | None = None
    server: Plain | None = None

    def record(self, figures: Mapping[str, float]) -> None:
        """Add figures, or replace those of the same names."""
        self.figures.update(figures)


@dataclass(frozen=True)
class Resources:
    """What a stage needs to do its work. A method gets it with every call.

    Args:
        folder: The directory of the stage (metrics.jsonl, checkpoints/); None writes nothing.
        shared: The directory of data that several runs use (indexes); None stores nothing.
        devices: The devices of the stage.
        rank: The rank of this process among those that train one model together. Rank 0 writes the results.
        micro_batch: Number of rows that are computed at once; None chooses it.
        limits: The limits of the preflight checks.
        rehearsal: Whether the fit ends before its first step.
        models: Loaded base models, by the hash of their fingerprint.
        tracker: Logs curves.
        progress: Shows the progress of the stage.
        on_validation: Called with step and values of each validation; returns whether to stop the fit.
        judge: Computes the main suite's figures on the validation rows, the main metric first, from a function that
            answers requests.
        objective: The same for the model in training; set by a method.
        report: What the stage reports.
    """

    folder: Path | None = None
    shared: Path | None = None
    devices: Devices = field(default_factory=Devices)
    rank: int = 0
    micro_batch: int | None = None
    limits: PreflightLimits = field(default_factory=PreflightLimits)
    rehearsal: bool = False
    models: dict[str, Any] = field(default_factory=dict)
    tracker: Tracker = field(default_factory=Silent)
    progress: Progress = field(default_factory=Silent)
    on_validation: Callable[[int, Mapping[str, float]], bool] | None = None
    judge: Callable[[Callable[[EvalRequest], Iterable[Prediction]]], Mapping[str, float]] | None = None
    objective: Callable[[Any], Mapping[str, float]] | None = None
    report: StageReport = field(default_factory=StageReport)

    @property
    def leads(self) -> bool:
        return self.rank == 0

    def preflight(self, results: Sequence[CheckResult]) -> None:
        """Record results of preflight checks and show their warnings.

        Raises:
            ConfigError: One or more checks stop the fit. Not raised in a rehearsal.
        """
        self.report.checks.extend(results)
        if not self.rehearsal:
            raise_on_stops(results)
            for each in results:
                if each.warns:
                    self.progress.note(f"preflight: {each.message}")


def raise_on_stops(results: Iterable[CheckResult]) -> None:
    """Raises ConfigError with every check that stops the run."""
    faults = []
    for each in results:
        if each.stops:
            off = "false" if isinstance(each.value, bool) else "null"
            fix = f"{each.fix}, or set preflight.{each.name}={off} to run anyway"
            faults.append(Fault(f"preflight.{each.name}", each.message, fix))
    if faults:
        raise ConfigError(faults)
