"""No reason without a remedy: whatever the app says of a problem, it says what to do.

The code itself is searched, as syntax: each place that makes a reason, a check or an error has a remedy there.
`test_documents` holds every code to a row in docs/operations.md that says the same.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from typing import Any

import pytest

from functions import problems
from shared.decisions import outcome
from shared.decisions.health import classify
from shared.decisions.readiness import tables as table_checks
from shared.platform import errors
from shared.platform.errors import MirrorError
from shared.platform.reasons import Reason
from shared.source import service, tables
from tests.source import ROOT
from tests.unit.facts import settings
from tests.unit.test_bounds import observed

FILES = sorted([*ROOT.glob("shared/**/*.py"), *ROOT.glob("functions/*.py")])
NEEDS_NOBODY = {"pass", "will_fix"}
"""Statuses of a check about which nobody has to do anything."""
OF_SERVICES = {"shared/fabric/mirror.py"}
"""An error that Fabric tells of a mirror or a table. Whoever makes a reason of it adds the remedy."""


@cache
def calls() -> list[tuple[str, ast.Call]]:
    return [
        (f"{path.relative_to(ROOT)}", node)
        for path in FILES
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call)
    ]


def name(call: ast.Call) -> str:
    return call.func.id if isinstance(call.func, ast.Name) else getattr(call.func, "attr", "")


def argument(call: ast.Call, keyword: str, place: int | None = None) -> ast.expr | None:
    named = [it.value for it in call.keywords if it.arg == keyword]
    if named:
        return named[0]
    return call.args[place] if place is not None and len(call.args) > place else None


def is_empty(value: ast.expr | None) -> bool:
    return value is None or (isinstance(value, ast.Constant) and not value.value)


def kinds(of: type[MirrorError] = MirrorError) -> Iterator[type[MirrorError]]:
    yield of
    for kind in of.__subclasses__():
        yield from kinds(kind)


def test_every_reason_of_the_code_has_a_remedy() -> None:
    bare = [
        f"{file}:{call.lineno}"
        for file, call in calls()
        if name(call) == "Reason" and file not in OF_SERVICES and is_empty(argument(call, "remedy", 2))
    ]
    assert bare == []


def test_every_check_that_needs_somebody_has_a_remedy() -> None:
    bare = []
    for file, call in calls():
        status = argument(call, "status")
        calm = isinstance(status, ast.Constant) and status.value in NEEDS_NOBODY
        of_helper = file.endswith("readiness/report.py")  # `pass_or_fix`, and `pass_or_fail` where it passes
        if name(call) == "Check" and not calm and not of_helper and is_empty(argument(call, "remedy")):
            bare.append(f"{file}:{call.lineno}")
        if name(call) == "pass_or_fail" and is_empty(argument(call, "remedy")):
            bare.append(f"{file}:{call.lineno}")
    assert bare == []


def test_no_error_is_made_with_an_empty_remedy() -> None:
    names = {kind.__name__ for kind in kinds()}
    given = [
        f"{file}:{call.lineno}"
        for file, call in calls()
        if name(call) in names and any(it.arg == "remedy" and is_empty(it.value) for it in call.keywords)
    ]
    assert given == []


@pytest.mark.parametrize("kind", list(kinds()), ids=lambda kind: kind.__name__)
def test_every_kind_of_error_has_a_remedy_of_its_own(kind: type[MirrorError]) -> None:
    """A particular kind of these may have that of the general one."""
    assert kind("It failed.").remedy == kind.usual_remedy
    assert ("usual_remedy" in vars(kind)) or MirrorError not in kind.__bases__
    assert len({other.usual_remedy for other in MirrorError.__subclasses__()}) == len(MirrorError.__subclasses__())
    assert kind("It failed.", remedy="Do this.").remedy == "Do this."


def test_a_reason_that_comes_without_a_remedy_leads_to_the_runbook() -> None:
    """One of a service, or of a row that an older version wrote."""
    assert Reason("NOT_DOCUMENTED_YET", "No.").remedy == "docs/operations.md says what to do about NOT_DOCUMENTED_YET."
    assert service._reason({"status_code": "NEW"}).remedy


@pytest.mark.parametrize("error", [errors.Unavailable("Busy."), errors.Blocked("No.", code="X", remedy="Do.")])
def test_every_problem_of_the_api_has_a_remedy(error: MirrorError) -> None:
    import json

    assert json.loads(problems.problem(error).get_body())["remedy"] == error.remedy


def test_every_code_of_a_table_has_a_remedy() -> None:
    fine = {"HAS_PRIMARY_KEY", "HAS_UNIQUE_INDEX"}
    known = (set(tables._LEVEL_OF) | set(tables._MESSAGES)) - fine
    assert set(table_checks.REMEDIES) == known | fine
    assert {code for code, remedy in table_checks.REMEDIES.items() if not remedy} == fine
    assert "NEW_CODE" in table_checks._remedy(["NEW_CODE"])


def test_a_sick_mirror_says_for_each_reason_what_to_do() -> None:
    found: Any = classify(observed(30), settings())
    assert found.reasons
    assert all(reason.remedy and "docs/operations.md" not in reason.remedy for reason in found.reasons)


def test_parameters_are_left_only_where_the_app_set_some() -> None:
    assert outcome.left(()) == ()
    [reason] = outcome.left(("max_worker_processes", "wal_level"))
    assert reason.code == "ParametersLeft"
    assert "that the app set were left as they are: max_worker_processes, wal_level." in reason.message
    assert "may have set" in outcome.left(("wal_level",), recorded=False)[0].message
    assert reason.remedy


HANDED_IN = {
    ("shared/decisions/readiness/report.py", "id"),
    ("shared/decisions/readiness/report.py", "check"),
    ("shared/desired/intent.py", "code"),
}
"""A parameter, or a check, whose codes stand where the function is called: `tests.source` finds them there."""
OF_AZURE = {(f"shared/{file}.py", "code") for file in ("fabric/refusals", "source/refusals", "source/service")}
"""A word of Azure Resource Manager, Fabric or `azure_cdc`, which has the remedy of the place that passes it on."""


def is_in_sight(code: ast.expr) -> bool:
    """Whether the code is a text, a constant's name, or that of another reason or error, or of an answer of Fabric."""
    if isinstance(code, ast.Constant):
        return True
    if isinstance(code, ast.Name) and code.id.isupper():
        return True
    return any(isinstance(part, ast.Attribute) and part.attr in ("code", "error_code") for part in ast.walk(code))


def test_no_code_is_out_of_sight() -> None:
    """Otherwise it would be no wonder that each has a row in the runbook: nobody would know of it."""
    errors = {kind.__name__ for kind in kinds()}
    hidden = set()
    for file, call in calls():
        places = {"Reason": ("code", 0), "Check": ("id", None)} | dict.fromkeys(errors, ("code", None))
        if name(call) not in places:
            continue
        code = argument(call, *places[name(call)])
        if code is not None and not is_in_sight(code):
            names = {part.id for part in ast.walk(code) if isinstance(part, ast.Name) and not part.id.isupper()}
            hidden |= {(file, it) for it in names}
    assert hidden - HANDED_IN - OF_AZURE == set()
