"""When a server may be restarted."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.decisions.answers import Asked
from shared.decisions.restart import (
    APPROVAL,
    MAINTENANCE_WINDOW,
    judge,
    next_window,
    refusal,
    refused_before,
    waiting_reason,
    why_superseded,
)
from shared.decisions.run import intent_of
from shared.platform.regions import ZONES, time_zone
from shared.records.rows import MirrorRow, ServerRow
from shared.source.facts import Absence, MaintenanceWindow, ServerFacts
from tests.unit.facts import SERVER, server, settings

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)  # a Sunday
SUNDAY_NOON = MaintenanceWindow(True, 0, 12, 0)


def test_what_is_waited_for_is_named_as_portals_read_it() -> None:
    assert (APPROVAL, MAINTENANCE_WINDOW) == ("restart-decision", "maintenance-window")
    assert judge(server(), "now", ("wal_level",), NOW, settings()).waiting_for == ""


def test_now_is_now() -> None:
    assert judge(server(), "now", ("wal_level",), NOW, settings()).wait_until is None


def test_auto_restarts_a_young_server_and_asks_about_an_old_one() -> None:
    young = server(created_at=NOW - timedelta(hours=23))
    old = server(created_at=NOW - timedelta(hours=24))
    unknown = server(created_at=None)
    assert judge(young, "auto", ("wal_level",), NOW, settings()).wait_until is None
    for asked in (old, unknown):
        verdict = judge(asked, "auto", ("wal_level",), NOW, settings())
        assert (verdict.waiting_for, bool(verdict.too_late)) == (APPROVAL, True)


def test_approval_waits_for_a_limited_time_and_says_for_what() -> None:
    verdict = judge(
        server(), "approval", ("wal_level", "shared_preload_libraries"), NOW, settings(RESTART_DECISION_HOURS="2")
    )
    assert verdict.wait_until == NOW + timedelta(hours=2)
    assert verdict.message == (
        "Waiting for a decision to restart server 'pg-shop' for wal_level, shared_preload_libraries"
    )
    assert verdict.too_late is not None
    assert verdict.too_late.code == "RestartNotDecided"
    assert verdict.refused is not None
    assert verdict.refused.code == "RestartRefused"


def test_a_window_that_is_open_is_used_at_once() -> None:
    inside = server(maintenance_window=SUNDAY_NOON)
    assert judge(inside, "window", ("wal_level",), NOW + timedelta(minutes=59), settings()).wait_until is None


def test_a_window_that_is_closed_is_waited_for() -> None:
    verdict = judge(
        server(maintenance_window=SUNDAY_NOON), "window", ("wal_level",), NOW + timedelta(hours=1), settings()
    )
    assert verdict.wait_until == NOW + timedelta(days=7)
    assert (verdict.waiting_for, verdict.too_late) == (MAINTENANCE_WINDOW, None)


@pytest.mark.parametrize(
    ("now", "opens"),
    [
        (NOW, datetime(2026, 11, 22, 22, tzinfo=UTC)),
        (datetime(2026, 11, 22, 22, 30, tzinfo=UTC), datetime(2026, 11, 22, 22, 30, tzinfo=UTC)),
        (datetime(2026, 11, 23, 5, 59, tzinfo=UTC), datetime(2026, 11, 23, 5, 59, tzinfo=UTC)),
        (datetime(2026, 11, 23, 6, 0, tzinfo=UTC), datetime(2026, 11, 23, 22, tzinfo=UTC)),
        (datetime(2026, 7, 1, 12, tzinfo=UTC), datetime(2026, 7, 1, 21, tzinfo=UTC)),
    ],
)
def test_without_a_window_of_its_own_azures_default_counts(now: datetime, opens: datetime) -> None:
    assert next_window(MaintenanceWindow(), time_zone("West Europe"), now) == opens


def test_it_is_in_the_local_time_of_the_region() -> None:
    assert next_window(MaintenanceWindow(), time_zone("westus"), NOW) == NOW  # four in the morning
    assert next_window(MaintenanceWindow(), time_zone("australiaeast"), NOW) == NOW  # eleven in the evening


def test_where_the_region_is_not_known_a_decision_is_waited_for() -> None:
    assert next_window(MaintenanceWindow(), time_zone("atlantis"), NOW) is None
    verdict = judge(server(location="atlantis"), "window", ("wal_level",), NOW, settings())
    assert (verdict.waiting_for, bool(verdict.too_late)) == (APPROVAL, True)


def test_every_zone_of_a_region_exists() -> None:
    assert all(time_zone(region) for region in ZONES)


@given(
    st.integers(0, 6), st.integers(0, 23), st.integers(0, 59), st.datetimes(datetime(2026, 1, 1), datetime(2027, 1, 1))
)
def test_a_custom_window_opens_within_a_week_on_its_day(day: int, hour: int, minute: int, moment: datetime) -> None:
    now = moment.replace(tzinfo=UTC)
    opens = next_window(MaintenanceWindow(True, day, hour, minute), None, now)
    assert opens is not None
    assert now <= opens < now + timedelta(days=7)
    if opens > now:
        assert (opens.isoweekday() % 7, opens.hour, opens.minute) == (day, hour, minute)


WAITING = judge(server(), "approval", ("wal_level",), NOW, settings())
WINDOW = judge(server(maintenance_window=SUNDAY_NOON), "window", ("wal_level",), NOW - timedelta(hours=1), settings())


@pytest.mark.parametrize("code", ["RestartRefused", "RestartNotDecided"])
def test_nobody_is_asked_again_about_the_same_intent(code: str) -> None:
    row = ServerRow(id=SERVER, fingerprint="f-1", restart_refused=refusal("f-1", code))
    refused = refused_before(row, WAITING)
    assert refused is not None
    assert refused.code == code


@pytest.mark.parametrize(
    "row",
    [
        None,
        ServerRow(id=SERVER, fingerprint="f-1"),
        ServerRow(id=SERVER, fingerprint="f-2", restart_refused=refusal("f-1", "RestartRefused")),
        ServerRow(id=SERVER, fingerprint="f-1", restart_refused=refusal("f-1", "SomethingElse")),
    ],
)
def test_another_intent_is_asked_about(row: ServerRow | None) -> None:
    assert refused_before(row, WAITING) is None


def test_a_window_asks_nobody_so_that_too_late_does_not_count() -> None:
    row = ServerRow(id=SERVER, fingerprint="f-1", restart_refused=refusal("f-1", "RestartNotDecided"))
    assert refused_before(row, WINDOW) is None


def test_a_restart_at_once_was_never_refused() -> None:
    row = ServerRow(id=SERVER, fingerprint="f-1", restart_refused=refusal("f-1", "RestartRefused"))
    assert refused_before(row, judge(server(), "now", ("wal_level",), NOW, settings())) is None


def test_the_row_says_who_has_to_decide_and_until_when() -> None:
    reason = waiting_reason(SERVER, WAITING)
    assert reason.code == "RestartApprovalRequired"
    assert (
        "/api/servers/00000000-0000-0000-0000-0000000000a1/rg-shop/pg-shop/mirroring/restart-decision" in reason.remedy
    )
    assert (NOW + timedelta(hours=72)).isoformat() in reason.remedy


def test_the_row_says_that_a_window_is_waited_for() -> None:
    reason = waiting_reason(SERVER, WINDOW)
    assert (reason.code, reason.message) == ("WaitingForWindow", WINDOW.message)
    assert "`now`" in reason.remedy


TAGGED = server(tags={"fabric-mirror": "enabled"})
ASKED = Asked(databases=("shop",))
FINGERPRINT = intent_of(TAGGED, None, settings()).fingerprint


def superseded(
    facts: ServerFacts | Absence = TAGGED,
    row: ServerRow | None = None,
    *mirrors: MirrorRow,
    asked: Asked = ASKED,
    due: bool = False,
) -> str:
    return why_superseded(facts, row, mirrors, asked, FINGERPRINT, due, settings())


def test_a_wait_goes_on_while_the_same_is_wanted() -> None:
    assert superseded() == ""
    assert superseded(TAGGED, ServerRow(id=SERVER), MirrorRow(server=SERVER, database="shop")) == ""


def test_a_wait_ends_for_whatever_changes() -> None:
    assert superseded(Absence("ResourceNotFound")) == "Azure does not find the server"
    assert superseded(server()) == "nobody wants the server mirrored any more"
    assert "'perhaps'" in superseded(server(tags={"fabric-mirror": "perhaps"}))
    tags = {"fabric-mirror": "enabled", "fabric-mirror-databases": "crm"}
    assert superseded(server(tags=tags)) == "something else is wanted"


@pytest.mark.parametrize(
    ("asked_for", "due", "ends"), [(7, True, True), (7, False, False), (6, True, False), (5, True, False)]
)
def test_a_wait_ends_for_a_new_password_unless_the_run_has_tried_it(asked_for: int, due: bool, ends: bool) -> None:
    row = ServerRow(id=SERVER, rotation=asked_for)
    assert bool(superseded(TAGGED, row, asked=Asked(rotation=6), due=due)) is ends


@pytest.mark.parametrize(
    ("database", "tried", "ends"), [("shop", (), True), ("shop", ("shop",), False), ("hr", (), False)]
)
def test_a_wait_ends_for_the_restart_of_a_mirror_that_stays(database: str, tried: tuple[str, ...], ends: bool) -> None:
    mirror = MirrorRow(server=SERVER, database=database, item="i-1", reseed=True)
    asked = Asked(databases=("crm", "shop"), restarts=tried)
    assert bool(superseded(TAGGED, None, mirror, asked=asked)) is ends


def test_every_verdict_says_why() -> None:
    assert "at once" in judge(server(), "now", ("wal_level",), NOW, settings()).message
    assert (
        "window is open"
        in judge(server(maintenance_window=SUNDAY_NOON), "window", ("wal_level",), NOW, settings()).message
    )
