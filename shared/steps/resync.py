"""The servers that no event told of, and that are not as they should be: seen by a look at the list of all servers."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from shared.decisions.resync import left_out, why_look
from shared.desired.server_id import ServerId
from shared.platform import logs
from shared.platform.settings import settings
from shared.records import store
from shared.records.rows import ServerRow
from shared.source import server as flexible_server
from shared.steps.server_view import Details, ServerView

AT_ONCE = 10
"""Servers whose databases are looked into at the same time."""

log = logs.logger(__name__)


async def candidates() -> list[ServerId]:
    """The servers of all allowed subscriptions that need a look, in order."""
    rows = {row.id: row async for row in store.list_servers()}
    tags: dict[ServerId, dict[str, str]] = {}
    for subscription in settings().scope.subscriptions:
        tags |= {id: of_server async for id, of_server in flexible_server.list_servers(subscription)}
    reasons = {id: why_look(id, tags.get(id), rows.get(id), settings()) for id in rows.keys() | tags.keys()}
    reasons |= await _filled(row for id, row in rows.items() if id in tags and not reasons[id])
    servers = sorted(id for id, why in reasons.items() if why)
    for id in servers:
        with logs.about(server=id.key):
            log.info("The resync looks at the server again, since %s.", reasons[id])
    return servers


async def _filled(rows: Iterable[ServerRow]) -> dict[ServerId, str]:
    """Why servers need a look whose last run left databases out that have tables by now."""
    places = asyncio.Semaphore(AT_ONCE)

    async def look(row: ServerRow) -> str:
        async with places:
            view = ServerView(row.id)
            for database in left_out(row):
                seen = await view.details(database)
                if isinstance(seen, Details) and any(table.status != "ERROR" for table in seen.tables):
                    return f"database {database!r}, which was left out, has tables that can be mirrored"
            return ""

    seen = list(rows)
    return dict(zip((row.id for row in seen), await asyncio.gather(*map(look, seen)), strict=True))
