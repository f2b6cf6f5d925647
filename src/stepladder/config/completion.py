"""Shell completion: the verbs, flags, groups, options, keys and values that can come next on a command line.

It reads the files of conf/ and does not compose them, so that the shell does not wait.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from stepladder.config.annotations import choices_of, hints_of
from stepladder.config.catalogue import catalogue
from stepladder.config.merging import at
from stepladder.config.options import chosen_by_default, file_of, groups, options, readable_folders
from stepladder.config.targets import resolve
from stepladder.config.yaml_files import content_of, defaults_of
from stepladder.errors import Fault
from stepladder.types import Plain

OVERRIDES = ("show", "check", "run", "compare", "sweep")
"""Verbs that take overrides."""


def candidates(
    line: str, verbs: Sequence[str], flags: Mapping[str, Sequence[str]], config_dir: Path | None
) -> list[str]:
    """The completions of the last word of `line`, a command line without the command's name.

    A word that ends in `=` needs a value. `flags` has the verbs of each flag; none for a flag that all verbs take.
    """
    *before, last = line.split(" ")
    before = [word for word in before if word]
    if not before:
        found = list(verbs)
    elif last.startswith("-"):
        found = [flag for flag, own in flags.items() if not own or before[0] in own]
    elif before[0] == "completion":
        found = list(SCRIPTS)
    elif before[0] == "options":
        found = [group.name for group in catalogue(readable_folders(config_dir or _named(before)))]
    elif before[0] not in OVERRIDES:
        return []
    else:
        found = list(_overrides(last, before, readable_folders(config_dir or _named(before))))
    return [word for word in found if word.startswith(last)]


def _named(before: Sequence[str]) -> Path | None:
    """The folder that `--config-dir` names in these words."""
    found = re.search(r"(?<!\S)--config-dir[= ](\S+)", " ".join(before))
    return Path(found[1].strip("'\"")).expanduser() if found else None


def _overrides(last: str, before: Sequence[str], folders: Sequence[Path]) -> Iterator[str]:
    key, sign, value = last.partition("=")
    chosen = dict(word.split("=", 1) for word in before if "=" in word)
    top, *inner = key.lstrip("+").split(".")
    if sign:
        begun = f"{key}={value[: value.rfind(',') + 1]}"  # the last of a list, a,b,c
        there = options(folders, key.lstrip("+").replace(".", "/"))
        yield from (f"{begun}{each}" for each in there or _values(_node(top, chosen, folders), top, inner))
    elif inner:
        node = at(_node(top, chosen, folders), tuple(inner[:-1]))
        names = node if isinstance(node, Mapping) else ()
        yield from (f"{key.rpartition('.')[0]}.{name}=" for name in names if name not in ("defaults", "_target_"))
    else:
        yield from (f"{group}=" for group in groups(folders))
        yield "seed="


def _node(group: str, chosen: Mapping[str, str], folders: Sequence[Path]) -> Plain:
    """The keys of a group's chosen option, with those of the options in its defaults list."""
    default = str(chosen_by_default(folders).get(group, "default"))
    return _option(group, chosen.get(group) or default, folders, ())


def _option(group: str, option: str, folders: Sequence[Path], seen: tuple[str, ...]) -> Plain:
    file = file_of(folders, group, option)
    if file is None or option in seen:
        return {}
    own = content_of(file)
    found: dict[str, Any] = {}
    for entry in defaults_of(own):
        if isinstance(entry, str):
            found |= _option(group, entry, folders, (*seen, option))
    return found | {str(key): value for key, value in own.items()}


def _values(node: Plain, group: str, inner: Sequence[str]) -> list[str]:
    """The values of a key that its constructor's annotation lists."""
    from stepladder.config.schema import UNTARGETED

    target = node.get("_target_", UNTARGETED.get(group))
    for name in inner[:-1]:
        node = node.get(name) or {}
        target = node.get("_target_") if isinstance(node, Mapping) else None
    found = resolve(target, group, light=True)
    hint = None if found is None or isinstance(found, Fault) else hints_of(found).get(inner[-1] if inner else "")
    return choices_of(hint)


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
SCRIPTS = {"bash": _BASH, "zsh": _ZSH, "fish": _FISH}
"""The script of each shell: `source <(stepladder completion bash)`; in fish `stepladder completion fish | source`."""
