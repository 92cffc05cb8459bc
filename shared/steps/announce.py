"""Sends the notices of servers, and notes in each server's row what was told of it."""

from __future__ import annotations

from datetime import UTC, datetime

from shared.decisions import announce
from shared.decisions.announce import Server
from shared.records import store, topic


async def tell(server: Server) -> bool:
    """Send the notice of a server if one is due. False: the topic did not take it, which stops nothing."""
    if not announce.is_due(server):
        return True
    mirrors = await store.list_mirrors_of(server.id)
    taken = await topic.publish([announce.notice(server, mirrors)])
    if taken:
        await store.update_server(server.id, announced=announce.change_of(server))
    return taken


async def tell_overdue() -> None:
    """Send the notices that no run could send when they were due, until the topic fails: each attempt may take long."""
    now = datetime.now(UTC)
    async for server in store.server_news():
        if announce.is_overdue(server, now) and not await tell(server):
            return
