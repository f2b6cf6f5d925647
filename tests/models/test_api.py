"""Models behind an API: exact label scoring, broken servers, the journal, limits and the budget."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from api_server import END, NAME, VOCABULARY, ApiServer, Request, answer_logprob, greedy, rendered, tokens
from api_server import decoded as text_of

from stepladder.errors import ConfigError, ModelError
from stepladder.models.api.endpoint import Endpoint
from stepladder.models.api.journal import Journal
from stepladder.models.api.served import ServedModel, is_named
from stepladder.models.api.values import Call, Reply
from stepladder.models.conversation import ConversationModel, ModelService
from stepladder.types import Message

LABELS = ("card", "card lost", "cash", "cards")
PROMPTS = [[Message("system", "Name the topic: card, cash."), Message("user", text)] for text in ("my card", "a", "b?")]
PRICES = {"currency": "EUR", "million_prompt_tokens": 10.0, "million_new_tokens": 100.0}


def opened(server: ApiServer, folder: Path, notes: list[str] | None = None, **more: Any) -> ServedModel:
    more = {"timeout": 20.0, "attempts": 3, "concurrency": 3, **more}
    return Endpoint(server.url, NAME, **more).open(folder, (notes if notes is not None else []).append)


def plain(messages: list[Message]) -> list[dict[str, str]]:
    return [{"role": m.role, "content": m.content} for m in messages]


def written(model: ServedModel, most: int = 6) -> list[str]:
    found = dict(model.generate(PROMPTS, most))
    return [found[index].text for index in range(len(PROMPTS))]


def right_texts(most: int = 6) -> list[str]:
    return [text_of(greedy(tokens(rendered(plain(each)), True), most)[0]) for each in PROMPTS]


def right_scores() -> list[list[float]]:
    return [[answer_logprob(plain(each), label) for label in LABELS] for each in PROMPTS]


def test_the_protocols() -> None:
    endpoint = Endpoint("http://127.0.0.1:9", "m")
    assert isinstance(endpoint, ModelService)
    assert isinstance(endpoint.open(None, print), ConversationModel)


@pytest.mark.parametrize(("flavour", "way"), [("vllm", "auto"), ("llama.cpp", "auto"), ("llama.cpp", "walk")])
def test_labels_have_exactly_the_log_probabilities_of_the_server(flavour: str, way: str, tmp_path: Path) -> None:
    with ApiServer(flavour) as server:
        model = opened(server, tmp_path, choose=way)
        scored, best = (dict(ask(PROMPTS, [LABELS] * 3)) for ask in (model.score, model.choose))
    for index, right in enumerate(right_scores()):
        assert scored[index].log_probabilities == pytest.approx(right, abs=1e-9)
        assert best[index].place == max(range(len(LABELS)), key=right.__getitem__)
        assert best[index].log_probability == pytest.approx(max(right), abs=1e-9)
        assert scored[index].lengths == tuple(len(label) + 1 for label in LABELS)
        assert scored[index].prompt_tokens > 0


def test_a_walk_of_the_likeliest_label_asks_less_than_one_of_all(tmp_path: Path) -> None:
    with ApiServer("llama.cpp") as server:
        model = opened(server, tmp_path, choose="walk")
        (best,) = dict(model.choose(PROMPTS[:1], [LABELS])).values()
        (scored,) = dict(model.score(PROMPTS[1:2], [LABELS])).values()
    assert best.new_tokens < scored.new_tokens


def _set(**values: Any) -> Callable[[Request], None]:
    """A fault that sets parts of a response to a chat, by their path."""

    def fault(request: Request) -> None:
        if request.path == "/v1/chat/completions":
            for path, value in values.items():
                at, *names = request.response, *path.split("__")
                for name in names[:-1]:
                    at = at[int(name)] if isinstance(at, list) else at[name]
                at.pop(names[-1], None) if value is ... else at.__setitem__(names[-1], value)

    return fault


def _always(**parts: Any) -> Callable[[Request], None]:
    def fault(request: Request) -> None:
        if request.path == "/v1/chat/completions":
            for name, value in parts.items():
                setattr(request, name, value)

    return fault


def _first(count: int, **parts: Any) -> Callable[[Request], None]:
    """A fault of the first requests."""
    return lambda request: (
        [setattr(request, *part) for part in parts.items()] and None if request.number <= count else None
    )


def _late(fault: Callable[[Request], None]) -> Callable[[Request], None]:
    """The same fault, but only after the test of the server has passed."""
    return lambda request: fault(request) if "Reply with the word OK." not in json.dumps(request.body) else None


REFUSED = {
    "no usage": (_set(usage=...), "does not count its tokens"),
    "usage without counts": (_set(usage={"total_tokens": 3}), "does not count its tokens"),
    "truncated JSON": (_always(raw=b'{"choices": [{"message": {"content": "par'), "no complete JSON"),
    "a page": (_always(raw=b"<html>welcome</html>"), "no complete JSON"),
    "a list": (_always(raw=b"[]"), "no JSON object"),
    "a body that ends early": (_always(headers={"Content-Length": "99999"}), "did not finish its response"),
    "a half-open connection": (_always(hang=1.5), "did not finish its response"),
    "other model": (_set(model="other-model"), "answers as model 'other-model'"),
    "no finish_reason": (_set(choices__0__finish_reason=...), "finish_reason is None"),
    "no content": (_set(choices__0__message__content=...), "no content"),
    "two choices": (lambda r: r.response.setdefault("choices", []).append({}), "exactly one choice"),
    "another choice": (_set(choices__0__index=1), "index 1"),
    "500": (_always(status=500, response={"error": {"message": "out of memory"}}), "500: out of memory"),
    "401": (_always(status=401), "401"),
    "404": (_always(status=404), "404"),
    "a redirect": (_always(status=307, headers={"Location": "http://127.0.0.1:9/"}), "307"),
    "no quota": (_always(status=429, response={"error": {"code": "insufficient_quota", "message": "no"}}), "429"),
    "waits too long": (_always(status=429, headers={"Retry-After": "86400"}), "asks to wait 86,400 s"),
}


LATER = ("no usage", "truncated JSON", "other model", "500")


@pytest.mark.parametrize(
    ("name", "when"), [*((name, "at once") for name in REFUSED), *((name, "later") for name in LATER)]
)
def test_a_broken_server_is_an_error_and_never_an_answer(name: str, when: str, tmp_path: Path) -> None:
    fault, message = REFUSED[name]
    with ApiServer(fault=fault if when == "at once" else _late(fault)) as server:
        with pytest.raises(ModelError) as error:
            written(opened(server, tmp_path, timeout=0.7, attempts=2))
        assert message in error.value.what
        assert error.value.to_do
        if when == "at once":
            assert not server.asked.keys() - {json.dumps([{"role": "user", "content": "Reply with the word OK."}])}


PASSING = {
    "429 with Retry-After": _first(3, status=429, headers={"Retry-After": "0.3"}),
    "500 once": _first(1, status=500),
    "503 twice": _first(2, status=503),
    "truncated once": _first(1, raw=b'{"choices": ['),
    "half-open once": _first(1, hang=1.5),
    "slow": lambda request: setattr(request, "delay", 0.4),
    "out of order": lambda request: setattr(request, "delay", 0.6 / request.number),
    "null logprobs": _set(choices__0__logprobs=None),
}


@pytest.mark.parametrize("name", PASSING)
def test_a_server_that_recovers_gives_the_right_answers_in_order(name: str, tmp_path: Path) -> None:
    with ApiServer(fault=PASSING[name]) as server:
        began = time.monotonic()
        assert written(opened(server, tmp_path, timeout=1.0, attempts=5)) == right_texts()
        assert name != "429 with Retry-After" or time.monotonic() - began >= 0.3


def _changed_logprobs(change: Callable[[list[float], Request], list[float]]) -> Callable[[Request], None]:
    def fault(request: Request) -> None:
        if request.path == "/v1/completions":
            own = request.response["choices"][0]["logprobs"]
            own["token_logprobs"] = [None, *change(own["token_logprobs"][1:], request)]
        if request.path == "/completion":
            listed = request.response["completion_probabilities"][0]["top_logprobs"]
            changed = change([each["logprob"] for each in listed], request)
            listed[:] = [{**e, "logprob": v} for e, v in zip(listed, changed, strict=True)]

    return fault


def _ignored_echo(request: Request) -> None:
    """As the llama.cpp server answers `/v1/completions`: status 200, and the generated token alone."""
    if request.path == "/v1/completions":
        choice = request.response["choices"][0]
        choice["logprobs"] = {"content": [{"id": 1, "token": "x", "logprob": -0.1, "top_logprobs": []}]}


def _short(request: Request) -> None:
    """Log-probabilities of the last tokens alone."""
    if request.path == "/v1/completions":
        own = request.response["choices"][0]["logprobs"]
        own["token_logprobs"] = own["token_logprobs"][5:]


def _dropped(request: Request) -> None:
    """Evaluates the last 20 tokens of the prompt."""
    if request.path == "/completion":
        request.response["tokens_evaluated"] = min(20, len(request.body["prompt"]))


def _forgetful(server: ApiServer) -> Callable[[Request], None]:
    """Evaluates the last 20 tokens, and counts all of them."""

    def fault(request: Request) -> None:
        if request.path == "/completion" and len(request.body["prompt"]) > 20:
            short = server._respond("/completion", {**request.body, "prompt": request.body["prompt"][-20:]})
            request.response = {**short, "tokens_evaluated": len(request.body["prompt"])}

    return fault


def _without_end(request: Request) -> None:
    if request.path == "/completion":
        first = request.response["completion_probabilities"][0]
        first["top_logprobs"] = [each for each in first["top_logprobs"] if each["id"] != END]


def _other_template(request: Request) -> None:
    if request.path == "/apply-template":
        request.response["prompt"] += "Answer:"


def _few(request: Request) -> None:
    if request.path == "/completion":
        first = request.response["completion_probabilities"][0]
        first["top_logprobs"] = first["top_logprobs"][:20]


INEXACT = {
    "ignored echo": ("vllm", _ignored_echo),
    "logprobs of another length": ("vllm", _short),
    "constant logprobs": ("vllm", _changed_logprobs(lambda own, _: [-1.0] * len(own))),
    "logprobs of the token before": ("vllm", _changed_logprobs(lambda own, _: [-0.5, *own[:-1]])),
    "logprobs without context": ("vllm", _changed_logprobs(lambda own, r: [-(i % 7) - 0.1 for i in r.body["prompt"]])),
    "positive logprobs": ("vllm", _changed_logprobs(lambda own, _: [-each for each in own])),
    "null logprobs": ("vllm", _changed_logprobs(lambda own, _: [None] * len(own))),
    "constant next logprobs": ("llama.cpp", _changed_logprobs(lambda own, _: [-5.56] * len(own))),
    "reversed next logprobs": ("llama.cpp", _changed_logprobs(lambda own, _: own[::-1])),
    "sharpened next logprobs": ("llama.cpp", _changed_logprobs(lambda own, _: [2 * each for each in own])),
    "dropped tokens": ("llama.cpp", _dropped),
    "few logprobs": ("llama.cpp", _few),
    "end token lost": ("llama.cpp", _without_end),
    "another template": ("llama.cpp", _other_template),
    "no log-probabilities at all": ("chat", lambda request: None),
}


@pytest.mark.parametrize("name", INEXACT)
def test_labels_are_never_scored_by_doubtful_log_probabilities(name: str, tmp_path: Path) -> None:
    flavour, fault = INEXACT[name]
    with ApiServer(flavour, fault) as server:
        model = opened(server, tmp_path, attempts=2)
        with pytest.raises(ModelError, match="does not give log-probabilities") as error:
            list(model.score(PROMPTS, [LABELS] * 3))
        assert "model.choose=constrained" in error.value.to_do
        assert "model.choose=text" in error.value.to_do
        assert written(model) == right_texts()  # the same server may write


def test_a_server_that_forgets_the_beginning_of_a_prompt_is_found_out(tmp_path: Path) -> None:
    with ApiServer("llama.cpp") as server:
        server.fault = _forgetful(server)
        with pytest.raises(ModelError, match="does not give log-probabilities"):
            list(opened(server, tmp_path).score(PROMPTS, [LABELS] * 3))


def test_labels_can_be_written_under_a_schema_or_freely(tmp_path: Path) -> None:
    with ApiServer("chat") as server:
        constrained = opened(server, tmp_path / "a", choose="constrained")
        assert constrained.labels == "written"
        found = dict(constrained.write_label(PROMPTS, [LABELS] * 3, 20))
        for index, right in enumerate(right_scores()):
            assert found[index].text == LABELS[max(range(len(LABELS)), key=right.__getitem__)]
        free = dict(opened(server, tmp_path / "b", choose="text").write_label(PROMPTS, [LABELS] * 3, 6))
        assert [free[index].text for index in range(3)] == right_texts()


def test_a_server_that_ignores_a_schema_cannot_be_constrained(tmp_path: Path) -> None:
    def fault(request: Request) -> None:
        if "response_format" in request.body:
            request.response["choices"][0]["message"]["content"] = "Paris"

    notes: list[str] = []
    schema = {"type": "object", "properties": {"a": {"type": "string"}}}
    with ApiServer("chat", fault) as server:
        with pytest.raises(ModelError, match="does not hold its answers to a JSON schema"):
            list(opened(server, tmp_path, choose="constrained").write_label(PROMPTS, [LABELS] * 3, 20))
        model = opened(server, tmp_path)
        assert {done.text for _, done in model.generate(PROMPTS, 20, schema=schema)} == {"Paris"}
        assert "they may be invalid" in model.facts().notes[0]
    assert notes == []


def test_a_lost_stop_token_is_counted(tmp_path: Path) -> None:
    fault = _late(
        _set(choices__0__message__content="Paris<|im_end|>\n<|im_start|>", choices__0__finish_reason="length")
    )
    with ApiServer(fault=fault) as server:
        model = opened(server, tmp_path)
        assert not any(done.finished for _, done in model.generate(PROMPTS, 6))
        assert model.facts().figures == {"answers_with_end_token": 3}


def test_answers_are_stored_and_never_asked_again(tmp_path: Path) -> None:
    with ApiServer() as server:
        first = written(opened(server, tmp_path))
        assert written(opened(server, tmp_path)) == first
        questions = {json.dumps(plain(each)) for each in PROMPTS}
        assert {question: server.asked[question] for question in questions} == dict.fromkeys(questions, 1)
        assert len(dict(opened(server, tmp_path).generate([*PROMPTS, *PROMPTS], 7))) == 6  # equal questions are one
        assert {server.asked[question] for question in questions} == {2}


def test_questions_asked_twice_show_how_often_answers_change(tmp_path: Path) -> None:
    def fault(request: Request) -> None:
        if request.number % 2 and "my card" in json.dumps(request.body):
            request.response["choices"][0]["message"]["content"] += str(request.number)

    with ApiServer(fault=fault) as server:
        model = opened(server, tmp_path, retest=3, concurrency=1)
        list(model.generate(PROMPTS, 6))
        figures = model.facts().figures
        assert figures["retest_questions"] == 3
        assert figures["retest_changed"] in (0, pytest.approx(1 / 3))
        assert sum(server.asked[json.dumps(plain(each))] for each in PROMPTS) == 6
        steady = opened(server, tmp_path / "b", retest=2)
        list(steady.generate(PROMPTS[1:], 6))
        assert steady.facts().figures["retest_changed"] == 0


def test_a_changed_fingerprint_is_noted(tmp_path: Path) -> None:
    def fault(request: Request) -> None:
        request.response["system_fingerprint"] = f"fp_{request.number // 3}"

    with ApiServer(fault=fault) as server:
        model = opened(server, tmp_path)
        written(model)
        facts = model.facts()
    assert "fingerprint changed" in " ".join(facts.notes)
    assert facts.server["fingerprints"] == ["fp_0", "fp_1"]
    assert facts.server["weights"] == "not pinned"


def test_sampling_depends_on_seed_and_place(tmp_path: Path) -> None:
    seen: list[dict[str, Any]] = []
    with ApiServer(fault=lambda request: seen.append(request.body)) as server:
        list(opened(server, tmp_path, extra={"top_k": 0, "max_tokens": None}, concurrency=1).generate([], 3))
        model = opened(server, tmp_path)
        list(model.generate(PROMPTS, 6, temperature=0.7, seed=3))
    assert len({body["seed"] for body in seen if "seed" in body}) == 3
    assert {body["temperature"] for body in seen if "seed" in body} == {0.7}


def test_extra_fields_are_added_and_removed(tmp_path: Path) -> None:
    seen: list[dict[str, Any]] = []

    def fault(request: Request) -> None:
        seen.append(dict(request.body))

    with ApiServer(fault=fault) as server:
        list(opened(server, tmp_path, extra={"top_k": 5, "temperature": None}).generate(PROMPTS, 6))
    assert all(body["top_k"] == 5 and "temperature" not in body for body in seen)


def test_the_key_comes_from_the_environment_and_is_shown_nowhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOME_NAME", "kdjf-93-secret-value")
    denied = _always(status=401, response={"error": {"message": "no such key: kdjf-93-secret-value"}})
    with ApiServer() as server:
        written(opened(server, tmp_path, api_key_env="SOME_NAME"))
        assert {h.get("authorization") for h in server.headers} == {"Bearer kdjf-93-secret-value"}
    assert "kdjf" not in "".join(file.read_text() for file in tmp_path.iterdir())
    with ApiServer(fault=denied) as server, pytest.raises(ModelError) as error:
        written(opened(server, tmp_path, api_key_env="SOME_NAME"))
    assert "kdjf" not in str(error.value)
    with ApiServer() as server:
        written(opened(server, tmp_path))
        assert {h.get("authorization") for h in server.headers} == {None}
        monkeypatch.delenv("SOME_NAME")
        with pytest.raises(ConfigError, match="SOME_NAME is not set"):
            opened(server, tmp_path, api_key_env="SOME_NAME")


def test_an_unreachable_server_is_an_error_at_once(tmp_path: Path) -> None:
    with ApiServer() as server:
        url = server.url
    began = time.monotonic()
    with pytest.raises(ModelError, match="cannot be reached") as error:
        list(Endpoint(url, NAME).open(tmp_path, print).generate(PROMPTS, 3))
    assert error.value.where == url
    assert time.monotonic() - began < 10


@pytest.mark.parametrize(
    ("given", "key"),
    [
        ({"million_prompt_tokens": 1.0}, "currency"),
        ({"budget": 1.0, "currency": "EUR"}, "budget"),
        ({"budget": -1.0, **PRICES}, "budget"),
        ({**PRICES, "million_new_tokens": -1.0}, "million_new_tokens"),
        ({"api_key_env": "not a name"}, "api_key_env"),
        ({"concurrency": 0}, "concurrency"),
        ({"timeout": 0.0}, "timeout"),
        ({"extra": {"messages": []}}, "extra.messages"),
        ({"base_url": "ftp://host"}, "base_url"),
        ({"base_url": "localhost:8000"}, "base_url"),
        ({"base_url": "http://host/v1?key=x"}, "base_url"),
        ({"name": ""}, "name"),
    ],
)
def test_what_an_endpoint_refuses(given: dict[str, Any], key: str) -> None:
    with pytest.raises(ConfigError) as error:
        Endpoint(**{"base_url": "http://localhost:8000/v1", "name": "m", **given})
    assert error.value.faults[0].key == key


def test_names_that_servers_give_a_model() -> None:
    assert is_named("gpt-4o-2024-08-06", "gpt-4o")
    assert is_named("/models/a.gguf", "a")
    assert is_named("models/gemini", "gemini")
    assert not is_named("gpt-4o-mini", "gpt-3")
    assert not is_named("other", "a")


def spent(server: ApiServer) -> float:
    return (server.prompt_tokens * 10 + server.new_tokens * 100) / 1e6


def test_a_budget_is_never_exceeded_and_the_run_resumes(tmp_path: Path) -> None:
    prompts = [[Message("user", f"question {number}")] for number in range(30)]
    with ApiServer(seconds=0.02) as server:
        for budget in (0.006, 0.0066, 0.0072):
            with pytest.raises(ModelError, match="budget") as error:
                list(opened(server, tmp_path, budget=budget, **PRICES).generate(prompts, 6))
            assert 0 < spent(server) <= budget
            assert "set a larger model.budget" in error.value.to_do
        assert len(dict(opened(server, tmp_path, budget=10.0, **PRICES).generate(prompts, 6))) == 30
        questions = [server.asked[json.dumps(plain(each))] for each in prompts]
        assert set(questions) == {1}


def test_requests_per_minute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from stepladder.models.api import limits

    monkeypatch.setattr(limits, "MINUTE", 0.5)
    settings = opened_settings(tmp_path, requests_per_minute=3)
    rate, call = limits.RateLimit(settings, threading.Event()), Call("/x", {}, "chat", prompt_tokens=5, new_tokens=5)
    began = time.monotonic()
    for _ in range(7):
        rate.wait(call)
    assert 0.9 < time.monotonic() - began < 3
    few = limits.RateLimit(opened_settings(tmp_path, tokens_per_minute=25), threading.Event())
    began = time.monotonic()
    for _ in range(4):
        few.wait(call)
    assert 0.4 < time.monotonic() - began < 3
    stopping = threading.Event()
    stopping.set()
    full = limits.RateLimit(settings, stopping, [limits.Attempt(1, 1, time.time())] * 3)
    with pytest.raises(limits.StoppedError):
        full.wait(call)


def opened_settings(folder: Path, **more: Any) -> Any:
    return Endpoint("http://127.0.0.1:9", "m", **more).open(folder, print)._settings


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Path]:
    path = tmp_path / "api.jsonl"
    own = Journal(path)
    call = Call("/a", {"x": 1}, "chat", prompt_tokens=50, new_tokens=10)
    own.answer(own.intend(call), call, Reply("yes", prompt_tokens=5, new_tokens=1))
    own.release(own.intend(call))
    own.intend(call)
    return path


def test_the_journal_counts_what_was_lost_in_full(journal: Path) -> None:
    call = Call("/a", {"x": 1}, "chat")
    assert Journal(journal).tokens() == (55, 11)
    assert Journal(journal).reply(call) == Reply("yes", prompt_tokens=5, new_tokens=1)
    assert Journal(journal).reply(Call("/a", {"x": 1}, "chat", repeat=1)) is None


def test_a_record_that_a_crash_cut_off_is_dropped_and_a_damaged_one_is_an_error(journal: Path) -> None:
    whole = journal.read_bytes()
    for cut in range(1, 20):
        journal.write_bytes(whole[:-cut])
        assert Journal(journal).reply(Call("/a", {"x": 1}, "chat")) is not None
        assert whole.startswith(journal.read_bytes())
    journal.write_bytes(whole.replace(b'"key"', b'"kex"'))
    with pytest.raises(Exception, match="Line 2 of the stored answers is damaged"):
        Journal(journal)


def test_the_copying_model_is_a_distribution() -> None:
    from api_server import next_logprobs

    values = next_logprobs(tuple(tokens("seven dogs, seven dogs, seven")))
    assert len(values) == VOCABULARY
    assert max(range(VOCABULARY), key=values.__getitem__) == ord(" ")
