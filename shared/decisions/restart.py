"""When a server may be restarted: at once, in its maintenance window, or when somebody has decided. Pure."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, tzinfo

import msgspec

from shared.desired.intent import RestartPolicy
from shared.platform.reasons import Reason
from shared.platform.regions import time_zone
from shared.platform.settings import Settings
from shared.source.facts import MaintenanceWindow, ServerFacts

APPROVAL = "restart-decision"
MAINTENANCE_WINDOW = "maintenance-window"
CUSTOM_WINDOW = timedelta(hours=1)
DEFAULT_WINDOW = timedelta(hours=8)
DEFAULT_WINDOW_HOUR = 23
"""Source: "Scheduled maintenance" of flexible server: a custom window is an hour a week, Azure's own 23:00 to 07:00."""


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """Whether to restart now. `wait_until` (ISO 8601, UTC) is None: now.

    Otherwise that time is waited for, or a decision before it; when it comes, the server is restarted
    (`restart_then`), or the run ends because of `too_late`. `refused`: the reason when somebody decides against it.
    """

    wait_until: str | None = None
    since: str = ""
    waiting_for: str = ""
    message: str = ""
    restart_then: bool = True
    too_late: Reason | None = None
    refused: Reason | None = None


def judge(
    server: ServerFacts, policy: RestartPolicy, waiting: tuple[str, ...], now: datetime, settings: Settings
) -> Verdict:
    """The verdict of a policy; pure. `now` is in UTC. A window that is not known is replaced by a decision."""
    if policy == "auto":
        grace = timedelta(hours=settings.restart_grace_hours)
        young = server.created_at is not None and now - server.created_at < grace
        policy = "now" if young else "approval"
    if policy == "now":
        return Verdict()
    names = ", ".join(waiting)
    refused = Reason(
        "RestartRefused",
        f"The restart of server {server.id.name!r} was refused. It works as before; {names} wait for a restart.",
        f"Request mirroring again when a restart is acceptable, or set the tag {settings.tag_prefix}-restart to now "
        "or window.",
    )
    opens = next_window(server.maintenance_window, time_zone(server.location), now)
    if policy == "window" and opens:
        if opens <= now:
            return Verdict()
        return Verdict(
            wait_until=opens.isoformat(),
            since=now.isoformat(),
            waiting_for=MAINTENANCE_WINDOW,
            message=f"Waiting for the maintenance window to restart server {server.id.name!r} for {names}",
            refused=refused,
        )
    until = now + timedelta(hours=settings.restart_decision_hours)
    return Verdict(
        wait_until=until.isoformat(),
        since=now.isoformat(),
        waiting_for=APPROVAL,
        message=f"Waiting for a decision to restart server {server.id.name!r} for {names}",
        restart_then=False,
        too_late=Reason(
            "RestartNotDecided",
            f"Nobody decided in {settings.restart_decision_hours:g} hours about the restart of server "
            f"{server.id.name!r}. It works as before; {names} wait for a restart.",
            "Decide with POST …/mirroring/restart-decision when it is asked for again: request mirroring again.",
        ),
        refused=refused,
    )


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
