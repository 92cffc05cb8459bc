"""The servers that no event told of, and that are not as they should be: seen by a look at the list of all servers."""

from __future__ import annotations

from shared.decisions.resync import why_look
from shared.desired.server_id import ServerId
from shared.platform import logs
from shared.platform.settings import settings
from shared.records import store
from shared.source import server as flexible_server

log = logs.logger(__name__)


async def candidates() -> list[ServerId]:
    """The servers of all allowed subscriptions that need a look, in order."""
    rows = {row.id: row async for row in store.list_servers()}
    tags: dict[ServerId, dict[str, str]] = {}
    for subscription in settings().scope.subscriptions:
        tags |= {id: of_server async for id, of_server in flexible_server.list_servers(subscription)}
    servers: list[ServerId] = []
    for id in sorted(rows.keys() | tags.keys()):
        if why := why_look(id, tags.get(id), rows.get(id), settings()):
            with logs.about(server=id.key):
                log.info("The resync looks at the server again, since %s.", why)
            servers.append(id)
    return servers
