"""The events that a subscription's system topic raises for each write: Event Grid schema, with the caller's claims."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import ssl
import uuid
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import aiohttp

from local.cloud import tokens
from local.cloud.web import Call
from local.topology import Topology

log = logging.getLogger("local.arm")

ATTEMPTS = 5
EVENT_TYPES = {"write": "ResourceWriteSuccess", "action": "ResourceActionSuccess", "delete": "ResourceDeleteSuccess"}
CLAIM = "http://schemas.microsoft.com/identity/claims/"


class ResourceEvents:
    """Publishes to the stack's Event Grid; where none runs, nobody listens and nothing is sent."""

    def __init__(self, topology: Topology):
        self.topology = topology
        self._session: aiohttp.ClientSession | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    @contextlib.asynccontextmanager
    async def sending(self) -> AsyncIterator[None]:
        trust = ssl.create_default_context(cafile=str(self.topology.authority))
        connector = aiohttp.TCPConnector(ssl=trust)
        async with aiohttp.ClientSession(connector=connector) as self._session:
            yield
            if self._tasks:
                await asyncio.wait(self._tasks, timeout=1)

    def publish(self, call: Call, operation: str, resource: str) -> None:
        """Tell that the caller's `operation` (e.g. `…/flexibleServers/write`) on `resource` (its id) succeeded."""
        if self._session is None or "eventgrid" not in self.topology.ports:
            return
        task = asyncio.create_task(self._send(self._session, event(self.topology, call, operation, resource)))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _send(self, session: aiohttp.ClientSession, content: dict[str, Any]) -> None:
        url = f"{self.topology.address('eventgrid')}/system-topic/events"
        token, _ = tokens.mint(self.topology, self.topology.principals["azure"], tokens.EVENT_GRID)
        for attempt in range(ATTEMPTS):
            with contextlib.suppress(aiohttp.ClientError):
                async with session.post(url, json=[content], headers={"Authorization": f"Bearer {token}"}) as answer:
                    if answer.status < 300:
                        return
                    log.warning("Event Grid answered %s to %s", answer.status, content["data"]["operationName"])
            await asyncio.sleep(0.2 * 2**attempt)
        log.error("the event %s for %s was lost", content["data"]["operationName"], content["subject"])


def event(topology: Topology, call: Call, operation: str, resource: str) -> dict[str, Any]:
    """One event. As in Azure, a tags write names the tagged resource, and spells `resourcegroups` in lower case."""
    kind = operation.rsplit("/", 1)[1]
    provider = operation.split("/", 1)[0]
    if provider == "Microsoft.Resources":
        resource = resource.replace("/resourceGroups/", "/resourcegroups/")
    return {
        "id": str(uuid.uuid4()),
        "topic": f"/subscriptions/{topology.subscription}",
        "subject": resource,
        "eventType": f"Microsoft.Resources.{EVENT_TYPES[kind]}",
        "eventTime": datetime.now(UTC).isoformat().replace("+00:00", "Z"),
        "dataVersion": "2",
        "metadataVersion": "1",
        "data": {
            "authorization": {
                "scope": resource,
                "action": operation,
                "evidence": {
                    "role": "Contributor",
                    "roleAssignmentScope": f"/subscriptions/{topology.subscription}",
                    "principalId": call.claims["oid"].replace("-", ""),
                    "principalType": "ServicePrincipal",
                },
            },
            "claims": _claims(call.claims),
            "correlationId": call.headers.get("x-ms-correlation-request-id") or str(uuid.uuid4()),
            "httpRequest": {"clientRequestId": call.headers.get("x-ms-client-request-id", ""), "method": call.method},
            "resourceProvider": provider,
            "resourceUri": resource,
            "operationName": operation,
            "status": "Succeeded",
            "subscriptionId": topology.subscription,
            "tenantId": topology.tenant,
        },
    }


def _claims(claims: dict[str, Any]) -> dict[str, str]:
    plain = {name: str(claims[name]) for name in ("aud", "iss", "iat", "nbf", "exp", "appid", "ver") if name in claims}
    return plain | {
        f"{CLAIM}objectidentifier": claims["oid"],
        f"{CLAIM}tenantid": claims["tid"],
        f"{CLAIM}identityprovider": claims["iss"],
        "http://schemas.xmlsoap.org/ws/2005/05/identity/claims/nameidentifier": claims["oid"],
    }
