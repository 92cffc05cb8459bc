"""Mirrors and servers as portals get them: lists, filtered and paged, and one mirror with its history."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from shared.dashboard import query as queries
from shared.dashboard.query import Key
from shared.decisions.progress import Status
from shared.platform.errors import NotFound
from shared.platform.reasons import Reason
from shared.platform.settings import settings
from shared.records import glance, store
from shared.records.glance import MirrorGlance, Observation, ServerGlance
from shared.records.rows import HealthRow

PHASES = ("Waiting", "Blocked", "Preparing", "Releasing", "New", "Mirrored")
"""Of a server, in the order in which they want attention."""
LIMIT, MOST = 100, 500
OBSERVATIONS, MOST_OBSERVATIONS = 1000, 10_000
HOURS = 24


class Mirror(msgspec.Struct, frozen=True, kw_only=True):
    """One mirrored database as it was last seen, at `observed_at`. None: not known.

    `since` is when its level was first seen, `tables_at` when its tables were last seen. `failing` names tables that
    don't replicate, a few of `tables_failing`.
    """

    workspace: str
    workspace_name: str
    mirrored_database: str
    server: str
    database: str
    level: str
    reasons: tuple[Reason, ...]
    since: datetime
    observed_at: datetime
    status: str
    tables: int | None
    tables_replicating: int | None
    tables_failing: int | None
    failing: tuple[Reason, ...]
    tables_at: datetime | None
    rows: int | None
    bytes: int | None
    last_sync_at: datetime | None
    latency_seconds: float | None
    slot_active: bool | None
    wal_status: str
    retained_wal_bytes: int | None


class Mirrors(msgspec.Struct, frozen=True, kw_only=True):
    """Some mirrors, worst first. `total`: how many were asked for; `counts`: by level, whatever level was asked for.

    `continuation` is handed back to get those that follow; empty: these were the last.
    """

    value: tuple[Mirror, ...]
    total: int
    counts: dict[str, int]
    continuation: str


class MirrorObservation(msgspec.Struct, frozen=True, kw_only=True):
    """How a mirror was at a moment. None: not known then."""

    at: datetime
    level: str
    status: str
    tables: int | None
    tables_replicating: int | None
    rows: int | None
    latency_seconds: float | None
    retained_wal_bytes: int | None


class MirrorHistory(msgspec.Struct, frozen=True, kw_only=True):
    """A mirror as it was last seen, and its history, newest first. `continuation` as in `Mirrors`.

    `mirrored_database_name` is what Fabric shows; empty: not made yet, or released.
    """

    latest: Mirror
    mirrored_database_name: str
    history: tuple[MirrorObservation, ...]
    continuation: str


class Server(msgspec.Struct, frozen=True, kw_only=True):
    """A known server. `run` is the last run's instance id; `progress` how far it is, while it is under way."""

    server: str
    phase: str
    reasons: tuple[Reason, ...]
    run: str
    updated_at: datetime
    progress: Status | None = None


class Servers(msgspec.Struct, frozen=True, kw_only=True):
    """Some servers, by phase and name. `total`, `counts` (by phase) and `continuation` as in `Mirrors`."""

    value: tuple[Server, ...]
    total: int
    counts: dict[str, int]
    continuation: str


async def mirrors(parameters: Mapping[str, str]) -> Mirrors:
    """The mirrors that an address asks for. Raises `InvalidInput` naming the parameter that is wrong."""
    query, limit = queries.read(parameters), queries.count(parameters, "limit", LIMIT, MOST)
    chosen = queries.choose(query, await glance.mirrors(query.workspace or None))
    shown, continuation = queries.after(chosen.mirrors, queries.place, parameters.get("continuation", ""), limit)
    return Mirrors(
        value=tuple(map(of_row, await in_full(shown))),
        total=len(chosen.mirrors),
        counts=chosen.counts,
        continuation=continuation,
    )


async def mirror(workspace: str, mirrored_database: str, parameters: Mapping[str, str]) -> MirrorHistory:
    """One mirror, and `limit` of its observations in the last `hours`. Raises `InvalidInput` and `NotFound`."""
    row = await read(workspace, mirrored_database)
    hours = queries.count(parameters, "hours", HOURS, most_hours())
    limit = queries.count(parameters, "limit", OBSERVATIONS, MOST_OBSERVATIONS)
    before = _moment(parameters.get("continuation", ""))
    found: list[Observation] = []
    continuation = ""
    async for observation in glance.observations(row.item, datetime.now(UTC) - timedelta(hours=hours), before):
        if len(found) == limit:
            continuation = msgspec.to_builtins(found[-1].updated_at)
            break
        found.append(observation)
    recorded = await store.read_mirror(row.server, row.database)
    return MirrorHistory(
        latest=of_row(row),
        mirrored_database_name=recorded.item_name if recorded else "",
        history=_history(found),
        continuation=continuation,
    )


async def servers(parameters: Mapping[str, str]) -> Servers:
    """The known servers that an address asks for, without their progress. Raises `InvalidInput`."""
    phase = parameters.get("phase", "").strip()
    wanted = next((known for known in PHASES if known.lower() == phase.lower()), "")
    if phase and not wanted:
        raise queries.refuse("phase", phase, f"one of {', '.join(PHASES)}")
    words = parameters.get("search", "").lower().split()
    limit = queries.count(parameters, "limit", LIMIT, MOST)
    known = [row for row in await known_servers() if all(word in str(row.id).lower() for word in words)]
    chosen = [row for row in known if wanted in ("", row.phase)]
    shown, continuation = queries.after(chosen, _standing, parameters.get("continuation", ""), limit)
    return Servers(
        value=tuple(map(of_server, shown)),
        total=len(chosen),
        counts={phase: sum(row.phase == phase for row in known) for phase in PHASES},
        continuation=continuation,
    )


def with_progress(found: Servers, progress: Mapping[str, Status]) -> Servers:
    """The same, with how far the runs are, by instance id."""
    value = (msgspec.structs.replace(server, progress=progress.get(server.run)) for server in found.value)
    return msgspec.structs.replace(found, value=tuple(value))


async def known_servers(without_phase: str = "") -> list[ServerGlance]:
    """The servers that somebody asked for, but those in one phase; by phase and name."""
    return sorted(await glance.servers(settings().scope.subscriptions, without_phase), key=_standing)


async def read(workspace: str, mirrored_database: str) -> HealthRow:
    """The latest observation of one mirror. Raises `NotFound` for one that was never looked at, and `InvalidInput`."""
    row = await store.read_health(
        queries.guid("workspace", workspace), queries.guid("mirrored database", mirrored_database)
    )
    if row is None:
        raise NotFound(
            f"There is no mirror {mirrored_database} in workspace {workspace}, or it was never looked at.",
            code="MirrorNotFound",
            remedy="GET /api/mirrors lists the known ones.",
        )
    return row


async def in_full(mirrors: Sequence[MirrorGlance]) -> list[HealthRow]:
    """The rows of these mirrors, read by their keys. One that has gone meanwhile is left out."""
    rows = await asyncio.gather(*(store.read_health(mirror.workspace, mirror.item) for mirror in mirrors))
    return [row for row in rows if row is not None]


def most_hours() -> int:
    """How far back there is a history."""
    return 24 * settings().health.history_days


def of_row(row: HealthRow) -> Mirror:
    """A row as it is shown."""
    kept = {name: getattr(row, name) for name in Mirror.__struct_fields__ if hasattr(row, name)}
    return Mirror(**kept | {"mirrored_database": row.item, "server": str(row.server), "observed_at": row.updated_at})


def of_server(row: ServerGlance) -> Server:
    """A row as it is shown."""
    return Server(server=str(row.id), phase=row.phase, reasons=row.reasons, run=row.run, updated_at=row.updated_at)


def _history(found: Sequence[Observation]) -> tuple[MirrorObservation, ...]:
    def kept(row: Observation) -> dict[str, Any]:
        return {name: getattr(row, name) for name in MirrorObservation.__struct_fields__ if name != "at"}

    return tuple(MirrorObservation(at=row.updated_at, **kept(row)) for row in found)


def _standing(row: ServerGlance) -> Key:
    rank = PHASES.index(row.phase) if row.phase in PHASES else len(PHASES)
    return rank, row.id.name, row.id.resource_group, row.id.subscription


def _moment(continuation: str) -> datetime | None:
    if not continuation:
        return None
    try:
        moment = datetime.fromisoformat(continuation)
        given = moment.tzinfo is not None and moment.astimezone(UTC) <= datetime.now(UTC)
    except (ValueError, OverflowError):
        given = False
    if not given:
        raise queries.refuse("continuation", continuation, "what the last answer gave as its continuation")
    return moment
