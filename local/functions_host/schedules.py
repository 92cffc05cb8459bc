"""When a timer fires: NCRONTAB expressions of six fields (seconds first) or five, in UTC."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

from croniter import croniter  # type: ignore[import-untyped]


class ScheduleInvalid(Exception):
    """Not a schedule; the message gives it, and what was expected."""


class Schedule:
    """A schedule, already resolved. Day of month and day of week must both match, as in NCRONTAB."""

    def __init__(self, expression: str):
        self.expression = expression
        fields = len(expression.split())
        if fields not in (5, 6):
            raise ScheduleInvalid(
                f"the schedule '{expression}' has {fields} fields, expected six (seconds first) or five"
            )
        try:
            self.after(datetime.now(UTC))
        except ValueError as error:
            raise ScheduleInvalid(f"the schedule '{expression}' is not an NCRONTAB expression: {error}") from None

    def after(self, moment: datetime) -> datetime:
        """The first occurrence after `moment`."""
        return self._at(moment).get_next(datetime)

    def until(self, moment: datetime) -> datetime:
        """The last occurrence at or before `moment`."""
        return self._at(moment + timedelta(microseconds=1)).get_prev(datetime)

    def following(self, due: datetime, now: datetime) -> tuple[datetime, bool]:
        """When the next run is due after the run of `due` has ended, and whether that time has passed already.

        Of several occurrences that have passed by then, only the last is made up for.
        """
        following = self.after(due)
        return (following, False) if following > now else (self.until(now), True)

    def is_frequent(self, now: datetime) -> bool:
        """Whether it fires more often than once a minute: Azure keeps no status of such schedules."""
        first = self.after(now)
        return self.after(first) - first < timedelta(minutes=1)

    def _at(self, moment: datetime) -> croniter:
        return croniter(self.expression, moment, second_at_beginning=True, day_or=False)


def resolve(text: str, settings: Mapping[str, str]) -> str:
    """Replace each `%NAME%` by the app setting of that name. Raises `ScheduleInvalid` for one that is not set."""

    def setting(match: re.Match[str]) -> str:
        if match[1] not in settings:
            raise ScheduleInvalid(f"the schedule '{text}' names the app setting {match[1]}, which is not set")
        return settings[match[1]]

    return re.sub(r"%(\w+)%", setting, text)
