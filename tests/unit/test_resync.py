"""Which servers the resync has looked at: those that are not as they should be, and no others."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
import pytest

from shared.decisions.allowed import server_problem
from shared.decisions.readiness.report import Check, Plan, Report
from shared.decisions.resync import left_out, why_look
from shared.desired import intent as desired
from shared.desired.intent import Wish
from shared.desired.server_id import ServerId
from shared.platform.reasons import Reason
from shared.records.rows import ServerRow
from tests.unit.facts import OTHER_WORKSPACE, SERVER, settings

ENABLED = {"fabric-mirror": "enabled"}
DISABLED = {"fabric-mirror": "disabled"}
SETTINGS = settings()


def fingerprint(tags: Mapping[str, str], request: Wish | None = None) -> str:
    return desired.combine(desired.read_tags(tags, "fabric-mirror"), request, SETTINGS).fingerprint


def known(phase: str, tags: Mapping[str, str] = ENABLED, request: Wish | None = None, **more: Any) -> ServerRow:
    """A row as the last run left it, when the tags and the request were these."""
    return ServerRow(id=SERVER, phase=phase, request=request, fingerprint=fingerprint(tags, request), **more)


@pytest.mark.parametrize(
    ("tags", "row"),
    [
        ({}, None),
        ({"team": "sales"}, None),
        (DISABLED, None),
        (ENABLED, known("Mirrored")),
        ({}, known("Mirrored", {}, Wish(databases=("shop",)))),
        ({}, known("Released", {})),
        (DISABLED, known("Released", DISABLED)),
        (DISABLED, known("New", DISABLED)),
        (None, None),
        (None, known("Deleted", {})),
        ({"fabric-mirror": "perhaps"}, known("Blocked")),
    ],
)
def test_a_server_that_is_as_it_should_be_is_left_alone(tags: Mapping[str, str] | None, row: ServerRow | None) -> None:
    assert not why_look(SERVER, tags, row, SETTINGS)


@pytest.mark.parametrize(
    ("tags", "row"),
    [
        pytest.param(ENABLED, None, id="tagged, and nobody was told"),
        pytest.param({"fabric-mirror": "perhaps"}, None, id="a tag that can't be read, and nobody was told"),
        pytest.param({"fabric-mirror": "perhaps"}, known("Mirrored"), id="a tag that can't be read any more"),
        pytest.param({}, known("Mirrored"), id="the tag is gone"),
        pytest.param(DISABLED, known("Mirrored"), id="opted out"),
        pytest.param(DISABLED, known("Mirrored", {}, Wish()), id="the tag forbids what was requested"),
        pytest.param({}, known("Blocked", {}), id="a release that was refused"),
        pytest.param({}, known("Releasing", {}), id="a release that was cut off"),
        pytest.param({}, known("Waiting"), id="opted out while it waited"),
        pytest.param(ENABLED, known("Blocked"), id="blocked"),
        pytest.param(ENABLED, known("Preparing"), id="a run that died"),
        pytest.param(ENABLED, known("Waiting"), id="waiting for a decision"),
        pytest.param(ENABLED, known("Released"), id="wanted again"),
        pytest.param(ENABLED, known("Deleted"), id="a namesake of a server that was deleted"),
        pytest.param(ENABLED | {"fabric-mirror-databases": "crm"}, known("Mirrored"), id="other databases"),
        pytest.param(ENABLED | {"fabric-mirror-workspace": OTHER_WORKSPACE}, known("Mirrored"), id="another workspace"),
        pytest.param(ENABLED | {"fabric-mirror-restart": "window"}, known("Mirrored"), id="another policy"),
        pytest.param(ENABLED, known("Mirrored", rotation=2, rotated=1), id="a new password that was not made"),
        pytest.param({}, known("Deleted", {}), id="there again, and perhaps to be given back"),
        pytest.param({}, known("Missing", {}), id="there again"),
        pytest.param(None, known("Missing"), id="missing"),
        pytest.param(None, known("Mirrored"), id="deleted"),
        pytest.param(None, known("Blocked"), id="deleted while it was blocked"),
    ],
)
def test_a_server_that_is_not_as_it_should_be_is_looked_at(
    tags: Mapping[str, str] | None, row: ServerRow | None
) -> None:
    assert why_look(SERVER, tags, row, SETTINGS)


def test_another_default_workspace_is_another_wish() -> None:
    assert why_look(SERVER, ENABLED, known("Mirrored"), settings(DEFAULT_WORKSPACE=OTHER_WORKSPACE))


FOREIGN = ServerId("00000000-0000-0000-0000-0000000000ff", "rg-shop", "pg-shop")


@pytest.mark.parametrize("tags", [None, {}, ENABLED, DISABLED])
def test_a_server_whose_subscription_was_taken_off_the_list_says_so_once(tags: Mapping[str, str] | None) -> None:
    problem = server_problem(FOREIGN, SETTINGS)
    assert problem is not None
    assert "not allowed any more" in why_look(FOREIGN, tags, known("Mirrored"), SETTINGS)
    assert "not allowed any more" in why_look(FOREIGN, tags, known("Blocked", reasons=(Reason("X", "x"),)), SETTINGS)
    assert why_look(FOREIGN, tags, known("Blocked", reasons=(problem,)), SETTINGS) == ""


@pytest.mark.parametrize("row", [None, known("New"), known("Released"), known("Deleted")])
def test_a_foreign_server_on_which_nothing_of_the_app_is_left_is_left_alone(row: ServerRow | None) -> None:
    assert why_look(FOREIGN, ENABLED, row, SETTINGS) == ""


def left_out_in(*checks: Check, databases: tuple[str, ...] = ("shop",), **changes: Any) -> tuple[str, ...]:
    plan = Plan(changes=(), restart=False, restart_because=(), databases=databases, baseline_worker_processes=8)
    report = msgspec.json.encode(Report(checks=checks, plan=plan)).decode()
    return left_out(msgspec.structs.replace(known("Mirrored", report=report), **changes))


def check(id: str, subject: str, status: Any = "warn") -> Check:
    return Check(id=id, subject=subject, status=status)


def test_a_database_that_the_last_run_left_out_may_have_tables_by_now() -> None:
    empty, closed = check("NoTables", "crm"), check("DatabaseClosed", "hr")
    assert left_out_in(empty, closed, check("Table", "crm: s.t")) == ("crm", "hr")
    assert left_out_in(empty, empty) == ("crm",)


def test_a_database_that_is_mirrored_without_tables_was_not_left_out() -> None:
    assert left_out_in(check("NoTables", "shop")) == ()


@pytest.mark.parametrize("phase", ["Deleted", "Missing"])
@pytest.mark.parametrize("tags", [{}, ENABLED])
def test_of_a_server_that_is_there_again_the_log_says_so(phase: str, tags: Mapping[str, str]) -> None:
    assert why_look(SERVER, tags, known(phase), SETTINGS) == f"it is listed, and it is {phase}"


@pytest.mark.parametrize("phase", ["Blocked", "Preparing", "Released", "Missing"])
def test_a_server_that_is_not_mirrored_is_looked_at_for_another_reason(phase: str) -> None:
    assert left_out_in(check("NoTables", "crm"), phase=phase) == ()


@pytest.mark.parametrize("report", ["", "{", '{"checks": 1}'])
def test_a_report_that_is_missing_or_of_another_version_left_nothing_out(report: str) -> None:
    assert left_out(known("Mirrored", report=report)) == ()
