"""Bicep read with the tree-sitter grammar: enough of its syntax tree to compare templates with the code."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import tree_sitter_bicep
from tree_sitter import Language, Node, Parser

_PARSER = Parser(Language(tree_sitter_bicep.language()))


def parse(path: Path) -> Node:
    return _PARSER.parse(path.read_bytes()).root_node


def text(node: Node) -> str:
    return (node.text or b"").decode()


def expression(written: str) -> Node:
    """An expression on its own."""
    return _PARSER.parse(f"var x = {written}\n".encode()).root_node.children[0].children[-1]


def parts(node: Node) -> list[Node]:
    """What a node consists of, without punctuation and comments."""
    return [child for child in node.named_children if child.type != "comment"]


def descendants(node: Node, *types: str) -> Iterator[Node]:
    """The node and all below it, of these types (none: all), in the order of the text."""
    if not types or node.type in types:
        yield node
    for child in node.children:
        yield from descendants(child, *types)


def mistakes(root: Node) -> list[str]:
    """What the grammar can't read: line and text."""
    return [
        f"line {node.start_point.row + 1}: {text(node)[:60]!r}"
        for node in descendants(root)
        if node.type == "ERROR" or node.is_missing
    ]


def literal(node: Node) -> str:
    """The content of a string literal, without its quotes."""
    return text(node).strip("'")


def property_names(node: Node) -> list[str]:
    """The names of an object's own properties, not those of objects within it."""
    properties = [child for child in node.children if child.type == "object_property"]
    return [literal(child.children[0]) for child in properties]


def variable(root: Node, name: str) -> Node:
    """The declaration `var name = …`."""
    return _named(root, "variable_declaration", name)


def type_declaration(root: Node, name: str) -> Node:
    """The declaration `type name = …`."""
    return _named(root, "type_declaration", name)


def _named(root: Node, kind: str, name: str) -> Node:
    for node in descendants(root, kind):
        if any(child.type == "identifier" and text(child) == name for child in node.children):
            return node
    raise LookupError(f"there is no {kind} called {name!r}")
