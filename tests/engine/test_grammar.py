"""JSON under a schema: always whole, always valid, within its length."""

from __future__ import annotations

import json

import jsonschema
import pytest

from stepladder.engine.grammar import JsonGrammar
from stepladder.errors import ModelError
from stepladder.models.local import CausalModel
from stepladder.models.toy import ToyCheckpoint


def record(**properties):
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


ITEM = record(q={"type": "number"}, z={"enum": ["cat", "dog"]})
SCHEMAS = {
    "flat": record(name={"type": "string"}, sure={"type": "boolean"}, n={"type": "integer"}),
    "nested": record(name={"type": "string"}, items={"type": "array", "items": ITEM}, d={"type": ["string", "null"]}),
    "optional": {"type": "object", "properties": {"a": {"type": "string"}, "b": ITEM}, "additionalProperties": False},
    "bounded": record(a={"type": "string", "minLength": 3, "maxLength": 6}, b={"type": "integer", "minimum": 17}),
    "open": {"type": "object"},
    "list": {"type": "array", "items": {"type": "string"}, "minItems": 2},
    "word": {"enum": ["yes", "no", "it depends"]},
}


@pytest.fixture(scope="module", params=[64, 128], ids=["fused decoder", "fused step where there is one"])
def model(request) -> CausalModel:
    return ToyCheckpoint(hidden=request.param).load()


@pytest.mark.parametrize("name", SCHEMAS)
@pytest.mark.parametrize("length", [8, 60, 200])
def test_every_answer_is_whole_and_valid(model, name, length):
    schema = SCHEMAS[name]
    prompts = [[70 + n] for n in range(12)]
    shortest = 45
    for temperature in (None, 1.5):
        for _, done in model.generate(prompts, length, temperature, seed=7, schema=schema):
            jsonschema.validate(json.loads(done.text), schema)
            assert done.finished
            assert done.new_tokens <= max(length, shortest)


def test_the_text_is_compact_and_in_the_schemas_order(model):
    ((_, done),) = model.generate([[70]], 100, schema=SCHEMAS["flat"])
    value = json.loads(done.text)
    assert list(value) == ["name", "sure", "n"]
    assert done.text.startswith('{"name":"')
    assert ',"sure":' in done.text


def test_the_models_own_wish_counts_where_the_schema_leaves_it(model):
    drawn = {done.text for _, done in model.generate([[70]] * 40, 30, 1.0, seed=1, schema=SCHEMAS["word"])}
    assert drawn == {'"yes"', '"no"', '"it depends"'}


def test_the_batch_changes_nothing(model):
    prompts = [[70 + n] * (n + 1) for n in range(5)]
    runs = [dict(model.generate(prompts, 60, 1.0, 2, SCHEMAS["nested"], micro_batch=size)) for size in (1, 5)]
    assert [runs[0][i].text for i in range(5)] == [runs[1][i].text for i in range(5)]


@pytest.mark.parametrize("schema", [{"type": "objct"}, record(a={"type": "string", "minLength": 9, "maxLength": 3})])
def test_a_schema_that_can_not_be_met_is_an_error(model, schema):
    with pytest.raises(ModelError, match="schema"):
        list(model.generate([[70]], 10, schema=schema))


def test_values_that_nest_without_end_are_closed_in_time():
    grammar = JsonGrammar(model_tokenizer := ToyCheckpoint().load().tokenizer, 1, 300, {"type": "array"})
    bracket = model_tokenizer("[", add_special_tokens=False).input_ids[-1]
    writer, ids = grammar.writer(), []
    while True:
        writer.take(bracket)
        ids.append(bracket)
        back = writer.give_back(100 - len(ids))
        if back:
            break
    whole = ids[:-back] + writer.close()
    assert len(whole) <= 100
    assert len(ids) < 100
    assert writer.complete
    assert isinstance(json.loads(model_tokenizer.decode(whole[:-1])), list)


def test_a_way_that_is_given_up_does_not_count_as_one_that_fits():
    grammar = JsonGrammar(tokenizer := ToyCheckpoint().load().tokenizer, 1, 300, {"type": "array"})
    bracket = tokenizer("[", add_special_tokens=False).input_ids[-1]
    writer, n = grammar.writer(), 0
    while not (back := writer.give_back(4000 - n)):
        writer.take(bracket)
        n += 1
    writer.close()
    assert writer.complete
    assert n - back <= 1000
