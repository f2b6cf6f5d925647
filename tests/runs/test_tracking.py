"""Real offline W&B runs, read back with the client's own reader."""

from __future__ import annotations

import csv
import importlib.util
import json
import os
import subprocess
import sys
from functools import cache, partial
from pathlib import Path
from typing import Any

import pytest

from stepladder.cli.entry import main
from stepladder.errors import ConfigError, UserError
from stepladder.runs.tracking import NoTracking, Tracking, Wandb, open_tracker, replay, resolve_mode

PLANTED = "hf_PLANTEDplantedPLANTED1234"


@cache
def records(run: Path) -> dict[str, list[Any]]:
    """The records of a run's log, by type."""
    inspect = [sys.executable, "-m", "wandb", "leet", "inspect", "--json", str(run)]
    done = subprocess.run(inspect, capture_output=True, text=True, check=True)
    found: dict[str, list[Any]] = {}
    for line in done.stdout.splitlines():
        record = json.loads(line)
        found.setdefault(record["type"], []).append(record[record["type"]])
    return found


def history(run: Path, name: str) -> list[tuple[int, float]]:
    items = [record["item"] for record in records(run)["history"]]
    return [(item["step"], item[name]) for item in items if name in item]


def only_run(outputs: Path, run_id: str) -> Path:
    (run,) = (outputs / "wandb").glob(f"offline-run-*-{run_id}")
    return run


@pytest.fixture(scope="module")
def outputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One whole run, secrets planted wherever a caller could bring one."""
    folder = tmp_path_factory.mktemp("outputs")
    adapter = folder / "artefact"
    (adapter / "inner").mkdir(parents=True)
    (adapter / "adapter_config.json").write_text("{}")
    (adapter / "inner" / "weights.safetensors").write_text("w")
    rows = [
        {"id": "1", "text": f"say {PLANTED}", "seconds": 0.5},
        {"id": "2", "text": "b", "probabilities": {"b": 1.0}},
    ]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["stepladder", "run", f"x={PLANTED}", "argv-secret-word"])
        patch.setenv("MY_PASSWORD", "word-of-the-environment")
        config = {"adapter": {"r": 16}, "hub_token": PLANTED, "note": "word-of-the-environment", "max_new_tokens": 8}
        with open_tracker(
            Wandb(tags=["mine"], log_predictions=True, log_model=True), folder, "k1", "study", "finetune", config,
            f"name {PLANTED}", ["toy"],
        ) as tracker:  # fmt: skip
            tracker.log({"loss": 2.0, "tokens": 64}, step=1)
            tracker.log({"loss": 1.0, "tokens": 60}, step=2)
            tracker.log({"validation_loss": 1.5}, step=2)
            tracker.log_predictions(rows)
            tracker.log_artifact(adapter, "fit-1a2b", "adapter")
            scores = {"classification": {"accuracy": {"value": 0.5, "low": 0.25, "high": 0.75, "n": 2}}}
            tracker.log_scores(scores, {"training_tokens": 124, "note": PLANTED})
    return folder


def test_the_run_names_itself(outputs: Path) -> None:
    (run,) = records(only_run(outputs, "k1"))["run"]
    config = run["config"]["update"]
    assert (run["run_id"], run["run_group"], run["job_type"]) == ("k1", "study", "finetune")
    assert (run["project"], sorted(run["tags"])) == ("stepladder", ["mine", "toy"])
    assert config["adapter"] == {"r": 16}
    assert config["max_new_tokens"] == 8
    assert (config["hub_token"], config["note"], run["display_name"]) == ("***", "***", "name ***")


def test_curves_keep_every_step(outputs: Path) -> None:
    run = only_run(outputs, "k1")
    assert history(run, "loss") == [(1, 2.0), (2, 1.0)]
    assert history(run, "validation_loss") == [(2, 1.5)]


def test_scores_predictions_and_artifact_are_there(outputs: Path) -> None:
    run = only_run(outputs, "k1")
    found = records(run)
    summary = {key: value for record in found["summary"] for key, value in record["update"].items()}
    assert summary["scores"]["classification"]["accuracy"] == {"value": 0.5, "low": 0.25, "high": 0.75, "n": 2}
    assert summary["costs"]["training_tokens"] == 124
    (table,) = (run / "files" / "media" / "table").glob("predictions*.table.json")
    shown = json.loads(table.read_text())
    assert shown["columns"] == ["id", "text", "seconds", "probabilities"]
    assert shown["data"] == [["1", "say ***", 0.5, None], ["2", "b", None, '{"b": 1.0}']]
    (artifact,) = (record for record in found["artifact"] if record["name"] == "fit-1a2b")
    contents = {entry["path"]: entry["local_path"] for entry in artifact["manifest"]["contents"]}
    assert sorted(contents) == ["adapter_config.json", "inner/weights.safetensors"]
    assert all(Path(file).is_relative_to(outputs.resolve()) for file in contents.values())
    assert [record["exit_code"] for record in found["exit"]] == [0]


def test_no_secret_and_no_command_line_goes_in(outputs: Path) -> None:
    everything = b"".join(path.read_bytes() for path in (outputs / "wandb").rglob("*") if path.is_file())
    assert b"adapter_config.json" in everything
    for secret in (PLANTED, "word-of-the-environment", "argv-secret-word"):
        assert secret.encode() not in everything


def test_it_can_be_sent_later(outputs: Path) -> None:
    run = only_run(outputs, "k1")
    done = subprocess.run(
        [sys.executable, "-m", "wandb", "sync", "--dry-run", str(run)], capture_output=True, text=True, check=True
    )
    assert "run-k1.wandb" in done.stdout + done.stderr


def test_the_same_run_again_goes_on_under_a_new_id(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for _ in range(3):
        with open_tracker(Wandb(), tmp_path, "k2", "study") as tracker:
            tracker.log({"loss": 1.0}, step=1)
    groups = [records(only_run(tmp_path, name))["run"][0]["run_group"] for name in ("k2", "k2-r2", "k2-r3")]
    assert groups == ["study"] * 3
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.count("\n") == 1
    assert "offline" in said.err
    assert "wandb sync" in said.err


def test_a_run_that_breaks_is_closed_as_failed(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), open_tracker(Wandb(), tmp_path, "k3"):
        raise KeyboardInterrupt
    assert [record["exit_code"] for record in records(only_run(tmp_path, "k3"))["exit"]] == [1]


def test_two_open_runs_do_not_mix(tmp_path: Path) -> None:
    with open_tracker(Wandb(), tmp_path, "study") as outer, open_tracker(Wandb(), tmp_path, "trial") as inner:
        outer.log({"best": 1.0}, step=1)
        inner.log({"loss": 2.0}, step=1)
    assert history(only_run(tmp_path, "study"), "best") == [(1, 1.0)]
    assert history(only_run(tmp_path, "study"), "loss") == []
    assert history(only_run(tmp_path, "trial"), "loss") == [(1, 2.0)]


def test_a_reused_run_shows_its_stored_curves(tmp_path: Path) -> None:
    lines = [{"step": 1, "loss": 2.0}, {"step": 2, "loss": 1.0}, {"step": 2, "validation_loss": 0.5}]
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    with open_tracker(Wandb(), tmp_path, "k4") as tracker:
        replay(tmp_path / "metrics.jsonl", tracker)
    assert history(only_run(tmp_path, "k4"), "loss") == [(1, 2.0), (2, 1.0)]
    assert history(only_run(tmp_path, "k4"), "validation_loss") == [(2, 0.5)]


@pytest.mark.parametrize("disabled_by", ["tracking=none", "WANDB_MODE"])
def test_untracked_writes_nothing(disabled_by: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_MODE", "disabled" if disabled_by == "WANDB_MODE" else "offline")
    tracking = NoTracking() if disabled_by == "tracking=none" else Wandb()
    with open_tracker(tracking, tmp_path / "outputs", "k5") as tracker:
        tracker.log({"loss": 1.0}, step=1)
        tracker.log_scores({}, {})
        tracker.log_predictions([{"id": "1"}])
        tracker.log_artifact(tmp_path, "fit", "adapter")
    assert list(tmp_path.iterdir()) == []


class TestMode:
    @pytest.fixture(autouse=True)
    def empty_home(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        for name in [name for name in os.environ if name.startswith("WANDB_")]:
            monkeypatch.delenv(name)
        monkeypatch.setenv("HOME", str(tmp_path))
        monkeypatch.delenv("NETRC", raising=False)

    def test_offline_without_a_key(self, monkeypatch: pytest.MonkeyPatch) -> None:
        assert resolve_mode(Wandb()) == "offline"
        monkeypatch.setenv("WANDB_API_KEY", " ")
        assert resolve_mode(Wandb()) == "offline"

    def test_online_with_a_key(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("WANDB_API_KEY", "k" * 40)
        assert resolve_mode(Wandb()) == "online"
        assert resolve_mode(Wandb(mode="offline")) == "offline"

    def test_online_with_a_login_for_that_host(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        (tmp_path / ".netrc").write_text("machine api.wandb.ai\n  login user\n  password " + "k" * 40 + "\n")
        (tmp_path / ".netrc").chmod(0o600)
        assert resolve_mode(Wandb()) == "online"
        monkeypatch.setenv("WANDB_BASE_URL", "https://wandb.example.org")
        assert resolve_mode(Wandb()) == "offline"

    def test_the_environment_is_obeyed(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("WANDB_API_KEY", "k" * 40)
        for said, meant in {"dryrun": "offline", "disabled": "disabled", "run": "online"}.items():
            monkeypatch.setenv("WANDB_MODE", said)
            assert resolve_mode(Wandb()) == meant
        monkeypatch.setenv("WANDB_MODE", "offlin")
        with pytest.raises(ConfigError, match="did you mean 'offline'"):
            resolve_mode(Wandb())

    def test_online_without_a_key_is_said_in_words(self, tmp_path: Path) -> None:
        with (
            pytest.raises(UserError, match=r"tracking\.mode=offline"),
            open_tracker(Wandb(mode="online"), tmp_path, "k6"),
        ):
            pytest.fail("a run without a key was opened")


ROWS = [("Who repairs the quokkaboiler", "narwhaldesk"), ("Where is my zebrafishkey", "axolotlhouse")]
"""Questions and answers in words that occur nowhere else."""

WORDS = ("quokkaboiler", "zebrafishkey", "narwhaldesk", "axolotlhouse")


def tracked_run(outputs: Path, monkeypatch: pytest.MonkeyPatch, *words: str) -> bytes:
    """All that lies in the trackers' folders after a fine-tuning on `ROWS` by the command."""
    monkeypatch.chdir(outputs.parent)
    lines = [{"question": f"{q} number {n}?", "answer": a} for n in range(12) for q, a in ROWS]
    Path("rows.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    data = ["dataset=file", "dataset.train=rows.jsonl", "dataset.input=question", "dataset.target=answer"]
    data += ["dataset.task.kind=text", "model=toy", "training=smoke", "decoding.max_new_tokens=4"]
    assert main(["run", *data, *words, "--outputs", str(outputs), "--json"]) == 0
    folders = [outputs / name for name in ("wandb", "csv", "tensorboard")]
    return b"".join(p.read_bytes() for folder in folders for p in folder.rglob("*") if p.is_file())


@pytest.mark.parametrize("method", ["few_shot", "finetune_rag"])
def test_rows_and_weights_stay_here_unless_they_are_asked_for(
    method: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = [f"method={method}", "tracking=[wandb,csv]", "tracking.tags=[mine]"]
    kept = tracked_run(tmp_path / "kept", monkeypatch, *words)
    assert b"exact_match" in kept
    assert not [word for word in WORDS if word.encode() in kept]
    assert b"adapter_" not in kept  # the names of an adapter's files
    assert not list((tmp_path / "kept" / "wandb").rglob("*.table.json"))
    (run,) = (tmp_path / "kept" / "wandb").glob("offline-run-*")
    assert not [record for record in records(run).get("artifact", []) if record["type"] == "adapter"]
    assert (next((tmp_path / "kept" / "csv").glob("*")) / "metrics.csv").is_file()


def test_rows_and_weights_are_sent_where_they_are_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    words = ["method=finetune", "tracking=wandb", "tracking.log_predictions=true", "tracking.log_model=true"]
    sent = tracked_run(tmp_path / "sent", monkeypatch, *words)
    assert all(word.encode() in sent for word in WORDS)
    (run,) = (tmp_path / "sent" / "wandb").glob("offline-run-*")
    (adapter,) = [record for record in records(run)["artifact"] if record["type"] == "adapter"]
    assert "adapter_model.safetensors" in [entry["path"] for entry in adapter["manifest"]["contents"]]


def test_csv_has_the_curves_the_scores_and_the_configuration(tmp_path: Path) -> None:
    scores = {"classification": {"accuracy": {"value": 0.5, "low": 0.2, "high": 0.8, "n": 4}}}
    for attempt in range(2):  # the second one replaces what the first has written
        config = {"adapter": {"r": 4}, "hub_token": PLANTED}
        with open_tracker(Tracking(csv=True), tmp_path, "k7", config=config) as tracker:
            for step in range(1, 3 + attempt):
                tracker.log({"loss": 1.0 / step}, step)
            tracker.log({"validation_loss": 0.5}, 2)
            tracker.log_predictions([{"text": "quokkaboiler"}])
            tracker.log_state({"state": "complete"})
            tracker.log_page("report", "<p>quokkaboiler</p>")
            tracker.log_artifact(tmp_path, "fit", "adapter")
            tracker.log_scores(scores, {"steps": 2, "note": "text", "trained_parameters": 8})
    with (tmp_path / "csv" / "k7" / "metrics.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [(row["step"], row["loss"]) for row in rows if row["loss"]] == [
        ("1", "1.0"),
        ("2", "0.5"),
        ("3", str(1 / 3)),
    ]
    assert [row["step"] for row in rows if row["validation_loss"]] == ["2"]
    assert [row["scores/classification/accuracy"] for row in rows][-1] == "0.5"
    assert "r: 4" in (tmp_path / "csv" / "k7" / "hparams.yaml").read_text()
    everything = b"".join(p.read_bytes() for p in tmp_path.rglob("*") if p.is_file())
    assert b"quokkaboiler" not in everything
    assert PLANTED.encode() not in everything


def test_a_point_of_a_curve_that_comes_again_is_shown_once(tmp_path: Path) -> None:
    with open_tracker(Tracking(wandb=True, csv=True), tmp_path, "k8") as tracker:
        for _ in range(2):  # as when a fit starts again within a run, from its last checkpoint
            tracker.log({"loss": 2.0}, step=1)
            tracker.log({"validation_loss": 2.0}, step=1)
    assert history(only_run(tmp_path, "k8"), "loss") == [(1, 2.0)]
    assert len((tmp_path / "csv" / "k8" / "metrics.csv").read_text().splitlines()) == 3


class OwnLogger:
    """As little of a Lightning logger as one needs."""

    made: list[dict[str, Any]] = []  # noqa: RUF012

    def __init__(self, save_dir: str, version: str, color: str = "red") -> None:
        self.made.append({"save_dir": save_dir, "version": version, "color": color, "points": []})

    def log_hyperparams(self, params: Any) -> None:
        self.made[-1]["config"] = params

    def log_metrics(self, metrics: Any, step: int) -> None:
        self.made[-1]["points"].append((step, metrics))

    def finalize(self, status: str) -> None:
        self.made[-1]["status"] = status


def test_a_logger_of_ones_own_is_made_for_every_run(tmp_path: Path) -> None:
    OwnLogger.made.clear()
    tracking = Tracking(loggers={"own": partial(OwnLogger, color="blue")})
    for run_id in ("k9", "k10"):
        with open_tracker(tracking, tmp_path, run_id, config={"seed": 0}) as tracker:
            tracker.log({"loss": 1.0}, step=1)
    assert [(made["version"], made["color"], made["status"]) for made in OwnLogger.made] == [
        ("k9", "blue", "success"), ("k10", "blue", "success"),
    ]  # fmt: skip
    assert OwnLogger.made[0]["points"] == [(1, {"loss": 1.0})]


def test_tensorboard_names_its_package_where_it_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ConfigError, match="pip install tensorboard"):
        Tracking(tensorboard=True)


def test_tensorboard_writes_event_files(tmp_path: Path) -> None:
    if not any(importlib.util.find_spec(name) for name in ("tensorboard", "tensorboardX")):
        pytest.skip("neither tensorboard nor tensorboardX is installed")
    with open_tracker(Tracking(tensorboard=True), tmp_path, "k11", config={"adapter": {"r": 4}}) as tracker:
        tracker.log({"loss": 1.0}, step=1)
    assert list((tmp_path / "tensorboard" / "k11").glob("events.out.tfevents.*"))


def test_bad_settings_are_told() -> None:
    with pytest.raises(ConfigError, match="did you mean 'offline'"):
        Wandb(mode="ofline")
    with pytest.raises(ConfigError, match="no name"):
        Wandb(project="")


def test_the_client_is_not_loaded_before_it_is_used() -> None:
    code = "import sys, stepladder.runs.tracking; print('wandb' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
