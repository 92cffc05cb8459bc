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
        self._ids: dict[str, str] = {}

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
        """The server with this domain name. A server that was seen before is asked for by its id."""
        by_id = await self._get(self._ids.get(host.lower(), ""))
        if by_id and _host(by_id) == host.lower():
            return _server(by_id)
        path = f"/subscriptions/{self.topology.subscription}/providers/Microsoft.DBforPostgreSQL/flexibleServers"
        servers = {_host(server): server for server in await self._list(path)}
        self._ids = {name: server["id"] for name, server in servers.items()}
        return _server(servers[host.lower()]) if host.lower() in servers else None

    async def lets_azure_in(self, server: FlexibleServer) -> bool:
        """Whether public access is enabled and the firewall allows Azure services."""
        if not server.public:
            return False
        rules = [rule["properties"] for rule in await self._list(f"{server.id}/firewallRules")]
        return any((rule["startIpAddress"], rule["endIpAddress"]) == ANY_AZURE_SERVICE for rule in rules)

    async def _list(self, path: str) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = []
        following = f"{path}?api-version={API_VERSION}"
        while following:
            body = await self._ask(following)
            if body is None:
                break
            rows += body["value"]
            link = urlsplit(body.get("nextLink") or "")
            following = f"{link.path}?{link.query}" if link.path else ""
        return rows

    async def _get(self, id: str) -> dict[str, Any] | None:
        return await self._ask(f"{id}?api-version={API_VERSION}") if id else None

    async def _ask(self, path: str) -> dict[str, Any] | None:
        """What there is at the path; None where there is nothing."""
        assert self._session is not None
        token, _ = tokens.mint(self.topology, self.topology.principals["azure"], tokens.ARM)
        url = self.topology.address("arm") + path
        async with self._session.get(url, headers={"Authorization": f"Bearer {token}"}) as response:
            if response.status == 404:
                return None
            response.raise_for_status()
            body: dict[str, Any] = await response.json()
        return body


def _host(server: dict[str, Any]) -> str:
    return str(server["properties"].get("fullyQualifiedDomainName", "")).lower()


def _server(document: dict[str, Any]) -> FlexibleServer:
    identity, network = document.get("identity") or {}, document["properties"].get("network") or {}
    system = "SystemAssigned" in identity.get("type", "")
    public = network.get("publicNetworkAccess") == "Enabled"
    return FlexibleServer(document["id"], identity.get("principalId") if system else None, public)
