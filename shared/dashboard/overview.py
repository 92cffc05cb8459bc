"""The page that an operator keeps open: how many mirrors are how, which servers need somebody, and the list."""

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
"""Servers that are shown of each kind; they are all counted."""
MOST_SUGGESTED = 300
REMEMBERED = 1000
MIRRORED = "Mirrored"
"""The phase of servers that need nobody: the page leaves them out."""
AT_WORK = ("Preparing", "Releasing", "New")


class Line(msgspec.Struct, frozen=True):
    """One mirror of the list, and its latency over the last 24 hours."""

    row: HealthRow
    trend: tuple[Latency, ...]

    @property
    def points(self) -> list[Point]:
        return [(seen.updated_at, seen.latency_seconds) for seen in self.trend]


class Overview(msgspec.Struct, frozen=True, kw_only=True):
    """What the page shows. `counts` by level; `page` of `pages`; `total`: mirrors that fit the query.

    `waiting`, `blocked` and `working` are servers, the first few of `servers` counted by phase. `mirrored_servers`
    counts those of the mirrors in `counts`; `names` and `workspaces` (names by id) are offered to choose from,
    whatever is asked for.
    """

    query: Query
    now: datetime
    counts: dict[str, int]
    total: int
    lines: tuple[Line, ...]
    page: int
    pages: int
    servers: dict[str, int]
    mirrored_servers: int
    waiting: tuple[Server, ...]
    blocked: tuple[Server, ...]
    working: tuple[Server, ...]
    names: tuple[str, ...]
    workspaces: dict[str, str]

    @property
    def at_work(self) -> int:
        """How many servers are being prepared or released, or are about to be."""
        return sum(self.servers[phase] for phase in AT_WORK)

    @property
    def runs(self) -> tuple[str, ...]:
        """The runs of the shown servers that may be under way."""
        return tuple(server.run for server in (*self.waiting, *self.working) if server.run)


_remembered: dict[tuple[str, str], tuple[str, Line]] = {}


async def look(parameters: Mapping[str, str]) -> Overview:
    """What an address asks for. Raises `InvalidInput` naming the parameter that is wrong."""
    query, page = queries.read(parameters), queries.count(parameters, "page", 1, MOST_PAGES)
    everything, known = await asyncio.gather(glance.mirrors(), listing.known_servers(MIRRORED))
    chosen = queries.choose(query, everything)
    pages = max(1, math.ceil(len(chosen.mirrors) / PAGE))
    page = min(page, pages)
    shown = chosen.mirrors[(page - 1) * PAGE : page * PAGE]
    now = datetime.now(UTC)
    lines = await asyncio.gather(*(_line(mirror, now) for mirror in shown))

    def of_phase(*phases: str) -> tuple[Server, ...]:
        return tuple(listing.of_server(row) for row in known if row.phase in phases)[:MOST_SERVERS]

    return Overview(
        query=query,
        now=now,
        counts=chosen.counts,
        total=len(chosen.mirrors),
        lines=tuple(line for line in lines if line),
        page=page,
        pages=pages,
        servers={phase: sum(row.phase == phase for row in known) for phase in listing.PHASES if phase != MIRRORED},
        mirrored_servers=chosen.servers,
        waiting=of_phase("Waiting"),
        blocked=of_phase("Blocked"),
        working=of_phase(*AT_WORK),
        names=tuple(sorted({mirror.server_name for mirror in everything})[:MOST_SUGGESTED]),
        workspaces=_workspaces(everything),
    )


def _workspaces(mirrors: Iterable[MirrorGlance]) -> dict[str, str]:
    """The allowed workspaces and those with mirrors, by name; one without mirrors is known by its id alone."""
    names = dict.fromkeys(settings().scope.workspaces, "")
    for mirror in mirrors:
        names[mirror.workspace] = mirror.workspace_name or names.get(mirror.workspace, "")
    return {id: name or id for id, name in sorted(names.items(), key=lambda one: (not one[1], one[1].lower(), one[0]))}


async def _line(mirror: MirrorGlance, now: datetime) -> Line | None:
    """A mirror in full. It is read again when its row was written since: most looks lie between two sweeps."""
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
