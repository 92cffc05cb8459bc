"""The sweep: it plans which mirrors to look at and when, looks at the mirrors of a chunk, and sums up what it saw."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime, timedelta

import msgspec

from shared.decisions import heirs, summary
from shared.decisions import sweep as planning
from shared.decisions.answers import Probed, Timetable
from shared.decisions.heirs import Succession
from shared.fabric.quota import background
from shared.platform import logs
from shared.platform.settings import settings
from shared.records import store
from shared.records.columns import Swept, Watched
from shared.records.rows import LastLook
from shared.steps import announce, measurements
from shared.steps.observe import observe
from shared.steps.record_health import record

MOST_PRUNED = 1_000_000
"""Observations that one run deletes; the next one deletes the rest."""

log = logs.logger(__name__)


async def plan() -> Timetable:
    """The timetable of the sweep that begins now. Hands on the observations of mirrored databases that are no more."""
    mirrors, rows = await asyncio.gather(_all(store.watched()), _all(store.last_looks()))
    successions = heirs.successions(mirrors, rows)
    gone = {(succession.last.workspace, succession.last.item) for succession in successions}
    looks = {last.item: last for last in rows if (last.workspace, last.item) not in gone}
    for succession in successions:
        looks |= {first.item: first for first in await _hand_on(succession)}
    timetable = planning.plan(mirrors, looks, datetime.now(UTC), settings())
    if timetable.left:
        total = timetable.left + sum(len(chunk.mirrors) for chunk in timetable.chunks)
        log.info("%d of %d mirrors wait for the next health sweep.", timetable.left, total)
    return timetable


async def _all[T](rows: AsyncIterator[T]) -> list[T]:
    return [row async for row in rows]


async def _hand_on(succession: Succession) -> list[LastLook]:
    """Write the heir's first row, and delete the row of the mirrored database that is no more; the row written."""
    last, heir = succession.last, succession.heir
    with logs.about(server=last.server.key):
        log.info("%s", succession.why)
    row = await store.read_health(last.workspace, last.item) if heir else None
    first = [heirs.inherited(row, heir, datetime.now(UTC))] if heir and row else []
    await store.write_latest(first)
    if succession.delete:
        await store.delete_health(last.workspace, last.item)
    return list(first)


async def probe(mirrors: Sequence[Watched], begun: datetime) -> Probed:
    """Look at the mirrors of a chunk, keep what the looks showed, and tell of changes.

    `begun`: when the sweep began. After a crash in the middle of the chunk, only the rest of it is looked at.
    """
    rows = await store.remembered((mirror.workspace, mirror.item) for mirror in mirrors)
    latest = {row.item: row for row in rows}
    with background() as spent:
        async for observations in observe(planning.not_yet_seen(mirrors, latest, begun), latest):
            await record(observations, latest)
    return Probed(spent.calls)


async def conclude(begun: datetime, calls: int, failed: int) -> dict[str, int]:
    """Measure what the sweep came to, and send overdue notices of servers; how many mirrors have which level.

    `calls`: to Fabric. `failed`: chunks that the sweep could not look at.
    """
    rows = await _all(store.swept())
    measured = summary.sum_up(rows, begun, datetime.now(UTC), calls)
    measurements.measure(measured)
    log.info("Health sweep: %s", msgspec.json.encode(measured).decode())
    for row in summary.endangering(rows):
        _warn(row)
    if failed:
        log.error("%d chunks of mirrors could not be looked at; the next sweep begins with them.", failed)
    await announce.tell_overdue()
    return measured.levels


def _warn(row: Swept) -> None:
    """Log that a mirror endangers its server, in each sweep for as long as it does: an alert waits for these lines.

    A notice would not do: it tells of a change of level, and a mirror that is paused is Unhealthy long before its slot
    fills the disk.
    """
    about = {"server": str(row.server), "database": row.database, "reasons": row.reasons}
    with logs.about(server=row.server.key):
        log.warning("Slot at risk: %s", msgspec.json.encode(about).decode())


async def prune() -> None:
    """Delete the days of the history that are older than HISTORY_DAYS."""
    days = settings().health.history_days
    count = await store.prune(datetime.now(UTC) - timedelta(days=days), MOST_PRUNED)
    if count:
        log.info("%d observations older than %d days were deleted.", count, days)
