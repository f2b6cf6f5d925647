"""Every node is bound to its constructor, untrusted code is refused, and an identity hashes content."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

import pytest
import torch

from stepladder.config.build import Component, build
from stepladder.config.targets import PUBLIC, resolve
from stepladder.config.value_types import fits, value_faults
from stepladder.errors import ConfigError, Fault
from stepladder.public import public_name
from stepladder.store.identity import digest, identity


@dataclass(frozen=True)
class Part:
    size: int = 3
    names: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Weights:
    path: str

    def fingerprint(self) -> dict[str, str]:
        return {"content": "same"}


@dataclass(frozen=True)
class Whole:
    version = 2
    part: Part
    weights: Weights
    rate: float = 0.5


HERE = __name__


def whole(**part: object) -> dict[str, object]:
    return {
        "_target_": f"{HERE}.Whole",
        "part": {"_target_": f"{HERE}.Part", **part},
        "weights": {"_target_": f"{HERE}.Weights", "path": "/somewhere"},
    }


def built(node: object) -> Component:
    return build({"method": node}, trust=[HERE.split(".")[0]])["method"]


def test_children_are_built_first() -> None:
    component = built(whole(size=4))
    assert component.object == Whole(Part(4), Weights("/somewhere"))


def test_every_fault_of_every_node_is_reported() -> None:
    node = whole(sise=4, size="big") | {"rate": "fast", "extra": 1}
    with pytest.raises(ConfigError) as caught:
        built(node)
    keys = {fault.key for fault in caught.value.faults}
    assert {"method.part.sise", "method.part.size"} <= keys
    assert {"method.extra", "method.rate"} <= keys


def test_a_missing_argument_and_a_missing_value_are_reported() -> None:
    node = whole()
    del node["weights"]
    with pytest.raises(ConfigError, match=r"needs 'weights'"):
        built(node)
    with pytest.raises(ConfigError, match=r"give method\.part\.size"):
        built(whole(size="???"))


@pytest.mark.parametrize(
    "name",
    [
        "os.system",
        "builtins.eval",
        "subprocess.Popen",
        "stepladder.io.cache.os.remove",
        "stepladder.cli.entry.sys.exit",
        "torch.load",
    ],
)
def test_untrusted_code_is_refused_also_by_an_alias(name: str) -> None:
    found = resolve(name, "method._target_")
    assert isinstance(found, Fault)
    assert "trusted" in found.what


def test_untrusted_code_is_refused_before_it_is_imported() -> None:
    import sys

    assert isinstance(resolve("antigravity.fly", "method._target_"), Fault)
    assert "antigravity" not in sys.modules


def test_a_trusted_prefix_is_allowed() -> None:
    assert isinstance(resolve("collections.OrderedDict", "x"), Fault)
    assert resolve("collections.OrderedDict", "x", trust=["collections"]) is not None


def test_a_prefix_matches_whole_names() -> None:
    assert isinstance(resolve("peftoid.Thing", "x"), Fault)


def test_a_misspelt_name_gets_a_hint() -> None:
    found = resolve("stepladder.context.NoContex", "x")
    assert isinstance(found, Fault)
    assert "NoContext" in found.to_do


def test_our_classes_have_one_name_in_a_configuration() -> None:
    found = resolve("stepladder.context.retrieval.Retrieval", "x")
    assert isinstance(found, Fault)
    assert found.to_do == "write stepladder.context.Retrieval"
    assert public_name(resolve("stepladder.context.Retrieval", "x")) == "stepladder.context.Retrieval"


def test_a_class_of_a_library_is_named_as_its_users_import_it() -> None:
    assert public_name(resolve("peft.tuners.lora.LoraConfig", "x")) == "peft.LoraConfig"
    assert public_name(resolve("optuna.samplers.TPESampler", "x")) == "optuna.samplers.TPESampler"


PACKAGES = [name for name in PUBLIC if hasattr(importlib.import_module(name), "__path__")]


@pytest.mark.parametrize("package", PACKAGES)
def test_every_public_name_can_be_imported_and_is_the_name_of_its_class(package: str) -> None:
    found = importlib.import_module(package)
    assert found.__all__
    assert [name for name in found.__all__ if public_name(getattr(found, name)) != f"{package}.{name}"] == []


def test_defaults_are_left_out_of_the_short_identity_and_are_in_the_full_one() -> None:
    said, unsaid = built(whole(size=3)), built(whole())
    assert digest(identity(said)) == digest(identity(unsaid))
    assert identity(unsaid, full=True)["part"]["size"] == 3
    assert "size" not in identity(said)["part"]
    assert digest(identity(built(whole(size=4)))) != digest(identity(said))


@dataclass(frozen=True)
class Counted:
    function: Callable[[str], int]


def test_a_function_is_named_by_its_dotted_name_if_it_is_trusted() -> None:
    component = built({"_target_": f"{HERE}.Counted", "function": f"{HERE}.whole"})
    assert component.object.function is whole
    assert identity(component) == {"is": f"{HERE}.Counted", "function": f"{HERE}.whole"}
    with pytest.raises(ConfigError, match="trusted"):
        built({"_target_": f"{HERE}.Counted", "function": "os.system"})


def test_an_identity_has_versions_and_fingerprints_and_no_paths() -> None:
    found = identity(built(whole()))
    assert found["version"] == 2
    assert found["weights"]["content"] == "same"
    assert "/somewhere" not in str(identity(built(whole()), full=True))


@pytest.mark.parametrize(
    ("value", "annotation", "right"),
    [
        (1, int, True),
        (True, int, False),
        (1, float, True),
        (1.5, int, False),
        ("1", int, False),
        (None, int | None, True),
        (None, int, False),
        ([1], list[int], True),
        (["a"], list[int], False),
        ({"a": 1}, dict[str, int], True),
        ({"a": 1}, list[int], False),
        ("a", list[str], False),
    ],
)
def test_values_fit_annotations(value: object, annotation: object, right: bool) -> None:
    assert fits(value, annotation) is right


@pytest.mark.parametrize(
    ("value", "annotation", "key", "message"),
    [
        ("ten", int | None, "node.key", "'ten' does not fit: it takes a valid integer or null"),
        (1, str, "node.key", "1 does not fit: it takes a valid string; as a text: \"node.key='1'\""),
        (
            {"a": {"b": 1.5}},
            Mapping[str, Mapping[str, int]],
            "node.key.a.b",
            "1.5 does not fit: it takes a valid integer",
        ),
        ("c", Literal["a", "b"], "node.key", "'c' does not fit: it takes 'a' or 'b'"),
        ({}, Annotated[Any, "one.Thing", "two.Other"], "node.key", "a node whose _target_ is a Thing or Other"),
        (1, int | Sequence[str], "", ""),
        (["a", 2], str | Sequence[str] | None, "node.key", "or a list of values that are each a valid string or null"),
    ],
)
def test_a_fault_names_the_key_of_the_value(value: object, annotation: object, key: str, message: str) -> None:
    faults = value_faults(value, annotation, "node.key")
    assert [fault.key for fault in faults] == ([key] if key else [])
    assert all(message in f"{fault.what}: {fault.to_do}" for fault in faults)


def test_the_identity_of_an_optimizer_has_its_class_and_keywords() -> None:
    """Two optimisers are two fits, whether they are named or have keywords of their own."""
    training = {"_target_": "stepladder.tuning.Training"}
    nodes = [None, "torch.optim.SGD", "torch.optim.Adagrad", {"_target_": "torch.optim.SGD", "momentum": 0.9}]
    built = [build({"training": {**training, "optimizer": node}})["training"] for node in nodes]
    assert len({digest(identity(component)) for component in built}) == 4
    assert identity(built[1])["optimizer"] == "torch.optim.SGD"
    assert identity(built[3])["optimizer"] == {"is": "torch.optim.SGD", "momentum": 0.9}
    assert built[3].object.optimizer([torch.nn.Parameter(torch.ones(1))], lr=0.1).defaults["momentum"] == 0.9
