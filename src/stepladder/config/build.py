"""Builds objects from configuration nodes: binds each `_target_` to its constructor's signature, children first.

All faults of all nodes are reported at once, before anything is read or loaded.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, get_args, get_origin

from stepladder.config.annotations import hints_of, inner, is_kind
from stepladder.config.merging import reference
from stepladder.config.own_classes import checked, shortcomings
from stepladder.config.targets import is_under, resolve
from stepladder.config.value_types import expected, fits, value_faults
from stepladder.errors import ConfigError, Fault, did_you_mean
from stepladder.types import Plain

MISSING = "???"
_REFUSALS = (TypeError, ValueError, AttributeError, ArithmeticError, LookupError, ImportError, RuntimeError)
"""What a constructor raises for arguments that it does not take."""
VARIADIC = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)


@dataclass(frozen=True)
class Component:
    """A built node: the `object`, and for a target its class and the components of its arguments."""

    object: Any
    target: Any = None
    arguments: Mapping[str, Component] = field(default_factory=dict)
    items: tuple[Component, ...] = ()


_BROKEN = Component(object=inspect.Parameter.empty)


def build(
    nodes: Plain, wanted: Plain | None = None, trust: Sequence[str] = (), light: Sequence[str] = ()
) -> dict[str, Component]:
    """Build every node. A reference to a node becomes that node's component.

    Classes are checked before anything of them is called. A node below another must be what the annotations of that
    one's constructor ask for; where they ask for nothing, it may not name a target.

    Args:
        wanted: What each node must be, as an annotation; None: any trusted class.
        trust: Prefixes of modules that the user trusts.
        light: Nodes for which no third-party package is imported. Where one of their targets is in such a package,
            the node is left out of the result.

    Raises:
        ConfigError: With the faults of all nodes.
    """
    builder = _Builder(nodes, wanted, trust)
    for key in sorted(nodes, key=lambda key: key in light):
        builder.node(key, light=key in light)
    if builder.faults:
        raise ConfigError(builder.faults)
    return {key: component for key, component in builder.built.items() if component is not _BROKEN}


class _Builder:
    """Builds nodes and collects their faults. `_BROKEN` stands for a node with a fault, and for one left out."""

    def __init__(self, nodes: Plain, wanted: Plain | None, trust: Sequence[str]) -> None:
        self.nodes, self.wanted, self.trust, self.light = nodes, wanted, trust, False
        self.faults: list[Fault] = []
        self.begun: set[str] = set()
        self.built: dict[str, Component] = {}

    def node(self, key: str, light: bool = False) -> Component:
        if key not in self.built:
            if key in self.begun:
                return self._fault(key, "this node refers to itself", "write its values")
            self.begun.add(key)
            self.light = light
            hint = object if self.wanted is None else self.wanted.get(key, Any)
            self.built[key] = self._component(self.nodes[key], key, hint)
        return self.built[key]

    def _fault(self, key: str, what: str, to_do: str = "") -> Component:
        self.faults.append(Fault(key, what, to_do))
        return _BROKEN

    def _component(self, node: Any, key: str, hint: Any) -> Component:
        if isinstance(node, Mapping) and "_target_" in node:
            return self._target(node, key, hint)
        if isinstance(node, Mapping):
            if not fits({}, hint):
                return self._fault(key, "this node has no _target_", f"it takes {expected(hint)}")
            arguments = {str(k): self._component(v, f"{key}.{k}", inner(hint)) for k, v in node.items()}
            broken = any(a is _BROKEN for a in arguments.values())
            return _BROKEN if broken else Component({k: a.object for k, a in arguments.items()}, arguments=arguments)
        if isinstance(node, list):
            items = tuple(self._component(v, f"{key}[{i}]", inner(hint)) for i, v in enumerate(node))
            return _BROKEN if any(i is _BROKEN for i in items) else Component([i.object for i in items], items=items)
        name = reference(node)
        if name is not None and name in self.nodes:
            return self.node(name, self.light)
        if node == MISSING:
            return self._fault(key, "a value is missing", f"give {key}=...")
        return Component(node)

    def _target(self, node: Plain, key: str, hint: Any) -> Component:
        target = resolve(node["_target_"], f"{key}._target_", self.trust, self.light)
        if isinstance(target, Fault):
            self.faults.append(target)
        if target is None or isinstance(target, Fault):
            return _BROKEN
        later = _is_function(hint)  # the class is called later, with these arguments and others
        if not self._may_be_here(target, node["_target_"], f"{key}._target_", hint, later):
            return _BROKEN
        hints, before = hints_of(target), len(self.faults)
        arguments = {
            str(name): self._argument(value, f"{key}.{name}", hints.get(str(name), Any), later)
            for name, value in node.items()
            if name != "_target_"
        }
        self._check_names(target, arguments, key, later)
        sound = self._fitting(hints, arguments, key)
        if len(self.faults) > before or len(sound) < len(arguments):
            if not later:
                self._construct_the_rest(target, sound, key)
            return _BROKEN
        if later:
            return Component(partial(target, **{n: a.object for n, a in arguments.items()}), target, arguments)
        trusted = is_under(target.__module__, self.trust)
        return self._constructed(target, arguments, key, checked(target, hint) if trusted else target)

    def _may_be_here(self, target: Any, name: str, key: str, hint: Any, later: bool) -> bool:
        """Whether a target is a class that its place asks for; where not, its fault is added."""
        before = len(self.faults)
        if not inspect.isclass(target):
            self._fault(key, f"{name} is not a class", "name a class")
        elif hint is Any and not is_under(name, self.trust):
            self._fault(key, "nothing says what belongs here", "write plain values")
        elif not later:
            lacks = shortcomings(target, hint) if is_under(target.__module__, self.trust) else []
            if lacks or not is_kind(target, hint):
                what = f"{name} does not fit here{': ' if lacks else ''}{'; '.join(lacks)}"
                self._fault(key, what, f"this takes {expected(hint)}")
        if len(self.faults) == before:
            try:
                inspect.signature(target)
            except (TypeError, ValueError):  # some classes of C extensions
                self._fault(key, f"Python does not know the arguments of {name}", "name another class")
        return len(self.faults) == before

    def _argument(self, value: Any, key: str, hint: Any, later: bool) -> Component:
        """The component of an argument. Where a function is wanted, its dotted name is looked up."""
        component = self._component(value, key, Any if later else hint)
        if later or not _is_function(hint) or not isinstance(component.object, str):
            return component
        found = resolve(component.object, key, self.trust)
        if isinstance(found, Fault):
            self.faults.append(found)
            return _BROKEN
        return Component(found)

    def _check_names(self, target: Any, arguments: Mapping[str, Component], key: str, later: bool) -> None:
        """Add the faults of arguments that the constructor does not take, and of those that it needs."""
        parameters = inspect.signature(target).parameters
        takes_any = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
        for name in arguments:
            if name not in parameters and not takes_any:
                hint = did_you_mean(name, list(parameters))
                self._fault(f"{key}.{name}", f"{target.__name__} takes no '{name}'", hint)
        for name, parameter in parameters.items():
            needed = parameter.default is parameter.empty and parameter.kind not in VARIADIC and not later
            if needed and name not in arguments:
                self._fault(f"{key}.{name}", f"{target.__name__} needs '{name}'", f"give {key}.{name}=...")

    def _fitting(self, hints: Plain, arguments: Mapping[str, Component], key: str) -> dict[str, Component]:
        """The arguments whose values fit their annotations; the faults of the others are added."""
        found = {}
        for name, argument in arguments.items():
            if argument is not _BROKEN:
                faults = value_faults(argument.object, hints.get(name, Any), f"{key}.{name}")
                self.faults += faults
                if not faults:
                    found[name] = argument
        return found

    def _construct_the_rest(self, target: Any, sound: Mapping[str, Component], key: str) -> None:
        """Add what our own constructor reports about the other arguments, so that one fault hides no other."""
        parameters = inspect.signature(target).parameters
        fitting = {name: argument for name, argument in sound.items() if name in parameters}
        ours = is_under(target.__module__, ["stepladder"])
        if ours and all(p.default is not p.empty or name in fitting for name, p in parameters.items()):
            before = len(self.faults)
            self._constructed(target, fitting, key)
            known = {fault.key for fault in self.faults[:before]}
            self.faults[before:] = [fault for fault in self.faults[before:] if fault.key not in known]

    def _constructed(self, target: Any, arguments: Mapping[str, Component], key: str, made_of: Any = None) -> Component:
        """An object of `target`, or of `made_of`, the same class with checks of what its methods return."""
        try:
            made = (made_of or target)(**{name: argument.object for name, argument in arguments.items()})
        except ConfigError as error:
            for fault in error.faults:
                self._fault(f"{key}.{fault.key}" if fault.key else key, fault.what, fault.to_do)
            return _BROKEN
        except _REFUSALS as error:
            message = str(error) or type(error).__name__
            return self._fault(key, f"{target.__name__} refuses its arguments: {message}", "correct the value it names")
        return Component(made, target, arguments)


def _is_function(hint: Any) -> bool:
    """Whether a function is wanted, or a function or nothing."""
    return any(get_origin(choice) is Callable for choice in (hint, *get_args(hint)))
