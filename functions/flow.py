"""How orchestrations wait for activities: with durable timers, longer and longer, and no longer than patience lasts."""

from __future__ import annotations

from datetime import datetime, timedelta

import msgspec
from durabletask import task

from functions.corridor import Activity, Context, Flow, Later, Problem, Value
from shared.platform.brief import cut
from shared.platform.errors import MirrorError
from shared.platform.reasons import LONGEST, Reason

FIRST_PAUSE = timedelta(seconds=1)
LONGEST_PAUSE = timedelta(minutes=1)
PATIENCE = timedelta(minutes=30)
NON_DETERMINISM = task.NonDeterminismError.__name__


class Refused(Exception):
    """Something stands in the way, as a reason for the record."""

    def __init__(self, reason: Reason):
        super().__init__(reason.message)
        self.reason = reason


class Superseded(Exception):
    """Something else is wanted by now; the next run does that."""


def call[Q: msgspec.Struct, A](
    ctx: Context, activity: Activity[Q, A], request: Q, patience: timedelta = PATIENCE
) -> Flow[A]:
    """The value that `activity` answers. Waits while it answers `Later`. Raises `Refused`.

    It waits for `patience`, or for an answer's own, counted from the first answer with the same code.
    """
    first_seen: dict[str, datetime] = {}
    pause = FIRST_PAUSE
    while True:
        match activity.answer((yield activity.begin(ctx, request))):
            case Value(value):
                return value
            case Problem(reason):
                raise Refused(reason)
            case Later(reason, retry_after, own_patience):
                wait = max(pause, timedelta(seconds=retry_after or 0))
                first = first_seen.setdefault(reason.code, ctx.current_utc_datetime)
                limit = patience if own_patience is None else timedelta(seconds=own_patience)
                if ctx.current_utc_datetime + wait > first + limit:
                    raise Refused(reason)
                yield ctx.create_timer(wait)
                pause = min(2 * pause, LONGEST_PAUSE)


def is_outdated(error: Exception) -> bool:
    """Whether a sub-orchestration failed since an earlier version of this app began it, and this one does not replay
    its history."""
    return isinstance(error, task.TaskFailedError) and NON_DETERMINISM in error.details.error_type


def reason_of(error: Exception) -> Reason:
    """Why something ended, for the record. A failed activity is named by its message, never by its trace."""
    if isinstance(error, Refused):
        return error.reason
    if isinstance(error, task.TaskFailedError):
        details = error.details
        text = f"{details.error_type.rpartition('.')[2]}: {details.message}" if details.message else details.error_type
        return Reason(
            MirrorError.code,
            cut(f"A step failed unexpectedly: {text}", LONGEST),
            "See the app's log; the next event or the hourly resync tries again.",
        )
    raise error
