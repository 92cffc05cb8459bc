"""When a change of level counts: once it has held for some observations in a row, so that no flap is told. Pure."""

from __future__ import annotations

from datetime import datetime

import msgspec

from shared.decisions.health import Assessment
from shared.platform.reasons import Reason
from shared.records.rows import HealthRow

NEW = "Healthy"
"""What a mirror is taken to be before it is looked at: that is what the notice of its server said."""
BEING_MADE = (
    Reason(
        "MirrorPending",
        "The mirrored database is not there any more, and is made anew.",
        "If it stays so, see its server: it says what stands in the way.",
    ),
)
"""Why a mirror is Unknown that is being made anew, or in another workspace."""


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
    before = _before(previous) or Standing(level=NEW, reasons=(), since=at)
    if seen.level == before.level:
        return Standing(level=seen.level, reasons=seen.reasons, since=before.since)
    pending, begun = before.pending + 1, before.pending_since or at
    if pending >= confirmations:
        return Standing(level=seen.level, reasons=seen.reasons, since=begun)
    return Standing(
        level=before.level, reasons=before.reasons, since=before.since, pending=pending, pending_since=begun
    )


def waiting(row: HealthRow, at: datetime) -> HealthRow:
    """The row of a mirror that is being made anew. It is told of nothing: the next look is held against what was."""
    since = row.since if row.reasons == BEING_MADE else at
    return msgspec.structs.replace(row, level="Unknown", reasons=BEING_MADE, since=since, updated_at=at)


def _before(row: HealthRow | None) -> HealthRow | None:
    """What a look is held against: of a mirror that was made anew, the level that was told last."""
    return msgspec.structs.replace(row, level=row.announced) if row and row.reasons == BEING_MADE else row
