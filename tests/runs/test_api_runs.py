"""Experiments over an API from the command line: bad input, provenance, kills, and comparisons with a local model."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from api_kills import killed_run
from api_server import NAME, ApiServer

from stepladder.cli import main

PRICES = ["model.million_prompt_tokens=2", "model.million_new_tokens=8"]


def words(server: ApiServer | str, *more: str) -> list[str]:
    url = server if isinstance(server, str) else server.url
    return ["experiment=first_look", "model=api", f"model.base_url={url}", f"model.name={NAME}", *more]


def run(
    verb: str, given: list[str], outputs: Path, capsys: pytest.CaptureFixture[str]
) -> tuple[int, dict[str, Any], str]:
    code = main([verb, *given, "--outputs", str(outputs), "--json"])
    out, err = capsys.readouterr()
    return code, json.loads(out) if code == 0 else {}, out + err


@pytest.mark.parametrize(
    ("method", "flavour"),
    [
        ("zero_shot", "llama.cpp"),
        ("zero_shot", "vllm"),
        ("structured", "vllm"),
        ("few_shot", "llama.cpp"),
        ("rag", "vllm"),
    ],
)
def test_prompted_methods_run_over_an_api(
    method: str, flavour: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with ApiServer(flavour) as server:
        given = words(server, f"method={method}", "model.retest=3", "--limit", "8")
        code, found, _ = run("run", given, tmp_path, capsys)
    assert code == 0
    folder = Path(found["folders"]["predict"])
    lines = [json.loads(line) for line in (folder / "predictions.jsonl").read_text().splitlines()]
    assert all(sum(line["probabilities"].values()) == pytest.approx(1) for line in lines)
    assert all(line["prompt_tokens"] > 0 for line in lines)
    provenance = json.loads((folder / "provenance.json").read_text())
    assert provenance["engine"] == "api"
    assert provenance["server"]["fingerprints"] == ["fp_1"]
    assert provenance["server"]["weights"] == "not pinned"
    assert found["costs"]["retest_changed"] == 0
    assert found["costs"]["retest_questions"] == 3


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["method=finetune"], "no weights here that could be fine-tuned"),
        (["method=zero_shot", "model.api_key_env=NOT_SET_KEY"], "NOT_SET_KEY is not set"),
        (["method=zero_shot", *PRICES], "a price has no currency"),
        (["method=zero_shot", "model.budget=3"], "a budget needs the prices"),
        (["method=zero_shot", "model.api_key_env=sk-abcdefghij0123456789"], "a secret must not be in a configuration"),
    ],
)
def test_bad_input_is_found_before_the_first_request(
    more: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with ApiServer() as server:
        code, _, shown = run("run", words(server, *more), tmp_path, capsys)
        assert not server.headers
    assert code == 2
    assert message in shown
    assert "0123456789" not in shown


def test_an_unreachable_address_is_the_users_to_fix(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with ApiServer() as server:
        url = server.url
    code, _, shown = run("run", words(url, "method=zero_shot"), tmp_path, capsys)
    assert code == 2
    assert "cannot be reached" in shown
    assert "Traceback" not in shown


def test_written_labels_are_not_normalised(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with ApiServer("chat") as server:
        given = words(server, "method=zero_shot", "model.choose=constrained", "--limit", "3")
        code, found, _ = run("run", given, tmp_path, capsys)
        assert code == 0
        lines = (Path(found["folders"]["predict"]) / "predictions.jsonl").read_text().splitlines()
        assert all(json.loads(line)["probabilities"] is None for line in lines)
        code, _, shown = run("run", [*given, "decoding.normalise=prior"], tmp_path, capsys)
    assert (code, "no probabilities to normalise" in shown) == (2, True)


def test_check_sends_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with ApiServer() as server:
        code, found, _ = run("check", words(server, "method=rag"), tmp_path, capsys)
        assert not server.headers
    assert code == 0
    assert "requests to an API may cost money" in json.dumps(found)


def test_the_name_of_the_keys_variable_is_shown_and_its_value_is_not(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    key = "-".join(["value", "of", "the", "key", "77"])  # provenance has the text of this file while it is new
    monkeypatch.setenv("OWN_API_KEY", key)
    with ApiServer() as server:
        given = words(server, "method=zero_shot", "model.api_key_env=OWN_API_KEY", "--limit", "4")
        code, _, shown = run("run", given, tmp_path, capsys)
    assert code == 0
    stored = "".join(f.read_text(errors="replace") for f in tmp_path.rglob("*") if f.is_file())
    assert key not in shown + stored
    assert "OWN_API_KEY" in stored


def test_a_prompted_api_model_beside_a_tuned_local_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    given = ["experiment=first_look", "comparison=api_vs_tuned", "comparison.cells.tuned_local.model=toy", *PRICES]
    with ApiServer() as server:
        given += [f"model.base_url={server.url}", f"model.name={NAME}", "model.retest=2", "--limit", "12"]
        code, _, shown = run("compare", [*given, "model.currency=USD"], tmp_path, capsys)
        assert (code, "are in USD, the others in EUR" in shown) == (2, True)
        code, _, shown = run("compare", [*given, "model.currency=EUR"], tmp_path, capsys)
        assert (code, "comparison.prices.hour" in shown) == (2, True)
        assert not server.headers
        code, found, _ = run("compare", [*given, "model.currency=EUR", "comparison.prices.hour=1"], tmp_path, capsys)
    assert code == 0
    by_name = {row["name"]: row for row in found["rows"]}
    assert list(by_name) == ["prompted_api", "few_shot_api", "tuned_local"]
    assert by_name["prompted_api"]["costs"]["trained_parameters"] == 0
    assert by_name["tuned_local"]["costs"]["trained_parameters"] > 0
    assert found["baseline"] == "prompted_api"
    costs = by_name["few_shot_api"]["costs"]
    bill = found["bills"]["methods"]["few_shot_api"] if "methods" in found["bills"] else None
    money = (2 * costs["prompt_tokens"] + 8 * costs["new_tokens"]) / 1e6 / costs["questions"]
    assert bill is None or bill["request"] == pytest.approx(money)
    assert "When asked twice, 0.0% of 2 answers" in Path(found["report"]).read_text(encoding="utf-8")


def test_a_killed_run_asks_every_question_once_and_keeps_its_budget(tmp_path: Path) -> None:
    found = killed_run(tmp_path, kills=4, seed=1, questions=40)
    assert found.kills == 4
    assert (found.asked, found.twice) == (40, 0)
    assert found.sound, found


def test_the_sending_process_imports_nothing_of_the_current_directory(tmp_path: Path) -> None:
    (tmp_path / "httpx.py").write_text("raise SystemExit('imported')", encoding="utf-8")
    code = "import sys; from stepladder.cli import main; sys.exit(main(sys.argv[1:]))"
    with ApiServer() as server:
        given = words(server, "method=zero_shot", "decoding=greedy", "decoding.max_new_tokens=2", "--limit", "2")
        done = subprocess.run(
            [sys.executable, "-P", "-c", code, "run", *given, "--outputs", str(tmp_path / "o")],
            cwd=tmp_path, env={**os.environ}, capture_output=True, text=True, check=False,
        )  # fmt: skip
    assert done.returncode == 0, done.stderr
