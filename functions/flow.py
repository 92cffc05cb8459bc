"""How orchestrators call activities: deterministic waiting, and refusals that end a run with a reason.

An activity answers `{"value": …}`, `{"later": reason}` (nothing is wrong, but not now) or `{"problem": reason}` (a
person has to do something). A reason is `{code, message, remedy}`; `later` has `retry_after` and `patience` too, in
seconds.
"""

from __future__ import annotations

from collections.abc import Generator
from datetime import datetime, timedelta
from typing import Any

from durabletask import task

from shared.platform.errors import MirrorError

type Reason = dict[str, Any]
type Flow[T] = Generator[task.Task[Any], Any, T]

CRASHED = task.RetryPolicy(
    first_retry_interval=timedelta(seconds=2),
    max_number_of_attempts=4,
    backoff_coefficient=3,
    max_retry_interval=timedelta(minutes=1),
)
"""For activities that failed unexpectedly, or whose worker died. What services answer is not retried by it."""
FIRST_PAUSE = timedelta(seconds=1)
LONGEST_PAUSE = timedelta(minutes=1)
PATIENCE = timedelta(minutes=30)


class Refused(Exception):
    """Something stands in the way, as a reason for the record."""

    def __init__(self, reason: Reason):
        super().__init__(reason["message"])
        self.reason = reason


class Superseded(Exception):
    """Something else is wanted by now; the next run does that."""


def call(
    ctx: task.OrchestrationContext, activity: str, payload: dict[str, Any], patience: timedelta = PATIENCE
) -> Flow[Any]:
    """The value that `activity` answers. Waits out `later` with durable timers. Raises `Refused`.

    For `patience`, or an answer's own: it counts from the first answer with that code.
    """
    begun: dict[str, datetime] = {}
    pause = FIRST_PAUSE
    while True:
        answer = yield ctx.call_activity(activity, input={"run": ctx.instance_id, **payload}, retry_policy=CRASHED)
        if "value" in answer:
            return answer["value"]
        if "problem" in answer:
            raise Refused(answer["problem"])
        later = answer["later"]
        wait = max(pause, timedelta(seconds=later.pop("retry_after", None) or 0))
        own = later.pop("patience", None)
        first = begun.setdefault(later["code"], ctx.current_utc_datetime)
        if ctx.current_utc_datetime + wait > first + (patience if own is None else timedelta(seconds=own)):
            raise Refused(later)
        yield ctx.create_timer(wait)
        pause = min(2 * pause, LONGEST_PAUSE)


def reason(error: Exception) -> Reason:
    """Why a run ended, for the record. A failed activity is told by its message, never by its trace."""
    if isinstance(error, Refused):
        return error.reason
    if isinstance(error, task.TaskFailedError):
        details = error.details
        text = f"{details.error_type.rpartition('.')[2]}: {details.message}" if details.message else details.error_type
        return {
            "code": MirrorError.code,
            "message": f"A step failed unexpectedly: {text}",
            "remedy": "See the app's log; the next event or the hourly resync tries again.",
        }
    raise error
