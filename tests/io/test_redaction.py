"""Secrets are masked, everything else is unchanged."""

from __future__ import annotations

import base64

import pytest

from stepladder.io import redaction
from stepladder.io.redaction import mask, mask_arguments, mask_code, remember_secrets, secrets_in


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_SERVICE_TOKEN", "plain-words-no-shape")
    monkeypatch.setenv("DATABASE_PASSWORD", "hunter2")
    monkeypatch.setenv("SHORT_SECRET", "on")
    monkeypatch.setenv("PGPASSWORD", "postgres")
    monkeypatch.setenv("SIGNING_KEY", "sïgn <& 'it'/7")
    monkeypatch.setenv("STORE_URL", "s3://me:key-of-the-store@host/x")
    monkeypatch.setattr(redaction, "_remembered", set())


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
        "say hf_abcdefghij0123456789/and/more",
        "postgresql://user:abc/1234@host/db",
        "postgresql://:abc@host/db",
        "https://host/db?user=u&password=abc",
        "Authorization: Basic YWJjOjEyMzQ1Njc4",
        "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.abc_1",
        "-----BEGIN RSA PRIVATE KEY-----\nabc\n1234\n-----END RSA PRIVATE KEY-----",
        "ASIAABCD1234ABCD1234",
        "the password of it is postgres here",
    ],
)
def test_a_secret_is_masked(secret: object) -> None:
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
def test_everything_else_is_unchanged(harmless: object) -> None:
    assert mask(harmless) == harmless


def test_a_command_line_keeps_its_structure() -> None:
    line = ["run", "--api-key", "abc", "x.hub_token=abc", "--password=abc", "--json", "model.max_tokens=3"]
    masked = ["run", "--api-key", "***", "x.hub_token=***", "--password=***", "--json", "model.max_tokens=3"]
    assert mask_arguments(line) == masked


def test_a_diff_loses_literals_and_keeps_code() -> None:
    code = "+    token: str\n+    client(token=token, api_key=read_key())\n+    password = None\n"
    assert mask_code(code) == code
    planted = '+API_KEY = "swordfish"\n+  password: abc123\n+url: https://me:you@host/x\n'
    assert mask_code(planted) == '+API_KEY = "***"\n+  password: ***\n+url: https://***@host/x\n'


def test_the_input_is_not_changed() -> None:
    config = {"a": {"token": "abc"}, "b": ["hunter2"]}
    mask(config)
    assert config == {"a": {"token": "abc"}, "b": ["hunter2"]}


@pytest.mark.parametrize(
    "form",
    [
        "key-of-the-store",
        "sïgn <& 'it'/7",
        "s%C3%AFgn%20%3C%26%20%27it%27%2F7",
        "s%C3%AFgn+%3C%26+%27it%27%2F7",
        "s\\u00efgn <& 'it'/7",
        "s\\u00efgn \\u003c\\u0026 \\u0027it\\u0027/7",
        "sïgn &lt;&amp; &#x27;it&#x27;/7",
    ],
)
def test_a_known_secret_is_masked_in_every_encoding(form: str) -> None:
    assert mask(f"before {form} after") == "before *** after"


@pytest.mark.parametrize("before", ["", "a:", "me:"])
def test_a_known_secret_is_masked_in_base64(before: str) -> None:
    encoded = base64.b64encode(f"{before}key-of-the-store".encode()).decode()
    shown = mask(f"header={encoded}")
    kept = sum(1 for place in range(0, len(encoded), 8) if encoded[place : place + 8] in shown)
    assert kept == 0


def test_a_word_is_masked_only_as_a_whole_word() -> None:
    assert mask("postgresql://host/postgres_data") == "postgresql://host/postgres_data"


def test_a_secret_of_the_command_line_is_remembered() -> None:
    assert "geheim-77" in mask("it failed on geheim-77")
    remember_secrets(
        ["sweep", "sweep.storage=postgresql://me:geheim-77@host/x", "--api-key", "schluessel8", "a.password=wort-9x"]
    )
    for secret in ("geheim-77", "schluessel8", "wort-9x"):
        assert mask(f"it failed on {secret}") == "it failed on ***"
    remember_secrets(["training.learning_rate=0.001", "decoding.max_new_tokens=auto", "dataset.text_token=padding"])
    assert mask("0.001 auto padding") == "0.001 auto padding"


@pytest.mark.parametrize(
    ("config", "keys"),
    [
        ({"method": {"password": "two words"}}, ["method.password"]),
        ({"method": {"api_key": 1234}}, ["method.api_key"]),
        (
            {"method": {"credentials": {"user": "u", "pins": ["1", 2]}}},
            ["method.credentials.user", "method.credentials.pins"],
        ),
        ({"method": {"hub_token": "abc-123-def"}}, ["method.hub_token"]),
        ({"dataset": {"train": ["a.csv", "https://me:you@host/b.csv"]}}, ["dataset.train"]),
        ({"dataset": {"labels": {"buy": "say plain-words-no-shape"}}}, ["dataset.labels.buy"]),
        ({"a": {"hf_abcdefghij0123456789": 1}}, ["a.***"]),
        ({"dataset": {"labels": {"password_reset": "lost", "token": "abc12345"}}}, []),
        ({"dataset": {"task": {"schema": {"properties": {"password": {"type": "string"}}}}}}, []),
        ({"decoding": {"max_new_tokens": "auto"}, "x": {"password": None, "secret": "", "api_key": "none"}}, []),
        ({"metrics": {"token_f1": {"_target_": "a.B"}, "secret_recall": {"_target_": "a.B", "of": "text"}}}, []),
        ({"adapter": {"trainable_token_indices": {"embed": [1, 2]}, "num_virtual_tokens": 16}}, []),
        ({"dataset": {"train": "data/hf_rows_2024.csv", "input": "password", "tags": ["token"]}}, []),
        ({"model": {"path": "models/sk-learn-v12345", "repo": "hf-internal-testing/tiny"}}, []),
        ({"dataset": {"corpus": "https://host:8080/a@b"}, "note": "postgres and hunting"}, []),
    ],
)
def test_a_secret_in_a_configuration_is_found(config: dict[str, object], keys: list[str]) -> None:
    assert [key for key, _ in secrets_in(config)] == keys


def test_a_secret_of_the_environment_names_its_variable() -> None:
    assert list(secrets_in({"a": {"b": "x hunter2 y"}})) == [("a.b", "DATABASE_PASSWORD has it as a secret")]


def test_keys_that_are_data_are_not_secrets() -> None:
    labels = {
        "labels": {"password_reset": "lost it", "api_key": "where is it"},
        "schema": {"password": {"type": "string"}},
    }
    assert mask(labels) == labels
