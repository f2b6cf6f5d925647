"""What all suites of an experiment ask, each probe once, however many suites ask it.

Knows suites and keys of probes; asks nothing itself.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from stepladder.errors import ConfigError, Fault
from stepladder.evaluation.asking import Asked, Material
from stepladder.evaluation.suite import Suite
from stepladder.types import Probe

Own = Mapping[str, tuple[str, Asked]]
"""What one suite asks: by the suite's own name for it, the name that the probe has among all, and what is asked."""


@dataclass(frozen=True)
class Inquiry:
    """`probes`: all that is to be answered, `main` first. `suites`: what each suite asked of it. `beside`: the same
    without the plain answers, judged by the plain examples."""

    probes: Mapping[str, Probe]
    suites: Mapping[str, Own]
    beside: Mapping[str, Own]


def inquiry(suites: Mapping[str, Suite], material: Material, key: Callable[[Probe], str]) -> Inquiry:
    """Ask every suite; probes of one `key` become one. Raises ConfigError with the faults of all suites."""
    probes = {"main": material.main}
    names = {key(material.main): "main"}
    asked: dict[str, Own] = {}
    faults: list[Fault] = []
    for suite, one in suites.items():
        try:
            wanted = one.probes(material)
        except ConfigError as error:
            faults += [Fault(f"evaluation={suite}", fault.what, fault.to_do) for fault in error.faults]
            continue
        own: dict[str, tuple[str, Asked]] = {}
        for each in wanted:
            name = names.setdefault(key(each.probe), f"{suite}.{each.probe.name}")
            probes.setdefault(name, each.probe)
            own[each.probe.name] = (name, each)
        asked[suite] = own
    if faults:
        raise ConfigError(faults)
    beside = {suite: {o: a for o, a in own.items() if a != ("main", material.plain)} for suite, own in asked.items()}
    return Inquiry(probes, asked, {suite: own for suite, own in beside.items() if own})
