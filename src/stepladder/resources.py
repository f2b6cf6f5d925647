"""The circumstances of a run: where, on what, watched by whom. Never part of an experiment, never in an id."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, TypeVar

from stepladder.errors import ConfigError, Fault
from stepladder.gate import Finding, Gate, refuse
from stepladder.types import Prediction, Probe

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
class Resources:
    """What a method is handed when it works.

    folder: where this stage may write while it works (metrics.jsonl, checkpoints/); None writes nothing.
    shared: where content-keyed things that outlive a run are kept (indexes); None keeps nothing.
    rank: which of the processes this is that train one model together; 0 alone writes results.
    micro_batch: rows that are in the machine at once; None chooses.
    gate: what stops a fit before its first step. rehearsal: a fit ends there in any case. findings: what was found.
    models: base models already loaded, by the hash of their fingerprint.
    facts: figures about the work that belong beside its result (trained_parameters, best_step, ...).
    on_validation: told each validation's step and values; a true answer stops the fit.
    judge: the main suite's figures on the validation rows, its main metric first, of whatever answers their probe.
    objective: the same of the model in training, once a method has put its own way of asking behind it.
    """

    folder: Path | None = None
    shared: Path | None = None
    devices: Devices = field(default_factory=Devices)
    rank: int = 0
    micro_batch: int | None = None
    gate: Gate = field(default_factory=Gate)
    rehearsal: bool = False
    findings: list[Finding] = field(default_factory=list)
    models: dict[str, Any] = field(default_factory=dict)
    tracker: Tracker = field(default_factory=Silent)
    progress: Progress = field(default_factory=Silent)
    facts: dict[str, Any] = field(default_factory=dict)
    on_validation: Callable[[int, Mapping[str, float]], bool] | None = None
    judge: Callable[[Callable[[Probe], Iterable[Prediction]]], Mapping[str, float]] | None = None
    objective: Callable[[Any], Mapping[str, float]] | None = None

    @property
    def leads(self) -> bool:
        return self.rank == 0

    def pass_gate(self, findings: Iterable[Finding]) -> None:
        """Keep what was found. Raises ConfigError with all that stops the fit, unless this is a rehearsal."""
        found = list(findings)
        self.findings += found
        if not self.rehearsal:
            refuse(found)
            for each in found:
                if each.odd:
                    self.progress.note(f"preflight: {each.told}")
