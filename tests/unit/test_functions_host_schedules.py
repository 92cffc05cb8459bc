"""NCRONTAB schedules: when they are due, what was missed, and what is no schedule."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from local.functions_host.schedules import Schedule, ScheduleInvalid, resolve

START = datetime(2026, 11, 22, 21, 0, 0, tzinfo=UTC)


def _at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@pytest.mark.parametrize(
    ("expression", "due"),
    [
        ("0 */5 * * * *", "2026-11-22 21:05:00"),
        ("*/5 * * * * *", "2026-11-22 21:00:05"),
        ("*/5 * * * *", "2026-11-22 21:05:00"),
        ("30 15 3 * * *", "2026-11-23 03:15:30"),
        ("0 0 4 * * MON", "2026-11-23 04:00:00"),
        ("0 0 0 1 JAN *", "2027-01-01 00:00:00"),
        ("0 0 0 13 * 5", "2027-08-13 00:00:00"),
    ],
)
def test_next_occurrence(expression: str, due: str) -> None:
    assert Schedule(expression).after(START) == _at(due)


@pytest.mark.parametrize(
    "expression", ["", "* * * *", "* * * * * * *", "60 * * * * *", "a b c d e f", "@daily", "0 0 0 30 2 *"]
)
def test_what_is_no_schedule(expression: str) -> None:
    with pytest.raises(ScheduleInvalid, match="the schedule '"):
        Schedule(expression)


def test_setting_in_percent_signs_is_resolved() -> None:
    assert resolve("%HEALTH_SCHEDULE%", {"HEALTH_SCHEDULE": "0 */5 * * * *"}) == "0 */5 * * * *"
    with pytest.raises(ScheduleInvalid, match="names the app setting OTHER, which is not set"):
        resolve("%OTHER%", {})


@pytest.mark.parametrize(
    ("now", "following"),
    [
        ("2026-11-22 21:05:02", ("2026-11-22 21:10:00", False)),
        ("2026-11-22 21:10:00", ("2026-11-22 21:10:00", True)),
        ("2026-11-22 21:11:00", ("2026-11-22 21:10:00", True)),
        ("2026-11-22 21:23:00", ("2026-11-22 21:20:00", True)),
    ],
)
def test_what_follows_a_run_that_was_due_at_five_past(now: str, following: tuple[str, bool]) -> None:
    due, past_due = Schedule("0 */5 * * * *").following(_at("2026-11-22 21:05:00"), _at(now))
    assert (due, past_due) == (_at(following[0]), following[1])


@given(now=st.datetimes(datetime(2026, 1, 1), datetime(2030, 1, 1), timezones=st.just(UTC)))
def test_last_and_next_occurrence_enclose_every_moment(now: datetime) -> None:
    schedule = Schedule("15 */7 * * * *")
    assert schedule.until(now) <= now < schedule.after(now)
    assert schedule.following(schedule.until(now), now) == (schedule.after(now), False)


def test_frequent_means_more_often_than_once_a_minute() -> None:
    assert Schedule("*/30 * * * * *").is_frequent(START)
    assert not Schedule("0 * * * * *").is_frequent(START)
