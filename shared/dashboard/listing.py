"""Mirrors and servers for portals: filtered lists in pages, and one mirror with its history.

The docstrings of the types are their descriptions in the API's OpenAPI document, so they explain the fields too.
"""

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

PHASES = ("Waiting", "Missing", "Blocked", "Preparing", "Releasing", "New", "Mirrored")
"""The phases of a server, in the order in which they need attention."""
LIMIT, MOST = 100, 500
OBSERVATIONS, MOST_OBSERVATIONS = 1000, 10_000
HOURS = 24


class Mirror(msgspec.Struct, frozen=True, kw_only=True):
    """The last observation of one mirror. A figure is null where it is not known.

    `status` is Fabric's word. `since` is when the app first saw the level, `tables_at` when it last saw the tables.
    `failing` has some of the tables that do not replicate, each with Fabric's error; `tables_failing` counts them all.
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
    """One page of a list of mirrors, the worst first.

    `total` counts the mirrors that fit the query. `counts` has the number of mirrors of each level that fit the rest of
    the query. `continuation` is a parameter that asks for the next page; it is empty on the last page.
    """

    value: tuple[Mirror, ...]
    total: int
    counts: dict[str, int]
    continuation: str


class MirrorObservation(msgspec.Struct, frozen=True, kw_only=True):
    """One observation of a mirror. A figure is null where it was not known then."""

    at: datetime
    level: str
    status: str
    tables: int | None
    tables_replicating: int | None
    rows: int | None
    latency_seconds: float | None
    retained_wal_bytes: int | None


class MirrorHistory(msgspec.Struct, frozen=True, kw_only=True):
    """A mirror with its history, the newest observation first. `continuation` is as in `Mirrors`.

    `mirrored_database_name` is the name that Fabric shows. It is empty before the app creates the mirrored database and
    after the release.
    """

    latest: Mirror
    mirrored_database_name: str
    history: tuple[MirrorObservation, ...]
    continuation: str


class Server(msgspec.Struct, frozen=True, kw_only=True):
    """A server that somebody wants mirrored, or wanted.

    `run` is the instance id of its last run; `progress` is the progress of that run while it lasts.
    """

    server: str
    phase: str
    reasons: tuple[Reason, ...]
    run: str
    updated_at: datetime
    progress: Status | None = None


class Servers(msgspec.Struct, frozen=True, kw_only=True):
    """One page of a list of servers, in order of phase and name.

    `total` and `continuation` are as in `Mirrors`. `counts` has the number of servers of each phase that fit the rest
    of the query.
    """

    value: tuple[Server, ...]
    total: int
    counts: dict[str, int]
    continuation: str


async def mirrors(parameters: Mapping[str, str]) -> Mirrors:
    """The mirrors that an address asks for. Raises `InvalidInput`, which names the wrong parameter."""
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
    observations: list[Observation] = []
    continuation = ""
    async for observation in glance.observations(row.item, datetime.now(UTC) - timedelta(hours=hours), before):
        if len(observations) == limit:
            continuation = msgspec.to_builtins(observations[-1].updated_at)
            break
        observations.append(observation)
    recorded = await store.read_mirror(row.server, row.database)
    return MirrorHistory(
        latest=of_row(row),
        mirrored_database_name=recorded.item_name if recorded else "",
        history=_history(observations),
        continuation=continuation,
    )


async def servers(parameters: Mapping[str, str]) -> Servers:
    """The servers that an address asks for, without their progress. Raises `InvalidInput`."""
    text = parameters.get("phase", "").strip()
    chosen_phase = next((phase for phase in PHASES if phase.lower() == text.lower()), "")
    if text and not chosen_phase:
        raise queries.refuse("phase", text, f"one of {', '.join(PHASES)}")
    words = parameters.get("search", "").lower().split()
    limit = queries.count(parameters, "limit", LIMIT, MOST)
    named = [row for row in await all_servers() if all(word in str(row.id).lower() for word in words)]
    chosen = [row for row in named if chosen_phase in ("", row.phase)]
    shown, continuation = queries.after(chosen, _standing, parameters.get("continuation", ""), limit)
    return Servers(
        value=tuple(map(of_server, shown)),
        total=len(chosen),
        counts={phase: sum(row.phase == phase for row in named) for phase in PHASES},
        continuation=continuation,
    )


def with_progress(servers: Servers, progress: Mapping[str, Status]) -> Servers:
    """The same list, with the progress of the runs. `progress` has it by instance id."""
    value = (msgspec.structs.replace(server, progress=progress.get(server.run)) for server in servers.value)
    return msgspec.structs.replace(servers, value=tuple(value))


async def all_servers(without_phase: str = "") -> list[ServerGlance]:
    """Every server that the app has a row of, except those in one phase, in order of phase and name."""
    return sorted(await glance.servers(settings().scope.subscriptions, without_phase), key=_standing)


async def read(workspace: str, mirrored_database: str) -> HealthRow:
    """The latest observation of one mirror. Raises `NotFound` where the app has no observation, and `InvalidInput`."""
    row = await store.read_health(
        queries.guid("workspace", workspace), queries.guid("mirrored database", mirrored_database)
    )
    if row is None:
        raise NotFound(
            f"There is no mirror {mirrored_database} in workspace {workspace}, or no sweep has looked at it yet.",
            code="MirrorNotFound",
            remedy="GET /api/mirrors lists the mirrors.",
        )
    return row


async def in_full(mirrors: Sequence[MirrorGlance]) -> list[HealthRow]:
    """The rows of these mirrors, read by their keys, without the rows that are gone by now."""
    rows = await asyncio.gather(*(store.read_health(mirror.workspace, mirror.item) for mirror in mirrors))
    return [row for row in rows if row is not None]


def most_hours() -> int:
    """How many hours of history the app keeps."""
    return 24 * settings().health.history_days


def of_row(row: HealthRow) -> Mirror:
    """A row in the form for portals."""
    values = {name: getattr(row, name) for name in Mirror.__struct_fields__ if hasattr(row, name)}
    return Mirror(**values | {"mirrored_database": row.item, "server": str(row.server), "observed_at": row.updated_at})


def of_server(row: ServerGlance) -> Server:
    """A row in the form for portals."""
    return Server(server=str(row.id), phase=row.phase, reasons=row.reasons, run=row.run, updated_at=row.updated_at)


def _history(observations: Sequence[Observation]) -> tuple[MirrorObservation, ...]:
    def values(row: Observation) -> dict[str, Any]:
        return {name: getattr(row, name) for name in MirrorObservation.__struct_fields__ if name != "at"}

    return tuple(MirrorObservation(at=row.updated_at, **values(row)) for row in observations)


def _standing(row: ServerGlance) -> Key:
    rank = PHASES.index(row.phase) if row.phase in PHASES else len(PHASES)
    return rank, row.id.name, row.id.resource_group, row.id.subscription


def _moment(continuation: str) -> datetime | None:
    if not continuation:
        return None
    try:
        moment = datetime.fromisoformat(continuation)
        is_valid = moment.tzinfo is not None and moment.astimezone(UTC) <= datetime.now(UTC)
    except (ValueError, OverflowError):
        is_valid = False
    if not is_valid:
        raise queries.refuse("continuation", continuation, queries.CONTINUATION)
    return moment
