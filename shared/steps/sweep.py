"""The sweep: who is to be looked at and when, one look at a chunk of mirrors, and what it all came to."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from shared.decisions import sweep as planning
from shared.decisions.health import ENDANGERING
from shared.decisions.standing import waiting
from shared.fabric.quota import background
from shared.platform import logs, telemetry
from shared.platform.settings import settings
from shared.records import announcing as announce
from shared.records import store
from shared.records.rows import HealthRow, MirrorRow
from shared.records.store import WATCHED
from shared.steps.observe import observe
from shared.steps.record_health import record

MOST_WARNED_OF = 20
"""Mirrors that a sweep warns of by name, those first that retain most."""
MOST_PRUNED = 1_000_000
"""Observations that one run forgets; what is left is for the next one."""

log = logs.logger(__name__)


class Probed(msgspec.Struct, frozen=True):
    """How many mirrors were looked at, and with how many calls to Fabric."""

    mirrors: int
    calls: int


async def plan() -> dict[str, Any]:
    """The timetable: `chunks` of `mirrors`, each `after` so many seconds, and how many mirrors are `left` for later."""
    known, rows = await asyncio.gather(_all(store.list_mirrors()), _all(store.latest(columns=store.STANDING)))
    seen = await _hand_on(known, rows)
    mirrors = [mirror for mirror in known if mirror.item and mirror.phase != "Releasing"]
    timetable = planning.plan(mirrors, {row.item: row for row in seen}, datetime.now(UTC), settings())
    if timetable.left:
        log.info("%d of %d mirrors wait for the next health sweep.", timetable.left, len(mirrors))
    chunks = [{"after": c.after, "mirrors": [_watched(mirror) for mirror in c.mirrors]} for c in timetable.chunks]
    return {"chunks": chunks, "left": timetable.left}


async def _all[T](rows: AsyncIterator[T]) -> list[T]:
    return [row async for row in rows]


async def _hand_on(mirrors: Sequence[MirrorRow], seen: Sequence[HealthRow]) -> list[HealthRow]:
    """Forget what was seen of mirrored databases that are no more. The rows that stay are returned.

    Where a database's mirror was made anew, or in another workspace, that one begins as the last one was, so that its
    recovery is told; until it is made, the row of the last one waits for it.
    """
    places = {(mirror.workspace, mirror.item) for mirror in mirrors}
    left = [row for row in seen if (row.workspace, row.item) in places]
    new = places - {(row.workspace, row.item) for row in left}
    heirs = {
        (mirror.server.key, mirror.database): mirror
        for mirror in mirrors
        if (mirror.workspace, mirror.item) in new and mirror.phase != "Releasing"
    }
    gone = [row for row in seen if (row.workspace, row.item) not in places]
    for row in sorted(gone, key=lambda row: row.updated_at, reverse=True):
        whose = row.server.key, row.database
        heir = heirs.pop(whose, None)
        if heir:
            left.append(await _inherited(row, heir))
        if not heir or heir.item:
            await store.delete_health(row.workspace, row.item)
    return left


async def _inherited(gone: HealthRow, heir: MirrorRow) -> HealthRow:
    """What is kept for the mirror that takes another's place: its predecessor's standing and what was told of it, but
    none of its figures. Until there is that mirror, under the predecessor's id."""
    row = await store.read_health(gone.workspace, gone.item) or gone
    place = heir if heir.item else row
    kept = HealthRow(
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
    if not heir.item:
        kept = waiting(kept, datetime.now(UTC))
    await store.write_latest([kept])
    return kept


async def probe(mirrors: Sequence[dict[str, Any]], begun: datetime) -> Probed:
    """Look at these mirrors of a chunk, keep what is seen, and tell what has changed.

    After a crash in the middle, those that were kept since the sweep has `begun` are left alone: one look counts once.
    """
    rows = msgspec.convert(mirrors, list[MirrorRow])
    latest = {row.item: row for row in await store.latest_among((row.workspace, row.item) for row in rows)}
    rows = [row for row in rows if row.item not in latest or latest[row.item].updated_at < begun]
    kept = 0
    with background() as spent:
        async for seen in observe(rows, latest):
            kept += len(await record(seen, latest))
    return Probed(kept, spent.calls)


async def conclude(begun: datetime, calls: int, failed: int) -> dict[str, int]:
    """Measure what the sweep came to, and tell of servers what could not be told before. Counts the mirrors by level.

    `failed`: chunks that could not be looked at.
    """
    now = datetime.now(UTC)
    rows = [row async for row in store.latest(columns=(*store.STANDING, "reasons", "retained_wal_bytes"))]
    sweep = telemetry.Sweep(
        levels=dict(Counter(row.level for row in rows)),
        seconds=(now - begun).total_seconds(),
        calls=calls,
        retained_wal=max((row.retained_wal_bytes or 0 for row in rows), default=0),
        oldest=max(((now - row.updated_at).total_seconds() for row in rows), default=0),
    )
    telemetry.swept(sweep)
    log.info("Health sweep: %s", msgspec.json.encode(sweep).decode())
    _warn(rows)
    if failed:
        log.error("%d chunks of mirrors could not be looked at; the next sweep begins with them.", failed)
    await announce.outstanding()
    return sweep.levels


def _warn(rows: Iterable[HealthRow]) -> None:
    """Log which mirrors endanger their servers, sweep after sweep for as long as they do: an alert stands on it.

    A notice would not do: it tells of a change of level, and a mirror that is paused is Unhealthy long before that.
    """
    endangering = [row for row in rows if ENDANGERING & {reason.code for reason in row.reasons}]
    for row in sorted(endangering, key=lambda row: row.retained_wal_bytes or 0, reverse=True)[:MOST_WARNED_OF]:
        told = {"server": str(row.server), "database": row.database, "reasons": row.reasons}
        with logs.about(server=row.server.key):
            log.warning("Slot at risk: %s", msgspec.json.encode(told).decode())


async def prune() -> int:
    """Forget the days of observations that are older than HISTORY_DAYS; how many observations there were."""
    return await store.prune(datetime.now(UTC) - timedelta(days=settings().history_days), MOST_PRUNED)


def _watched(mirror: MirrorRow) -> dict[str, Any]:
    columns: dict[str, Any] = msgspec.to_builtins(mirror)
    return {name: columns[name] for name in WATCHED}
