"""Which row the app keeps of an observation, and which notice the row gives. Pure."""

from __future__ import annotations

import msgspec

from shared.decisions.health import AT_WORK, classify, failing_tables, with_notes
from shared.decisions.observation import Observation, SourceSide, earlier_slot
from shared.decisions.standing import settle
from shared.platform.reasons import Reason, short
from shared.platform.settings import Settings
from shared.records.notices import HealthChanged, Notice
from shared.records.rows import NEW, HealthRow, MirrorRow, Remembered

MOST_FAILING = 20
"""Failing tables that a row names; it counts all of them."""


def judge(observation: Observation, previous: Remembered | None, settings: Settings) -> HealthRow:
    """The row of an observation. `previous`: the row before; None: this is the first look.

    A figure that the app did not see is None.
    """
    mirror = observation.mirror
    assessment = with_notes(classify(observation, settings), observation, previous)
    standing = settle(previous, assessment, observation.at, settings.health.confirmations)
    row = HealthRow(
        workspace=mirror.workspace,
        workspace_name=mirror.workspace_name,
        item=mirror.item,
        server=mirror.server,
        database=mirror.database,
        **msgspec.structs.asdict(standing) | {"reasons": short(standing.reasons)},
        announced=previous.announced if previous else NEW,
        updated_at=observation.at,
    )
    return _with_source(_with_fabric(row, observation, previous), observation, previous)


def is_settled(row: HealthRow, previous: Remembered | None) -> bool:
    """Whether the level is as before and no change is pending. The app writes such a row without a question."""
    return not row.pending and row.level == (previous.level if previous else NEW)


def why_dropped(row: HealthRow, mirror: MirrorRow | None) -> str:
    """Why the app does not write the row, as a sentence; empty: it writes it. `mirror`: the row of its database now.

    A mirror that was released while the app looked at it seems broken, and no notice must say so.
    """
    if mirror is None:
        why = "the database is not mirrored any more"
    elif mirror.item != row.item:
        why = "the database has another mirrored database by now"
    elif mirror.phase == "Releasing":
        why = "the app is releasing the database"
    else:
        return ""
    return f"An observation of mirrored database {row.item} of database {row.database!r} is not kept: {why}."


def is_told(row: HealthRow) -> bool:
    """Whether the last notice of the mirror told its level."""
    return row.announced == row.level


def notice(row: HealthRow) -> Notice:
    """The notice of a row's level. Made again from the same row, it has the same id."""
    return Notice(
        subject=f"{row.server}/databases/{row.database}",
        change=f"{row.announced} {row.level} {row.since.isoformat()}",
        at=row.updated_at,
        data=HealthChanged(
            server=str(row.server),
            database=row.database,
            workspace=row.workspace,
            mirror=row.item,
            level=row.level,
            previous=row.announced,
            since=row.since,
            reasons=short(row.reasons),
        ),
    )


def _with_fabric(row: HealthRow, observation: Observation, previous: Remembered | None) -> HealthRow:
    """The row with Fabric's figures. The status stays the previous one if the app did not ask for it this time."""
    fabric = observation.fabric
    details_at = previous.details_at if previous else None
    if isinstance(fabric, Reason) or fabric.gone:
        return msgspec.structs.replace(row, details_at=details_at)
    status = previous.status if previous else ""
    if fabric.status:
        status, details_at = fabric.status.status, observation.at
    tables, failing = fabric.tables, failing_tables(fabric.tables)
    latencies = [t.latency_seconds for t in tables if t.status in AT_WORK and t.latency_seconds is not None]
    return msgspec.structs.replace(
        row,
        status=status,
        details_at=details_at,
        tables=len(tables),
        tables_replicating=sum(table.status == "Replicating" for table in tables),
        tables_failing=len(failing),
        failing=failing[:MOST_FAILING],
        rows=sum(table.rows or 0 for table in tables),
        bytes=sum(table.bytes or 0 for table in tables),
        last_sync_at=max((table.last_sync_at for table in tables if table.last_sync_at), default=None),
        latency_seconds=max(latencies, default=None),
        tables_at=observation.at,
    )


def _with_source(row: HealthRow, observation: Observation, previous: Remembered | None) -> HealthRow:
    """The row with the slot's figures. Without a slot, its name and the storage's size stay, since the next look needs
    them."""
    source = observation.source
    if not isinstance(source, SourceSide) or source.slot is None:
        size = previous.storage_gib if previous else None
        return msgspec.structs.replace(row, slot=earlier_slot(observation.mirror, previous), storage_gib=size)
    return msgspec.structs.replace(
        row,
        slot=source.slot.name,
        slot_active=source.slot.active,
        wal_status=source.slot.wal_status,
        retained_wal_bytes=source.slot.retained_bytes,
        storage_gib=source.storage_gib,
    )
