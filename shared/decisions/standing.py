"""When a change of level counts: once it has held for some observations in a row, so that no flap is told. Pure."""

from __future__ import annotations

from datetime import datetime

import msgspec

from shared.decisions.health import Assessment
from shared.platform.reasons import Reason
from shared.records.rows import NEW, HealthRow, Level, Remembered

BEING_MADE = Reason(
    "MirrorPending",
    "The mirrored database is not there any more; the app is making another one.",
    "If it stays so, see its server: it says what stands in the way.",
)
"""Why a mirror is Unknown that is being made again, or in another workspace."""


class Standing(msgspec.Struct, frozen=True, kw_only=True):
    """The level that counts, and why."""

    level: Level
    reasons: tuple[Reason, ...]
    since: datetime
    """When the level was first seen."""
    pending: int = 0
    """Observations in a row, up to the last one, that showed another level."""
    pending_since: datetime | None = None
    """When the first of them was."""


def settle(previous: Remembered | None, seen: Assessment, at: datetime, confirmations: int) -> Standing:
    """What counts after an observation. Another level counts after `confirmations` observations in a row.

    Before the first look, a mirror counts as `NEW`. Levels that change from one observation to the next are one
    change: the last of them counts.
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
    """The row of a mirror while the app is making it again. The app tells nobody of it, and compares the next look with
    what it told last."""
    since = row.since if _is_being_made(row) else at
    return msgspec.structs.replace(row, level="Unknown", reasons=(BEING_MADE,), since=since, updated_at=at)


def _before(row: Remembered | None) -> Remembered | None:
    """What a look is compared with: the level that was told last, if the mirror was made again."""
    return msgspec.structs.replace(row, level=row.announced) if row and _is_being_made(row) else row


def _is_being_made(row: Remembered) -> bool:
    return any(reason.code == BEING_MADE.code for reason in row.reasons)
