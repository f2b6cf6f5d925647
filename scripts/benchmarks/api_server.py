"""A small server with the APIs of vLLM and of the llama.cpp server, and with faults on request, on 127.0.0.1.

Its model is a copying model over bytes: it continues a text as an earlier occurrence of its last bytes went on. So it
passes a test on known answers, and its log-probabilities can be computed here as well.
"""

from __future__ import annotations

import hashlib
import json
import math
import random
import re
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

SPECIAL = {"<|end|>": 256, "<|user|>": 257, "<|system|>": 258, "<|assistant|>": 259}
END, VOCABULARY, NAME = 256, 260, "copycat"
LONGEST = 12


def tokens(text: str, special: bool = False) -> list[int]:
    """One token a byte; special tokens where they are parsed."""
    parts = re.split(r"(<\|\w+\|>)", text) if special else [text]
    return [id_ for part in parts for id_ in ([SPECIAL[part]] if special and part in SPECIAL else part.encode())]


def decoded(ids: Sequence[int]) -> str:
    names = {id_: name for name, id_ in SPECIAL.items()}
    return "".join(names.get(id_) or bytes([id_]).decode("latin-1") for id_ in ids)


def rendered(messages: Sequence[dict[str, str]], ask: bool = True) -> str:
    text = "".join(f"<|{m['role']}|>{m['content']}<|end|>" for m in messages)
    return text + ("<|assistant|>" if ask else "")


@cache
def next_logprobs(ids: tuple[int, ...]) -> tuple[float, ...]:
    """Log-probabilities of all tokens: mostly what followed the longest earlier occurrence of the last tokens."""
    seed = hashlib.sha256(repr(ids[-4:]).encode()).digest()
    weights = [0.2 + seed[i % 32] / 255 for i in range(VOCABULARY)]
    weights[32] += 2 + seed[0] / 8  # a space, a letter or the end where nothing is copied
    weights[97 + seed[1] % 26] += 30 + seed[2] / 8
    weights[END] += 10 + seed[3] / 4 if len(ids) > 1 and ids[-1] != SPECIAL["<|assistant|>"] else 0
    for length in range(min(LONGEST, len(ids) - 1), 2, -1):
        last = ids[-length:]
        for start in range(len(ids) - length - 1, -1, -1):
            if ids[start : start + length] == last:
                weights[ids[start + length]] += 1500
                break
        else:
            continue
        break
    total = math.log(sum(weights))
    return tuple(math.log(weight) - total for weight in weights)


def greedy(ids: Sequence[int], most: int) -> tuple[list[int], bool]:
    """The likeliest tokens and whether they end."""
    found: list[int] = []
    while len(found) < most:
        values = next_logprobs((*ids, *found))
        token = max(range(VOCABULARY), key=values.__getitem__)
        if token == END:
            return found, True
        found.append(token)
    return found, False


def answer_logprob(messages: Sequence[dict[str, str]], answer: str) -> float:
    """The log-probability of an answer with its end token."""
    ids, total = tokens(rendered(messages), True), 0.0
    for token in (*tokens(answer), END):
        total += next_logprobs(tuple(ids))[token]
        ids.append(token)
    return total


Fault = Callable[["Request"], None]


@dataclass
class Request:
    """A request with the response that is about to be sent, which a fault may change."""

    path: str
    body: dict[str, Any]
    number: int
    response: Any
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    raw: bytes | None = None
    delay: float = 0.0
    hang: float = 0.0


class ApiServer:
    """A running server.

    Args:
        flavour: `vllm` or `llama.cpp`, or `chat` with the chat endpoint alone.
        fault: Changes responses.
        seconds: The longest random delay of a chat response.
    """

    def __init__(self, flavour: str = "vllm", fault: Fault | None = None, seconds: float = 0.0) -> None:
        self.flavour, self.fault, self.seconds = flavour, fault, seconds
        self.asked: Counter[str] = Counter()
        self.prompt_tokens = self.new_tokens = 0
        self.headers: list[dict[str, str]] = []
        self._guard = threading.Lock()
        self._number = 0
        self._random = random.Random(0)
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._http.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._http.server_port}/v1"
        threading.Thread(target=self._http.serve_forever, daemon=True).start()

    def __enter__(self) -> ApiServer:
        return self

    def __exit__(self, *_: object) -> None:
        self._http.shutdown()
        self._http.server_close()

    def request(self, path: str, body: dict[str, Any], headers: dict[str, str]) -> Request:
        with self._guard:
            self._number += 1
            number, delay = self._number, self._random.uniform(0, self.seconds)
            self.headers.append(headers)
        response = self._respond(path, body)
        status = 404 if response is None else 200
        request = Request(path, body, number, response or {"error": {"message": f"no {path}"}}, status, delay=delay)
        if self.fault:
            self.fault(request)
        return request

    def sent(self, request: Request) -> None:
        """Count what was answered well."""
        if request.status == 200 and request.path == "/v1/chat/completions":
            with self._guard:
                self.asked[json.dumps(request.body["messages"])] += 1
                usage = request.response.get("usage") or {}
                self.prompt_tokens += usage.get("prompt_tokens", 0)
                self.new_tokens += usage.get("completion_tokens", 0)

    def _respond(self, path: str, body: dict[str, Any]) -> Any:
        if path == "/v1/models":
            meta = {"n_vocab": VOCABULARY} if self.flavour == "llama.cpp" else None
            return {"object": "list", "data": [{"id": NAME, "meta": meta}]}
        if path == "/v1/chat/completions":
            return _chat(body)
        if self.flavour == "vllm" and path == "/tokenize":
            return _tokenized_as_vllm(body)
        if self.flavour == "vllm" and path == "/v1/completions":
            return _echoed(body)
        if self.flavour == "llama.cpp" and path == "/tokenize":
            return {"tokens": tokens(body.get("content", ""), body.get("parse_special", False))}
        if self.flavour == "llama.cpp" and path == "/apply-template":
            return {"prompt": rendered(body["messages"])}
        if self.flavour == "llama.cpp" and path == "/completion":
            return _completion(body)
        return None

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                self._answer({})

            def do_POST(self) -> None:
                self._answer(json.loads(self.rfile.read(int(self.headers["content-length"]))))

            def _answer(self, body: dict[str, Any]) -> None:
                request = server.request(self.path, body, {k.lower(): v for k, v in self.headers.items()})
                time.sleep(request.delay)
                if request.hang:
                    time.sleep(request.hang)
                    self.close_connection = True
                    self.connection.shutdown(socket.SHUT_RDWR)
                    return
                content = request.raw if request.raw is not None else json.dumps(request.response).encode()
                self.send_response(request.status)
                for name, value in {"Content-Type": "application/json", **request.headers}.items():
                    self.send_header(name, value)
                if "Content-Length" not in request.headers:
                    self.send_header("Content-Length", str(len(content)))
                else:
                    self.close_connection = True
                self.end_headers()
                try:
                    self.wfile.write(content)
                    self.wfile.flush()
                except OSError:
                    return  # the client is gone
                server.sent(request)

            def log_message(self, *_: object) -> None:
                return

        return Handler


def _chat(body: dict[str, Any]) -> dict[str, Any]:
    ids = tokens(rendered(body["messages"]), True)
    schema = body.get("response_format", {}).get("json_schema", {}).get("schema")
    if schema is None:
        found, ended = greedy(ids, body["max_tokens"])
        text, count = decoded(found), len(found) + ended
    else:
        text, ended = json.dumps(_instance(schema, body["messages"])), True
        count = len(text)
    usage = {"prompt_tokens": len(ids), "completion_tokens": count, "total_tokens": len(ids) + count}
    message = {"role": "assistant", "content": text}
    choice = {"index": 0, "message": message, "finish_reason": "stop" if ended else "length"}
    return {"model": NAME, "system_fingerprint": "fp_1", "choices": [choice], "usage": usage}


def _instance(schema: dict[str, Any], messages: Sequence[dict[str, str]]) -> Any:
    """A value under a schema; of an enumeration the likeliest one."""
    if "enum" in schema:
        return max(schema["enum"], key=lambda value: answer_logprob(messages, str(value)))
    if schema.get("type") == "object":
        return {name: _instance(each, messages) for name, each in schema["properties"].items()}
    return {"string": "x", "boolean": True, "array": [], "null": None}.get(schema.get("type", "string"), 1)


def _tokenized_as_vllm(body: dict[str, Any]) -> dict[str, Any]:
    if "messages" in body:
        ids = tokens(rendered(body["messages"], body.get("add_generation_prompt", True)), True)
    else:
        ids = tokens(body.get("prompt", ""))
    return {"count": len(ids), "max_model_len": 4096, "tokens": ids}


def _echoed(body: dict[str, Any]) -> dict[str, Any]:
    ids = body["prompt"]
    values: list[float | None] = [None]
    values += [next_logprobs(tuple(ids[:place]))[ids[place]] for place in range(1, len(ids))]
    after = next_logprobs(tuple(ids))
    token = max(range(VOCABULARY), key=after.__getitem__)
    logprobs = {"tokens": [decoded([i]) for i in (*ids, token)], "token_logprobs": [*values, after[token]]}
    choice = {"index": 0, "text": decoded([*ids, token]), "logprobs": logprobs, "finish_reason": "length"}
    usage = {"prompt_tokens": len(ids), "completion_tokens": 1, "total_tokens": len(ids) + 1}
    return {"model": NAME, "choices": [choice], "usage": usage}


def _completion(body: dict[str, Any]) -> dict[str, Any]:
    ids = body["prompt"]
    values = next_logprobs(tuple(ids))
    order = sorted(range(VOCABULARY), key=lambda token: -values[token])[: body["n_probs"]]
    listed = [{"id": i, "token": decoded([i]), "bytes": [], "logprob": values[i]} for i in order]
    first = {**listed[0], "top_logprobs": listed}
    return {
        "model": NAME, "content": first["token"], "tokens_evaluated": len(ids), "tokens_predicted": 1,
        "truncated": False, "stop_type": "limit", "completion_probabilities": [first],
    }  # fmt: skip
