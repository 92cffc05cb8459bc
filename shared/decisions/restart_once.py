"""At most one restart for a need, whatever answer is lost. Pure.

A restart interrupts the application, so it is not simply asked for again when its answer was lost: the app first notes
in the server's row that it is about to ask, and after that it looks at what is pending and since when PostgreSQL has
been running.
"""

from __future__ import annotations

from datetime import datetime, timedelta

import msgspec

from shared.decisions.run import SETTLED_STATES
from shared.records.rows import RestartIntent

TO_BEGIN = timedelta(minutes=2)
"""Time in which a restart begins that Azure accepted: then PostgreSQL was started later, or the server is not Ready."""
TO_SHOW = timedelta(minutes=5)
"""Time in which Azure shows that the parameters of a restarted server wait no more."""
BETWEEN = 5.0
"""Seconds between two looks at a server whose restart may be under way."""


class Done(msgspec.Struct, frozen=True):
    """There is nothing to restart for any more."""

    why: str


class Wait(msgspec.Struct, frozen=True):
    """A restart may be under way: look again."""

    why: str


class Send(msgspec.Struct, frozen=True):
    """Note the intent, and ask for the restart."""

    why: str


class Seen(msgspec.Struct, frozen=True, kw_only=True):
    """What shows whether a restart was made."""

    pending: tuple[str, ...]
    """The parameters of mirroring that wait for a restart."""
    state: str
    """Azure's word for the server's state."""
    started_at: datetime | None
    """Since when PostgreSQL has been running; None: it did not say."""


def next_move(intent: RestartIntent | None, seen: Seen, now: datetime) -> Done | Wait | Send:
    """What to do for a server that has to be restarted. `intent` is what the row has; None: nobody asked yet."""
    if not seen.pending:
        return Done("no parameter waits for a restart any more")
    if seen.state not in SETTLED_STATES | {"Stopped"}:
        return Wait(f"the server is {seen.state}")
    if intent is None or intent.ended:
        return Send(f"{', '.join(seen.pending)} wait for it")
    asked = f"the app asked for it at {intent.at.isoformat()}"
    if seen.started_at is None or intent.started_at is None:
        patience, shows = TO_SHOW, f"{asked}, and PostgreSQL does not say since when it has been running"
    elif seen.started_at != intent.started_at:
        patience, shows = TO_SHOW, f"{asked}, and PostgreSQL has been running since {seen.started_at.isoformat()}"
    elif intent.failed:
        return Send(f"{asked}, which failed, and PostgreSQL has not been restarted since")
    else:
        patience, shows = TO_BEGIN, f"{asked}, and PostgreSQL has not been restarted since"
    return Wait(f"{shows}; Azure may not show it yet") if now - intent.at < patience else Send(shows)
