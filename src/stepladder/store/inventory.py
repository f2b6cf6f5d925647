"""The inventory of a store: finds runs by their values, and removes what is unfinished or belongs to no study.

A run is a finished score with everything that it was made from.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from functools import cached_property
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from stepladder.errors import StoreError, UserError, did_you_mean
from stepladder.io.files import discard, read_json
from stepladder.store.store import KINDS, Kind, Store, is_own, named, read_mapping
from stepladder.store.stored_run import Stage
from stepladder.store.validation import has, only
from stepladder.types import Plain

FINISHED, NOT_FINISHED, BROKEN = "finished", "unfinished", "broken"
CONFIG = {"label": str, "choices": Plain, "seed": int, "rows": str}
CONFIG |= dict.fromkeys(("dataset", "method", "decoding", "evaluation"), Any)
NO_STUDY, REMOVED_STUDY, NOT_USED = "of no study", "the study", "of no run that is kept"


@dataclass(frozen=True)
class Item:
    """A folder of the store. `studies`: those that its run belongs to, for a score."""

    kind: Kind
    folder: Path
    studies: tuple[str, ...] = ()

    @property
    def finished(self) -> bool:
        return self.state == FINISHED

    @cached_property
    def state(self) -> str:
        """Broken: it was finished once, and is not what it was then."""
        if not (self.folder / "done.json").exists():
            return NOT_FINISHED
        return FINISHED if self.stage.done and self.config and self.full else BROKEN

    @cached_property
    def stage(self) -> Stage:
        return Stage(self.folder)

    @cached_property
    def config(self) -> Plain:
        return only(_mapping(self.folder / "config.yaml"), CONFIG)

    @cached_property
    def full(self) -> Plain:
        return _mapping(self.folder / "full.yaml")

    def as_dict(self) -> dict[str, Any]:
        """For `list`: the main metric with its name, the rest as it is stored."""
        scores: Plain = self.stage.facts.get("scores") or {}
        first = next(((f"{s}.{m}", v["value"]) for s, found in scores.items() for m, v in found.items()), None)
        return {
            "kind": self.kind,
            "folder": str(self.folder),
            "finished": self.stage.finished,
            "state": self.state,
            "label": self.config.get("label", ""),
            "choices": self.config.get("choices", {}),
            "seed": self.config.get("seed"),
            "rows": self.config.get("rows"),
            "metric": f"{first[0]}={first[1]:.4g}" if first and first[1] is not None else None,
            "studies": list(self.studies),
        }

    def values(self) -> Iterator[tuple[str, Any]]:
        """Every value that the folder can be found by, with its dotted key; options of groups stand above nodes."""
        yield "kind", self.kind
        yield "state", self.state
        yield "date", self.stage.finished or _begun(self.folder)
        yield "name", self.folder.name
        yield from (("study", study) for study in self.studies)
        yield from self.config.get("choices", {}).items()
        yield from _flat({name: node for name, node in self.config.items() if name != "choices"})


def _mapping(file: Path) -> Plain:
    """The mapping in a file, empty where there is none."""
    try:
        return read_mapping(file)
    except (StoreError, OSError):
        return {}


def _begun(folder: Path) -> str:
    return datetime.fromtimestamp(folder.stat().st_mtime, UTC).isoformat(timespec="seconds")


def _flat(node: Any, key: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(node, Mapping):
        for name, child in node.items():
            yield from _flat(child, f"{key}.{name}".lstrip("."))
    else:
        yield key, node


def wanted(words: Sequence[str]) -> dict[str, list[str]]:
    """`KEY=VALUE` or `KEY=A,B`. Raises UserError for anything else."""
    found = {}
    for word in words:
        key, sign, values = word.partition("=")
        if not key or not sign:
            raise UserError(f"'{word}' names no value", "the command line", "write KEY=VALUE: method=finetune, seed=0")
        found[key] = values.split(",")
    return found


def inventory(root: Path, asked: Mapping[str, Sequence[str]]) -> list[Item]:
    """The runs with the values asked for, and what is unfinished, the last first.

    A key may leave out what stands before its dots; a date may leave out its end; `*` stands for anything.
    Raises UserError where nothing in the store has such a key.
    """
    items = [item for item in _items(root) if item.kind == "scores" or not item.finished]
    found = _matching(items, asked)
    return sorted(found, key=lambda item: item.stage.finished or "", reverse=True)


def _items(root: Path) -> list[Item]:
    if not root.is_dir():
        raise StoreError("There is no store here", str(root), "name the folder of your results with --outputs DIR")
    studies = _studies(root)
    return [
        Item(kind, folder, tuple(studies.get(folder.name, ())) if kind == "scores" else ())
        for kind in KINDS
        for folder in sorted((root.absolute() / kind).glob("*"))
        if named(folder) and is_own(folder)
    ]


def _studies(root: Path) -> dict[str, list[str]]:
    """By the name of a score's folder, the studies that it belongs to."""
    found: dict[str, list[str]] = {}
    for note in sorted((root / "studies").glob("*/runs/*")):
        found.setdefault(note.name, []).append(note.parent.parent.name)
    for file in sorted((root / "studies").glob("*/comparison.json")):
        rows = only(read_json(file), {"rows": list}).get("rows", [])
        named_folders = [row["folders"] for row in rows if has(row, {"folders": Plain})]
        for folder in (str(each.get("score", "")) for each in named_folders):
            studies = found.setdefault(Path(folder).name, [])
            studies += {file.parent.name}.difference(studies)
    return found


def _matching(items: Sequence[Item], asked: Mapping[str, Sequence[str]]) -> list[Item]:
    if not asked or not items:
        return list(items)
    values = {item.folder: list(item.values()) for item in items}
    known = {key for found in values.values() for key, _ in found}
    for key in asked:
        if not any(_same_key(key, k) for k in known | {"study"}):
            short = sorted({k.rpartition(".")[2] for k in known} | known)
            raise UserError(f"Nothing in the store has a value '{key}'", f"{key}=...", did_you_mean(key, short))

    def has_one(item: Item, key: str, ways: Sequence[str]) -> bool:
        return any(_same_key(key, k) and _is(v, way) for k, v in values[item.folder] for way in ways)

    return [item for item in items if all(has_one(item, key, ways) for key, ways in asked.items())]


def _same_key(asked: str, key: str) -> bool:
    return key == asked or key.endswith("." + asked)


def _is(value: Any, asked: str) -> bool:
    """Whether a stored value is the one asked for: as a number where it is one, as text with `*`, a date by its
    beginning."""
    if value is None:
        return asked.lower() in ("null", "none", "")
    if isinstance(value, bool):
        return str(value).lower() == asked.lower()
    if isinstance(value, int | float):
        try:
            return float(asked) == value
        except ValueError:
            return False
    text = str(value)
    return fnmatchcase(text, asked) or (text[:4].isdigit() and text[4:5] == "-" and text.startswith(asked))


def swept(root: Path, asked: Mapping[str, Sequence[str]], dry_run: bool = False) -> dict[str, Any]:
    """Remove, of the folders with the values asked for, what is unfinished, the runs that belong to no study, and what
    no run that stays is made from. With `dry_run` only report it.

    With `study=NAME` the studies of that name are removed, with the runs that belong to no other study and what only
    those are made from. What a process is making stays, with all that it is made from; and what is broken, which a
    person may want to repair.
    """
    studies, at_work = _studies_to_remove(root, asked) if "study" in asked else ([], [])
    names = {folder.name for folder in studies}
    items, store = _items(root), Store(root)
    if "study" in asked:
        own = [item for item in items if names & {*item.studies}]
        matching = {folder for item in own for folder in (item.folder, *_made_from(item, items))}
    else:
        matching = {item.folder for item in _matching(items, asked)}
    broken = [item for item in items if item.state == BROKEN]
    busy = [item for item in items if item.state == NOT_FINISHED and store.in_the_making(item.kind, item.folder)]
    loose = [
        i for i in items if i.kind == "scores" and i.finished and not {*i.studies} - names and i.folder in matching
    ]
    kept = {item.folder for item in (*busy, *broken)}
    for item in items:
        if item in busy or item in broken or (item.kind == "scores" and item.finished and item not in loose):
            kept |= {item.folder, *_made_from(item, items)}
    reasons = {
        item.folder: NOT_FINISHED if not item.finished else NO_STUDY if item.kind == "scores" else NOT_USED
        for item in items
        if item.folder in matching and item.folder not in kept
    }
    gone = [{"folder": str(folder), "reason": REMOVED_STUDY} for folder in studies]
    bytes_ = sum(_size(folder) for folder in studies)
    for folder in () if dry_run else studies:
        discard(folder)
    for item in reversed(items):  # scores before what they are made from
        if item.folder in reasons:
            size = _size(item.folder)
            if dry_run or store.remove(item.kind, item.folder):
                gone.append({"folder": str(item.folder), "reason": reasons[item.folder]})
                bytes_ += size
    active = [*(str(folder) for folder in at_work), *(str(item.folder) for item in busy)]
    left = [str(item.folder) for item in broken]
    return {"removed": gone, "in_the_making": active, "broken": left, "bytes": bytes_, "dry_run": dry_run}


def _studies_to_remove(root: Path, asked: Mapping[str, Sequence[str]]) -> tuple[list[Path], list[Path]]:
    """The folders of the studies asked for, and those of them that a process is working on, which stay.

    Raises UserError for a name that no study has, and for further values beside the name.
    """
    if len(asked) > 1:
        others = ", ".join(key for key in asked if key != "study")
        what = f"A study is removed whole, and {others} would choose among its runs"
        raise UserError(what, "the command line", "leave it out, or leave study= out to remove runs of no study")
    there = {folder.name: folder for folder in sorted((root.absolute() / "studies").glob("*")) if is_own(folder)}
    for name in asked["study"]:
        if not any(_is(each, name) for each in there):
            raise UserError(f"There is no study '{name}'", str(root / "studies"), did_you_mean(name, list(there)))
    found = [folder for name, folder in there.items() if any(_is(name, wish) for wish in asked["study"])]
    at_work = [folder for folder in found if _is_at_work(folder)]
    return [folder for folder in found if folder not in at_work], at_work


def _is_at_work(study: Path) -> bool:
    """Whether a worker of a sweep holds a lock in the study's folder."""
    for lock in study.rglob("*.lock"):
        try:
            with FileLock(lock).acquire(timeout=0):
                pass
        except Timeout:
            return True
    return False


def _size(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


def _made_from(item: Item, items: Sequence[Item]) -> Iterator[Path]:
    """The folders below one, down to its fit."""
    by_name = {(i.kind, *(named(i.folder) or ())): i for i in items}
    attempt = (named(item.folder) or ("", 1))[1]
    keys = only(item.full, {"predictions": Plain}).get("predictions", {})
    below: list[tuple[Kind, str]] = [("predictions", str(key)) for key in keys.values()]
    below += [("fits", str(item.full["fit"]))] if "fit" in item.full else []
    for kind, key in below:
        found = by_name.get((kind, key[:16], attempt))
        if found is not None:
            yield found.folder
            yield from _made_from(found, items)
