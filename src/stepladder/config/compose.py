"""From a command line's overrides to one resolved configuration. Hydra composes here and leaves.

Knows Hydra and where conf/ is; loads no torch. What the values mean is bound in `build`.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, ClassVar

import hydra
import omegaconf
import yaml
from hydra import compose as hydra_compose
from hydra import initialize_config_dir
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.sources_registry import SourcesRegistry
from hydra.core.config_search_path import ConfigSearchPath
from hydra.core.override_parser.types import Override
from hydra.core.plugins import Plugins
from hydra.errors import HydraException
from hydra.plugins.search_path_plugin import SearchPathPlugin
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from stepladder.config import overrides as judged
from stepladder.config import plain
from stepladder.config.compositions import Composition, contents_of, keep, note_of, told
from stepladder.config.interpolation import UNWRITTEN, confined, is_variable
from stepladder.config.options import conf_folder, groups
from stepladder.config.sources import USER, Named, named
from stepladder.errors import ConfigError, Fault, did_you_mean
from stepladder.masking import secrets_in

_UNREADABLE = (yaml.YAMLError, ValueError, RecursionError)
"""What comes of a file that is no YAML, not UTF-8, has a date that is none, or never ends."""

PARTS = ("model", "prompt", "demonstrations", "retrieval", "adapter", "training")
"""Groups that reach an id only where the chosen method refers to them."""


@dataclass(frozen=True)
class Composed:
    """One configuration, every value resolved but for references to whole nodes (`prompt: ${prompt}`), which `expanded`
    follows; the option chosen of each group; and what a person should be told."""

    config: Mapping[str, Any]
    choices: Mapping[str, Any]
    overrides: tuple[str, ...]
    notices: tuple[str, ...] = field(default=(), compare=False)


def compose(texts: Sequence[str], config_dir: Path | None = None) -> Composed:
    """Raises ConfigError with every fault of the overrides."""
    folders = _folders(config_dir)
    overrides = judged.parse([judged.nested(text, folders) for text in texts])
    several = judged.lists(overrides)
    if several:
        raise ConfigError(
            [
                Fault(
                    f"{key}={','.join(values)}", "one experiment takes one value", "use 'stepladder compare' or 'sweep'"
                )
                for key, values in several.items()
            ]
        )
    suites = _suites(overrides)
    unnamed = judged.unnamed(overrides, folders)
    if unnamed:
        raise ConfigError(unnamed)
    lines = [str(o.input_line) for o in overrides if o.key_or_group != "evaluation"]
    lines.append(f"evaluation=[{','.join(suites)}]")
    contents = contents_of(folders)
    note = note_of(lines, contents, (hydra.__version__, omegaconf.__version__))
    before = told(note)
    config, choices = before or _composed_anew(lines, overrides, folders, contents)
    _refuse_secrets(config)
    if before is None:
        keep(note, (config, choices))
    known = [*groups(folders), "seed"]
    beside = [Fault(key, "nothing reads this key", did_you_mean(key, known)) for key in config if key not in known]
    beside += plain.faults(config)
    if beside:
        raise ConfigError(beside)
    notices = [*_shadowed(folders), *_reaching_nothing(overrides, config)]
    return Composed(config, {**choices, "evaluation": suites}, tuple(texts), tuple(notices))


def _composed_anew(
    lines: Sequence[str], overrides: Sequence[Override], folders: Sequence[Path], contents: str
) -> Composition:
    with _hydra(folders):
        try:
            return _compose(lines, folders, contents)
        except (HydraException, OmegaConfBaseException) as error:
            faults, sound = _diagnose(overrides, folders, contents, error)
            raise ConfigError(faults, sound) from error
        except _UNREADABLE as error:
            raise ConfigError(_unreadable(error)) from error


def _folders(config_dir: Path | None) -> list[Path]:
    if config_dir is None:
        return [conf_folder()]
    if not config_dir.is_dir():
        raise ConfigError(
            Fault("--config-dir", f"there is no folder {config_dir}", "name a folder laid out like conf/")
        )
    own = config_dir.resolve()
    swollen = plain.swollen_files(own)
    if swollen:
        raise ConfigError(swollen)
    return [own, conf_folder()]


class _Confined(SearchPathPlugin):  # type: ignore[misc]
    """Puts the user's own conf before the packaged one, so that a file of the same name wins, and both in a source that
    nothing leads out of. Others who use Hydra in this process are not its business: it works while we compose."""

    users: ClassVar[Sequence[Path] | None] = None

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        if self.users is None:
            return
        for element in search_path.get_path():
            element.path = named(element.path)
        for folder in self.users:
            search_path.prepend(USER, named(f"file://{folder}"), "main")


@contextmanager
def _hydra(folders: Sequence[Path]) -> Iterator[None]:
    *users, packaged = folders
    Plugins.instance().register(_Confined)
    SourcesRegistry.instance().register(Named)
    _Confined.users = users
    try:
        with initialize_config_dir(config_dir=str(packaged), version_base="1.3"):
            yield
    finally:
        _Confined.users = None


def _compose(lines: Sequence[str], folders: Sequence[Path], contents: str) -> Composition:
    """In Hydra's two steps: the options chosen, whose files make up the configuration, then the values set in it."""
    choosing, setting = judged.parted(judged.parse(lines), folders)
    with confined("oc.env"):  # Hydra's own node asks others for its clock
        chosen, choices = _chosen(tuple(str(o.input_line) for o in choosing), contents)
    own = copy.deepcopy(chosen)
    ConfigLoaderImpl._apply_overrides_to_config(setting, own)
    raw: Any = OmegaConf.to_container(own, resolve=False)
    unwritten = _unwritten(raw)
    if unwritten is not None:
        OmegaConf.update(own, ".".join(UNWRITTEN), None)
    with confined():
        config = _with_references(raw, OmegaConf.to_container(own, resolve=True))
    if unwritten is not None:
        config[UNWRITTEN[0]][UNWRITTEN[1]] = unwritten
    return {str(k): v for k, v in config.items()}, dict(choices)


def _unwritten(raw: Any) -> str | None:
    """The variable of the environment that the storage is read from; it is followed where the storage is opened."""
    node, key = UNWRITTEN
    value = raw[node].get(key) if isinstance(raw.get(node), dict) else None
    return value if is_variable(value) else None


def _refuse_secrets(config: Mapping[str, Any]) -> None:
    """An experiment is saved as it is, shown and hashed: no secret has a place in it, nor in a study's name. What
    `tracking` says is masked on its way."""
    node, key = UNWRITTEN
    shown = {name: value for name, value in config.items() if name != "tracking"}
    shown[node] = {k: v for k, v in (config.get(node) or {}).items() if k != key}
    to_do = (
        "leave it out: libraries find theirs in the environment (HF_TOKEN, WANDB_API_KEY); sweep.storage may hold one"
    )
    faults = [
        Fault(where, f"a secret may not stand in a configuration: {why}", to_do) for where, why in secrets_in(shown)
    ]
    if faults:
        raise ConfigError(faults)


@lru_cache(maxsize=32)
def _chosen(lines: tuple[str, ...], contents: str) -> tuple[DictConfig, Mapping[str, Any]]:
    """What these options make of files with these contents: a worker's trials mostly differ in values alone."""
    whole: DictConfig = hydra_compose("config", overrides=list(lines), return_hydra_config=True)
    choices = {k: v for k, v in whole.hydra.runtime.choices.items() if "/" not in k and "@" not in k}
    own = OmegaConf.masked_copy(whole, [str(k) for k in whole if k != "hydra"])
    OmegaConf.set_struct(own, True)  # as Hydra does before it sets values: a key that is not there is an error
    return own, choices


def reference(value: object) -> str | None:
    """The name of the node that `value` stands for, where it is a reference to a whole node."""
    found = re.fullmatch(r"\$\{(\w+)\}", value) if isinstance(value, str) else None
    return found[1] if found else None


def _with_references(raw: Any, resolved: Any) -> Any:
    if reference(raw) and isinstance(resolved, dict):
        return raw
    if isinstance(raw, dict):
        return {k: _with_references(v, resolved[k]) for k, v in raw.items()}
    for text in _texts(resolved):
        if reference(text):
            what = "a text reads like a reference to a node, and is none"
            raise ConfigError(Fault(text, what, "take the backslash before it away, or write another text"))
    return resolved


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, dict | list):
        for child in value.values() if isinstance(value, dict) else value:
            yield from _texts(child)
    elif isinstance(value, str):
        yield value


def expanded(config: Mapping[str, Any], node: Any = None) -> Any:
    """`node` (the whole configuration when none is given) with every reference followed."""
    node = config if node is None else node
    if isinstance(node, Mapping):
        return {k: None if v is None else expanded(config, v) for k, v in node.items()}
    name = reference(node)
    return expanded(config, config[name]) if name else node


def _suites(overrides: Sequence[Override]) -> list[str]:
    """`evaluation=[a,b]` adds suites to the task's own, which `auto` brings."""
    names = ["auto"]
    for override in overrides:
        if override.key_or_group == "evaluation" and not override.is_delete():
            chosen = override.value()
            listed = chosen if isinstance(chosen, list) else [chosen]
            if not all(isinstance(name, str) for name in listed):
                what = "a suite is chosen by its name"
                raise ConfigError(Fault(str(override.input_line), what, "write evaluation=[calibration,slices]"))
            names += listed
    return list(dict.fromkeys(names))


def _diagnose(
    overrides: Sequence[Override], folders: Sequence[Path], contents: str, error: Exception
) -> tuple[list[Fault], list[str] | None]:
    """Every fault behind a composition that failed (Hydra itself stops at the first), and the overrides without one."""
    by_text = judged.faults_of_groups(overrides, folders)
    faults = [fault for found in by_text.values() for fault in found]
    sound = [text for text, found in by_text.items() if not found]
    try:
        named = [text for text in sound if not text.startswith("evaluation=")]
        config, _ = _compose(named, folders, contents)
    except (HydraException, OmegaConfBaseException):
        return faults or [_as_hydra_says(error)], None
    except _UNREADABLE as unreadable:
        return [*faults, _unreadable(unreadable)], None
    for override in overrides:
        text = str(override.input_line)
        if text not in by_text:
            fault = judged.fault_of_value(override, config, groups(folders))
            if fault:
                faults.append(fault)
            else:
                sound.append(text)
    return (faults, sound) if faults else ([_as_hydra_says(error)], None)


def _unreadable(error: Exception) -> Fault:
    if not isinstance(error, yaml.YAMLError):
        what = "it is nested too deep" if isinstance(error, RecursionError) else str(error)
        return Fault("conf", f"the configuration can not be read: {what}", "mend the file")
    mark = getattr(error, "problem_mark", None)
    where = f"{mark.name}, line {mark.line + 1}" if mark else "conf"
    return Fault(where, f"this is no YAML: {getattr(error, 'problem', None) or error}", "mend the file")


def _as_hydra_says(error: Exception) -> Fault:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    where = next((line.removeprefix("full_key:").strip() for line in lines if line.startswith("full_key:")), "conf")
    return Fault(where, lines[0] if lines else type(error).__name__, "see 'stepladder show' for the keys there are")


def _shadowed(folders: Sequence[Path]) -> list[str]:
    """Files of the user's conf that stand in for packaged ones."""
    if len(folders) == 1:
        return []
    own, packaged = folders
    return [
        f"{file.relative_to(own)} in {own} stands in for the packaged file of that name"
        for file in sorted(own.rglob("*.yaml"))
        if (packaged / file.relative_to(own)).exists()
    ]


def _reaching_nothing(overrides: Sequence[Override], config: Mapping[str, Any]) -> list[str]:
    """Overrides of parts that the chosen method does not use."""
    used = references(config["method"], config)
    return [
        f"{override.input_line} changes nothing: the chosen method does not use {top}"
        for override in overrides
        if (top := override.key_or_group.split(".")[0]) in PARTS and top not in used
    ]


def references(node: Any, config: Mapping[str, Any]) -> set[str]:
    """The names of all nodes that `node` refers to, directly or through others."""
    if isinstance(node, Mapping):
        return {name for child in node.values() for name in references(child, config)}
    name = reference(node)
    return {name} | references(config[name], config) if name else set()
