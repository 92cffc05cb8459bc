"""When a change of level counts: once it has held for some observations in a row, so that no flap is told. Pure."""

from __future__ import annotations

from datetime import datetime

import msgspec

from shared.health.classify import Assessment
from shared.platform.reasons import Reason
from shared.platform.store import HealthRow


class Standing(msgspec.Struct, frozen=True, kw_only=True):
    """The level that counts, why, and when it was first seen.

    `pending`: observations in a row, the first at `pending_since`, that showed another level.
    """

    level: str
    reasons: tuple[Reason, ...]
    since: datetime
    pending: int = 0
    pending_since: datetime | None = None


def settle(previous: HealthRow | None, seen: Assessment, at: datetime, confirmations: int) -> Standing:
    """What counts after an observation. A first one counts at once, a change after `confirmations` in a row.

    Levels that change from one observation to the next are one change: the last of them counts.
    """
    if previous is None:
        return Standing(level=seen.level, reasons=seen.reasons, since=at)
    if seen.level == previous.level:
        return Standing(level=seen.level, reasons=seen.reasons, since=previous.since)
    pending, begun = previous.pending + 1, previous.pending_since or at
    if pending >= confirmations:
        return Standing(level=seen.level, reasons=seen.reasons, since=begun)
    return Standing(
        level=previous.level, reasons=previous.reasons, since=previous.since, pending=pending, pending_since=begun
    )
