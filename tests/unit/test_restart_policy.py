"""When a server may be restarted."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.decisions.restart import APPROVAL, MAINTENANCE_WINDOW, judge, next_window
from shared.platform.regions import ZONES, time_zone
from shared.source.facts import MaintenanceWindow
from tests.unit.facts import server, settings

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)  # a Sunday
SUNDAY_NOON = MaintenanceWindow(True, 0, 12, 0)


def test_now_is_now() -> None:
    assert judge(server(), "now", ("wal_level",), NOW, settings()).wait_until is None


def test_auto_restarts_a_young_server_and_asks_about_an_old_one() -> None:
    young = server(created_at=NOW - timedelta(hours=23))
    old = server(created_at=NOW - timedelta(hours=25))
    unknown = server(created_at=None)
    assert judge(young, "auto", ("wal_level",), NOW, settings()).wait_until is None
    for asked in (old, unknown):
        verdict = judge(asked, "auto", ("wal_level",), NOW, settings())
        assert (verdict.waiting_for, verdict.restart_then) == (APPROVAL, False)


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
    assert (verdict.waiting_for, verdict.restart_then) == (MAINTENANCE_WINDOW, True)


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
    assert (verdict.waiting_for, verdict.restart_then) == (APPROVAL, False)


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
