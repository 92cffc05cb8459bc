"""Logins of Microsoft Entra principals: the password that PostgreSQL knows for each is the principal's current token.

Azure's PostgreSQL asks Entra ID; the community's has no method that takes a token as password. But here everybody
gets the same token of a principal until it is about to expire, so it can be kept as an ordinary SCRAM password,
and is replaced when the next one is due. Which role is whose, the server itself keeps (`local/postgres_entra.sql`).
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Iterable

from psycopg.types.json import Jsonb

from local.cloud import tokens
from local.cloud.arm.servers import FlexibleServer
from local.topology import Topology

LABELS = {"User": "user", "Group": "group", "ServicePrincipal": "service"}
"""What a label calls the types of principals; ARM's own names for them are the keys."""


class EntraLogins:
    def __init__(self, topology: Topology):
        self.topology = topology

    def admit(self, server: FlexibleServer, name: str, object_id: str, kind: str) -> None:
        """Make a principal a Microsoft Entra administrator. One that has no identity in this stack can't log in."""
        server.engine.create_administrator(name, None)
        server.engine.execute("SELECT azure_entra.label(%s, %s, %s, true)", (name, object_id, LABELS[kind]))
        self.renew(server)

    def dismiss(self, server: FlexibleServer, name: str) -> None:
        """Take the administrator's rights and login away."""
        server.engine.remove_administrator(name)
        server.engine.execute("DELETE FROM azure_entra.labels WHERE role = %s", (name,))

    def renew(self, server: FlexibleServer) -> None:
        """Let the current tokens open the roles of a running server that are mapped to principals."""
        current = {
            principal.object_id: tokens.mint(self.topology, principal, tokens.POSTGRESQL)[0]
            for principal in self.topology.principals.values()
        }
        server.engine.execute("SELECT azure_entra.renew(%s)", (Jsonb(current),))

    @contextlib.asynccontextmanager
    async def renewing(self, servers: Callable[[], Iterable[FlexibleServer]]) -> AsyncIterator[None]:
        """Renew the logins of all running servers whenever tokens change."""
        task = asyncio.create_task(self._keep_renewing(servers))
        yield
        task.cancel()

    async def _keep_renewing(self, servers: Callable[[], Iterable[FlexibleServer]]) -> None:
        while True:
            _, expires = tokens.period(self.topology)
            await asyncio.sleep(max(0.0, expires - tokens.RENEWAL_SECONDS - time.time()))
            for server in list(servers()):
                if server.postgres and server.postgres.running:
                    await asyncio.to_thread(self.renew, server)
