"""Makes the valid inputs that cases modify: a store of finished runs, an interrupted fit, a model, a configuration."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import chdir
from pathlib import Path
from typing import Any
from unittest import mock

from fuzzing.stores import ASKED, COMPARED, SWEPT
from fuzzing.watched import run_quietly

NEW = b"text,label\nwho looks at the boiler?,heating\nthe key is gone,keys\n"


def originals(root: Path, kind: str) -> Path:
    """The folder with the valid inputs of one kind, made if it does not exist."""
    folder = root / kind
    if not folder.is_dir():
        folder.mkdir(parents=True)
        with chdir(folder):
            {"store": _store, "checkpoint": _cut, "model": _model}[kind]()
    return folder


def _store() -> None:
    Path("new.csv").write_bytes(NEW)
    for words in ASKED.values():
        _made("run", *words)
    _made("compare", *COMPARED)
    _made("sweep", *SWEPT)


def _made(*words: str) -> None:
    done = run_quietly(words)
    if done.code != 0:
        raise RuntimeError(f"stepladder {' '.join(words)} gave {done.code}: {done.err}{done.raised}")


def _cut() -> None:
    """Interrupt a fit after it has written five files: two checkpoints and their best weights remain."""
    from stepladder.tuning import checkpoint, checksummed

    seal, count = checksummed.write, 0

    def cut(*arguments: Any) -> Path:
        nonlocal count
        count += 1
        if count > 5:
            raise KeyboardInterrupt
        return seal(*arguments)

    often = mock.patch.multiple(checkpoint, TIMES_APART=0, SECONDS_APART=0.0)
    with often, mock.patch.object(checksummed, "write", cut):
        done = run_quietly(("run", *ASKED["finetune"], "training.epochs=4", "training.validate_every=0.5"))
    if done.code != 130:
        raise RuntimeError(f"the fit was not cut short: {done.code} {done.err}{done.raised}")


def _model() -> None:
    from stepladder.models.toy import ToyCheckpoint

    loaded = ToyCheckpoint().load()
    loaded.module.save_pretrained("model")
    loaded.tokenizer.save_pretrained("model")


def keys() -> dict[str, Any]:
    """Every key of the resolved configuration with its value, nodes too."""
    from stepladder.config.compose import compose

    return dict(_flat(compose(["experiment=first_look", "method=finetune"]).config))


def _flat(node: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in node.items():
        key = f"{above}{name}"
        yield key, value
        if isinstance(value, Mapping):
            yield from _flat(value, f"{key}.")


def conf() -> dict[str, str]:
    """The packaged configuration files that a small experiment uses, and a few more, by name."""
    from stepladder.config.options import conf_folder

    groups = (
        *("config", "experiment", "dataset/toy", "dataset/file", "model/toy", "prompt", "method", "decoding/auto"),
        *("evaluation/class", "evaluation/slices", "compute/auto", "preflight/default", "comparison/ladder"),
        *("sweep/default", "sweep/sampler/tpe", "training/smoke", "tuning", "demonstrations/fixed", "retrieval/bm25"),
    )
    files = {path.relative_to(conf_folder()).as_posix(): path for path in conf_folder().rglob("*.yaml")}
    return {name: path.read_text(encoding="utf-8") for name, path in files.items() if name.startswith(groups)}
