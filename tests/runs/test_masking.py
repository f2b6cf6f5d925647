"""Secrets go, everything else stays."""

from __future__ import annotations

import pytest

from stepladder.runs.masking import mask, mask_arguments, mask_code


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_SERVICE_TOKEN", "plain-words-no-shape")
    monkeypatch.setenv("DATABASE_PASSWORD", "hunter2")
    monkeypatch.setenv("SHORT_SECRET", "on")


@pytest.mark.parametrize(
    "secret",
    [
        {"api_key": "abc"},
        {"apiKey": "abc"},
        {"hubToken": "abc"},
        {"HF_TOKEN": "abc"},
        {"password": 1234},
        {"credentials": {"user": "abc", "inner": ["abc"]}},
        {"headers": {"Authorization": "abc"}},
        {"tokens": ["abc", "abd"]},
        ["see plain-words-no-shape here"],
        "hunter2",
        "hf_abcdefghijklmnopqrst",
        "sk-proj-ab12_cd34-ef56",
        "ghp_16C7e42F292c6912E7710c838347Ae178B4a",
        "Bearer eyJhbGciOi.J9.abc_1",
        "postgresql://user:pass@word@host:5432/db",
        "https://abc:def@example.org/repo.git",
        "host=db password=swordfish",
        {"hf_abcdefghijklmnopqrst": 1},
    ],
)
def test_a_secret_goes(secret: object) -> None:
    shown = str(mask(secret))
    assert "***" in shown
    for part in ("abc", "1234", "plain-words", "hunter2", "hf_", "ab12", "16C7", "eyJ", "pass@", "swordfish"):
        assert part not in shown


@pytest.mark.parametrize(
    "harmless",
    [
        {"max_new_tokens": 64, "prompt_tokens": 1.5, "token_f1": {"_target_": "stepladder.evaluation.Metric"}},
        {"tokenizer": "smol", "TOKENIZERS_PARALLELISM": "false"},
        {"api_key": None, "password": ""},
        "decoding.max_new_tokens=64",
        "Turn it on: the password: where do I write it? My passcode=4",
        "https://example.org/a@b and postgresql://host/db",
        "a risk-averse hf_tokenizer in sk-learn",
        {"key": [1, 2.5, True, None, "text"], "keys": {"fit": "4f0c"}},
    ],
)
def test_all_else_stays(harmless: object) -> None:
    assert mask(harmless) == harmless


def test_a_command_line_keeps_its_form() -> None:
    line = ["run", "--api-key", "abc", "x.hub_token=abc", "--password=abc", "--json", "model.max_tokens=3"]
    masked = ["run", "--api-key", "***", "x.hub_token=***", "--password=***", "--json", "model.max_tokens=3"]
    assert mask_arguments(line) == masked


def test_a_diff_loses_what_is_written_down_and_keeps_its_code() -> None:
    code = "+    token: str\n+    client(token=token, api_key=read_key())\n+    password = None\n"
    assert mask_code(code) == code
    planted = '+API_KEY = "swordfish"\n+  password: abc123\n+url: https://me:you@host/x\n'
    assert mask_code(planted) == '+API_KEY = "***"\n+  password: ***\n+url: https://***@host/x\n'


def test_the_input_is_not_changed() -> None:
    config = {"a": {"token": "abc"}, "b": ["hunter2"]}
    mask(config)
    assert config == {"a": {"token": "abc"}, "b": ["hunter2"]}
