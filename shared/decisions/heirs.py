"""What becomes of the observations of mirrored databases that are no more. Pure.

Where the app makes a database's mirror again, or in another workspace, the new mirror begins as the last one was, so
that a notice tells its recovery. Until there is a new mirror, the row of the last one waits for it.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import msgspec

from shared.decisions.standing import waiting
from shared.records.columns import Watched
from shared.records.rows import HealthRow, LastLook


class Succession(msgspec.Struct, frozen=True):
    """What becomes of the row of one mirrored database that is no more."""

    last: LastLook
    heir: Watched | None
    """The mirror that begins as this one was; None: there is none."""
    delete: bool
    """Whether the row is to be deleted, after the heir has its own."""
    why: str
    """A sentence for the log."""


def successions(mirrors: Sequence[Watched], latest: Sequence[LastLook]) -> list[Succession]:
    """What becomes of the rows among `latest` whose mirrored databases are not among `mirrors`. The others stay.

    If a database has several such rows, its mirror begins as the one that was seen last.
    """
    places = {(mirror.workspace, mirror.item) for mirror in mirrors}
    watched = {(last.workspace, last.item) for last in latest}
    heirs = {
        (mirror.server, mirror.database): mirror
        for mirror in mirrors
        if (mirror.workspace, mirror.item) not in watched and mirror.phase not in ("Releasing", "Deleted")
    }
    gone = [last for last in latest if (last.workspace, last.item) not in places]
    gone.sort(key=lambda last: last.updated_at, reverse=True)
    return [_succession(last, heirs.pop((last.server, last.database), None)) for last in gone]


def inherited(row: HealthRow, heir: Watched, now: datetime) -> HealthRow:
    """The first row of an heir: the level of the last mirror and what was told of it, but none of its figures.

    Until the app has made the heir's mirrored database, the row has the id of the last one.
    """
    place = heir if heir.item else row
    first = HealthRow(
        workspace=place.workspace,
        workspace_name=place.workspace_name,
        item=place.item,
        server=heir.server,
        database=heir.database,
        level=row.level,
        reasons=row.reasons,
        since=row.since,
        announced=row.announced,
        updated_at=row.updated_at,
    )
    return first if heir.item else waiting(first, now)


def _succession(last: LastLook, heir: Watched | None) -> Succession:
    mirror = f"Mirrored database {last.item} of database {last.database!r} is no more"
    if heir is None:
        return Succession(last, None, True, f"{mirror}: the app forgets its last observation.")
    if not heir.item:
        return Succession(last, heir, False, f"{mirror}: its last observation waits until the app has made another.")
    return Succession(last, heir, True, f"{mirror}: mirrored database {heir.item} begins as it was.")
