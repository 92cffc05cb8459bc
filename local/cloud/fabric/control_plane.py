"""What Fabric's data movement finds out about a flexible server from Azure: who it is, and whether it lets Azure in."""

from __future__ import annotations

import contextlib
import ssl
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import msgspec

from local.cloud import tokens
from local.topology import Topology

API_VERSION = "2026-10-01"
ANY_AZURE_SERVICE = ("0.0.0.0", "0.0.0.0")


class FlexibleServer(msgspec.Struct, frozen=True):
    """`identity`: the object id of its system-assigned identity, if that is enabled."""

    id: str
    identity: str | None
    public: bool


class ControlPlane:
    """Azure Resource Manager, asked directly, as the platform itself."""

    def __init__(self, topology: Topology):
        self.topology = topology
        self._session: aiohttp.ClientSession | None = None

    @property
    def present(self) -> bool:
        return "arm" in self.topology.ports

    @contextlib.asynccontextmanager
    async def opened(self) -> AsyncIterator[None]:
        """Keeps a client session while entered."""
        trust = ssl.create_default_context(cafile=str(self.topology.authority))
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=trust)) as self._session:
            yield

    async def find(self, host: str) -> FlexibleServer | None:
        """The server with this domain name."""
        path = f"/subscriptions/{self.topology.subscription}/providers/Microsoft.DBforPostgreSQL/flexibleServers"
        for server in await self._list(path):
            if server["properties"].get("fullyQualifiedDomainName", "").lower() == host.lower():
                identity = server.get("identity") or {}
                system = "SystemAssigned" in identity.get("type", "")
                network = server["properties"].get("network") or {}
                public = network.get("publicNetworkAccess") == "Enabled"
                return FlexibleServer(server["id"], identity.get("principalId") if system else None, public)
        return None

    async def lets_azure_in(self, server: FlexibleServer) -> bool:
        """Whether public access is enabled and the firewall allows Azure services."""
        if not server.public:
            return False
        rules = [rule["properties"] for rule in await self._list(f"{server.id}/firewallRules")]
        return any((rule["startIpAddress"], rule["endIpAddress"]) == ANY_AZURE_SERVICE for rule in rules)

    async def _list(self, path: str) -> list[dict[str, Any]]:
        assert self._session is not None
        token, _ = tokens.mint(self.topology, self.topology.principals["azure"], tokens.ARM)
        rows: list[dict[str, Any]] = []
        following = f"{path}?api-version={API_VERSION}"
        while following:
            url = self.topology.address("arm") + following
            async with self._session.get(url, headers={"Authorization": f"Bearer {token}"}) as response:
                response.raise_for_status()
                body = await response.json()
            rows += body["value"]
            link = urlsplit(body.get("nextLink") or "")
            following = f"{link.path}?{link.query}" if link.path else ""
        return rows
