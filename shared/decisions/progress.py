"""The steps of a preparation and how far along it is: what a portal draws as a progress bar."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

import msgspec

from shared.decisions.answers import Verdict
from shared.decisions.outcome import GOALS, Outcome

SERVER_STEPS = ("observe", "identity", "administrator", "parameters", "restart", "role", "workspace")
DATABASE_STEPS = ("database", "connection", "mirror", "running")
LONGEST = 8_000
"""Characters of a status as JSON: 8,192 is the extension's limit."""


class Status(msgspec.Struct, frozen=True, kw_only=True):
    """How far a run is. `percent` is of all steps; `waiting_for` says on whom or what it waits, if it does.

    `since` and `until` (ISO 8601, UTC) bound such a wait.
    """

    phase: str
    step: str
    steps_done: int
    steps_total: int
    percent: int
    message: str
    waiting_for: str | None = None
    since: str | None = None
    until: str | None = None


def fitting(status: Status) -> Status:
    """The status as far as a custom status may hold it: a message that is too long ends with an ellipsis.

    The Durable extension keeps 16 KB of UTF-16, and fails the whole run where there is more. JSON writes a character
    beyond ASCII as six.
    """
    room = LONGEST - len(json.dumps(msgspec.to_builtins(msgspec.structs.replace(status, message=""))))
    message = status.message
    while len(json.dumps(message)) > room:
        message = message[: len(message) * 9 // 10 - 1] + "…"
    return msgspec.structs.replace(status, message=message)


def at_server(step: str, databases: Sequence[str], message: str) -> Status:
    """The status while `step`, one of `SERVER_STEPS`, is being done."""
    return _status("Preparing", step, SERVER_STEPS.index(step), len(databases), message)


def at_databases(done: Mapping[str, int]) -> Status:
    """The status while databases are being mirrored. `done`: how many of `DATABASE_STEPS` each has behind it."""
    slowest = min(done, key=lambda database: (done[database], database))
    finished = sum(count == len(DATABASE_STEPS) for count in done.values())
    step = DATABASE_STEPS[min(done[slowest], len(DATABASE_STEPS) - 1)]
    message = f"{finished} of {len(done)} databases are done"
    if finished < len(done):
        message += f"; {slowest}: {_DOING[step]}"
    return _status("Preparing", step, len(SERVER_STEPS) + sum(done.values()), len(done), message)


def releasing(done: int, databases: int, message: str) -> Status:
    """The status while a server is released. `done`: how many of its `databases` are; the role comes last."""
    return Status(
        phase="Releasing",
        step="release",
        steps_done=done,
        steps_total=databases + 1,
        percent=100 * done // (databases + 1),
        message=message,
    )


def waiting(status: Status, verdict: Verdict) -> Status:
    """The same place, but a decision or a time is waited for."""
    return msgspec.structs.replace(
        status,
        phase="Waiting",
        message=verdict.message,
        waiting_for=verdict.waiting_for,
        since=verdict.since.isoformat() if verdict.since else None,
        until=verdict.wait_until.isoformat() if verdict.wait_until else None,
    )


def ended(last: Status, outcome: Outcome) -> Status:
    """The status of a run that is over, after the `last` one. Only a run that reached its goal stands at 100 percent;
    any other stands where it ended."""
    is_at_goal = outcome.phase in GOALS
    return Status(
        phase=outcome.phase,
        step="done",
        steps_done=last.steps_total if is_at_goal else last.steps_done,
        steps_total=last.steps_total,
        percent=100 if is_at_goal else last.percent,
        message=outcome.sentence,
    )


_DOING = {
    "database": "granting rights on tables",
    "connection": "making the connection",
    "mirror": "making the mirrored database",
    "running": "waiting until the mirror runs",
}


def _total(databases: int) -> int:
    return len(SERVER_STEPS) + databases * len(DATABASE_STEPS)


def _status(phase: str, step: str, done: int, databases: int, message: str) -> Status:
    total = _total(databases)
    return Status(
        phase=phase, step=step, steps_done=done, steps_total=total, percent=100 * done // total, message=message
    )
