"""The page that an operator keeps open: the number of mirrors by level, the servers that need somebody, the list."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta

import msgspec

from shared.dashboard import listing
from shared.dashboard import query as queries
from shared.dashboard.charts import Point
from shared.dashboard.listing import Server
from shared.dashboard.query import Query
from shared.platform.settings import settings
from shared.records import glance, store
from shared.records.glance import Latency, MirrorGlance
from shared.records.rows import HealthRow

PAGE = 25
MOST_PAGES = 10_000
TREND = timedelta(hours=24)
MOST_SERVERS = 8
"""How many servers of each kind the page shows; it counts them all."""
MOST_SUGGESTED = 300
"""How many names of servers the page suggests."""
REMEMBERED = 1000
"""How many lines the process remembers."""
MIRRORED = "Mirrored"
"""The phase of servers that need nobody: the page does not show them."""
AT_WORK = ("Preparing", "Releasing", "New")


class Line(msgspec.Struct, frozen=True):
    """One mirror of the list, and its latency over the last 24 hours."""

    row: HealthRow
    trend: tuple[Latency, ...]

    @property
    def points(self) -> list[Point]:
        """The latency as points of a chart."""
        return [(observation.updated_at, observation.latency_seconds) for observation in self.trend]


class Overview(msgspec.Struct, frozen=True, kw_only=True):
    """What the page shows."""

    query: Query
    now: datetime
    counts: dict[str, int]
    """How many mirrors of each level fit the rest of the query."""
    total: int
    """How many mirrors fit the query."""
    lines: tuple[Line, ...]
    page: int
    """The number of this page, from 1 to `pages`."""
    pages: int
    servers: dict[str, int]
    """How many servers are in each phase, without the phase `MIRRORED`."""
    mirrored_servers: int
    """How many servers the mirrors in `counts` have."""
    waiting: tuple[Server, ...]
    """The first `MOST_SERVERS` servers, like the next three."""
    missing: tuple[Server, ...]
    blocked: tuple[Server, ...]
    working: tuple[Server, ...]
    names: tuple[str, ...]
    """The names of servers that the page suggests, whatever the query is."""
    workspaces: dict[str, str]
    """The names of the workspaces that a person can choose, by id, whatever the query is."""

    @property
    def at_work(self) -> int:
        """How many servers the app prepares or releases, now or soon."""
        return sum(self.servers[phase] for phase in AT_WORK)

    @property
    def runs(self) -> tuple[str, ...]:
        """The instance ids of the runs of the shown servers, as far as they may still last."""
        return tuple(server.run for server in (*self.waiting, *self.working) if server.run)


_remembered: dict[tuple[str, str], tuple[str, Line]] = {}


async def look(parameters: Mapping[str, str]) -> Overview:
    """The page that an address asks for. Raises `InvalidInput`, which names the wrong parameter."""
    query, page = queries.read(parameters), queries.count(parameters, "page", 1, MOST_PAGES)
    mirrors, servers = await asyncio.gather(glance.mirrors(), listing.all_servers(MIRRORED))
    chosen = queries.choose(query, mirrors)
    pages = max(1, math.ceil(len(chosen.mirrors) / PAGE))
    page = min(page, pages)
    shown = chosen.mirrors[(page - 1) * PAGE : page * PAGE]
    now = datetime.now(UTC)
    lines = await asyncio.gather(*(_line(mirror, now) for mirror in shown))

    def of_phase(*phases: str) -> tuple[Server, ...]:
        return tuple(listing.of_server(row) for row in servers if row.phase in phases)[:MOST_SERVERS]

    return Overview(
        query=query,
        now=now,
        counts=chosen.counts,
        total=len(chosen.mirrors),
        lines=tuple(line for line in lines if line),
        page=page,
        pages=pages,
        servers={phase: sum(row.phase == phase for row in servers) for phase in listing.PHASES if phase != MIRRORED},
        mirrored_servers=chosen.servers,
        waiting=of_phase("Waiting"),
        missing=of_phase("Missing"),
        blocked=of_phase("Blocked"),
        working=of_phase(*AT_WORK),
        names=tuple(sorted({mirror.server_name for mirror in mirrors})[:MOST_SUGGESTED]),
        workspaces=_workspaces(mirrors),
    )


def _workspaces(mirrors: Iterable[MirrorGlance]) -> dict[str, str]:
    """The names of the allowed workspaces and of those with mirrors, by id, in order of name.

    The id of a workspace without mirrors stands for its name, which the app does not know.
    """
    names = dict.fromkeys(settings().scope.workspaces, "")
    for mirror in mirrors:
        names[mirror.workspace] = mirror.workspace_name or names.get(mirror.workspace, "")
    return {
        id: name or id
        for id, name in sorted(names.items(), key=lambda entry: (not entry[1], entry[1].lower(), entry[0]))
    }


async def _line(mirror: MirrorGlance, now: datetime) -> Line | None:
    """The line of a mirror; None when its row is gone.

    The process remembers lines, since people look at the page more often than a sweep writes. It reads a line again
    when the mirror's row has another ETag.
    """
    place = (mirror.workspace, mirror.item)
    etag, line = _remembered.get(place, ("", None))
    if line is None or etag != mirror.etag:
        row, trend = await asyncio.gather(store.read_health(*place), glance.latencies(mirror.item, now - TREND))
        if row is None:
            return None
        line = Line(row, tuple(reversed(trend)))
        _remembered.pop(place, None)
        _remembered[place] = (row.etag, line)
        while len(_remembered) > REMEMBERED:
            del _remembered[next(iter(_remembered))]
    return line
