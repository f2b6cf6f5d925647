"""The plan of a sweep from its command line: what is fixed, what varies, the objectives, and the study's name.

All experiments are on validation rows.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import islice, product
from pathlib import Path
from types import MappingProxyType
from typing import Any

from stepladder.config.build import build
from stepladder.config.compose import PARTS, compose, references
from stepladder.config.experiment import Experiment
from stepladder.config.overrides import parse
from stepladder.config.resolution import compose_resolved, validate, wanted_nodes
from stepladder.config.schema import UNTARGETED, Pruner, Sampler, Sweep
from stepladder.config.space import Parameter, Scalar, parameters, parsed
from stepladder.dataset.loaded import Loaded
from stepladder.errors import ConfigError, Fault
from stepladder.runs.stages import Prepared, prepare
from stepladder.store.identity import digest
from stepladder.studies.sweep.instructions import INSTRUCTION, check_task, instruction_parameter, listed_candidates
from stepladder.studies.sweep.objectives import Objective, objectives
from stepladder.studies.sweep.proposer import propose
from stepladder.studies.sweep.results import Proposed
from stepladder.types import Example, Plain

MOST_POINTS = 10_000
"""A space with more points than this is not counted: it is treated like a continuous one."""

REPORTS = {"validation_loss": "stored apart from the objective's values"}
"""What a study's intermediate values mean. Studies without it have negated losses among the values of a metric."""

CIRCUMSTANCES = ("compute", "preflight", "tracking", "comparison", "sweep", "hydra")


@dataclass(frozen=True)
class Draft:
    """A command line of a sweep, taken apart: the overrides that are `fixed`, and the space."""

    fixed: tuple[str, ...]
    space: tuple[Parameter, ...]
    settings: Sweep
    config: Plain = field(repr=False)
    option: str = "sweep"
    config_dir: Path | None = None
    trust: Sequence[str] = ()

    def more(self, drawn: Mapping[str, Scalar]) -> tuple[Parameter, ...]:
        """What the user's function opens once so much was drawn."""
        if self.settings.conditions is None:
            return ()
        try:
            given = self.settings.conditions(dict(drawn))
        except Exception as error:
            what = f"the function failed on {dict(drawn)}: {type(error).__name__}: {error}"
            raise ConfigError(Fault("sweep.conditions", what, "fix the function")) from error
        if not isinstance(given, Mapping):
            what = f"the function gave {given!r}"
            raise ConfigError(Fault("sweep.conditions", what, "give a mapping: {'adapter.r': 'choice(4, 8)'}"))
        return tuple(p for p in parameters(given) if p.name not in drawn)

    def points(
        self, drawn: Mapping[str, Scalar] = MappingProxyType({}), space: Sequence[Parameter] | None = None
    ) -> Iterator[dict[str, Scalar] | None]:
        """Every point with the values `drawn` once, the first parameter fastest; None for each continuous part."""
        last_first = list(reversed(self.space if space is None else space))
        values = [p.values for p in last_first]
        finite = [v for v in values if v is not None]
        if len(finite) < len(values):
            yield None
            return
        for chosen in product(*finite):
            point = {**drawn, **{p.name: value for p, value in zip(last_first, chosen, strict=True)}}
            opened = self.more(point)
            if opened:
                yield from self.points(point, opened)
            else:
                yield point

    @cached_property
    def size(self) -> int | None:
        """How many points the space has; None where it is continuous or has more than `MOST_POINTS`."""
        points = list(islice(self.points(), MOST_POINTS + 1))
        return None if None in points or len(points) > MOST_POINTS else len(points)

    def composed(self, overrides: Sequence[str]) -> tuple[Experiment, dict[str, Any]]:
        """The experiment at a point, on validation rows, with the whole configuration."""
        composed, config = compose_resolved([*self.fixed, *overrides], self.config_dir, self.trust)
        return Experiment.from_config(config, composed.choices).on("validation"), config

    def corners(
        self,
        drawn: Mapping[str, Scalar] = MappingProxyType({}),
        before: tuple[str, ...] = (),
        space: Sequence[Parameter] | None = None,
    ) -> Iterator[tuple[str, ...]]:
        """Points that use every sample of every parameter, one away from the first."""
        space = self.space if space is None else space
        first = {p.name: p.samples[0] for p in space}
        for chosen in ({**drawn, **first, p.name: value} for p in space for value in p.samples):
            whole = (*before, *(p.override(chosen[p.name]) for p in space))
            if opened := self.more(chosen):
                yield from self.corners(chosen, whole, opened)
            else:
                yield whole


@dataclass(frozen=True)
class SweepPlan:
    """A sweep that can be run: `terms` are what makes its study, and what must not change while it lasts.

    dropped: values of an experiment file that the options of the command line or of the space replace.
    examples: the validation rows, the same ones in every trial.
    """

    study: str
    draft: Draft
    objectives: tuple[Objective, ...]
    sampler: Plain
    pruner: Plain
    seed: int
    terms: Plain
    config: Plain = field(repr=False)
    dropped: tuple[str, ...] = ()
    examples: tuple[Example, ...] = field(default=(), repr=False)
    proposed: Proposed | None = None

    @property
    def searches_instructions(self) -> bool:
        """Whether the instruction varies, so that the winner is compared with the plain prompt on the test rows."""
        return any(p.name == INSTRUCTION for p in self.draft.space)

    @property
    def settings(self) -> Sweep:
        return self.draft.settings

    @property
    def is_grid(self) -> bool:
        return str(self.sampler["_target_"]).endswith(".Grid")

    @property
    def limit(self) -> int:
        """How many trials there may be: the budget, or every point of a smaller finite space."""
        size = self.draft.size
        return self.settings.trials if size is None else min(self.settings.trials, size)


def draft(
    texts: Sequence[str],
    config_dir: Path | None = None,
    trust: Sequence[str] = (),
    propose: Callable[[Sequence[str], Sweep], Sequence[str]] | None = None,
) -> Draft:
    """Take a command line apart; `propose` gives the proposer's candidates.

    Raises:
        ConfigError: The space is empty, or varies what is no part of an experiment.
    """
    overrides = parse(texts)
    varied = parsed([o for o in overrides if o.is_sweep_override()])
    fixed = tuple(str(o.input_line) for o in overrides if not o.is_sweep_override())
    named = {o.key_or_group for o in overrides if not o.is_sweep_override()} | {p.name for p in varied}
    composed, config = compose_resolved(fixed, config_dir, trust)
    node = {key: value for key, value in config["sweep"].items() if key not in ("sampler", "pruner")}
    bound = {"_target_": UNTARGETED["sweep"], "sampler": None, "pruner": None, **node}
    referred = {name: config[name] for name in references(node.get("proposer"), config)}
    wanted = {"sweep": Sweep, **{name: wanted_nodes()[name] for name in referred}}
    settings: Sweep = build({**referred, "sweep": bound}, wanted, trust)["sweep"].object
    listed = parameters({key: text for key, text in settings.space.items() if key.lstrip("+") not in named})
    candidates = []
    if settings.instructions is not None and INSTRUCTION not in named:
        proposals = () if settings.proposer is None or propose is None else propose(fixed, settings)
        candidates = [instruction_parameter(settings.instructions, proposals)]
    elif settings.proposer is not None:
        what = "no instruction is searched, so there is nothing to propose"
        raise ConfigError(Fault("sweep.proposer", what, "say sweep=instructions, or sweep.proposer=null"))
    space = (*candidates, *listed, *varied)
    if not space:
        to_do = "name keys and values, adapter.r=choice(4,8), or a file of conf/sweep: sweep=lora"
        raise ConfigError(Fault("sweep.space", "the space is empty: there is nothing to search", to_do))
    outside = [p for p in space if p.name.split(".")[0].split("/")[0] in CIRCUMSTANCES]
    if outside:
        raise ConfigError([Fault(p.key, "this is no part of an experiment", "vary what an id has") for p in outside])
    option = str(composed.choices.get("sweep", "default"))
    return Draft(fixed, space, settings, config, "sweep" if option == "default" else option, config_dir, trust)


def plan(
    texts: Sequence[str],
    config_dir: Path | None = None,
    trust: Sequence[str] = (),
    read: dict[str, Loaded] | None = None,
    outputs: Path | None = None,
    begin: bool = True,
) -> SweepPlan:
    """Bind every corner of the space and read the data: every fault is reported before the first trial.

    In `outputs` the candidates of a proposer are stored; without it they are computed every time. Without `begin` no
    proposer is asked: UserError is raised where its candidates are not stored.
    """
    read, proposed = {} if read is None else read, []

    def proposals(fixed: Sequence[str], settings: Sweep) -> Sequence[str]:
        proposed.append(_proposed(fixed, settings, config_dir, trust, read, outputs, begin))
        return proposed[0].instructions

    drafted = draft(texts, config_dir, trust, proposals)
    prepared, first = _checked(drafted, read)
    if drafted.settings.instructions is not None:
        check_task(drafted.settings.instructions, prepared.main.task)
    sought = objectives(drafted.settings.objective, prepared)
    sampler, pruner = (drafted.config["sweep"].get(key) for key in ("sampler", "pruner"))
    _fits(drafted, sought, sampler, pruner, trust)
    terms = {
        "space": {p.name: p.text for p in drafted.space},
        "conditions": _source(drafted.settings.conditions),
        "objective": [f"{o.suite}.{o.name}" if o.suite else o.name for o in sought],
        "reports": REPORTS,
        "sampler": sampler,
        "pruner": pruner,
        "seed": first["seed"],
        # what does not vary, by content: a moved file is the same, a changed row is not
        "fixed": {"experiment": prepared.score_form.key[:16]}
        | {part: digest(first[part])[:16] for part in PARTS if part not in references(first["method"], first)},
    }
    study = drafted.settings.name or f"{drafted.option}-{digest(terms)[:12]}"
    points = dict.fromkeys([(), *drafted.corners()])
    dropped = [text for point in points for text in compose([*drafted.fixed, *point], config_dir).dropped]
    return SweepPlan(
        study, drafted, sought, sampler, pruner, first["seed"], terms, first, tuple(dict.fromkeys(dropped)),
        tuple(prepared.examples), next(iter(proposed), None),
    )  # fmt: skip


def _proposed(
    fixed: Sequence[str],
    settings: Sweep,
    config_dir: Path | None,
    trust: Sequence[str],
    read: dict[str, Loaded],
    outputs: Path | None,
    begin: bool,
) -> Proposed:
    """The instructions of the proposer, from the training rows of the experiment without anything varied."""
    assert settings.instructions is not None
    composed, config = compose_resolved(fixed, config_dir, trust)
    validate(config, trust)
    prepared = prepare(Experiment.from_config(config, composed.choices).on("validation"), trust, read)
    check_task(settings.instructions, prepared.main.task)
    known, count = listed_candidates(settings.instructions), settings.instructions.proposals
    return propose(
        settings.proposer, prepared.main.task, prepared.data.train, known, count, config["seed"], outputs,
        config["compute"]["accelerator"], begin,
    )  # fmt: skip


def _checked(drafted: Draft, read: dict[str, Loaded]) -> tuple[Prepared, dict[str, Any]]:
    """The first point, prepared. Raises ConfigError with the faults of the first corner that has any, for a parameter
    that reaches nothing, and for one that changes which questions are asked."""
    points = list(dict.fromkeys(drafted.corners()))
    first, reached, asked = None, set(), None
    for point in points:
        experiment, config = drafted.composed(point)
        validate(config, drafted.trust)
        used = references(config["method"], config)
        tops = {text.split("=")[0].lstrip("+").split(".")[0] for text in point}
        reached |= {top for top in tops if top not in PARTS or top in used}
        if first is None or any(text.lstrip("+").startswith("dataset") for text in point):
            prepared = prepare(experiment, drafted.trust, read)
            first = first or (prepared, config)
            ids = [e.question for e in prepared.examples]
            asked = asked or ids
            if ids != asked:
                what = "the space changes which validation rows are asked, so its trials can not be compared"
                raise ConfigError(Fault("sweep.space", what, "vary dataset.limit, or nothing of the dataset"))
    lost = [p for p in drafted.space if p.name.split(".")[0] not in reached]
    if lost:
        to_do = "choose a method that uses it, method=finetune for adapter and training"
        raise ConfigError([Fault(p.key, "this changes nothing: no method of the sweep uses it", to_do) for p in lost])
    assert first is not None
    return first


def _fits(drafted: Draft, sought: Sequence[Objective], sampler: Plain, pruner: Plain, trust: Sequence[str]) -> None:
    """Sampler and pruner bind, and suit the space and the objectives."""
    faults: list[Fault] = []
    if odd := [key for key, node in (("sampler", sampler), ("pruner", pruner)) if not isinstance(node, Mapping)]:
        raise ConfigError([Fault(f"sweep.{key}", "there is none", f"choose one: sweep.{key}=...") for key in odd])
    name, pruned = (str(node.get("_target_", "")).rpartition(".")[2] for node in (sampler, pruner))
    if name == "Grid":
        endless = [p for p in drafted.space if p.size is None]
        faults += [
            Fault(p.key, "an interval has no end of points for a grid", "write choice or range") for p in endless
        ]
        if drafted.settings.conditions is not None:
            faults.append(
                Fault("sweep.sampler", "a grid has no conditions", "say sweep.sampler=random, or name the points")
            )
    if name == "CmaEsSampler" and len(sought) > 1:
        faults.append(Fault("sweep.sampler", "CMA-ES has one objective", "say sweep.sampler=tpe"))
    if pruned != "NopPruner" and len(sought) > 1:
        faults.append(Fault("sweep.pruner", "no trial can be pruned by several objectives", "say sweep.pruner=none"))
    if faults:
        raise ConfigError(faults)
    build({"sweep.sampler": sampler, "sweep.pruner": pruner}, {"sweep.sampler": Sampler, "sweep.pruner": Pruner}, trust)


def _source(function: Any) -> str | None:
    if function is None:
        return None
    return f"{function.__module__}.{function.__qualname__} {digest(inspect.getsource(function))[:12]}"
