"""What can come next on a command line: verbs, flags, groups, options, keys; and the scripts that ask for it.

Knows conf/ as files; composes nothing and imports nothing heavy, so that a shell need not wait.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from stepladder.config.catalogue import catalogue
from stepladder.config.options import conf_folder, groups, options

SHELLS = ("bash", "zsh", "fish")
"""For which there is a script."""
OVERRIDES = ("show", "check", "run", "compare", "sweep")
"""Verbs that take overrides."""


def candidates(
    line: str, verbs: Sequence[str], flags: Mapping[str, Sequence[str]], config_dir: Path | None
) -> list[str]:
    """The words that the last one of `line` can become; `line` is what stands after the command's own name.

    `flags` gives the verbs of each flag, none for one that all verbs take. A word that ends in = wants a value.
    """
    *before, last = line.split(" ")
    before = [word for word in before if word]
    if not before:
        found = list(verbs)
    elif last.startswith("-"):
        found = [flag for flag, own in flags.items() if not own or before[0] in own]
    elif before[0] == "completion":
        found = list(SHELLS)
    elif before[0] == "options":
        found = [group.name for group in catalogue(_folders(config_dir))]
    elif before[0] not in OVERRIDES:
        return []
    else:
        found = list(_overrides(last, before, _folders(config_dir)))
    return [word for word in found if word.startswith(last)]


def _folders(config_dir: Path | None) -> list[Path]:
    return [folder for folder in (config_dir, conf_folder()) if folder is not None and folder.is_dir()]


def _overrides(last: str, before: Sequence[str], folders: Sequence[Path]) -> Iterator[str]:
    group, sign, value = last.partition("=")
    if sign:
        begun = f"{group}={value[: value.rfind(',') + 1]}"  # the last of a list, a,b,c
        yield from (f"{begun}{option}" for option in options(folders, group.replace(".", "/")))
    elif "." in last:
        chosen = dict(word.split("=", 1) for word in before if "=" in word)
        top = last.partition(".")[0]
        yield from (f"{top}.{key}=" for key in _keys(top, chosen.get(top) or _default(top, folders), folders))
    else:
        yield from (f"{group}=" for group in groups(folders))
        yield "seed="


def _keys(group: str, option: str, folders: Sequence[Path]) -> list[str]:
    """The keys that an option's own file names."""
    for folder in folders:
        node = _read(folder / group / f"{option}.yaml")
        if node:
            return [key for key in node if key not in ("defaults", "_target_")]
    return []


def _default(group: str, folders: Sequence[Path]) -> str:
    lines = _read(folders[-1] / "config.yaml").get("defaults", [])
    return next((str(line[group]) for line in lines if isinstance(line, Mapping) and group in line), "default")


def _read(file: Path) -> Mapping[str, Any]:
    try:
        found = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError):
        return {}  # a broken file completes to nothing; composing it tells why
    return found if isinstance(found, Mapping) else {}


def script(shell: str) -> str:
    """What a shell is to read: `source <(stepladder completion bash)`; fish: `stepladder completion fish | source`."""
    return {"bash": _BASH, "zsh": _ZSH, "fish": _FISH}[shell]


_BASH = r"""_stepladder() {
    local line="${COMP_LINE:0:$COMP_POINT}" last words IFS=$'\n'
    line="${line#"${line%%[![:space:]]*}"}"
    line="${line#* }"
    last="${line##* }"
    words=($(stepladder completion words "$line" 2>/dev/null))
    if [[ $last == *=* && $COMP_WORDBREAKS == *=* ]]; then
        words=("${words[@]#"${last%=*}="}")
    fi
    COMPREPLY=("${words[@]}")
    if [[ ${COMPREPLY[0]} == *= ]]; then compopt -o nospace 2>/dev/null; fi
}
complete -o default -F _stepladder stepladder
"""
_ZSH = r"""#compdef stepladder
_stepladder() {
    local line="${words[2,CURRENT]}"
    local -a found
    found=("${(@f)$(stepladder completion words "$line" 2>/dev/null)}")
    if [[ -n "$found" ]]; then
        compadd -Q -S '' -- ${(M)found:#*=}
        compadd -Q -- ${found:#*=}
    else
        _files
    fi
}
compdef _stepladder stepladder
"""
_FISH = r"""function __stepladder_words
    set -l line (commandline --cut-at-cursor | string replace -r '^\s*\S+ ' '')
    stepladder completion words "$line" 2>/dev/null
end
complete -c stepladder -f -a '(__stepladder_words)'
complete -c stepladder -n 'test -z "$(__stepladder_words)"' -F
"""
