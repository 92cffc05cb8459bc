"""When a server may be restarted: at once, in its maintenance window, or when somebody has decided. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta, tzinfo

from shared.decisions.answers import Asked, Verdict
from shared.decisions.run import intent_of
from shared.decisions.start import is_restart_due
from shared.desired.server_id import ServerId
from shared.platform.errors import InvalidInput
from shared.platform.reasons import Reason
from shared.platform.regions import time_zone
from shared.platform.settings import RestartPolicy, Settings
from shared.records.rows import APPROVAL_REQUIRED, MirrorRow, ServerRow
from shared.source.facts import Absence, MaintenanceWindow, ServerFacts

APPROVAL = "restart-decision"
MAINTENANCE_WINDOW = "maintenance-window"
CUSTOM_WINDOW = timedelta(hours=1)
DEFAULT_WINDOW = timedelta(hours=8)
DEFAULT_WINDOW_HOUR = 23
"""Source: "Scheduled maintenance" of flexible server: a custom window is an hour a week, Azure's own 23:00 to 07:00."""


def judge(
    server: ServerFacts, policy: RestartPolicy, waiting: tuple[str, ...], now: datetime, settings: Settings
) -> Verdict:
    """The verdict of a policy. `now` is in UTC. A window that nobody can tell is replaced by a decision."""
    names = ", ".join(waiting)
    if policy == "auto":
        grace = timedelta(hours=settings.restart.grace_hours)
        young = server.created_at is not None and now - server.created_at < grace
        policy = "now" if young else "approval"
    if policy == "now":
        return Verdict(message=f"The policy allows to restart server {server.id.name!r} for {names} at once")
    refused = Reason(
        "RestartRefused",
        f"The restart of server {server.id.name!r} was refused. It works as before; {names} wait for a restart.",
        "Request mirroring again when a restart is acceptable, or set the tag "
        f"{settings.scope.tag_prefix}-restart to now or window.",
    )
    opens = next_window(server.maintenance_window, time_zone(server.location), now)
    if policy == "window" and opens:
        if opens <= now:
            return Verdict(message=f"The maintenance window is open to restart server {server.id.name!r} for {names}")
        return Verdict(
            wait_until=opens,
            since=now,
            waiting_for=MAINTENANCE_WINDOW,
            message=f"Waiting for the maintenance window to restart server {server.id.name!r} for {names}",
            refused=refused,
        )
    return Verdict(
        wait_until=now + timedelta(hours=settings.restart.decision_hours),
        since=now,
        waiting_for=APPROVAL,
        message=f"Waiting for a decision to restart server {server.id.name!r} for {names}",
        too_late=Reason(
            "RestartNotDecided",
            f"Nobody decided in {settings.restart.decision_hours:g} hours about the restart of server "
            f"{server.id.name!r}. It works as before; {names} wait for a restart.",
            "Decide with POST …/mirroring/restart-decision when it is asked for again: request mirroring again.",
        ),
        refused=refused,
    )


def refusal(fingerprint: str, code: str) -> str:
    """What a row notes of an intent for which there was no restart, and of the reason's code."""
    return f"{fingerprint} {code}"


def refused_before(row: ServerRow | None, verdict: Verdict) -> Reason | None:
    """Why nobody is asked again: the restart for the same intent was refused, or not decided in time."""
    for reason in (verdict.refused, verdict.too_late):
        if reason and row and row.restart_refused == refusal(row.fingerprint, reason.code):
            return reason
    return None


def waiting_reason(server: ServerId, verdict: Verdict) -> Reason:
    """What the server's row says while the verdict is waited for."""
    if verdict.waiting_for != APPROVAL or verdict.wait_until is None:
        return Reason("WaitingForWindow", verdict.message, "Nothing; or ask for the restart policy `now`.")
    door = f"/api/servers/{server.subscription}/{server.resource_group}/{server.name}/mirroring/restart-decision"
    return Reason(
        APPROVAL_REQUIRED, verdict.message, f"Decide with POST {door} before {verdict.wait_until.isoformat()}."
    )


def why_superseded(
    facts: ServerFacts | Absence,
    row: ServerRow | None,
    mirrors: Iterable[MirrorRow],
    asked: Asked,
    fingerprint: str,
    is_rotation_due: bool,
    settings: Settings,
) -> str:
    """Why a wait for the restart ends although nobody decided; empty: go on waiting.

    A new password, and the restart of a mirror, do not wait with the run, unless the run has tried them already.
    """
    if isinstance(facts, Absence):
        return "Azure does not find the server"
    if row and is_rotation_due and row.rotation > asked.rotation:
        return "a new password was asked for"
    restarts = {mirror.database for mirror in mirrors if is_restart_due(mirror)}
    if restarts & set(asked.databases) - set(asked.restarts):
        return "the restart of a mirror was asked for"
    try:
        intent = intent_of(facts, row, settings)
    except InvalidInput as error:
        return f"the tags can't be understood any more: {error.message}"
    if not intent.wanted:
        return "nobody wants the server mirrored any more"
    return "" if intent.fingerprint == fingerprint else "something else is wanted"


def next_window(window: MaintenanceWindow, zone: tzinfo | None, now: datetime) -> datetime | None:
    """When the window opens next, or `now` when it is open. `now` and the answer are in UTC.

    A custom window is in UTC, day 0 is Sunday (source: `az postgres flexible-server update --maintenance-window`).
    Azure's own is in the local time of the server's region, whose `zone` may not be known: then the answer is None.
    """
    if window.custom:
        opened = now.replace(hour=window.hour, minute=window.minute, second=0, microsecond=0)
        opened -= timedelta(days=(now.isoweekday() - window.day_of_week) % 7)
        return _open_or_next(opened, CUSTOM_WINDOW, timedelta(days=7), now)
    if zone is None:
        return None
    opened = now.astimezone(zone).replace(hour=DEFAULT_WINDOW_HOUR, minute=0, second=0, microsecond=0)
    return _open_or_next(opened, DEFAULT_WINDOW, timedelta(days=1), now)


def _open_or_next(opened: datetime, length: timedelta, period: timedelta, now: datetime) -> datetime:
    """Sums are of local time, so that a window opens at the same hour when the clocks change."""
    if opened > now:
        opened -= period
    return now if now < opened + length else (opened + period).astimezone(UTC)
