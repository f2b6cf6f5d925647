"""JSON metrics against counts worked out by hand."""

import json

import pytest

from stepladder.errors import ConfigError
from stepladder.evaluation.metrics.json_fields import (
    FieldF1,
    FieldPrecision,
    FieldRecall,
    JsonExactMatch,
    ValidJson,
    fields,
    parsed,
)
from stepladder.evaluation.statistics.estimates import Side
from stepladder.types import Json

SCHEMA = {
    "type": "object",
    "properties": {"time": {"type": "string"}, "people": {"type": "integer"}},
    "additionalProperties": False,
}


def value(metric, answers):
    return Side(metric, answers).value


@pytest.mark.parametrize(
    ("said", "valid"),
    [
        ('{"time":"7 pm","people":2}', 1),
        ("{}", 1),
        ('{"time":7}', 0),
        ('{"place":"here"}', 0),
        ('{"time":"7 pm"', 0),
        ('{"time":"7 pm"} and so on', 0),
        ('{"people":NaN}', 0),
        ("", 0),
        ("[" * 100_000, 0),
    ],
)
def test_valid_is_parsed_whole_and_meets_the_schema(asked, said, valid):
    assert value(ValidJson(), asked([said], ["{}"], Json(SCHEMA))) == valid


def test_exact_match_minds_values_not_key_order_nor_outer_space(asked):
    answer = '{"time":"7 pm","people":2}'
    said = [
        '{"people": 2.0, "time": " 7 pm"}',
        '{"people":3,"time":"7 pm"}',
        '{"people":true,"time":"7 pm"}',
        "nonsense",
    ]
    assert value(JsonExactMatch(), asked(said, [answer] * 4, Json(SCHEMA))) == 0.25


def test_fields_are_counted_over_all_questions(asked):
    answers = ['{"time":"7 pm","people":2}', '{"time":"noon"}', "{}"]
    said = ['{"time":"7 pm ","people":3}', "oops", '{"people":1}']
    answers = asked(said, answers, Json(SCHEMA))
    right, predicted, expected = 1, 3, 3
    assert value(FieldPrecision(), answers) == pytest.approx(right / predicted)
    assert value(FieldRecall(), answers) == pytest.approx(right / expected)
    assert value(FieldF1(), answers) == pytest.approx(2 * right / (predicted + expected))


def test_saying_nothing_where_nothing_was_expected_is_right_but_rubbish_there_is_wrong(asked):
    assert value(FieldF1(), asked(["{}"], ["{}"], Json(SCHEMA))) == 1
    for bad in ["rubbish", None]:
        assert value(FieldF1(), asked([bad], ["{}"], Json(SCHEMA))) == 0
        assert value(FieldPrecision(), asked([bad], ["{}"], Json(SCHEMA))) == 0


def test_nested_fields_have_paths_and_lists_have_no_order():
    one = parsed('{"a": {"b": ["x", "y"], "c": null, "d": []}, "a.b": 1}')
    assert sorted(fields(one)) == [('."a"."b"[]', '"x"'), ('."a"."b"[]', '"y"'), ('."a.b"', "1")]


def test_the_best_answer_that_counts_is_taken(asked):
    answers = asked(['{"time":"noon"}'], [('{"time":"7 pm","people":2}', '{"time":"noon"}')], Json(SCHEMA))
    assert value(FieldF1(), answers) == 1


def test_a_schema_that_points_elsewhere_is_refused_and_nothing_is_fetched(asked):
    schema = {"$ref": "http://127.0.0.1:9/schema.json"}
    with pytest.raises(ConfigError, match=r"http://127\.0\.0\.1:9"):
        Side(ValidJson(), asked([json.dumps({})], ["{}"], Json(schema)))
