"""Every file under conf/ composes and binds."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import pytest

from stepladder.config.build import build
from stepladder.config.compose import compose
from stepladder.config.options import conf_folder
from stepladder.config.resolution import resolve_auto, validate
from stepladder.config.schema import UNTARGETED

CONF = conf_folder()
OPTIONS = sorted(f.relative_to(CONF) for f in CONF.rglob("*.yaml") if f.parent != CONF)
NEEDS = {  # what a user has to name beside the option
    "dataset=file": ["dataset.train=rows.csv", "dataset.input=text", "dataset.target=label"],
    "dataset=hub": ["dataset.source.repo=owner/name", "dataset.input=text", "dataset.target=label"],
    "dataset=banking77": ["dataset.train=a.csv", "dataset.test=b.csv"],
    "dataset=sms_spam": ["dataset.train=a.tsv"],
    "dataset=xquad": ["dataset.train=a.json"],
    "dataset=restaurant8k": ["dataset.train=a.jsonl", "dataset.test=b.jsonl"],
    "model=hub": ["model.repo=owner/name"],
    "model=folder": ["model.path=some/folder"],
    "model=api": ["model.base_url=http://localhost:8000/v1", "model.name=name"],
}
COMPANY = {  # what makes the option reach the method, or fit the task
    "adapter": ["method=finetune"],
    "training": ["method=finetune"],
    "demonstrations": ["method=few_shot"],
    "retrieval": ["method=rag"],
    "embedder": ["method=embedding"],
}


def test_no_file_is_missed() -> None:
    assert len(OPTIONS) == 109


@pytest.mark.parametrize("option", OPTIONS, ids=str)
def test_option_composes_and_binds(option: Path) -> None:
    group, name = option.parent.as_posix(), option.stem
    if name == "tensorboard" and not any(find_spec(package) for package in ("tensorboard", "tensorboardX")):
        pytest.skip("tracking=tensorboard needs the package tensorboard")
    if group == "tuning":
        overrides = ["method=finetune" if name == "finetune" else "method=zero_shot"]
    elif group == "evaluation":
        kind = {"answers": "text", "extraction": "json"}.get(name, "choice")
        overrides = [*["dataset=file", *NEEDS["dataset=file"]], f"dataset.task.kind={kind}", f"evaluation=[{name}]"]
    elif group == "decoding" and name == "json":
        overrides = [*["dataset=file", *NEEDS["dataset=file"]], "dataset.task.kind=json", "decoding=json"]
    else:
        overrides = [f"{group}={name}"]
    composed = compose([*overrides, *NEEDS.get(f"{group}={name}", []), *COMPANY.get(group, [])])
    config = resolve_auto(composed)
    built = validate(config)
    assert build({"sweep": {"_target_": UNTARGETED["sweep"], **config["sweep"]}})["sweep"].object.trials
    assert {"dataset", "method", "decoding", "evaluation", "compute", "tracking", "comparison"} <= built.keys()
