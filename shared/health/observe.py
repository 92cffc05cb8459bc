"""One look at a mirror, from Fabric and from PostgreSQL, and what is kept of it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime

import psycopg

from shared.fabric import mirror as fabric_mirror
from shared.fabric.quota import background
from shared.health.classify import Assessment, classify, failing_tables
from shared.health.observation import FabricSide, Observation, SourceSide
from shared.platform import reasons, store
from shared.platform.errors import MirrorError, NotFound
from shared.platform.reasons import Reason
from shared.platform.settings import settings
from shared.platform.store import HealthRow, MirrorRow
from shared.source import slots
from shared.source.connection import connect

ITEM_GONE = frozenset({"ItemNotFound", "EntityNotFound"})
MOST_FAILING = 20
"""Failing tables that a row names; it counts them all."""


async def observe(mirror: MirrorRow) -> Observation:
    """How a mirror (one that has its item) is now. A side that can't be reached is the reason why; that is no error."""
    fabric, source = await asyncio.gather(_fabric(mirror), _source(mirror))
    return Observation(mirror=mirror, at=datetime.now(UTC), fabric=fabric, source=source)


async def record(observations: Iterable[Observation]) -> tuple[HealthRow, ...]:
    """Classify the observations and keep them, as the latest and in the history. Returns what was kept."""
    seen = list(observations)
    before = await asyncio.gather(*(store.read_health(o.mirror.workspace, o.mirror.item) for o in seen))
    rows = tuple(row(o, classify(o, settings()), previous) for o, previous in zip(seen, before, strict=True))
    await store.write_health(rows)
    return rows


def row(observation: Observation, assessment: Assessment, previous: HealthRow | None) -> HealthRow:
    """What is kept of an observation. `previous`: what was kept before."""
    mirror, fabric, source = observation.mirror, observation.fabric, observation.source
    seen = fabric if isinstance(fabric, FabricSide) else FabricSide()
    slot = source.slot if isinstance(source, SourceSide) else None
    failing = failing_tables(seen.tables)
    known = seen.status is not None
    return HealthRow(
        workspace=mirror.workspace,
        item=mirror.item,
        server=mirror.server,
        database=mirror.database,
        level=assessment.level,
        reasons=assessment.reasons,
        since=previous.since if previous and previous.level == assessment.level else observation.at,
        status=seen.status.status if seen.status else "",
        tables=len(seen.tables) if known else None,
        tables_replicating=sum(t.status == "Replicating" for t in seen.tables) if known else None,
        tables_failing=len(failing) if known else None,
        failing=failing[:MOST_FAILING],
        rows=sum(t.rows or 0 for t in seen.tables) if known else None,
        bytes=sum(t.bytes or 0 for t in seen.tables) if known else None,
        last_sync_at=max((t.last_sync_at for t in seen.tables if t.last_sync_at), default=None),
        latency_seconds=max((t.latency_seconds for t in seen.tables if t.latency_seconds is not None), default=None),
        tables_at=observation.at if known else None,
        slot_active=slot.active if slot else None,
        wal_status=slot.wal_status if slot else "",
        retained_wal_bytes=slot.retained_bytes if slot else None,
        updated_at=observation.at,
    )


async def _fabric(mirror: MirrorRow) -> FabricSide | Reason:
    with background():
        try:
            status, tables = await asyncio.gather(
                fabric_mirror.status(mirror.workspace, mirror.item),
                fabric_mirror.tables_status(mirror.workspace, mirror.item),
            )
        except NotFound as error:
            return FabricSide(gone=True) if error.code in ITEM_GONE else reasons.of(error)
        except MirrorError as error:
            return reasons.of(error)
    return FabricSide(status, tables)


async def _source(mirror: MirrorRow) -> SourceSide | Reason:
    try:
        async with connect(mirror.host, mirror.database) as connection:
            found = await slots.slots(connection)
            tracked = await slots.tracked_publications(connection)
    except MirrorError as error:
        return reasons.of(error)
    except psycopg.Error as error:
        return Reason("SourceUnknown", f"PostgreSQL at {mirror.host} did not tell: {str(error).partition('\n')[0]}")
    return pick(mirror.item, found, tracked)


def pick(item: str, found: Sequence[slots.Slot], tracked: Sequence[slots.TrackedPublication]) -> SourceSide:
    """The slot and the publication of a mirrored database among those of its source.

    The publication ships to the item's place in OneLake, and the slot bears its name. Where neither tells, a database
    with a single slot has it for the mirror.
    """
    publication = next((p for p in tracked if item.lower() in p.destination_path.lower()), None)
    slot = next((s for s in found if publication and s.name == publication.name), None)
    if slot is None and publication is None and len(found) == 1:
        slot = found[0]
    return SourceSide(slot, publication)
