"""Timer triggers: each fires by its schedule, never at the same time as itself."""

from __future__ import annotations

import asyncio
import json
import logging
import os
from datetime import UTC, datetime
from typing import Any

from local.functions_host.messages import TypedData
from local.functions_host.schedules import Schedule, ScheduleInvalid, resolve
from local.functions_host.worker import App, Function, IndexingFailed, InvocationFailed

log = logging.getLogger("Host.Triggers.Timer")

NEVER = "0001-01-01T00:00:00+00:00"
LONGEST_SLEEP_SECONDS = 60.0  # then the clock is read again: it may have been set, or the machine asleep


class Timer:
    """One timer trigger. Its status is in memory: a host that starts again makes up for no run."""

    def __init__(self, app: App, function: Function):
        self.app, self.function = app, function
        trigger = function.trigger
        try:
            self.schedule = Schedule(resolve(trigger["schedule"], os.environ))
        except ScheduleInvalid as error:
            raise IndexingFailed(f"The function '{function.name}' cannot be served: {error}.") from None
        self.at_startup = bool(trigger.get("runOnStartup"))
        self.monitored = trigger.get("useMonitor", True) and not self.schedule.is_frequent(datetime.now(UTC))
        self.last = NEVER
        self.alone = asyncio.Lock()

    async def run(self) -> None:
        """Fire by the schedule, without end."""
        if self.at_startup:
            await self._fire(past_due=False)
        due, past_due = self.schedule.after(datetime.now(UTC)), False
        log.info(
            "The next occurrence of '%s' (%s) is %s", self.function.name, self.schedule.expression, due.isoformat()
        )
        while True:
            await _sleep_until(due)
            await self._fire(past_due)
            due, past_due = self.schedule.following(due, datetime.now(UTC))

    async def fire_by_hand(self) -> None:
        """Fire once, now. The function does not see the status of the schedule, and the status stays as it is."""
        reason = "This function was programmatically called via the host APIs."
        await self._invoke(_payload(status=None, past_due=False), reason)

    async def _fire(self, past_due: bool) -> None:
        now = datetime.now(UTC)
        status = self._status(now) if self.monitored else None
        await self._invoke(_payload(status, past_due), f"Timer fired at {now.isoformat()}")
        self.last = now.isoformat()

    async def _invoke(self, payload: dict[str, Any], reason: str) -> None:
        async with self.alone:
            try:
                await self.app.invoke_with_retries(self.function, TypedData(json=json.dumps(payload)), reason)
            except InvocationFailed:
                return  # the log has it, and the schedule goes on

    def _status(self, now: datetime) -> dict[str, str]:
        return {"Last": self.last, "Next": self.schedule.after(now).isoformat(), "LastUpdated": self.last}


def _payload(status: dict[str, str] | None, past_due: bool) -> dict[str, Any]:
    return {"Schedule": {"AdjustForDST": True}, "ScheduleStatus": status, "IsPastDue": past_due}


async def _sleep_until(moment: datetime) -> None:
    while (seconds := (moment - datetime.now(UTC)).total_seconds()) > 0:
        await asyncio.sleep(min(seconds, LONGEST_SLEEP_SECONDS))
