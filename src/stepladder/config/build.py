"""From plain nodes to objects: every `_target_` is bound to its constructor's signature, children first.

All faults of all nodes are told at once, before anything is read or loaded. Knows signatures; loads no torch of its own
accord (what a target's module imports is the target's affair).
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, get_args, get_origin

from stepladder.config.annotations import fits, hints_of, in_words, inner, is_kind, takes_text, takes_texts
from stepladder.config.layers import reference
from stepladder.config.overrides import typed
from stepladder.config.own_classes import checked, shortcomings
from stepladder.config.targets import resolve, stands_under
from stepladder.errors import ConfigError, Fault, did_you_mean

MISSING = "???"


@dataclass(frozen=True)
class Component:
    """A built node: the `object`, and for a target its class and the components of its arguments."""

    object: Any
    target: Any = None
    arguments: Mapping[str, Component] = field(default_factory=dict)
    items: tuple[Component, ...] = ()


_BROKEN = Component(object=inspect.Parameter.empty)


def build(
    nodes: Mapping[str, Any],
    wanted: Mapping[str, Any] | None = None,
    trust: Sequence[str] = (),
    light: Sequence[str] = (),
) -> dict[str, Component]:
    """Build every node; a reference to a node becomes that node's component.

    `wanted` gives, as an annotation, what a node must be (None: anything that is trusted); what stands below it must be
    what its constructor's annotations ask for, and where they ask for nothing no target may stand. All is judged by the
    class, before anything of it is called. Nodes named in `light` are left unbuilt where looking their target up would
    import a heavy package, unless another node refers to them.
    Raises ConfigError with all faults.
    """
    builder = _Builder(nodes, wanted, trust)
    for key in sorted(nodes, key=lambda key: key in light):
        builder.node(key, light=key in light)
    if builder.faults:
        raise ConfigError(builder.faults)
    return {key: component for key, component in builder.built.items() if component is not _BROKEN}


class _Builder:
    """Walks nodes and gathers faults."""

    def __init__(self, nodes: Mapping[str, Any], wanted: Mapping[str, Any] | None, trust: Sequence[str]) -> None:
        self.nodes, self.wanted, self.trust, self.light = nodes, wanted, trust, False
        self.faults: list[Fault] = []
        self.begun: set[str] = set()
        self.built: dict[str, Component] = {}

    def node(self, key: str, light: bool = False) -> Component:
        if key not in self.nodes:
            return self.fault(key, f"there is no node '{key}' to refer to", did_you_mean(key, list(self.nodes)))
        if key not in self.built:
            if key in self.begun:
                return self.fault(key, "this node refers to itself", "write its values")
            self.begun.add(key)
            self.light = light
            hint = object if self.wanted is None else self.wanted.get(key, Any)
            self.built[key] = self.component(self.nodes[key], key, hint)
        return self.built[key]

    def fault(self, key: str, what: str, to_do: str = "") -> Component:
        self.faults.append(Fault(key, what, to_do))
        return _BROKEN

    def component(self, node: Any, key: str, hint: Any) -> Component:
        if isinstance(node, Mapping) and "_target_" in node:
            return self._target(node, key, hint)
        if isinstance(node, Mapping):
            if not fits({}, hint):
                return self.fault(key, "this node has no _target_", f"it takes {in_words(hint)}")
            arguments = {str(k): self.component(v, f"{key}.{k}", inner(hint)) for k, v in node.items()}
            if any(a is _BROKEN for a in arguments.values()):
                return _BROKEN
            return Component({k: a.object for k, a in arguments.items()}, arguments=arguments)
        if isinstance(node, list):
            items = tuple(self.component(v, f"{key}[{i}]", inner(hint)) for i, v in enumerate(node))
            return _BROKEN if any(i is _BROKEN for i in items) else Component([i.object for i in items], items=items)
        name = reference(node)
        if name is not None and name in self.nodes:
            return self.node(name, self.light)
        if node == MISSING:
            return self.fault(key, "a value is missing", f"give {key}=...")
        return Component(node)

    def _target(self, node: Mapping[str, Any], key: str, hint: Any) -> Component:
        name = node["_target_"]
        target = resolve(name, f"{key}._target_", self.trust, self.light)
        if isinstance(target, Fault):
            self.faults.append(target)
        if target is None or isinstance(target, Fault):
            return _BROKEN
        if not inspect.isclass(target):
            return self.fault(f"{key}._target_", f"{name} is not a class", "name a class")
        if _is_function(hint):
            return self._partial(node, target, key)
        if hint is Any and not stands_under(name, self.trust):
            return self.fault(f"{key}._target_", "nothing says what belongs here", "write plain values")
        trusted = stands_under(target.__module__, self.trust)
        lacks = shortcomings(target, hint) if trusted else []
        if lacks or not is_kind(target, hint):
            what = f"{name} does not fit here{': ' if lacks else ''}{'; '.join(lacks)}"
            return self.fault(f"{key}._target_", what, f"this takes {in_words(hint)}")
        if _parameters(target) is None:
            return self.fault(f"{key}._target_", f"{name} does not tell what it takes", "name another class")
        hints = hints_of(target)
        arguments = {
            str(k): self._named(
                self.component(v, f"{key}.{k}", hints.get(str(k), Any)), hints.get(str(k)), f"{key}.{k}"
            )
            for k, v in node.items()
            if k != "_target_"
        }
        sound = self._binds(target, hints, arguments, key)
        if not sound or any(a is _BROKEN for a in arguments.values()):
            self._faults_of_the_rest(target, hints, arguments, key)
            return _BROKEN
        return self._constructed(target, arguments, key, checked(target, hint) if trusted else target)

    def _partial(self, node: Mapping[str, Any], target: Any, key: str) -> Component:
        """Where a function is wanted, a class with keywords: it is called later, with the other arguments."""
        parameters = _parameters(target) or {}
        takes_any = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
        arguments = {str(k): self.component(v, f"{key}.{k}", Any) for k, v in node.items() if k != "_target_"}
        hints = hints_of(target)
        for name, argument in arguments.items():
            if name not in parameters and not takes_any:
                hint = did_you_mean(name, list(parameters))
                self.fault(f"{key}.{name}", f"{target.__name__} takes no '{name}'", hint)
            elif argument is not _BROKEN and name in hints and not fits(argument.object, hints[name]):
                self._misfit(argument, hints[name], f"{key}.{name}")
        unknown = [name for name in arguments if name not in parameters and not takes_any]
        if unknown or any(a is _BROKEN for a in arguments.values()):
            return _BROKEN
        made = partial(target, **{name: argument.object for name, argument in arguments.items()})
        return Component(made, target, arguments)

    def _faults_of_the_rest(
        self, target: Any, hints: Mapping[str, Any], arguments: Mapping[str, Component], key: str
    ) -> None:
        """What our own constructor says of the arguments that do bind, so that one fault hides no other."""
        if not stands_under(target.__module__, ["stepladder"]):
            return
        known = _parameters(target) or {}
        fitting = {n: a for n, a in arguments.items() if n in known and a is not _BROKEN}
        fitting = {n: a for n, a in fitting.items() if n not in hints or fits(a.object, hints[n])}
        if all(p.default is not p.empty or n in fitting for n, p in known.items()):
            before = len(self.faults)
            self._constructed(target, fitting, key)
            at_fault = {fault.key for fault in self.faults[:before]}
            self.faults[before:] = [f for f in self.faults[before:] if f.key not in at_fault]

    def _named(self, argument: Component, hint: Any, key: str) -> Component:
        """Where a function is wanted, a dotted name stands for it, as far as it is trusted."""
        if not _is_function(hint) or not isinstance(argument.object, str):
            return argument
        found = resolve(argument.object, key, self.trust)
        if isinstance(found, Fault):
            self.faults.append(found)
            return _BROKEN
        return Component(found)

    def _binds(self, target: Any, hints: Mapping[str, Any], arguments: Mapping[str, Component], key: str) -> bool:
        """Unknown names, missing ones and values that do not fit; each a fault."""
        before = len(self.faults)
        parameters = _parameters(target) or {}
        if not any(p.kind is p.VAR_KEYWORD for p in parameters.values()):
            for name in arguments:
                if name not in parameters:
                    self.fault(
                        f"{key}.{name}", f"{target.__name__} takes no '{name}'", did_you_mean(name, list(parameters))
                    )
        for name, parameter in parameters.items():
            if parameter.default is parameter.empty and name not in arguments and parameter.kind not in (2, 4):
                self.fault(f"{key}.{name}", f"{target.__name__} needs '{name}'", f"give {key}.{name}=...")
        for name, argument in arguments.items():
            if name in hints and argument is not _BROKEN and not fits(argument.object, hints[name]):
                self._misfit(argument, hints[name], f"{key}.{name}")
        return len(self.faults) == before

    def _misfit(self, argument: Component, hint: Any, key: str) -> None:
        """The fault of a value of another type, with the text to type where only quotes are missing."""
        found = argument.object
        said = _written(found) if argument.target is None else f"a {type(found).__name__}"
        to_do = f"it takes {in_words(hint)}"
        if isinstance(found, bool | int | float) and takes_text(hint):
            to_do += f"; as a text: {typed(key, _written(found))}"
        elif isinstance(found, list) and takes_texts(hint):
            texts = ",".join(f"'{_written(each)}'" for each in found)
            to_do += f'; as texts: "{key}=[{texts}]"'
        self.fault(key, f"{said} does not fit", to_do)

    def _constructed(self, target: Any, arguments: Mapping[str, Component], key: str, made_of: Any = None) -> Component:
        """An object of `target`, or of `made_of`, which is the same class with checks."""
        try:
            made = (made_of or target)(**{name: argument.object for name, argument in arguments.items()})
        except ConfigError as error:
            for fault in error.faults:
                self.fault(f"{key}.{fault.key}" if fault.key else key, fault.what, fault.to_do)
            return _BROKEN
        except (
            TypeError,
            ValueError,
            AttributeError,
            ArithmeticError,
            LookupError,
            ImportError,
            RuntimeError,
        ) as error:
            told = str(error) or type(error).__name__
            return self.fault(key, f"{target.__name__} refuses its arguments: {told}", "mend the value that it names")
        return Component(made, target, arguments)


def _is_function(hint: Any) -> bool:
    """Whether a function is wanted, or a function or nothing."""
    return any(get_origin(choice) is Callable for choice in (hint, *get_args(hint)))


def _written(value: object) -> str:
    """A plain value as a configuration has it."""
    if isinstance(value, bool) or value is None:
        return {True: "true", False: "false", None: "null"}[value]
    if isinstance(value, list):
        return f"[{', '.join(map(_written, value))}]"
    return repr(value)


def _parameters(target: Any) -> Mapping[str, inspect.Parameter] | None:
    """What a constructor takes; None for one that does not tell."""
    try:
        return inspect.signature(target).parameters
    except (TypeError, ValueError):
        return None
