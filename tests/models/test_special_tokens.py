"""Text that spells a special token stays text, whatever the tokenizer; the template's own tokens stay special."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

from stepladder.models.chat import Chat
from stepladder.models.toy import toy_tokenizer
from stepladder.types import Message

MARKS = ["<s>", "</s>", "<|im_start|>", "<|im_end|>"]
CHATML = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content | trim }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
TEXTS = [
    "the cat sat on the mat",
    "a dog ate the cat's hat",
    "na\u00efve \u65e5\u672c\u8a9e text, with  spaces\n\nand lines",
] * 3


def wrapped(backend: Tokenizer, template: str | None, **more: str) -> Any:
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=backend, bos_token="<s>", eos_token="</s>", additional_special_tokens=MARKS[2:], **more
    )
    tokenizer.chat_template = template
    return tokenizer


def byte_level(template: str | None) -> Any:
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    backend.train_from_iterator(TEXTS, trainers.BpeTrainer(vocab_size=400, initial_alphabet=alphabet))
    backend.add_special_tokens(MARKS)
    backend.post_processor = processors.TemplateProcessing(
        single="<s> $A", special_tokens=[("<s>", backend.token_to_id("<s>"))]
    )
    return wrapped(backend, template)


def metaspace(template: str | None) -> Any:
    trained = Tokenizer(models.BPE())
    trained.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first", split=False)
    trained.train_from_iterator(TEXTS, trainers.BpeTrainer(vocab_size=120))
    model = json.loads(trained.to_str())["model"]
    pieces = ["<unk>", *MARKS, *(f"<0x{byte:02X}>" for byte in range(256)), *model["vocab"]]
    merges = [tuple(pair) for pair in model["merges"]]
    vocabulary = {piece: number for number, piece in enumerate(pieces)}
    backend = Tokenizer(models.BPE(vocabulary, merges, byte_fallback=True, unk_token="<unk>"))
    backend.pre_tokenizer = trained.pre_tokenizer
    replaced = decoders.Replace("\u2581", " ")
    backend.decoder = decoders.Sequence([replaced, decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)])
    backend.add_special_tokens(["<unk>", *MARKS])
    return wrapped(backend, template, unk_token="<unk>")


def unigram(template: str | None) -> Any:
    backend = Tokenizer(models.Unigram())
    backend.normalizer = normalizers.NFKC()
    backend.pre_tokenizer = pre_tokenizers.Metaspace()
    backend.decoder = decoders.Metaspace()
    letters = list("<>|/_abcdefghijklmnopqrstuvwxyz")
    trainer = trainers.UnigramTrainer(
        vocab_size=120, special_tokens=["<unk>", *MARKS], unk_token="<unk>", initial_alphabet=letters
    )
    backend.train_from_iterator([*TEXTS, *letters], trainer)
    return wrapped(backend, template, unk_token="<unk>")


def stripping(template: str | None) -> Any:
    """Special tokens that take the white space after them, and an end token that the files do not mark as special."""
    tokenizer = byte_level(None)
    backend = tokenizer.backend_tokenizer
    backend.add_special_tokens([AddedToken("<|end|>", rstrip=True, special=True)])
    backend.add_tokens([AddedToken("<turn>", normalized=False), AddedToken("<end_of_turn>", normalized=False)])
    return wrapped(
        backend, template and template.replace("<|im_start|>", "<turn>").replace("<|im_end|>", "<end_of_turn>")
    )


TOKENIZERS: dict[str, Callable[[str | None], Any]] = {
    "byte-level BPE": byte_level,
    "BPE with byte fallback": metaspace,
    "unigram": unigram,
    "tokens not marked special": stripping,
}


@pytest.fixture(
    params=[(name, template) for name in TOKENIZERS for template in (CHATML, None)],
    ids=lambda param: f"{param[0]}, {'template' if param[1] else 'no template'}",
)
def chat(request: pytest.FixtureRequest) -> Chat:
    name, template = request.param
    return Chat(TOKENIZERS[name](template))


def special(chat: Chat, ids: list[int]) -> list[str]:
    return [text for text, is_special in chat.pieces(ids) if is_special and text != chat.tokenizer.unk_token]


def spelling(chat: Chat) -> str:
    return "".join(f"{name} the {name}" for _, name in sorted(chat._special.names.items()))


def test_a_prompt_has_the_special_tokens_of_its_template_and_no_other(chat: Chat) -> None:
    spelled = spelling(chat)
    turns = [Message("system", spelled), Message("user", f"cat {spelled}"), Message("assistant", spelled)]
    turns = [*turns, Message("user", f"  {spelled} hat ")]
    plain = [Message(turn.role, "cat") for turn in turns]
    ids = chat.encode(turns)
    assert special(chat, ids) == special(chat, chat.encode(plain))
    text = "".join(text for text, is_special in chat.pieces(ids) if not is_special)
    for name in chat._special.names.values():
        assert text.replace(" ", "").count(name) >= 2 * len(turns)


def test_an_answer_ends_once(chat: Chat) -> None:
    ids = chat.encode_answer(spelling(chat))
    assert special(chat, ids[:-1]) == []
    assert ids[-1] == chat.end
    assert chat.decode(ids).replace(" ", "") == spelling(chat).replace(" ", "")


@pytest.mark.parametrize("text", [*TEXTS[:3], "", " leading", "trailing ", "a\tb"])
def test_the_renamed_copy_reads_ordinary_text_as_the_tokenizer_does(chat: Chat, text: str) -> None:
    if not chat.tokenizer.chat_template:
        found = chat._special.encode(text, "\U000f0000", add_special_tokens=True)
        assert found == chat.tokenizer(text).input_ids
        return
    rendered = chat._rendered([Message("user", text)], True)
    found = chat._special.encode(rendered, "\U000f0000", add_special_tokens=False)
    assert found == chat.encode([Message("user", text)])


def test_a_text_that_has_the_shield_character_is_read_as_text_too(chat: Chat) -> None:
    name = next(iter(chat._special.names.values()))
    ids = chat.encode([Message("user", f"\U000f0000{name} \U000f0000\U000f0000{name}")])
    assert special(chat, ids) == special(chat, chat.encode([Message("user", "cat")]))


def test_ordinary_texts_are_read_by_the_tokenizer_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    chat = Chat(toy_tokenizer())
    monkeypatch.setattr(chat._special, "encode", None)
    assert chat.encode([Message("user", "no <|mark|> here")])
    assert chat.encode_answer("none < | end | > here")


def test_a_padding_token_of_one_letter_is_a_letter() -> None:
    tokenizer = byte_level(CHATML)
    tokenizer.pad_token = "!"
    chat = Chat(tokenizer)
    ids = chat.encode([Message("user", "Hi! <|im_end|>!")])
    assert "Hi! <|im_end|>!" in chat.tokenizer.decode(ids)


def test_a_refusal_is_the_templates_own_reason() -> None:
    tokenizer = byte_level("{% if messages | length > 1 %}{{ raise_exception('one turn only') }}{% endif %}x")
    chat = Chat(tokenizer)
    assert chat.refusal([Message("user", "a")]) is None
    assert chat.refusal([Message("user", "a"), Message("assistant", "b"), Message("user", "c")]) == "one turn only"
    assert Chat(byte_level(None)).refusal([Message("user", "a"), Message("user", "b")]) is None
