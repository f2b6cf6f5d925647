"""A training that was cut short goes on where its last whole checkpoint stands, and ends where it would have ended."""

from __future__ import annotations

import errno
import random
import resource
from dataclasses import replace
from pathlib import Path

import numpy as np
import peft
import pytest
import torch
from toys import QUICK, lines, rows, toy

from stepladder.resources import Resources, Silent
from stepladder.tuning import checkpoint, checksummed
from stepladder.tuning.adapters import Full
from stepladder.tuning.best import Best
from stepladder.tuning.fine_tune import FineTune

DROPPING = peft.LoraConfig(r=4, lora_dropout=0.2, target_modules="all-linear")


class Cut(Exception): ...  # noqa: N818


class Shown(Silent):
    """Cuts the training when step `cut_at` is logged, before anything of it is kept; hears what people are shown."""

    def __init__(self, cut_at: int | None = None) -> None:
        self.cut_at, self.notes = cut_at, []

    def log(self, values, step):
        if step == self.cut_at:
            raise Cut

    def note(self, text):
        if not text.startswith("training: "):  # how far it is, now and then on a slow machine
            self.notes.append(text)


class Noisy(torch.optim.AdamW):
    """Draws from every generator that there is."""

    def step(self, closure=None):
        for group in self.param_groups:
            group["lr"] *= 1 + 0.1 * (random.random() + np.random.rand() + torch.rand(()).item())
        return super().step(closure)


def trained(folder, cut_at=None, seen=None, adapter=DROPPING, stop_at=None, shown=None, **training):
    """The trained weights and the facts of a training in `folder`, which is cut short in step `cut_at`."""
    model, shown = toy(), shown or Shown(cut_at)

    def watch(step, values):
        if seen is not None:
            seen.append((step, values))
        return step == stop_at

    resources = Resources(folder=folder, on_validation=watch, tracker=shown, progress=shown)
    tuning = FineTune(adapter, replace(QUICK, **training))
    tuned = tuning.tune(model, rows(model), rows(model, 6), resources, 3)
    facts = {name: fact for name, fact in resources.report.figures.items() if "seconds" not in name}
    base = model.module.state_dict()
    return {n: p.clone() for n, p in tuned.module.state_dict().items() if n not in base or adapter != DROPPING}, facts


def curves(folder):
    return [{name: value for name, value in line.items() if name != "seconds"} for line in lines(folder)]


def checkpoints(folder: Path, stem: str = "step") -> list[Path]:
    return sorted((folder / "checkpoints").glob(f"{stem}-*.safetensors"))


def assert_same(found, wanted, folder, whole):
    assert found[1] == wanted[1]
    assert found[0].keys() == wanted[0].keys()
    assert all(torch.equal(weights, wanted[0][name]) for name, weights in found[0].items())
    assert curves(folder) == curves(whole)


@pytest.fixture
def often(monkeypatch):
    """A checkpoint after every step."""
    monkeypatch.setattr(checkpoint, "TIMES_APART", 0)
    monkeypatch.setattr(checkpoint, "SECONDS_APART", 0)


@pytest.mark.parametrize(
    ("adapter", "cuts", "settings"),
    [
        (DROPPING, [1], {}),
        (DROPPING, [18], {}),
        (DROPPING, [2, 3, 5, 17], {}),
        (Full(), [7], {}),
        (DROPPING, [4, 11], {"neftune_noise_alpha": 5.0, "lora_plus_ratio": 8.0}),
        (peft.LoraConfig(r=4, target_modules="all-linear", init_lora_weights="pissa_niter_4"), [6], {}),
        (peft.LoraConfig(r=3, target_modules=["q_proj"], init_lora_weights="olora", use_dora=True), [5], {}),
    ],
)
@pytest.mark.usefixtures("often")
def test_it_ends_as_if_it_had_not_been_cut(adapter, cuts, settings, tmp_path):
    reports, again = [], []
    more = {"adapter": adapter, "optimizer": Noisy, "warmup": 0.3, **settings}
    wanted = trained(tmp_path / "whole", seen=reports, **more)
    for cut in cuts:
        with pytest.raises(Cut):
            trained(tmp_path / "cut", cut, **more)
        assert [int(path.name[5:14]) for path in checkpoints(tmp_path / "cut")][-1:] == [cut - 1][: cut - 1]
    found = trained(tmp_path / "cut", seen=again, **more)
    assert_same(found, wanted, tmp_path / "cut", tmp_path / "whole")
    assert again == reports  # what was reported before the cut is shown again
    assert [step for step, _ in reports] == [3, 6, 9, 12, 15, 18]


def test_without_time_for_more_it_goes_on_from_a_validation(tmp_path, monkeypatch):
    monkeypatch.setattr(checkpoint, "TIMES_APART", 0)
    monkeypatch.setattr(checkpoint, "SECONDS_APART", float("inf"))
    wanted = trained(tmp_path / "whole")
    with pytest.raises(Cut):
        trained(tmp_path / "cut", 8)
    assert [path.name[:14] for path in checkpoints(tmp_path / "cut")] == ["step-000000003", "step-000000006"]
    assert_same(trained(tmp_path / "cut"), wanted, tmp_path / "cut", tmp_path / "whole")


def truncated(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def flipped(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("broken", [truncated, flipped, Path.unlink])
@pytest.mark.parametrize("stem", ["step", "best"])
@pytest.mark.usefixtures("often")
def test_a_broken_one_is_noticed_and_the_last_whole_one_taken(stem, broken, tmp_path):
    wanted = trained(tmp_path / "whole")
    with pytest.raises(Cut):
        trained(
            tmp_path / "cut", 7
        )  # the best weights of step 6 belong to the newer checkpoint, those of 3 to the other
    assert [path.name[:14] for path in checkpoints(tmp_path / "cut", "best")] == ["best-000000003", "best-000000006"]
    broken(checkpoints(tmp_path / "cut", stem)[-1])
    shown = Shown(6)
    with pytest.raises(Cut):
        trained(tmp_path / "cut", shown=shown)  # cut in the step after the one that it goes on from
    assert [path.name[:14] for path in checkpoints(tmp_path / "cut")] == ["step-000000005"]
    why = {"step": "its content is not what was written", "best": "the best weights that belong to it"}[stem]
    assert len(shown.notes) == (0 if (stem, broken) == ("step", Path.unlink) else 1)
    assert all(note.startswith(f"the checkpoint step-000000006 is not used: {why}") for note in shown.notes)
    assert_same(trained(tmp_path / "cut"), wanted, tmp_path / "cut", tmp_path / "whole")


@pytest.mark.usefixtures("often")
def test_with_none_whole_it_begins_anew(tmp_path):
    wanted = trained(tmp_path / "whole")
    with pytest.raises(Cut):
        trained(tmp_path / "cut", 7)
    for path in checkpoints(tmp_path / "cut"):
        flipped(path)
    shown = Shown()
    assert_same(trained(tmp_path / "cut", shown=shown), wanted, tmp_path / "cut", tmp_path / "whole")
    assert len(shown.notes) == 2


@pytest.mark.usefixtures("often")
def test_another_trainings_checkpoint_is_left_alone(tmp_path):
    wanted = trained(tmp_path / "whole", weight_decay=0.1)
    with pytest.raises(Cut):
        trained(tmp_path / "cut", 7)
    shown = Shown()
    assert_same(trained(tmp_path / "cut", shown=shown, weight_decay=0.1), wanted, tmp_path / "cut", tmp_path / "whole")
    assert {note.partition(": ")[2] for note in shown.notes} == {"it belongs to another training"}


def test_a_hash_names_the_training():
    model, training = toy(), replace(QUICK, optimizer=Noisy)
    one = checkpoint.training_hash(model.module, rows(model), rows(model, 6), training, 0)
    assert one == checkpoint.training_hash(toy().module, rows(model), rows(model, 6), replace(training), 0)
    others = {
        checkpoint.training_hash(toy(seed=1).module, rows(model), rows(model, 6), training, 0),
        checkpoint.training_hash(model.module, rows(model, 23), rows(model, 6), training, 0),
        checkpoint.training_hash(model.module, rows(model), rows(model, 7), training, 0),
        checkpoint.training_hash(model.module, rows(model), rows(model, 6), QUICK, 0),
        checkpoint.training_hash(model.module, rows(model), rows(model, 6), training, 1),
    }
    assert len(others | {one}) == 6


@pytest.mark.usefixtures("often")
def test_where_it_was_to_stop_it_stops_again(tmp_path):
    for name, more in (("shown", {"stop_at": 6}), ("patient", {"patience": 1, "learning_rate": 1e-15})):
        wanted = trained(tmp_path / name / "whole", **more)
        assert wanted[1]["steps"] < 18
        # As if it had been killed after its last checkpoint and before its end: nothing of the end was written.
        trained(tmp_path / name / "cut", **more)
        assert int(checkpoints(tmp_path / name / "cut")[-1].name[5:14]) == wanted[1]["steps"]
        found = trained(tmp_path / name / "cut", **more)
        assert_same(found, wanted, tmp_path / name / "cut", tmp_path / name / "whole")


@pytest.mark.usefixtures("often")
def test_a_full_disk_is_told_and_what_was_kept_stays(tmp_path):
    wanted = trained(tmp_path / "whole")
    with pytest.raises(Cut):
        trained(tmp_path / "cut", 7)
    before = [path.name for path in checkpoints(tmp_path / "cut")]
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (checkpoints(tmp_path / "cut")[0].stat().st_size // 2, hard))
    try:
        with pytest.raises(OSError, match="File too large") as failed:
            trained(tmp_path / "cut")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert (failed.value.errno, failed.value.filename) == (errno.EFBIG, str(tmp_path / "cut" / "checkpoints"))
    assert [path.name for path in checkpoints(tmp_path / "cut")] == before[-1:]
    assert not (tmp_path / "cut" / "checkpoints" / "unfinished.safetensors").exists()
    assert_same(trained(tmp_path / "cut"), wanted, tmp_path / "cut", tmp_path / "whole")


def test_best_weights_that_break_before_the_end_are_not_used(tmp_path):
    best = Best(toy().module.requires_grad_(), tmp_path)
    best.offer(3, 1.0)
    flipped(best.path)
    with pytest.raises(OSError, match="the best weights is damaged"):
        best.restore()


def test_a_sealed_file_tells_what_it_holds(tmp_path):
    path = checksummed.write(tmp_path, "a", {"x": torch.arange(6).reshape(2, 3).t()}, {"of": ["this", None, 0.1]})
    assert checksummed.is_intact(path)
    assert checksummed.metadata(path) == {"of": ["this", None, 0.1]}
    assert torch.equal(checksummed.tensors(path)["x"], torch.arange(6).reshape(2, 3).t())
    assert [each.name for each in tmp_path.iterdir()] == [path.name]


def without_rate(shown):
    return {**shown["state"]["figures"], "learning_rate": {}}


@pytest.mark.usefixtures("often")
@pytest.mark.parametrize(
    ("shown", "fault"),
    [
        (lambda shown: 3, "another training"),
        (lambda shown: {**shown, "state": {}}, "not that of a checkpoint"),
        (lambda shown: {**shown, "state": {**shown["state"], "figures": {}}}, "not that of a checkpoint"),
        (lambda shown: {**shown, "state": {**shown["state"], "curves": "x"}}, "not that of a checkpoint"),
        (
            lambda shown: {**shown, "state": {**shown["state"], "figures": without_rate(shown)}},
            "not that of a checkpoint",
        ),
        (lambda shown: {**shown, "numbers": {"999": {}}}, "not that of a checkpoint"),
        (lambda shown: {**shown, "numbers": {}}, "not that of a checkpoint"),
    ],
)
def test_a_sealed_file_of_somebody_else_is_no_checkpoint(tmp_path, shown, fault):
    wanted = trained(tmp_path / "whole")
    with pytest.raises(Cut):
        trained(tmp_path / "cut", 7)
    *_, last = checkpoints(tmp_path / "cut")
    forged = shown(checksummed.metadata(last)), checksummed.tensors(last)
    last.unlink()
    checksummed.write(last.parent, last.name[:14], forged[1], forged[0])
    heard = Shown()
    assert_same(trained(tmp_path / "cut", shown=heard), wanted, tmp_path / "cut", tmp_path / "whole")
    assert fault in " ".join(heard.notes)


@pytest.mark.usefixtures("often")
@pytest.mark.parametrize("what", ["weights.", "optimizer."])
def test_other_tensors_are_no_checkpoint(tmp_path, what):
    wanted = trained(tmp_path / "whole")
    with pytest.raises(Cut):
        trained(tmp_path / "cut", 7)
    *_, last = checkpoints(tmp_path / "cut")
    kept, tensors = checksummed.metadata(last), checksummed.tensors(last)
    last.unlink()
    first = next(name for name in tensors if name.startswith(what))
    if what == "optimizer.":
        tensors[f"{first}_x"] = tensors.pop(first)
    else:
        tensors[first] = torch.zeros(3, 3)
    checksummed.write(last.parent, last.name[:14], tensors, kept)
    heard = Shown()
    assert_same(trained(tmp_path / "cut", shown=heard), wanted, tmp_path / "cut", tmp_path / "whole")
    assert "not that of a checkpoint" in " ".join(heard.notes)


def test_an_optimiser_whose_state_can_not_be_kept_is_told(tmp_path):
    class Odd(torch.optim.SGD):
        def step(self, closure=None):
            self.state[self.param_groups[0]["params"][0]]["odd"] = ["a list"]
            return super().step(closure)

    shown = Shown(7)
    with pytest.raises(Cut):
        trained(tmp_path, shown=shown, optimizer=Odd)
    assert shown.notes == ["the state of this optimiser cannot be stored: an interrupted fit starts again"]
    assert checkpoints(tmp_path) == []
