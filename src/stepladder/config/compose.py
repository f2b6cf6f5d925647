"""Composes one resolved configuration from the overrides of a command line.

Hydra composes the options of the groups. The values of an experiment file and then those of the command line are set on
top, so that the command line always wins. `build` binds the values to constructors.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import yaml
from hydra.core.override_parser.types import Override
from hydra.errors import ConfigCompositionException, HydraException
from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import ConfigAttributeError, ConfigKeyError, OmegaConfBaseException

from stepladder.config import merging, plain_data
from stepladder.config import overrides as parsing
from stepladder.config.experiment_defaults import GROUP, SUITES, Choice
from stepladder.config.hydra_errors import explained
from stepladder.config.hydra_options import composed_options, hydra_in
from stepladder.config.interpolation import UNWRITTEN, confined, is_variable
from stepladder.config.merging import reference
from stepladder.config.options import chosen_by_default, conf_folder, contents_of, file_of, groups
from stepladder.config.precedence import planned, suites_line, text_of
from stepladder.config.yaml_files import unreadable
from stepladder.errors import ConfigError, Fault, did_you_mean
from stepladder.io.redaction import secrets_in
from stepladder.types import Plain

_UNREADABLE = (yaml.YAMLError, ValueError, RecursionError)
"""What is raised for a file that is not YAML or not UTF-8, has an impossible date, or includes itself."""

PARTS = ("model", "prompt", "demonstrations", "retrieval", "embedder", "workflow", "adapter", "training")
"""Groups that are part of a key only where the chosen method refers to them."""

LIMIT = "++dataset.questions="
"""The override that the flag `--limit` is turned into."""


@dataclass(frozen=True)
class Composed:
    """A composed configuration.

    Attributes:
        config: Every value is resolved except references to whole nodes (`prompt: ${prompt}`), which `expanded`
            follows.
        choices: The option of each group.
        overrides: The overrides that it was composed from.
        notices: Notices for the user about the overrides.
        dropped: Notices about values and choices of an experiment file that the command line replaces.
    """

    config: Plain
    choices: Plain
    overrides: tuple[str, ...]
    notices: tuple[str, ...] = field(default=(), compare=False)
    dropped: tuple[str, ...] = field(default=(), compare=False)


@dataclass(frozen=True)
class Assembled:
    """A configuration whose interpolations are not resolved yet.

    Attributes:
        base: What the chosen options compose to.
        before: `base` with the values of the experiment file.
        whole: `before` with the values of the command line.
        choices: The option of every group, including nested ones (`sweep/sampler`, `tuning@method.tuning`).
        dropped: Notices about values and choices of the experiment file that the command line replaces.
        nested: Options of nested groups that no other choice implies.
        chooses_within: Whether the experiment file or the command line chooses options of nested groups.
    """

    base: Plain
    whole: DictConfig
    choices: Plain
    before: Plain
    dropped: tuple[str, ...] = ()
    nested: tuple[Choice, ...] = ()
    chooses_within: bool = False

    @property
    def top(self) -> dict[str, Any]:
        """The option of every group that is not nested."""
        return {group: option for group, option in self.choices.items() if "/" not in group and "@" not in group}


def compose(texts: Sequence[str], config_dir: Path | None = None) -> Composed:
    """Compose the overrides of a command line into one configuration.

    Raises:
        ConfigError: With every fault of the overrides and of the experiment file.
    """
    folders, overrides = _parsed(texts, config_dir)
    contents = contents_of(folders, without=GROUP)
    with hydra_in(folders):
        try:
            assembled = _assembled(overrides, folders, contents)
            config = _resolved(assembled.whole)
        except (HydraException, OmegaConfBaseException) as error:
            faults, sound = _diagnose(overrides, folders, contents, error)
            raise ConfigError(faults, sound) from error
        except _UNREADABLE as error:
            raise ConfigError(_fault_of_file(error, folders)) from error
    _refuse_secrets(config)
    choices = assembled.top
    known = [*groups(folders), "seed"]
    faults = [Fault(key, "nothing reads this key", did_you_mean(key, known)) for key in config if key not in known]
    faults += [_in_its_file(fault, choices, folders) for fault in plain_data.faults(config)]
    if faults:
        raise ConfigError(faults)
    notices = [*_shadowed(folders), *_reaching_nothing(overrides, config), *_unchanged(assembled, overrides)]
    return Composed(config, choices, tuple(texts), tuple(notices), assembled.dropped)


def _in_its_file(fault: Fault, choices: Plain, folders: Sequence[Path]) -> Fault:
    """The fault of a whole node, with the file of its option."""
    file = file_of(folders, fault.key, str(choices.get(fault.key))) if fault.key in choices else None
    return replace(fault, key=f"{fault.key} ({file})") if file else fault


def assemble(texts: Sequence[str], config_dir: Path | None = None) -> Assembled:
    """The configuration as `compose` makes it, before interpolations are resolved."""
    folders, overrides = _parsed(texts, config_dir)
    contents = contents_of(folders, without=GROUP)
    with hydra_in(folders):
        found = _assembled(overrides, folders, contents)
        if not found.chooses_within:
            return found
        top, by_default = found.top, chosen_by_default(folders)
        lines = [f"{'' if g in by_default else '+'}{text_of(g, o)}" for g, o in top.items() if g != SUITES]
        lines += [f"~{g}" for g in by_default if g not in top and g != GROUP]
        _, brought = composed_options((*lines, suites_line(top[SUITES])), contents)
    nested = [
        Choice(group, found.choices.get(group), added=group not in brought)
        for group in sorted({*brought, *found.choices} - {*top})
        if brought.get(group) != found.choices.get(group)
    ]
    return replace(found, nested=tuple(nested))


def _parsed(texts: Sequence[str], config_dir: Path | None) -> tuple[list[Path], list[Override]]:
    folders = conf_folders(config_dir)
    overrides = parsing.parse([parsing.in_nested_group(text, folders) for text in texts])
    parsing.lists(overrides)
    several = [parsing.fault_of_list(override, folders) for override in overrides if override.is_sweep_override()]
    faults = several or parsing.faults_of_names(overrides, folders)
    if faults:
        raise ConfigError(faults)
    return folders, overrides


def conf_folders(config_dir: Path | None) -> list[Path]:
    if config_dir is None:
        return [conf_folder()]
    own, there_is_none = config_dir.resolve(), f"there is no folder {config_dir}"
    if not own.is_dir():
        raise ConfigError(Fault("--config-dir", there_is_none, "name a folder laid out like conf/"))
    oversized = plain_data.oversized_files(own)
    if oversized:
        raise ConfigError(oversized)
    return [own, conf_folder()]


def _assembled(overrides: Sequence[Override], folders: Sequence[Path], contents: str) -> Assembled:
    """Compose the options, then set the values of the experiment file, then those of the command line.

    Values of the experiment file below a node whose option the command line changes are left out.
    """
    choosing, setting = parsing.parted(overrides, folders)
    plan = planned(choosing, folders)
    of_file = composed_options(plan.of_file, contents)[1] if plan.files and plan.of_command else {}
    kept, given_up = plan.kept(of_file)
    base, choices = composed_options((*kept, *plan.of_command), contents)
    changed = plan.changes(of_file, choices, base) if of_file else {}
    whole: dict[str, Any] = dict(base)
    lost: dict[merging.Path, Any] = {}
    for file in plan.files:
        values, out = merging.taken_out(file.values, list(changed))
        whole = merging.merged(whole, values)
        lost |= out
    set_by_command = [tuple(o.key_or_group.split(".")) for o in setting]
    dropped = plan.dropped(changed, lost, given_up, whole, set_by_command)
    own = OmegaConf.create(whole)
    OmegaConf.set_struct(own, True)  # as Hydra does before it sets values: a key that is not there is an error
    _set_values(own, setting)
    within = any("/" in group or "@" in group for group in (*plan.choices, *plan.command))
    return Assembled(base, own, choices, whole, dropped, chooses_within=within)


def _set_values(config: DictConfig, overrides: Sequence[Override]) -> None:
    """Set, add or remove a value for each override, in order, with the meaning that Hydra gives `+`, `++` and `~`."""
    for override in overrides:
        key, value = override.key_or_group, override.value()
        present = OmegaConf.select(config, key) if override.is_delete() or override.is_add() else None
        if override.is_delete():
            if present is None or value not in (None, present):
                raise ConfigCompositionException(f"Could not delete from config. '{key}'")
            above, _, name = key.rpartition(".")
            with open_dict(config):
                del (OmegaConf.select(config, above) if above else config)[name]
        elif override.is_add() and present is not None and not isinstance(value, dict | list):
            raise ConfigCompositionException(f"Could not append to config. An item is already at '{key}'")
        else:
            try:
                force = override.is_add() or override.is_force_add()
                OmegaConf.update(config, key, value, merge=True, force_add=force)
            except (ConfigAttributeError, ConfigKeyError) as error:
                raise ConfigCompositionException(f"Could not override '{key}'") from error


def _resolved(own: DictConfig) -> dict[str, Any]:
    """The values. The storage's `${oc.env:NAME}` stays: it is resolved where the storage is opened."""
    raw: Any = OmegaConf.to_container(own, resolve=False)
    storage, (node, key) = merging.at(raw, UNWRITTEN), UNWRITTEN
    if is_variable(storage):
        OmegaConf.update(own, f"{node}.{key}", None)
    with confined():
        config = _with_references(raw, OmegaConf.to_container(own, resolve=True))
    if is_variable(storage):
        config[node][key] = storage
        OmegaConf.update(own, f"{node}.{key}", storage)
    return {str(k): v for k, v in config.items()}


def _unchanged(assembled: Assembled, overrides: Sequence[Override]) -> list[str]:
    """Notices of overrides that set a value to what it is without them."""
    raw: Any = OmegaConf.to_container(assembled.whole, resolve=False)
    found = []
    for override in overrides:
        key = override.key_or_group
        path = tuple(key.split("."))
        if override.is_delete() or override.is_add() or ("." not in key and key != "seed"):
            continue
        value = merging.at(raw, path)
        if not isinstance(value, Mapping) and merging.equal(merging.at(assembled.before, path), value):
            found.append(f"{_as_typed(override)} changes nothing: {key} has this value already")
    return found


def _refuse_secrets(config: Plain) -> None:
    """Raise ConfigError for a secret: a configuration is saved, shown and hashed. Values of `tracking` are masked where
    they are used."""
    node, key = UNWRITTEN
    shown = {name: value for name, value in config.items() if name != "tracking"}
    shown[node] = {k: v for k, v in (config.get(node) or {}).items() if k != key}
    what = "a secret must not be in a configuration"
    to_do = "leave it out: libraries find theirs in the environment (HF_TOKEN, WANDB_API_KEY)"
    to_do += "; sweep.storage may hold one"
    faults = [Fault(where, f"{what}: {why}", to_do) for where, why in secrets_in(shown)]
    if faults:
        raise ConfigError(faults)


def _with_references(raw: Any, resolved: Any) -> Any:
    if reference(raw) and isinstance(resolved, dict):
        return raw
    if isinstance(raw, dict):
        return {k: _with_references(v, resolved[k]) for k, v in raw.items()}
    for text in _texts(resolved):
        if reference(text):
            what = "a text reads like a reference to a node, and is none"
            raise ConfigError(Fault(text, what, "remove the backslash before it, or write another text"))
    return resolved


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, dict | list):
        for child in value.values() if isinstance(value, dict) else value:
            yield from _texts(child)
    elif isinstance(value, str):
        yield value


def expanded(config: Plain, node: Any = None) -> Any:
    """`node` (the whole configuration when none is given) with every reference followed."""
    node = config if node is None else node
    if isinstance(node, Mapping):
        return {k: None if v is None else expanded(config, v) for k, v in node.items()}
    name = reference(node)
    return expanded(config, config[name]) if name else node


def _diagnose(
    overrides: Sequence[Override], folders: Sequence[Path], contents: str, error: Exception
) -> tuple[list[Fault], list[str] | None]:
    """Every fault of a composition that failed (Hydra stops at the first), and the overrides without a fault."""
    by_text = parsing.faults_of_groups(overrides, folders)
    faults = [fault for found in by_text.values() for fault in found]
    sound = [text for text, found in by_text.items() if not found]
    files = planned(parsing.parted(overrides, folders)[0], folders).files
    try:
        own = _assembled(parsing.parse(sound), folders, contents).whole
    except (HydraException, OmegaConfBaseException) as more:
        return faults or [explained(more, folders, sound, files)], None
    except _UNREADABLE as more:
        return [*faults, _fault_of_file(more, folders)], None
    config: Any = OmegaConf.to_container(own, resolve=False)
    for override in overrides:
        text = str(override.input_line)
        if text in by_text:
            continue
        if fault := parsing.fault_of_value(override, config, groups(folders)):
            faults.append(fault)
        else:
            sound.append(text)
    return (faults, sound) if faults else ([explained(error, folders, sound, files)], None)


def _fault_of_file(error: Exception, folders: Sequence[Path]) -> Fault:
    if isinstance(error, yaml.YAMLError | UnicodeDecodeError | RecursionError):
        return unreadable(error, "a file of the configuration")
    return explained(error, folders, ())  # Hydra's ValueErrors are about the entries of a defaults list


def _shadowed(folders: Sequence[Path]) -> list[str]:
    """Notices about files of the user's conf that replace packaged ones."""
    *users, packaged = folders
    return [
        f"{file.relative_to(own)} in {own} replaces the packaged file of that name"
        for own in users
        for file in sorted(own.rglob("*.yaml"))
        if (packaged / file.relative_to(own)).exists()
    ]


def _reaching_nothing(overrides: Sequence[Override], config: Plain) -> list[str]:
    """Notices about overrides of parts that the chosen method does not use."""
    used = references(config["method"], config)
    return [
        f"{override.input_line} changes nothing: the chosen method does not use {top}"
        for override in overrides
        if (top := override.key_or_group.split(".")[0]) in PARTS and top not in used
    ]


def references(node: Any, config: Plain) -> set[str]:
    """The names of all nodes that `node` refers to, directly or through other nodes."""
    if isinstance(node, Mapping):
        return {name for child in node.values() for name in references(child, config)}
    name = reference(node)
    return {name} | references(config[name], config) if name else set()


def _as_typed(override: Override) -> str:
    """An override as the user typed it: `--limit N` was turned into an override."""
    text: str = override.input_line
    return f"--limit {text.removeprefix(LIMIT)}" if text.startswith(LIMIT) else text
