"""The words of the repository: plain English, names that say what they hold, and tables that can be read in a diff."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.source import ROOT

CODE = sorted(path for room in ("functions", "shared", "local", "infra") for path in (ROOT / room).rglob("*.py"))
DOCUMENTS = [*(ROOT / "docs").glob("*.md"), *map(ROOT.joinpath, ("README.md", "CONTRIBUTING.md", "SECURITY.md"))]
INSTEAD = {
    r"\banew\b": "again",
    r"\bfor ever\b": "without end",
    r"(?<!looked )(?<!looked at )\bat last\b": "in the end",
    r"\bbeside\b": "besides, or next to",
    r"\b(?:run|sweep|one|none|that) is on\b(?! its way)": "is running",
    r"\b(?:runs|sweeps|that) are on\b": "are running",
}
"""Words that have to be read twice, and what is written instead."""
UNCLEAR = {"found", "known", "told", "wanted", "kept"}
"""Participles that don't say what a variable holds."""
LONGEST_ROW = 200


@pytest.mark.parametrize(("words", "instead"), INSTEAD.items())
def test_texts_are_plain(words: str, instead: str) -> None:
    """A line may end within the words, so the text of a whole file is searched."""
    pattern = re.compile(words.replace(") is on", r")\s+is\s+on").replace(") are on", r")\s+are\s+on"), re.IGNORECASE)
    hits = [
        f"{path.relative_to(ROOT)}: {hit[0]}" for path in (*CODE, *DOCUMENTS) for hit in pattern.finditer(read(path))
    ]
    assert hits == [], f"write {instead!r}"


def read(path: Path) -> str:
    return path.read_text()


def names(tree: ast.AST) -> Iterator[str]:
    """The variables and the parameters of a module. Those that are given by name only are words of the API."""
    for node in ast.walk(tree):
        match node:
            case ast.Name(id=name, ctx=ast.Store()):
                yield name
            case ast.arguments():
                yield from (parameter.arg for parameter in (*node.posonlyargs, *node.args))


def fields(tree: ast.AST) -> set[str]:
    """The fields of a module's classes: in rows and answers they are names of the API."""
    bodies = [statement for node in ast.walk(tree) if isinstance(node, ast.ClassDef) for statement in node.body]
    targets = [statement.target for statement in bodies if isinstance(statement, ast.AnnAssign)]
    return {target.id for target in targets if isinstance(target, ast.Name)}


def test_variables_say_what_they_hold() -> None:
    trees = {str(path.relative_to(ROOT)): ast.parse(read(path)) for path in CODE}
    unclear = {path: sorted((set(names(tree)) - fields(tree)) & UNCLEAR) for path, tree in trees.items()}
    assert {path: hits for path, hits in unclear.items() if hits} == {}


def test_tables_can_be_read_in_a_diff() -> None:
    long = [
        f"{path.name}: {line[:60]}…"
        for path in DOCUMENTS
        for line in read(path).splitlines()
        if line.startswith("|") and len(line) > LONGEST_ROW
    ]
    assert long == [], "write what is longer as a list or a paragraph under the table"
