"""Thoughts of reasoning models: found in chat templates, removed from written answers."""

import pytest

from stepladder.models.chat import Chat
from stepladder.models.language_model import Thoughts
from stepladder.models.thoughts import MARKS, marks_in
from stepladder.models.toy import toy_tokenizer

THINK = (("<think>", "</think>"),)


@pytest.mark.parametrize(
    ("text", "answer", "removed", "is_open"),
    [
        ("yes", "yes", False, False),
        ("<think>hm</think>yes", "yes", True, False),
        ("<think>\n\n</think>\n\nyes", "yes", True, False),
        (" <think>a</think> one <think>b</think>two ", "one two", True, False),
        ("<think>hm, hm", "", True, True),
        ("half <think>hm", "half", True, True),
        ("<think>a</think>yes<think>b", "yes", True, True),
        ("hm</think>yes", "yes", True, False),  # the prompt had begun the thought
        ("思考</think>はい", "はい", True, False),
        ("<think>да</think>\nда", "да", True, False),
        ("[THINK]a[/THINK]yes", "[THINK]a[/THINK]yes", False, False),  # another model's marks
        ("", "", False, False),
    ],
)
def test_what_is_left_without_thoughts(text, answer, removed, is_open):
    found = Thoughts(THINK).removed_from(text)
    assert (found.text, found.removed, found.open) == (answer, removed, is_open)


@pytest.mark.parametrize(
    ("text", "answer", "is_open"),
    [("hm</think>yes", "yes", False), ("hm, hm", "hm, hm", True), ("<think>a</think>b", "b", False)],
)
def test_a_prompt_that_ends_inside_a_thought(text, answer, is_open):
    found = Thoughts(THINK, opened=True).removed_from(text)
    assert (found.text, found.open) == (answer, is_open)


@pytest.mark.parametrize("marks", MARKS)
def test_every_kind_of_mark_is_found_in_a_template_and_removed(marks):
    begin, end = marks
    template = f"{{% if x %}}{begin}{{{{ y }}}}{end}{{% endif %}}"
    assert marks in marks_in(template)
    assert Thoughts(marks_in(template)).removed_from(f"{begin}hm{end}yes").text == "yes"


TEMPLATE = "{% for m in messages %}<|{{ m.role }}|>{{ m.content }}<|end|>{% endfor %}"
ASK = "{% if add_generation_prompt %}<|assistant|>OPENING{% endif %}"


@pytest.mark.parametrize(
    ("opening", "has_marks", "opened"),
    [("", False, False), ("<think>\n", True, True), ("<think>\n\n</think>\n\n", True, False)],
)
def test_a_template_says_whether_its_prompts_end_inside_a_thought(opening, has_marks, opened):
    tokenizer = toy_tokenizer()
    tokenizer.chat_template = TEMPLATE + ASK.replace("OPENING", opening)
    thoughts = Chat(tokenizer).thoughts
    assert (bool(thoughts.marks), thoughts.opened) == (has_marks, opened)


def test_marks_that_are_special_tokens_stay_in_what_is_decoded():
    tokenizer = toy_tokenizer()
    tokenizer.add_special_tokens({"additional_special_tokens": ["[THINK]", "[/THINK]"]})
    tokenizer.chat_template = TEMPLATE + "{# [THINK] #}" + ASK.replace("OPENING", "")
    chat = Chat(tokenizer)
    ids = tokenizer("[THINK]a b[/THINK]yes<|end|><|user|>", add_special_tokens=False).input_ids
    assert chat.decode(ids) == "[THINK]a b[/THINK]yes"
    tokenizer.chat_template = TEMPLATE
    assert Chat(tokenizer).decode(ids) == "a byes"
