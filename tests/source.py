"""The app's own source, read as text and as syntax: what tests hold documents and templates against."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
_FUNCTION = re.compile(r"^@(?:blueprint\.|corridor\.)(?:.*\n)+?(?:async def|def|class) (\w+)", re.MULTILINE)
_SCHEDULE = re.compile(r'schedule="%(\w+)%"')


def functions() -> set[str]:
    """The names of the app's functions, as their decorated definitions say."""
    return {name for path in ROOT.glob("functions/*.py") for name in _FUNCTION.findall(path.read_text())}


def schedules() -> set[str]:
    """The app settings that timers name as their schedules."""
    return {name for path in ROOT.glob("functions/*.py") for name in _SCHEDULE.findall(path.read_text())}


def make_targets() -> set[str]:
    return set(re.findall(r"^\.PHONY: ([a-z-]+)$", (ROOT / "Makefile").read_text(), re.MULTILINE))


def codes() -> dict[str, list[str]]:
    """Every stable code that the app can give as a reason, with the files that give it.

    Where one stands: `code="…"`, `code = "…"` of an error class, `"code": "…"`, the id of a check, and the first
    argument of what makes reasons and problems; the name of a module's constant counts as its text.
    """
    trees = {
        str(path.relative_to(ROOT)): ast.parse(path.read_text())
        for path in sorted([*ROOT.glob("shared/**/*.py"), *ROOT.glob("functions/*.py")])
    }
    everywhere = {name: text for tree in trees.values() for name, text in _constants(tree).items()}
    found: dict[str, list[str]] = {}
    for name, tree in trees.items():
        for node in ast.walk(_Constants(everywhere | _constants(tree)).visit(tree)):
            for code in _codes(node):
                found.setdefault(code, []).append(name)
    return found


class _Constants(ast.NodeTransformer):
    """Writes constant texts (`NAME = "…"`) where their names are used."""

    def __init__(self, values: dict[str, str]):
        self.values = values

    def visit_Name(self, node: ast.Name) -> ast.AST:
        known = isinstance(node.ctx, ast.Load) and node.id in self.values
        return ast.Constant(self.values[node.id]) if known else node

    def visit_Attribute(self, node: ast.Attribute) -> ast.AST:
        known = isinstance(node.ctx, ast.Load) and node.attr.isupper() and node.attr in self.values
        return ast.Constant(self.values[node.attr]) if known else self.generic_visit(node)


def _constants(tree: ast.Module) -> dict[str, str]:
    return {
        statement.targets[0].id: statement.value.value
        for statement in tree.body
        if isinstance(statement, ast.Assign) and isinstance(statement.targets[0], ast.Name)
        and isinstance(statement.value, ast.Constant) and isinstance(statement.value.value, str)
    }  # fmt: skip


_MAKERS = {"Reason", "Problem", "pass_or_fail", "pass_or_fix", "_capacity"}
_CODE = re.compile(r"[A-Z][a-z]+(?:[A-Z][a-zA-Z]*)*")


def _codes(node: ast.AST) -> Iterator[str]:
    places: list[ast.AST] = []
    if isinstance(node, ast.Call):
        name = node.func.id if isinstance(node.func, ast.Name) else getattr(node.func, "attr", "")
        named = {"code", "id"} if name == "Check" else {"code"}
        places += [keyword.value for keyword in node.keywords if keyword.arg in named]
        places += node.args[:1] if name in _MAKERS else []
    elif isinstance(node, ast.Dict):
        places += [
            value for key, value in zip(node.keys, node.values, strict=True)
            if isinstance(key, ast.Constant) and key.value == "code"
        ]  # fmt: skip
    elif isinstance(node, (ast.Assign, ast.AnnAssign)):
        targets = node.targets if isinstance(node, ast.Assign) else [node.target]
        if node.value and any(isinstance(target, ast.Name) and target.id == "code" for target in targets):
            places.append(node.value)
    for place in places:
        for constant in ast.walk(place):
            if (
                isinstance(constant, ast.Constant)
                and isinstance(constant.value, str)
                and _CODE.fullmatch(constant.value)
            ):
                yield constant.value
