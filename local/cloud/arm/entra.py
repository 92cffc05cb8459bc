"""Entra administrators' logins: the password that PostgreSQL knows for each is the principal's current token.

Azure's PostgreSQL asks Entra ID; the community's has no method that takes a token as password. But here everybody
gets the same token of a principal until it is about to expire, so it can be kept as an ordinary SCRAM password,
and is replaced when the next one is due.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Iterable

from local.cloud import tokens
from local.cloud.arm.servers import FlexibleServer
from local.topology import Topology


class EntraLogins:
    def __init__(self, topology: Topology):
        self.topology = topology

    def password(self, object_id: str) -> str | None:
        """The token that logs a principal in now; None for somebody who has no identity in this stack."""
        for principal in self.topology.principals.values():
            if principal.object_id == object_id.lower():
                return tokens.mint(self.topology, principal, tokens.POSTGRESQL)[0]
        return None

    def renew(self, server: FlexibleServer) -> None:
        """Set the current tokens as the passwords of a running server's Entra administrators."""
        for object_id, administrator in server.administrators.items():
            if password := self.password(object_id):
                server.engine.set_password(administrator["principalName"], password)

    @contextlib.asynccontextmanager
    async def renewing(self, servers: Callable[[], Iterable[FlexibleServer]]) -> AsyncIterator[None]:
        """Renew the passwords of all running servers whenever tokens change."""
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
