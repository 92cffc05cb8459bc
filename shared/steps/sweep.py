"""The health of the mirrors: who is to be looked at, one look, and what was seen."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from uuid import UUID

import msgspec

from shared.health import classify, observe
from shared.platform import store
from shared.platform.errors import InvalidInput, NotFound
from shared.platform.server_id import ServerId
from shared.platform.settings import settings
from shared.platform.store import HealthRow, HistoryRow

LONGEST_HOURS = 24 * 90


class MirrorHistory(msgspec.Struct, frozen=True):
    """The latest observation of a mirror and those before it, newest first."""

    latest: HealthRow
    history: tuple[HistoryRow, ...]


async def servers() -> list[str]:
    """The keys of the servers that have mirrored databases, in order."""
    return sorted({row.server.key async for row in store.list_mirrors() if row.item})


async def probe(ids: Sequence[ServerId]) -> dict[str, int]:
    """Look at every mirror of these servers, keep what is seen, and count the mirrors by level."""
    rows = [row for found in await asyncio.gather(*map(store.list_mirrors_of, ids)) for row in found if row.item]
    seen = await observe.record(await asyncio.gather(*map(observe.observe, rows)))
    counts: dict[str, int] = {}
    for health in seen:
        counts[health.level] = counts.get(health.level, 0) + 1
    return counts


async def latest(level: str | None, workspace: str | None) -> list[HealthRow]:
    """The latest observation of every mirror, worst first; of one level or one workspace where that is named."""
    if level is not None and level.lower() not in {known.lower() for known in classify.SEVERITY}:
        raise InvalidInput(f"Health {level!r} is not one of {', '.join(classify.SEVERITY)}.", code="InvalidQuery")
    rows = [row async for row in store.latest(_guid(workspace) if workspace else None)]
    chosen = [row for row in rows if level is None or row.level.lower() == level.lower()]
    return sorted(chosen, key=lambda row: (-_severity(row), row.server, row.database))


async def one(workspace: str, item: str, hours: str) -> MirrorHistory:
    """One mirror with its observations of the last `hours`. Raises `NotFound` for one that was never looked at."""
    if not (hours.isascii() and hours.isdecimal() and 0 < int(hours) <= LONGEST_HOURS):
        raise InvalidInput(f"Hours is {hours!r}, but 1 to {LONGEST_HOURS} was expected.", code="InvalidQuery")
    found = await store.read_health(_guid(workspace), _guid(item))
    if found is None:
        raise NotFound(
            f"There is no mirror {item} in workspace {workspace}, or it was never looked at.",
            code="MirrorNotFound",
            remedy="GET /api/mirrors lists the known ones.",
        )
    since = datetime.now(UTC) - timedelta(hours=int(hours))
    return MirrorHistory(found, tuple([row async for row in store.history(found.item, since)]))


async def prune() -> int:
    """Forget observations older than HISTORY_DAYS; how many there were."""
    return await store.prune(datetime.now(UTC) - timedelta(days=settings().history_days))


def _severity(row: HealthRow) -> int:
    return [str(level) for level in classify.SEVERITY].index(row.level)


def _guid(text: str) -> str:
    try:
        return str(UUID(text))
    except ValueError:
        raise InvalidInput(f"{text!r} is not a GUID.", code="InvalidQuery") from None
