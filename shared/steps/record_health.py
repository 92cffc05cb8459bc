"""What is kept of looks at mirrors, and what is told: first the rows are written, then a change is published."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from itertools import compress
from typing import Any

import msgspec

from shared.decisions.health import AT_WORK, classify, failing_tables, with_notes
from shared.decisions.observation import Observation, SourceSide, known_slot
from shared.decisions.standing import NEW, Standing, settle
from shared.platform.reasons import Reason
from shared.platform.settings import settings
from shared.records import notices, store
from shared.records.notices import HealthChanged, Notice
from shared.records.rows import HealthRow
from shared.steps import unexpected

MOST_FAILING = 20
"""Failing tables that a row names; it counts them all."""


async def record(observations: Iterable[Observation], latest: Mapping[str, HealthRow]) -> list[HealthRow]:
    """Keep observations and tell of changes. `latest`: what was last kept of each mirror, by its item.

    A change that could not be told is told with the next observation, under the same id. A mirror that was released
    while it was looked at seems broken: of that one nothing is kept or told.
    """
    judged = [_judged_anyway(observation, latest.get(observation.mirror.item)) for observation in observations]
    kept = await asyncio.gather(*(_is_kept(row, latest.get(row.item)) for row in judged))
    rows = list(compress(judged, kept))
    await store.write_health(rows)
    changed = [row for row in rows if row.announced != row.level]
    if await notices.publish([notice(row) for row in changed]):
        await store.write_latest(msgspec.structs.replace(row, announced=row.level) for row in changed)
    return rows


async def _is_kept(row: HealthRow, previous: HealthRow | None) -> bool:
    """Whether the mirror is still one of ours; not asked while nothing changes."""
    if not row.pending and row.level == (previous.level if previous else NEW):
        return True
    mirror = await store.read_mirror(row.server, row.database)
    return mirror is not None and mirror.item == row.item and mirror.phase != "Releasing"


def notice(row: HealthRow) -> Notice:
    """The notice of a row's level. It has the same id however often it is made."""
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
            reasons=row.reasons,
        ),
    )


def row(observation: Observation, standing: Standing, previous: HealthRow | None) -> HealthRow:
    """What is kept of an observation. `previous`: what was kept before. What could not be seen is None."""
    mirror = observation.mirror
    kept = HealthRow(
        workspace=mirror.workspace,
        workspace_name=mirror.workspace_name,
        item=mirror.item,
        server=mirror.server,
        database=mirror.database,
        **msgspec.structs.asdict(standing),
        announced=previous.announced if previous else NEW,
        updated_at=observation.at,
    )
    figures = _from_fabric(observation, previous) | _from_source(observation, previous)
    return msgspec.structs.replace(kept, **figures)


def _from_fabric(observation: Observation, previous: HealthRow | None) -> dict[str, Any]:
    """The figures of now. The status stays as it was known where nothing spoke against it."""
    fabric = observation.fabric
    known = {"status": previous.status, "details_at": previous.details_at} if previous else {}
    if isinstance(fabric, Reason) or fabric.gone:
        return {"details_at": known.get("details_at")}
    if fabric.status:
        known = {"status": fabric.status.status, "details_at": observation.at}
    tables, failing = fabric.tables, failing_tables(fabric.tables)
    at_work = [table for table in tables if table.status in AT_WORK]
    return {
        "tables": len(tables),
        "tables_replicating": sum(table.status == "Replicating" for table in tables),
        "tables_failing": len(failing),
        "failing": failing[:MOST_FAILING],
        "rows": sum(table.rows or 0 for table in tables),
        "bytes": sum(table.bytes or 0 for table in tables),
        "last_sync_at": max((table.last_sync_at for table in tables if table.last_sync_at), default=None),
        "latency_seconds": max((t.latency_seconds for t in at_work if t.latency_seconds is not None), default=None),
        "tables_at": observation.at,
        **known,
    }


def _from_source(observation: Observation, previous: HealthRow | None) -> dict[str, Any]:
    source = observation.source
    slot = source.slot if isinstance(source, SourceSide) else None
    if slot is None:
        size = previous.storage_gib if previous else None
        return {"slot": known_slot(observation.mirror, previous), "storage_gib": size}
    return {
        "slot": slot.name,
        "slot_active": slot.active,
        "wal_status": slot.wal_status,
        "retained_wal_bytes": slot.retained_bytes,
        "storage_gib": source.storage_gib if isinstance(source, SourceSide) else None,
    }


def _judged_anyway(observation: Observation, previous: HealthRow | None) -> HealthRow:
    try:
        return _judged(observation, previous)
    except Exception as error:  # noqa: BLE001 - what nobody expected of one mirror spoils no other's row
        return _judged(unexpected.nothing(observation.mirror, error), previous)


def _judged(observation: Observation, previous: HealthRow | None) -> HealthRow:
    seen = with_notes(classify(observation, settings()), observation, previous.reasons if previous else ())
    return row(observation, settle(previous, seen, observation.at, settings().health_confirmations), previous)
