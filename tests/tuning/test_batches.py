"""The order of rows, how they lie in memory, and how a training's numbers follow from its length."""

import pytest
import torch

from stepladder.errors import ConfigError
from stepladder.tuning.batches import Steps, TokenBudget, collate, epoch_order, split
from stepladder.tuning.training import Training
from stepladder.tuning.tuning import TrainingRow


def row(number, prompt, answer=1):
    return TrainingRow(str(number), [7] * prompt, [9] * answer)


def test_every_row_comes_once_an_epoch_in_batches_of_the_size():
    order = epoch_order([5] * 53, 16, seed=3, epoch=0)
    assert sorted(i for batch in order for i in batch) == list(range(53))
    assert sorted(map(len, order)) == [5, 16, 16, 16]


def test_order_depends_on_seed_and_epoch_alone():
    lengths = [i % 11 + 1 for i in range(60)]
    assert epoch_order(lengths, 8, 0, 2) == epoch_order(lengths, 8, 0, 2)
    assert epoch_order(lengths, 8, 0, 2) != epoch_order(lengths, 8, 0, 3)
    assert epoch_order(lengths, 8, 0, 2) != epoch_order(lengths, 8, 1, 2)
    assert epoch_order(lengths, 8, -1, 0)


def test_a_batch_holds_rows_of_like_length_and_batches_do_not_come_sorted():
    lengths = [i % 64 + 1 for i in range(512)]
    order = epoch_order(lengths, 8, 0, 0)
    padded = sum(len(batch) * max(lengths[i] for i in batch) for batch in order)
    assert padded < 1.25 * sum(lengths)
    longest = [max(lengths[i] for i in batch) for batch in order]
    assert longest != sorted(longest)
    assert longest != sorted(longest, reverse=True)


def test_micro_batches_keep_to_their_room():
    rows = [row(i, length) for i, length in enumerate([3, 30, 9, 9, 100, 1])]
    parts = list(split(rows, TokenBudget(tokens=40)))
    assert sorted(r.id for part in parts for r in part) == sorted(r.id for r in rows)
    assert all(len(part) == 1 or len(part) * max(r.length for r in part) <= 40 for part in parts)
    assert [len(part) for part in split(rows, TokenBudget(tokens=40, rows=4))] == [4, 2]
    assert list(split([], TokenBudget(tokens=40))) == []


def test_collate_marks_answers_and_real_tokens():
    ids, mask, answer = collate([TrainingRow("a", [1, 2, 3], [4, 5]), TrainingRow("b", [6], [7])])
    assert ids.tolist() == [[1, 2, 3, 4, 5], [6, 7, 0, 0, 0]]
    assert mask.tolist() == [[True] * 5, [True, True, False, False, False]]
    assert answer.tolist() == [[False, False, False, True, True], [False, True, False, False, False]]
    assert ids[answer].tolist() == [4, 5, 7]


def test_a_room_is_halved_until_every_row_is_alone():
    rows = [row(i, length) for i, length in enumerate([4, 4, 4, 3, 10])]
    budget, cut = TokenBudget(tokens=100), []
    while budget is not None:
        parts = list(split(rows, budget))
        cut.append([[r.length for r in part] for part in parts])
        budget = budget.halved(parts)
    assert cut == [[[11, 5, 5, 5, 4]], [[11, 5], [5, 5, 4]], [[11], [5, 5], [5, 4]], [[11], [5], [5], [5], [4]]]
    assert TokenBudget(tokens=100, rows=16).halved([rows]) == TokenBudget(tokens=100, rows=2)
    assert TokenBudget(tokens=100, rows=1).halved([[r] for r in rows]) is None


def test_steps_count_real_tokens():
    rows = [row(i, i + 1, 2) for i in range(10)]
    steps = list(Steps(rows, Training(epochs=2, batch_size=4), seed=0))
    assert [step.number for step in steps] == [1, 2, 3, 4, 5, 6]
    assert sum(step.tokens for step in steps) == 2 * sum(r.length for r in rows)
    assert sum(step.answer_tokens for step in steps) == 2 * 20
    for step in steps:
        batches = [collate(part) for part in split(step.rows, TokenBudget(tokens=16))]
        assert step.answer_tokens == sum(int(batch.answer.sum()) for batch in batches)
        assert all(
            torch.equal(batch.mask.sum(1) > 0, torch.ones(len(batch.ids), dtype=torch.bool)) for batch in batches
        )


def test_a_trainings_length_and_its_validations():
    assert Training(epochs=3, batch_size=16).steps(33) == 9
    assert Training(epochs=3, batch_size=16).validated(33) == {3, 6, 9}
    assert Training(epochs=2, batch_size=1, validate_every=0.5).validated(10) == {5, 10, 15, 20}
    assert Training(epochs=5, batch_size=1, validate_every=2).validated(2) == {4, 8, 10}
    assert Training(epochs=1, batch_size=8, validate_every=0.01).validated(20) == {1, 2, 3}


@pytest.mark.parametrize("schedule", ["cosine", "linear", "constant"])
def test_the_rate_rises_to_its_peak_and_goes_down_as_its_schedule_says(schedule):
    rates = [Training(schedule=schedule, warmup=0.1).rate(step, 100, 1.0) for step in range(1, 101)]
    assert rates[:10] == pytest.approx([0.1 * i for i in range(1, 11)])
    assert rates[10] == pytest.approx(1.0)
    assert rates == [*sorted(rates[:11]), *sorted(rates[11:], reverse=True)]
    middle = {"cosine": 0.5, "linear": 0.5, "constant": 1.0}[schedule]
    assert rates[55] == pytest.approx(middle)
    assert (rates[-1] == 1.0) if schedule == "constant" else (0 < rates[-1] < 0.02)


def test_all_faults_of_a_training_are_told_at_once():
    with pytest.raises(ConfigError) as caught:
        Training(epochs=0, learning_rate=-1, schedule="cosin", precision="fp8")
    assert {fault.key for fault in caught.value.faults} == {"epochs", "learning_rate", "schedule", "precision"}
