"""Messages to tokens by the template's own rules, with the token that ends an answer."""

from __future__ import annotations

import pytest

from stepladder.models.chat import Chat
from stepladder.models.toy import toy_tokenizer
from stepladder.types import Message

TURNS = [Message("system", "be brief"), Message("user", "who?"), Message("assistant", "me"), Message("user", "why?")]


def chat(template: str | None) -> Chat:
    tokenizer = toy_tokenizer()
    tokenizer.chat_template = template
    return Chat(tokenizer)


def written(found: Chat, turns: list[Message]) -> str:
    return found.tokenizer.decode(found.encode(turns), skip_special_tokens=False)


def test_the_template_is_followed_up_to_where_the_answer_begins():
    found = Chat(toy_tokenizer())
    assert written(found, TURNS) == (
        "<|system|>be brief<|end|><|user|>who?<|end|><|assistant|>me<|end|><|user|>why?<|end|><|assistant|>"
    )


def test_an_answer_ends_with_the_templates_end_token():
    found = Chat(toy_tokenizer())
    assert found.encode_answer("yes")[-1] == found.tokenizer.convert_tokens_to_ids("<|end|>")
    assert found.decode(found.encode_answer("yes, naïve 日本")) == "yes, naïve 日本"


def test_an_answer_that_spells_the_end_token_does_not_end_there():
    found = Chat(toy_tokenizer())
    answer = found.encode_answer("a<|end|>b")
    assert answer.count(found.end) == 1
    assert found.decode(answer) == "a<|end|>b"


def test_the_end_is_what_the_template_writes_not_the_end_of_sequence():
    found = chat("{% for m in messages %}{{ m.content }} <|user|>\n{% endfor %}")
    assert found.end == found.tokenizer.convert_tokens_to_ids("<|user|>")
    assert chat("{% for m in messages %}{{ m.content }}\n{% endfor %}").end == found.tokenizer.eos_token_id


def test_without_a_template_the_conversation_is_written_plainly():
    assert written(chat(None), TURNS) == "be brief\n\nwho?\n\nAnswer:\nme\n\nwhy?\n\nAnswer:\n"
    assert chat(None).end == toy_tokenizer().eos_token_id


@pytest.mark.parametrize(
    "template",
    [
        "{% if messages[0].role == 'system' %}{{ raise_exception('no system role') }}{% endif %}"
        "{% for m in messages %}[{{ m.role }}]{{ m.content }}{% endfor %}",
        "{% for m in messages if m.role != 'system' %}[{{ m.role }}]{{ m.content }}{% endfor %}",
    ],
    ids=["refuses", "swallows"],
)
def test_a_system_text_is_never_lost(template):
    assert written(chat(template), TURNS[:2]) == "[user]be brief\n\nwho?"
    late = [TURNS[0], Message("assistant", "hello"), TURNS[1]]
    assert written(chat(template), late) == "[assistant]hello[user]be brief\n\nwho?"


def test_several_system_texts_become_one():
    found = written(Chat(toy_tokenizer()), [Message("system", "a"), Message("system", "b"), Message("user", "c")])
    assert found == "<|system|>a\n\nb<|end|><|user|>c<|end|><|assistant|>"


def test_a_template_that_prints_the_day_prints_the_same_day_always():
    found = written(chat('{{ strftime_now("%Y-%m-%d") }} {{ date_string }} {{ messages[0].content }}'), TURNS[1:2])
    assert found == "2024-07-26 26 Jul 2024 who?"
