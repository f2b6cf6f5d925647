import pytest

from stepladder.context.prompt import PlainPrompt, Prompt, Reformatted, StructuredPrompt
from stepladder.errors import ConfigError
from stepladder.types import Choice, Example, Format, Json, Message, Passage, Question, Shown, Task, Text

CHOICE = Task("Name the topic.", Choice(("money", "travel"), {"money": "cards and cash"}))
JSON = Task(
    "Find the slots.",
    Json(
        {
            "type": "object",
            "properties": {
                "people": {"type": "integer", "description": "how many come"},
                "meal": {"type": "string", "enum": ["lunch", "dinner"]},
                "name": {
                    "type": "object",
                    "properties": {"first": {"type": ["string", "null"]}},
                    "required": ["first"],
                },
            },
            "required": ["people"],
        }
    ),
)
DEMONSTRATION = Example(Question("d", "Where is my card?"), ("money", "other"))
TURNS = (Message("user", "Hello"), Message("assistant", "Hi"))


def written(messages: tuple[Message, ...]) -> str:
    return "\n".join(message.content for message in messages)


def test_plain_has_the_instruction_and_the_question_but_no_labels() -> None:
    messages = PlainPrompt().messages(CHOICE, Question("q", "Is the train late?"), Shown())
    assert messages == (Message("system", "Name the topic."), Message("user", "Is the train late?"))


def test_a_question_s_own_system_text_and_turns_keep_their_order() -> None:
    question = Question("q", "And now?", history=TURNS, system="You are a clerk.")
    messages = PlainPrompt().messages(CHOICE, question, Shown(demonstrations=(DEMONSTRATION,)))
    assert messages == (
        Message("system", "You are a clerk.\n\nName the topic."),
        Message("user", "Where is my card?"),
        Message("assistant", "money"),
        *TURNS,
        Message("user", "And now?"),
    )


def test_without_instruction_and_system_text_there_is_no_system_turn() -> None:
    messages = PlainPrompt().messages(Task("", Text()), Question("q", "Why?"), Shown())
    assert [message.role for message in messages] == ["user"]


def test_a_demonstration_uses_the_question_template_and_its_own_turns() -> None:
    prompt = PlainPrompt(question_template="Q: {question}\nA:")
    earlier = Example(Question("d", "Where?", history=TURNS), ("money",))
    messages = prompt.messages(CHOICE, Question("q", "Why?"), Shown(demonstrations=(earlier,)))
    assert [message.content for message in messages[1:]] == ["Hello", "Hi", "Q: Where?\nA:", "money", "Q: Why?\nA:"]


def test_passages_come_best_first_before_the_question_in_its_message() -> None:
    shown = Shown((DEMONSTRATION,), (Passage("p1", "First."), Passage("p2", "Second.")))
    messages = PlainPrompt().messages(CHOICE, Question("q", "Why?"), shown)
    assert messages[-1].content == "Context:\nFirst.\n\nSecond.\n\nWhy?"
    assert "First." not in written(messages[:-1])


def test_text_from_the_data_is_never_used_as_a_template() -> None:
    shown = Shown(passages=(Passage("p", "see {question} and {passages}"),))
    messages = PlainPrompt().messages(CHOICE, Question("q", "{passages} {0} {question}"), shown)
    assert messages[-1].content == "Context:\nsee {question} and {passages}\n\n{passages} {0} {question}"


def test_structured_lists_labels_with_definitions_and_the_output_format() -> None:
    system = StructuredPrompt().messages(CHOICE, Question("q", "Why?"), Shown())[0].content
    assert system.startswith("Name the topic.\n\nLabels:\n- money: cards and cash\n- travel\n\n")
    assert "exactly one of the labels" in system


def test_structured_shows_each_question_its_own_choices() -> None:
    task = Task("Pick.", Choice())
    demonstration = Example(Question("d", "1+1?", choices=("2", "3")), ("2",))
    question = Question("q", "2+2?", choices=("4", "5"))
    messages = StructuredPrompt().messages(task, question, Shown(demonstrations=(demonstration,)))
    assert messages[1].content == "1+1?\nChoices:\n- 2\n- 3"
    assert messages[-1].content == "2+2?\nChoices:\n- 4\n- 5"
    assert "4" not in written(PlainPrompt().messages(task, question, Shown()))


def test_structured_lists_the_fields_of_a_json_answer() -> None:
    system = StructuredPrompt().messages(JSON, Question("q", "Why?"), Shown())[0].content
    for line in (
        "- people (integer, required): how many come",
        '- meal (string, optional, one of "lunch", "dinner")',
        "- name (object, optional)",
        "- name.first (string or null, required)",
    ):
        assert line in system.splitlines()
    bare = StructuredPrompt().messages(Task("", Json({"type": "array"})), Question("q", "Why?"), Shown())
    assert 'Schema: {"type": "array"}' in bare[0].content


def test_the_output_format_can_be_replaced() -> None:
    prompt = StructuredPrompt(output_format="One word.")
    system = prompt.messages(Task("Answer.", Text()), Question("q", "Why?"), Shown())[0].content
    assert system == "Answer.\n\nOne word."


def test_what_a_prompt_reads() -> None:
    assert PlainPrompt().reads == frozenset()
    assert StructuredPrompt().reads == {"labels"}
    assert isinstance(PlainPrompt(), Prompt)
    assert isinstance(StructuredPrompt(), Prompt)


def test_all_faults_are_reported_together() -> None:
    with pytest.raises(ConfigError) as caught:
        PlainPrompt(on_overflow="cut", question_template="nothing", context_template="{passages}{passages}")  # type: ignore[arg-type]
    assert [fault.key for fault in caught.value.faults] == ["on_overflow", "question_template", "context_template"]


@pytest.mark.parametrize("prompt", [PlainPrompt(), StructuredPrompt()])
def test_another_format_keeps_the_content(prompt: PlainPrompt) -> None:
    put = Reformatted(prompt, Format("Task: {instruction}", "Q: {question}\nA:"))
    assert isinstance(put, Prompt)
    shown, question = Shown(demonstrations=(DEMONSTRATION,)), Question("q", "Is the {question} late?")
    system, demonstrated, answer, asked = (message.content for message in put.messages(CHOICE, question, shown))
    assert system.startswith("Task: Name the topic.")
    assert (demonstrated, answer, asked) == ("Q: Where is my card?\nA:", "money", "Q: Is the {question} late?\nA:")
    assert Reformatted(prompt, Format()).messages(CHOICE, question, shown) == prompt.messages(CHOICE, question, shown)
    with pytest.raises(ConfigError, match=r"must contain \{question\} exactly once"):
        Format(question="Q: ")


def test_an_instruction_replaces_the_task_s_own_and_may_contain_it() -> None:
    question = Question("q", "Why?")

    def system(instruction: str | None, task: Task = CHOICE) -> str:
        turns = PlainPrompt(instruction=instruction).messages(task, question, Shown())
        return turns[0].content if turns[0].role == "system" else ""

    assert system(None) == system("{instruction}") == "Name the topic."
    assert system("Choose a topic.") == "Choose a topic."
    assert system("You are careful. {instruction} Thank you.") == "You are careful. Name the topic. Thank you."
    assert system("Do this: {instruction}", Task("", Text())) == ""  # a wording around nothing is nothing
    assert StructuredPrompt(instruction="Choose.").system_text(CHOICE).startswith("Choose.\n\nLabels:")
    put = Reformatted(PlainPrompt(instruction="Please: {instruction}"), Format("Task: {instruction}"))
    assert put.messages(CHOICE, question, Shown())[0].content == "Task: Please: Name the topic."
