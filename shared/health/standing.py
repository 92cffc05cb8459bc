"""When a change of level counts: once it has held for some observations in a row, so that no flap is told. Pure."""

from __future__ import annotations

from datetime import datetime

import msgspec

from shared.health.classify import Assessment
from shared.platform.reasons import Reason
from shared.platform.store import HealthRow

NEW = "Healthy"
"""What a mirror is taken to be before it is looked at: that is what the notice of its server said."""


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
    """What counts after an observation: a change does after `confirmations` in a row. A new mirror was Healthy before.

    Levels that change from one observation to the next are one change: the last of them counts.
    """
    before = previous or Standing(level=NEW, reasons=(), since=at)
    if seen.level == before.level:
        return Standing(level=seen.level, reasons=seen.reasons, since=before.since)
    pending, begun = before.pending + 1, before.pending_since or at
    if pending >= confirmations:
        return Standing(level=seen.level, reasons=seen.reasons, since=begun)
    return Standing(
        level=before.level, reasons=before.reasons, since=before.since, pending=pending, pending_since=begun
    )
