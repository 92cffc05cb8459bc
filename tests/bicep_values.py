"""What Bicep's expressions come to, as far as that is known before a deployment."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

import msgspec
from tree_sitter import Node

from tests import bicep

type Value = Any
"""None, bool, int, str, lists and dicts of values, and the classes below. A dict's key "*" is a computed name."""
type Names = dict[str, Value]


class Some(msgspec.Struct, frozen=True):
    """A value of which only the kind is known: string, int, bool, object, array or any."""

    kind: str


class OneOf(msgspec.Struct, frozen=True):
    values: tuple[Value, ...]


class Resource(msgspec.Struct, frozen=True):
    """A declared resource, or with a path one of its properties."""

    type: str
    path: str = ""


class Module(ABC):
    """A template that another one deploys."""

    @abstractmethod
    def output(self, name: str) -> Value: ...


class Facts(Protocol):
    """What is known of resources and functions, and who hears what is wrong."""

    def wrong(self, where: str, what: str) -> None: ...
    def property_of(self, where: str, resource: Resource, name: str) -> Value: ...
    def function(self, where: str, name: str, arguments: int) -> Value: ...


def each(value: Value) -> list[Value]:
    """All that a value may be."""
    return [one for part in value.values for one in each(part)] if isinstance(value, OneOf) else [value]


def one_of(values: list[Value]) -> Value:
    found: list[Value] = []
    for value in [one for part in values for one in each(part)]:
        if value not in found:
            found.append(value)
    return found[0] if len(found) == 1 else OneOf(tuple(found))


def union(values: list[Value]) -> list[Value]:
    """Objects made one, in every combination of what they may be."""
    if not values:
        return [{}]
    return [
        first | rest if isinstance(first, dict) and isinstance(rest, dict) else Some("object")
        for first in each(values[0])
        for rest in union(values[1:])
    ]


def element(value: Value) -> Value:
    """One of a list; of the resources or modules of a loop, any."""
    if isinstance(value, list):
        return one_of(value) if value else Some("any")
    return value if isinstance(value, Resource | Module) else Some("any")


class Expressions(ABC):
    """Reads the expressions of one template: a method for each kind of node, with the names of the loops around it."""

    path: Path
    facts: Facts

    @abstractmethod
    def named(self, name: str, symbol: str) -> Value:
        """What is declared under this name, for an expression within the declaration of `symbol`."""

    def wrong(self, symbol: str, what: str) -> None:
        self.facts.wrong(f"{self.path.name}: {symbol}", what)

    def value(self, node: Node, symbol: str, names: Names | None = None) -> Value:
        node = bound(node)
        reader = getattr(self, f"_{node.type}", None)
        if reader is None:
            self.wrong(symbol, f"{bicep.text(node)[:60]!r} can't be followed: no {node.type} is known")
            return Some("any")
        return reader(node, symbol, names or {})

    def _all(self, nodes: list[Node], symbol: str, names: Names) -> list[Value]:
        return [self.value(node, symbol, names) for node in nodes]

    def _string(self, node: Node, symbol: str, names: Names) -> Value:
        parts = [bicep.parts(part)[0] for part in bicep.parts(node) if part.type == "interpolation"]
        self._all(parts, symbol, names)
        return Some("string") if parts else bicep.text(node)[1:-1].replace("\\'", "'")

    def _number(self, node: Node, symbol: str, names: Names) -> Value:
        return int(bicep.text(node))

    def _boolean(self, node: Node, symbol: str, names: Names) -> Value:
        return bicep.text(node) == "true"

    def _null(self, node: Node, symbol: str, names: Names) -> Value:
        return None

    def _array(self, node: Node, symbol: str, names: Names) -> Value:
        return self._all(elements(node), symbol, names)

    def _object(self, node: Node, symbol: str, names: Names) -> Names:
        made = {}
        for one in bicep.parts(node):
            key = one.children[0]
            if key.type != "resource_declaration":
                computed = any(bicep.descendants(key, "interpolation"))
                made["*" if computed else bicep.literal(key)] = self.value(one.children[-1], symbol, names)
        return made

    def _parenthesized_expression(self, node: Node, symbol: str, names: Names) -> Value:
        return self.value(bicep.parts(node)[0], symbol, names)

    def _ternary_expression(self, node: Node, symbol: str, names: Names) -> Value:
        return one_of(self._all(bicep.parts(node), symbol, names)[1:])

    def _unary_expression(self, node: Node, symbol: str, names: Names) -> Value:
        self._all(bicep.parts(node), symbol, names)
        return Some("bool")

    def _binary_expression(self, node: Node, symbol: str, names: Names) -> Value:
        left, right = self._all(bicep.parts(node), symbol, names)
        if node.children[1].type != "??":
            return Some("bool")
        return one_of([one for one in each(left) if one is not None] + [right])

    def _for_statement(self, node: Node, symbol: str, names: Names) -> Value:
        return [self.value(bicep.parts(node)[-1], symbol, turn) for turn in self.turns(node, symbol, names)]

    def turns(self, loop: Node, symbol: str, names: Names) -> Iterator[Names]:
        """What a loop calls its names, turn by turn."""
        item, *index = map(bicep.text, loop_names(loop))
        for values in each(self.value(bicep.parts(loop)[1], symbol, names)):
            for value in values if isinstance(values, list) else [Some("any")]:
                yield names | {item: value} | {one: Some("int") for one in index}

    def _identifier(self, node: Node, symbol: str, names: Names) -> Value:
        name = bicep.text(node)
        return names[name] if name in names else self.named(name, symbol)

    _resource_expression = _identifier

    def _subscript_expression(self, node: Node, symbol: str, names: Names) -> Value:
        listed, _ = self._all(bicep.parts(node), symbol, names)
        return one_of([element(one) for one in each(listed)])

    def _member_expression(self, node: Node, symbol: str, names: Names) -> Value:
        base, name = bicep.parts(node)
        safe = any(child.type == ".?" for child in node.children)
        return one_of(
            [self._member(one, bicep.text(name), symbol, safe) for one in each(self.value(base, symbol, names))]
        )

    def _member(self, value: Value, name: str, symbol: str, safe: bool) -> Value:
        if isinstance(value, Resource):
            return self.facts.property_of(f"{self.path.name}: {symbol}", value, name)
        if isinstance(value, Module) and name == "outputs":
            return Outputs(value)
        if isinstance(value, Outputs):
            return value.module.output(name)
        if value in (Some("any"), Some("object")):
            return Some("any")
        if isinstance(value, dict) and (name in value or "*" in value):
            return value.get(name, value.get("*"))
        if not safe:
            self.wrong(symbol, f"there is no property {name} to read")
        return None

    def _call_expression(self, node: Node, symbol: str, names: Names) -> Value:
        name, arguments = bicep.parts(node)
        given = self._all(bicep.parts(arguments), symbol, names)
        gives = self.facts.function(f"{self.path.name}: {symbol}", bicep.text(name), len(given))
        match bicep.text(name), given:
            case "loadJsonContent", [str(file), *_]:
                return json.loads((self.path.parent / file).read_text())
            case "items", [dict(known)]:
                return [{"key": key, "value": value} for key, value in known.items()]
            case "last", [list(values)]:
                return one_of(values)
            case "union", _:
                return one_of(union(given))
        return gives


class Outputs(msgspec.Struct, frozen=True):
    module: Module


def elements(array: Node) -> list[Node]:
    """What an array consists of. On one line the grammar takes `[f(x)]` for `f` and `(x)`: what touches is one."""
    texts: list[str] = []
    end = -1
    for part in bicep.parts(array):
        if part.start_byte == end:
            texts[-1] += bicep.text(part)
        else:
            texts.append(bicep.text(part))
        end = part.end_byte
    return [bicep.expression(text) for text in texts]


def bound(node: Node) -> Node:
    """The grammar takes `a ? b : c[0]` for `(a ? b : c)[0]`; Bicep binds `[0]` and `.x` to `c`."""
    base = node.named_children[0] if node.type in ("subscript_expression", "member_expression") else node
    if base.type not in ("ternary_expression", "binary_expression") or base is node:
        return node
    written, at = node.text or b"", bicep.parts(base)[-1].start_byte - node.start_byte
    return bicep.expression(f"{written[:at].decode()}({written[at:].decode()})")


def loop_names(loop: Node) -> list[Node]:
    head = bicep.parts(loop)[0]
    return bicep.parts(head) if head.type == "for_loop_parameters" else [head]
