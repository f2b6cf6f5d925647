"""The fit stage, in this process or on several devices."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from stepladder.distributed.launch import launch, submitit
from stepladder.distributed.topology import place
from stepladder.errors import ConfigError, Fault, RankError
from stepladder.resources import Devices, Resources
from stepladder.runs import stages
from stepladder.runs.stages import Prepared


def fit(prepared: Prepared, folder: Path, resources: Resources, trust: Sequence[str] = ()) -> dict[str, Any]:
    """Fit the method and save it under `folder`/artefact. Returns the facts of the fit.

    Raises what a process of the fit raised, or RankError where one was lost; none runs any more then.
    """
    stages.begin(prepared, folder, resources)
    if not over_several(prepared, resources.devices):
        return stages.fit(prepared, folder, replace(resources, devices=resources.devices.alone))
    resources = _observed_once(resources)
    halved: dict[str, int] = {}
    request = {
        "key": prepared.fit_form.key,
        "trust": list(trust),
        "shared": str(resources.shared) if resources.shared else None,
        "limits": asdict(resources.limits),
        "asks": resources.on_validation is not None,
    }
    while True:
        try:
            return {**launch(folder, request, resources), **halved}
        except RankError as error:
            if error.rows is None or error.rows == 1:
                raise
            halved = {"rows_at_once": error.rows // 2}
            resources.progress.note(
                f"out of memory: from here on at most {error.rows // 2:,} rows at once; batch size and loss stay"
            )
            resources = replace(resources, micro_batch=error.rows // 2)


def over_several(prepared: Prepared, devices: Devices) -> bool:
    """Whether a fit is made in processes of its own."""
    return getattr(prepared.method.object, "tunes", False) and (devices.count > 1 or devices.slurm is not None)


def check(prepared: Prepared, devices: Devices) -> None:
    """Raises ConfigError for devices that are not there, and for what can not be done on several."""
    if not over_several(prepared, devices):
        if devices.accelerator == "gpu" and hasattr(prepared.method.object, "model"):  # or torch is loaded for nothing
            devices.torch_device()
        return
    tuning: Any = getattr(prepared.method.object, "tuning", None)
    if hasattr(tuning, "check_devices"):
        tuning.check_devices(devices)
    if devices.slurm is not None:
        submitit()
        return
    import torch

    gpus, cores = torch.cuda.device_count(), os.cpu_count() or 1
    on_gpu = devices.accelerator == "gpu" or (devices.accelerator == "auto" and gpus > 0)
    there = gpus if on_gpu else max(2, cores)
    if devices.devices > there:
        found = f"{gpus} GPUs" if on_gpu else f"{cores} cores"
        what = f"{devices.devices} devices are asked for, and this machine has {found}"
        more = ", or compute.accelerator=cpu" if on_gpu else ""
        raise ConfigError(Fault("compute.devices", what, f"say compute.devices={max(1, there)}{more}"))
    here = place()
    if here.nodes != devices.nodes:
        what = f"{devices.nodes} nodes are asked for, and the command was started on {here.nodes}"
        to_do = f"say compute.nodes={here.nodes}, or start it on {devices.nodes} nodes by torchrun or srun"
        raise ConfigError(Fault("compute.nodes", what, to_do))


def _observed_once(resources: Resources) -> Resources:
    """Resources whose observer sees each validation once, also when a new attempt reports it again."""
    observer, decisions = resources.on_validation, {}

    def observe(step: int, values: Mapping[str, float]) -> bool:
        assert observer is not None
        if step not in decisions:
            decisions[step] = observer(step, values)
        return decisions[step]

    return resources if observer is None else replace(resources, on_validation=observe)
