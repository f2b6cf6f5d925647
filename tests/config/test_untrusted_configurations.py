"""An untrusted configuration runs, constructs, reads and writes nothing of its own."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
import yaml
from omegaconf import OmegaConf
from strange import STRANGE

from stepladder.cli.entry import main
from stepladder.config.interpolation import of_environment
from stepladder.errors import ConfigError

TOY = ["experiment=first_look", "method=linear"]
FOR_FILES = "# @package _global_\ndefaults: [override /dataset: file]\n"  # the option that the command line chooses
pytestmark = pytest.mark.usefixtures("stranger")


def refused(capsys: pytest.CaptureFixture[str], tmp_path: Path, words: list[str], *wanted: str) -> str:
    """Exit 2 with all of `wanted` in one message, and nothing written."""
    there = {path for path in tmp_path.rglob("*") if "cache" not in path.parts}
    outputs = tmp_path / "outputs"
    code = main([words[0], *TOY, "tracking=none", *words[1:], "--outputs", str(outputs)])
    output = capsys.readouterr()
    assert code == 2, output.err
    assert "Traceback" not in output.err
    for text in wanted:
        assert text in output.err
    assert {path for path in tmp_path.rglob("*") if "cache" not in path.parts} == there
    return output.err


# What runs, makes files, or reaches a server as soon as it is constructed,
HURTING: list[dict[str, object]] = [
    {"_target_": f"{STRANGE}.run"},
    {"_target_": "stepladder.studies.sweep.storage.FileLocks", "folder": "made"},
    {"_target_": "optuna.storages.RDBStorage", "url": "sqlite:///made.db"},
    {"_target_": "optuna.storages.journal.JournalFileBackend", "file_path": "made"},
]
# and what is no class, or leads elsewhere.
LEADING: list[dict[str, object]] = [
    {"_target_": "os.system", "_args_": ["true"]},
    {"_target_": "stepladder.io.cache.subprocess.run", "args": ["true"]},
    {"_target_": "torch.optim.os.system", "command": "true"},
    {"_target_": "stepladder.io.cache.shutil.rmtree", "path": "."},
    {"_target_": "stepladder.__main__.main"},
    {"_target_": "stepladder.errors.ConfigError.__init__"},
    {"_target_": "stepladder.methods.Linear.__class__"},
    {"_target_": "stepladder.methods.Majority", "_partial_": True},
    {"_target_": "stepladder.methods.Majority", "_convert_": "all", "_args_": ["true"]},
    {"_target_": ["stepladder", "methods"]},
    {"_target_": "stepladder.cli.entry.main", "arguments": ["clean"]},
    {"_target_": "stepladder.io.files.discard", "path": "."},
]
PLACES = [
    *("method", "dataset", "tracking", "compute", "preflight", "decoding", "adapter", "sweep.sampler"),
    *("comparison.prices", "evaluation.own", "evaluation.classification.metrics.accuracy"),
    *("method.tuning.adapter", "dataset.labels.buy"),
]


@pytest.mark.parametrize(
    ("place", "node"),
    [*((place, node) for place in PLACES for node in HURTING), *(("method", node) for node in LEADING)],
)
def test_a_class_that_does_not_belong_there_is_refused(
    node: dict[str, object],
    place: str,
    stranger: Path,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Wherever it stands, whatever it names."""
    monkeypatch.chdir(tmp_path)
    whole: dict[str, object] = node
    for part in reversed(place.split(".")):
        whole = {part: whole}
    if place.startswith("method."):
        whole["method"] |= {"_target_": "stepladder.methods.AdaptedModel"}  # type: ignore[operator]
        whole["method"]["tuning"] |= {"_target_": "stepladder.tuning.FineTune"}  # type: ignore[index]
    folder = tmp_path / "theirs" / "experiment"
    folder.mkdir(parents=True)
    chosen = {"method": "linear", "dataset": "toy", "model": "toy", "tracking": "none"}  # as below: nothing is dropped
    whole["defaults"] = [{f"override /{group}": option} for group, option in chosen.items()]
    (folder / "strange.yaml").write_text("# @package _global_\n" + yaml.safe_dump(whole))
    verb = ["run", "method=finetune"] if place == "adapter" else ["run"]
    verb = ["sweep", "+method.c=choice(1,2)"] if place.startswith("sweep") else verb
    verb = ["compare"] if place.startswith("comparison") else verb
    words = [*verb, "experiment=strange", "dataset=toy", "model=toy", "--config-dir", str(tmp_path / "theirs")]
    message = refused(capsys, tmp_path, words)
    assert place.partition(".")[0] in message
    assert not (tmp_path / "made").exists()


@pytest.mark.parametrize(
    "override",
    [
        f"+method.things=[1,{{_target_:{STRANGE}.run}}]",
        f"+dataset.labels=[buy,{{_target_:{STRANGE}.run}}]",
        f"+spare={{deep:[[{{_target_:{STRANGE}.run}}]]}}",
        f"method._target_={STRANGE}.run",
        f"evaluation.classification.metrics.accuracy._target_={STRANGE}.run",
        f"+training.optimizer={STRANGE}.run",
        "+training.optimizer=os.system",
        f"sweep.conditions={STRANGE}.run",
    ],
)
def test_a_target_is_refused_at_any_depth(
    override: str, stranger: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    verb = ["sweep", "+method.c=choice(1,2)"] if override.startswith("sweep") else ["run", "method=finetune"]
    refused(capsys, tmp_path, [verb[0], "method=linear" if verb[0] == "sweep" else verb[1], *verb[2:], override])


def test_a_target_by_interpolation_is_refused(
    stranger: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    words = ["run", f"tracking={{_target_:stepladder.runs.Wandb,project:{STRANGE}.run}}"]
    del words[1:]
    words += ["tracking=wandb", f"tracking.project={STRANGE}.run", "method._target_='${tracking.project}'"]
    refused(capsys, tmp_path, words, "outside the trusted prefixes")


def lay(folder: Path, files: dict[str, str]) -> list[str]:
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return ["--config-dir", str(folder)]


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ({"experiment/x.yaml": "# @package _global_\ndefaults: [../../outside]\n"}, ["experiment=x"]),
        ({"experiment/x.yaml": "# @package _global_\ndefaults: [/../outside]\n"}, ["experiment=x"]),
        (
            {"experiment/x.yaml": "# @package _global_\ndefaults: [{override /model: ../../outside}]\n"},
            ["experiment=x"],
        ),
        ({"experiment/x.yaml": "# @package _global_\ndefaults: [{/dataset/../..: outside}]\n"}, ["experiment=x"]),
        ({"experiment/x.yaml": "# @package _global_\nhydra: {searchpath: ['file://OUTSIDE']}\n"}, ["experiment=x"]),
        ({"config.yaml": "hydra: {searchpath: ['file://OUTSIDE']}\nPRIMARY"}, []),
        ({"config.yaml": "hydra: {searchpath: ['pkg://stranger_of_the_test']}\nPRIMARY"}, []),
        ({}, ["model=../../outside"]),
        ({}, ["+model@spare=../../outside"]),
        ({}, ["hydra.searchpath=['file://OUTSIDE']"]),
        ({}, ["--config-path=OUTSIDE"]),
    ],
)
def test_files_outside_of_the_folder_are_not_read(
    files: dict[str, str], words: list[str], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "outside.yaml").write_text("seed: 4711\n")
    conf = Path(__file__).parents[2] / "conf" / "config.yaml"
    primary = conf.read_text()
    files = {n: t.replace("OUTSIDE", str(tmp_path)).replace("PRIMARY", primary) for n, t in files.items()}
    where = lay(tmp_path / "theirs", files) if files else []
    words = [word.replace("OUTSIDE", str(tmp_path)) for word in words]
    message = refused(capsys, tmp_path, ["show", *words, *where])
    assert "4711" not in message


def test_a_link_out_of_an_untrusted_folder_is_refused(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "outside.yaml").write_text("# @package _global_\nseed: 4711\n")
    where = lay(tmp_path / "theirs", {"experiment/good.yaml": "# @package _global_\nseed: 1\n"})
    (tmp_path / "theirs" / "experiment" / "x.yaml").symlink_to(tmp_path / "outside.yaml")
    refused(capsys, tmp_path, ["show", "experiment=x", *where], "leads out of the folder")
    assert main(["show", "experiment=good", *where]) == 0


@pytest.mark.parametrize(
    "text",
    [
        "${oc.env:OF_THE_MACHINE}",
        "${oc.env:OF_THE_MACHINE}/rows.csv",
        "${oc.env:NOT_THERE,fallback}",
        "${oc.decode:${oc.env:OF_THE_MACHINE}}",
        "${oc.${tracking.project}:OF_THE_MACHINE}",
        "${oc.select:spare,${oc.env:OF_THE_MACHINE}}",
        "${oc.create:{a:${oc.env:OF_THE_MACHINE}}}",
        "${now:%Y}",
        "${hydra:runtime.cwd}",
        "${python_version:}",
    ],
)
@pytest.mark.parametrize("by", ["override", "file"])
def test_the_environment_is_not_read_into_a_configuration(
    text: str, by: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    words = ["show", "dataset=file", "dataset.input=a", "dataset.target=b", "tracking=wandb", "tracking.project=env"]
    if by == "override":
        words += [f"dataset.train='{text}'"]
    else:
        whole = {"dataset": {"train": text}}
        files = {"experiment/x.yaml": FOR_FILES + yaml.safe_dump(whole)}
        words += ["experiment=x", *lay(tmp_path / "theirs", files)]
    message = refused(capsys, tmp_path, words, "dataset.train", "what only this machine knows", "write the value")
    assert "what-only-this-machine-knows" not in message


def test_the_resolvers_are_restored_after_composing(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    refused(capsys, tmp_path, ["show", "tracking=wandb", "tracking.project='${oc.env:OF_THE_MACHINE}'"])
    assert OmegaConf.create({"a": "${oc.env:OF_THE_MACHINE}"}).a == os.environ["OF_THE_MACHINE"]


def test_other_values_of_the_configuration_may_be_read(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["tracking=wandb", "tracking.project='p-${seed}-${oc.select:nothing,else}'"]
    assert main(["show", *TOY, *words, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["config"]["tracking"]["project"] == "p-0-else"


def test_only_the_storage_may_name_a_variable_and_the_name_is_kept(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STUDIES", "postgresql://me:password-of-it@localhost:1/x")
    assert main(["show", *TOY, "sweep.storage='${oc.env:STUDIES}'", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["config"]["sweep"]["storage"] == "${oc.env:STUDIES}"
    assert of_environment("${oc.env:STUDIES}") == os.environ["STUDIES"]
    assert of_environment("postgresql://host/x") == "postgresql://host/x"
    with pytest.raises(ConfigError, match="the variable NOT_THERE is not set"):
        of_environment("${oc.env:NOT_THERE}")


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("distribution", "--find-links=http://localhost:1/"),
        ("distribution", "-rlist.txt"),
        ("distribution", "thing @ file:///nowhere/thing.tar.gz"),
        ("distribution", "../../outside"),
        ("version", "1.0 --pre"),
        ("version", "../../../outside"),
        ("sha256", "../../../outside"),
    ],
)
def test_a_model_package_is_named_by_name_version_and_hash_only(
    key: str, value: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    package = {"distribution": "thing", "version": "1.0", "sha256": "0" * 64} | {key: value}
    source = {"_target_": "stepladder.dataset.Package", **package}
    node = {"_target_": "stepladder.dataset.Dataset", "train": "a.csv", "input": "a", "target": "b"}
    experiment = FOR_FILES + yaml.safe_dump({"dataset": node | {"source": source}})
    where = lay(tmp_path / "theirs", {"experiment/x.yaml": experiment})
    words = ["run", "dataset=file", "experiment=x", "+dataset.task.kind=choice", *where]
    refused(capsys, tmp_path, [w for w in words if "kind" not in w], f"'{value}' is no", "of a package")


@pytest.mark.parametrize("reference", ["file:///etc/hostname", "http://localhost:1/x.json", "other.json", "../x#/a"])
def test_a_schema_may_refer_only_to_itself(reference: str, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    file.write_text("".join(json.dumps({"q": f"a{n}", "a": '{"x": 1}'}) + "\n" for n in range(20)))
    data = ["dataset=file", f"dataset.train={file}", "dataset.input=q", "dataset.target=a", "dataset.task.kind=json"]
    schema = {"type": "object", "properties": {"x": {"$ref": reference}}}
    text = FOR_FILES + yaml.safe_dump({"dataset": {"task": {"schema": schema}}})
    where = lay(tmp_path / "theirs", {"experiment/x.yaml": text})
    message = "no other file or address is read"
    refused(capsys, tmp_path, ["run", *data, "method=majority", "experiment=x", *where], reference, message)
