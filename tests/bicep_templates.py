"""A Bicep template followed as a deployment follows it: into its modules, with the values that they are given."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

from tree_sitter import Node

from tests import bicep, bicep_values
from tests.bicep_values import Expressions, Module, Names, OneOf, Resource, Some, Value, loop_names, one_of

# What Azure knows of a resource before it is there.
EARLY = ("id", "name", "type", "apiVersion")
NAMED = ("parameter_declaration", "variable_declaration", "type_declaration", "module_declaration")
WRAPPERS = ("if_statement", "for_statement")


class Facts(bicep_values.Facts, Protocol):
    def declared_type(self, written: str, name: str = "") -> str: ...
    def accepts(self, where: str, wanted: Value, value: Value) -> None: ...
    def declaration(self, template: Template, symbol: str, body: Names, existing: bool) -> None: ...


class Template(Expressions, Module):
    """A template and the values of its parameters; those of the first template are known by their types only.

    A nested resource is declared as `parent::child`.
    """

    facts: Facts

    def __init__(self, path: Path, facts: Facts, given: Names | None = None):
        self.path, self.facts, self.given = path, facts, given
        self.root = bicep.parse(path)
        self.scope = "resourceGroup"
        self._declared: dict[str, Node] = {}
        self._values: Names = {}
        for node in self.root.children:
            self._declare(node)
            if node.type == "target_scope_assignment":
                self.scope = bicep.literal(bicep.parts(node)[0])

    def _declare(self, node: Node, within: str = "") -> None:
        if node.type == "import_functionality":
            *names, file = bicep.parts(node)
            self._declared |= {bicep.text(name): file for name in names}
        elif node.type in (*NAMED, "resource_declaration"):
            symbol = f"{within}{bicep.text(bicep.parts(node)[0])}"
            if symbol in self._declared:
                self.wrong(symbol, "is declared twice")
            self._declared[symbol] = node
            if node.type == "resource_declaration":
                for part in bicep.parts(body(node)):
                    if part.children[0].type == "resource_declaration":
                        self._declare(part.children[0], f"{symbol}::")

    def follow(self) -> None:
        """Look at everything that is declared, here and in the modules."""
        for name, node in self._declared.items():
            if node.type == "resource_declaration":
                self._resource(name, node)
            elif node.type != "string":
                self.find(name)
        for node in self._outputs():
            self.output(bicep.text(bicep.parts(node)[0]))
        for call in bicep.descendants(self.root, "call_expression"):
            name, arguments = map(bicep.text, bicep.parts(call))
            if name in self._declared:
                self.wrong(name, "is declared, and hides the function")
            if (name, arguments) == ("resourceGroup", "()") and self.scope != "resourceGroup":
                self.wrong(name, "has to be given a name in a template for a subscription")

    def find(self, name: str) -> Value:
        if name not in self._values:
            self._values[name] = Some("any")  # while it is being found
            self._values[name] = self._found(name, self._declared[name])
        return self._values[name]

    def _found(self, name: str, node: Node) -> Value:
        match node.type:
            case "string":
                return Template(self.path.parent / bicep.literal(node), self.facts).find(name)
            case "parameter_declaration":
                return self._parameter(name, node)
            case "type_declaration":
                return self._type(bicep.parts(node)[1])
            case "module_declaration":
                return self._module(name, node)
            case "resource_declaration":
                return Resource(self._type_of(name, node))
        return self.value(bicep.parts(node)[-1], name)

    def named(self, name: str, symbol: str) -> Value:
        around = symbol
        while True:  # a nested resource is known by its own name to those beside and within it
            full = f"{around}::{name}".removeprefix("::")
            if full in self._declared:
                return self.find(full)
            if not around:
                self.wrong(symbol, f"{name} is not declared")
                return Some("any")
            around = around.rpartition("::")[0]

    def _parameter(self, name: str, node: Node) -> Value:
        kind, *default = bicep.parts(node)[1:]
        wanted, where = self._type(kind), f"{self.path.name}: {name}"
        fallback = self.value(default[0], name) if default else wanted
        self.facts.accepts(where, wanted, fallback)
        if self.given is None:
            allowed = [self.value(bicep.parts(call)[0], name) for call in decorators(node, "allowed")]
            return one_of(allowed[0]) if allowed else wanted
        value = self.given.get(name, fallback)
        self.facts.accepts(where, wanted, value)
        return value

    def _type(self, node: Node) -> Value:
        match node.type:
            case "type":
                return self._type(bicep.parts(node)[0])
            case "array_type":
                return [self._type(bicep.parts(node)[0])]
            case "nullable_type":
                return OneOf((None, self._type(bicep.parts(node)[0])))
            case "object":
                members = [bicep.parts(one) for one in bicep.parts(node)]
                return {bicep.literal(name): self._type(kind) for name, kind in members}
        name = bicep.text(node)
        return self.find(name) if name in self._declared else Some(name)

    def _module(self, symbol: str, node: Node) -> Template:
        target = self.path.parent / bicep.literal(bicep.parts(node)[1])
        template = Template(target, self.facts)
        for names in self._turns(symbol, node):
            template = Template(target, self.facts, self.value(body(node), symbol, names).get("params", {}))
            template.follow()
        return template

    def _outputs(self) -> Iterator[Node]:
        return (node for node in self.root.children if node.type == "output_declaration")

    def output(self, name: str) -> Value:
        for node in self._outputs():
            declared, kind, expression = bicep.parts(node)
            if bicep.text(declared) == name:
                value = self.value(expression, name)
                self.facts.accepts(f"{self.path.name}: {name}", self._type(kind), value)
                return value
        self.wrong(name, "is no output")
        return Some("any")

    def _type_of(self, symbol: str, node: Node) -> str:
        written = bicep.literal(bicep.parts(node)[1])
        if "::" in symbol:
            kind, _, version = self.find(symbol.rpartition("::")[0]).type.partition("@")
            written = f"{kind}/{written}@{version}"
        return self.facts.declared_type(written, *map(bicep.literal, properties(node, "name")))

    def _resource(self, symbol: str, node: Node) -> None:
        existing = any(child.type == "existing" for child in node.children)
        for names in self._turns(symbol, node):
            self.facts.declaration(self, symbol, self.value(body(node), symbol, names), existing)

    def _turns(self, symbol: str, node: Node) -> Iterator[Names]:
        """The turns of a declaration's loop, or the only one; and what Azure has to know before the first."""
        early, loop, inner = properties(node, "name", "scope"), None, node.children[-1]
        while inner.type in WRAPPERS:
            loop = inner if inner.type == "for_statement" else loop
            *_, known, inner = bicep.parts(inner)
            early.append(known)
        if loop is None:
            yield {}
        else:
            telling = [one for part in properties(node, "name", "scope", "parent") for one in bicep.descendants(part)]
            if not {bicep.text(name) for name in loop_names(loop)} & {bicep.text(one) for one in telling}:
                self.wrong(symbol, "has the same name in every turn of its loop")
            yield from self.turns(loop, symbol, {})
        for part in early:
            self._known_early(part, symbol)

    def _known_early(self, node: Node, symbol: str) -> None:
        for access in bicep.descendants(node, "member_expression"):
            base, name = bicep.text(access.children[0]), bicep.text(access.children[-1])
            declared = self._declared.get(base.partition("[")[0])
            if declared is not None and (
                declared.type == "module_declaration" or (declared.type == "resource_declaration" and name not in EARLY)
            ):
                self.wrong(symbol, f"{bicep.text(access)} is not known before the deployment")
        for one in bicep.descendants(node, "identifier"):
            declared = self._declared.get(bicep.text(one))
            if declared is not None and declared.type == "variable_declaration":
                self._known_early(bicep.parts(declared)[-1], symbol)


def body(declaration: Node) -> Node:
    """The object of a resource or module, within its condition and loop."""
    node = declaration.children[-1]
    while node.type in WRAPPERS:
        node = bicep.parts(node)[-1]
    return node


def properties(declaration: Node, *names: str) -> list[Node]:
    """The values of a declaration's own properties of these names."""
    return [one.children[-1] for one in bicep.parts(body(declaration)) if bicep.text(one.children[0]) in names]


def decorators(declaration: Node, name: str) -> Iterator[Node]:
    """The arguments of every decorator of this name before the declaration."""
    before = declaration.prev_named_sibling
    if before is not None and before.type == "decorators":
        for call in bicep.descendants(before, "call_expression"):
            if bicep.text(call.children[0]) == name:
                yield call.children[-1]
