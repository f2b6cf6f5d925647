"""The circumstances of a run: where, on what, watched by whom. Never part of an experiment, never in an id."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, TypeVar

from stepladder.errors import ConfigError, Fault
from stepladder.types import CheckResult, EvalRequest, Prediction, PreflightLimits

T = TypeVar("T")


class Tracker(Protocol):
    """Where curves and scores are shown while they come."""

    def log(self, values: Mapping[str, float], step: int) -> None: ...


class Progress(Protocol):
    """Tells a person how far a long thing is."""

    def track(self, items: Iterable[T], total: int, what: str) -> Iterator[T]:
        """Pass `items` on and show how many of `total` have passed."""
        ...

    def note(self, text: str) -> None:
        """One line for people, kept on the screen."""
        ...


class Silent:
    """A tracker and a progress that say nothing."""

    def log(self, values: Mapping[str, float], step: int) -> None:
        return

    def track(self, items: Iterable[T], total: int, what: str) -> Iterator[T]:
        yield from items

    def note(self, text: str) -> None:
        return


@dataclass(frozen=True)
class Devices:
    """`accelerator` as Lightning names it; how many `devices` on each of how many `nodes`, which train as `strategy`
    says (ddp, fsdp); a job of Slurm is asked for with `slurm`, None starts processes here."""

    accelerator: str = "auto"
    devices: int = 1
    nodes: int = 1
    strategy: str | None = None
    slurm: Mapping[str, Any] | None = None

    @property
    def alone(self) -> Devices:
        """One of them, here."""
        return Devices(self.accelerator, slurm=self.slurm)

    @property
    def count(self) -> int:
        return self.devices * self.nodes

    def torch_device(self) -> str:
        """The device that a model is loaded on, as torch names it. Raises ConfigError for a GPU that is not there, but
        for one that jobs of Slurm have: the machine that asks for them may have none."""
        import torch

        if self.accelerator == "cpu" or not torch.cuda.is_available():
            if self.accelerator == "gpu" and self.slurm is None:
                what = f"a GPU is asked for, and torch {torch.__version__} finds none on this machine"
                raise ConfigError(Fault("compute.accelerator", what, "say compute=auto or compute=cpu"))
            return "cpu"
        training = torch.distributed.is_available() and torch.distributed.is_initialized()
        # What is to lie in pieces on several devices may be too large for one: it is cut layer by layer.
        return "cpu" if training and self.strategy == "fsdp" else "cuda"


@dataclass
class StageReport:
    """What a stage accumulates, stored beside its result.

    figures: measured while it works (trained_parameters, steps, best_step, ...). checks: results of preflight checks.
    engine: what ran the language model, None without one.
    """

    figures: dict[str, float] = field(default_factory=dict)
    checks: list[CheckResult] = field(default_factory=list)
    engine: str | None = None

    def record(self, figures: Mapping[str, float]) -> None:
        """Add figures, or replace those of the same names."""
        self.figures.update(figures)


@dataclass(frozen=True)
class Resources:
    """What a stage needs to do its work. A method gets it with every call.

    Args:
        folder: Where this stage may write while it works (metrics.jsonl, checkpoints/); None writes nothing.
        shared: Where content-keyed things that outlive a run are stored (indexes); None stores nothing.
        devices: What the stage computes on.
        rank: The rank of this process among those that train one model together. Rank 0 writes the results.
        micro_batch: Rows that are computed at once; None chooses.
        limits: What stops a fit before its first step.
        rehearsal: The fit ends before its first step in any case.
        models: Base models loaded already, by the hash of their fingerprint.
        tracker: Shows curves.
        progress: Shows a person how far the stage is.
        on_validation: Gets the step and values of each validation; a true answer stops the fit.
        judge: The main suite's figures on the validation rows, its main metric first, of a function that answers them.
        objective: The same of the model in training, set by a method.
        report: What the stage accumulates.
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
            ConfigError: Checks stop the fit. All of them are named. Not raised in a rehearsal.
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
