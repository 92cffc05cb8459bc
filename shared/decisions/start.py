"""What is done next with a mirror on its way to Running, and how it is restarted. Pure.

A start copies every table, so a mirror is not started over and over: a mirror that this run has started, and that does
not come up, is left to a person, with the reason.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Literal

import msgspec

from shared.decisions.health import TABLE_REMEDY, failing_tables
from shared.fabric.facts import MirrorStatus, TableStatus
from shared.platform.reasons import Reason
from shared.records.rows import MirrorRow

SETTLED = timedelta(minutes=1)
"""After a stop or a start, Fabric may show for so long how the mirror was before."""
COMING_UP = frozenset({"Starting", "Initializing"})
"""Statuses of a mirror that is on its way to Running; an error that it shows may be the error of an earlier start."""
MOST_NAMED = 20
"""Failing tables that a row names; it counts the others."""


class Runs(msgspec.Struct, frozen=True):
    """The mirror runs: note it."""

    why: str


class Start(msgspec.Struct, frozen=True):
    """Start the mirror."""

    why: str


class Wait(msgspec.Struct, frozen=True):
    """Look again later: the start of this run still stands."""

    why: str


class GiveUp(msgspec.Struct, frozen=True):
    """The mirror does not come up by itself. The reason is for the record."""

    reason: Reason


type Move = Runs | Start | Wait | GiveUp


def is_restart_due(row: MirrorRow) -> bool:
    """Whether somebody asked for a restart of the mirror, or the app has stopped the mirror and not started it yet."""
    return bool(row.item) and (row.reseed or row.phase == "Restarting")


def next_of_restart(row: MirrorRow) -> Literal["stop", "start", "nothing"]:
    """The next thing to do for a restart of the mirror. A stop is noted before the start is tried."""
    if row.reseed:
        return "stop"
    return "start" if row.phase == "Restarting" else "nothing"


def is_settling(row: MirrorRow, now: datetime) -> bool:
    """Whether Fabric may still show how the mirror was before the app stopped or started it."""
    return now - row.changed_at <= SETTLED


def next_move(row: MirrorRow, seen: MirrorStatus | None, started: bool, now: datetime) -> Move:
    """What to do after a look at the mirror. `seen` is None: Fabric has no such mirrored database any more.

    `started`: this run, or one that was cut off shortly before, has started the mirror.
    """
    name = row.item_name
    if seen is None:
        return GiveUp(
            Reason(
                "MirrorMissing",
                f"Mirrored database {name!r} was deleted while it started.",
                "Somebody deleted it in Fabric. The hourly resync makes it again, unless the database is released.",
            )
        )
    if seen.status == "Running":
        return Runs(f"Mirrored database {name!r} is Running.")
    if not started:
        return Start(f"Mirrored database {name!r} is {seen.status}, and this run has not started it.")
    problem = _problem(row, seen, now)
    return GiveUp(problem) if problem else Wait(f"Mirrored database {name!r} is {seen.status} and was started.")


def is_started(row: MirrorRow, started: bool, now: datetime) -> bool:
    """Whether a start of the mirror stands: this run's, or one from before that Fabric may not show yet."""
    return started or (row.phase == "Starting" and is_settling(row, now))


def _problem(row: MirrorRow, seen: MirrorStatus, now: datetime) -> Reason | None:
    """Why a mirror that was started does not come up; None: it may still do."""
    name = row.item_name
    if seen.error and seen.status not in COMING_UP and not _is_of_earlier_start(row, seen.error.message, now):
        return Reason(
            "MirrorNotStarted",
            f"Mirrored database {name!r} did not start: {seen.error.message} ({seen.error.code}).",
            "See its tables in the Fabric portal; a missing right or an unreachable server is the usual cause.",
        )
    if seen.status == "Paused":
        return Reason(
            "MirrorPaused",
            f"Mirrored database {name!r} was paused while it started, as its capacity was.",
            "Resume the capacity; the hourly resync then starts the mirror.",
        )
    if seen.status == "Stopped" and not is_settling(row, now):
        return Reason(
            "MirrorStopped",
            f"Mirrored database {name!r} was stopped while it started.",
            "Somebody stopped it in Fabric. The hourly resync starts it again, unless the database is released.",
        )
    return None


def _is_of_earlier_start(row: MirrorRow, message: str, now: datetime) -> bool:
    """Whether Fabric may still show the error of an earlier start, which the row names."""
    return is_settling(row, now) and any(message in reason.message for reason in row.reasons)


def table_reasons(tables: tuple[TableStatus, ...]) -> tuple[Reason, ...]:
    """The tables of a running mirror that fail, each with Fabric's own error; those beyond `MOST_NAMED` are counted."""
    failing = failing_tables(tables)
    named = failing[:MOST_NAMED]
    beyond = len(failing) - len(named)
    if not beyond:
        return named
    fail = "table fails" if beyond == 1 else "tables fail"
    return (*named, Reason("TablesFailing", f"{beyond} more {fail}.", TABLE_REMEDY))
